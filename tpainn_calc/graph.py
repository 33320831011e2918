"""The graph of one structure or of a batch of structures: species, edges, edge vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from tpainn_calc.base.errors import StructureError, did_you_mean
from tpainn_calc.neighbors import neighbors


@dataclass(frozen=True)
class Graph:
    """Structures as the potential wants them.

    Attributes
    ----------
    species : Tensor (atoms,), int64
        Indices into the potential's elements.
    centre, neighbour : Tensor (edges,), int64
    edge_vec : Tensor (edges, 3), float64
        x_neighbour − x_centre, image shift included, in Å.
    structure : Tensor (atoms,), int64
        To which structure of the batch an atom belongs.
    n_structures : int
    """

    species: Tensor
    centre: Tensor
    neighbour: Tensor
    edge_vec: Tensor
    structure: Tensor
    n_structures: int = 1

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the batch."""
        return self.species.size(0)

    @classmethod
    def from_atoms(cls, atoms: Atoms, elements: Sequence[str], cutoff: float) -> Graph:
        """Graph of an ASE structure.

        Raises
        ------
        StructureError
            If an element is not among `elements`, or the structure cannot be evaluated
            (non-finite positions, singular cell, coincident atoms).
        """
        edges = neighbors(atoms.positions, np.asarray(atoms.cell), atoms.pbc, cutoff)
        return cls.from_edges(
            species_of(atoms, elements), edges.centre, edges.neighbour, edges.edge_vec
        )

    @classmethod
    def from_edges(
        cls, species: np.ndarray, centre: np.ndarray, neighbour: np.ndarray, edge_vec: np.ndarray
    ) -> Graph:
        """Graph of one structure from numpy arrays."""
        return cls(
            torch.from_numpy(species),
            torch.from_numpy(centre),
            torch.from_numpy(neighbour),
            torch.from_numpy(edge_vec),
            torch.zeros(len(species), dtype=torch.int64),
        )

    @classmethod
    def batch(cls, graphs: Sequence[Graph]) -> Graph:
        """Disjoint union of graphs: same numbers as one by one."""
        if not graphs:
            raise ValueError("cannot batch zero graphs")
        atoms = np.cumsum([0, *(g.n_atoms for g in graphs)]).tolist()
        first = np.cumsum([0, *(g.n_structures for g in graphs)]).tolist()
        return cls(
            torch.cat([g.species for g in graphs]),
            torch.cat([g.centre + a for g, a in zip(graphs, atoms, strict=False)]),
            torch.cat([g.neighbour + a for g, a in zip(graphs, atoms, strict=False)]),
            torch.cat([g.edge_vec for g in graphs]),
            torch.cat([g.structure + k for g, k in zip(graphs, first, strict=False)]),
            first[-1],
        )

    def to(self, device: torch.device | str) -> Graph:
        """Copy on another device."""
        return replace(
            self,
            species=self.species.to(device),
            centre=self.centre.to(device),
            neighbour=self.neighbour.to(device),
            edge_vec=self.edge_vec.to(device),
            structure=self.structure.to(device),
        )


def species_of(atoms: Atoms, elements: Sequence[str]) -> np.ndarray:
    """Species indices (atoms,), int64, of a structure.

    Raises
    ------
    StructureError
        If the structure holds an element that the potential does not know.
    """
    index = {symbol: k for k, symbol in enumerate(elements)}
    symbols = atoms.get_chemical_symbols()
    try:
        return np.array([index[s] for s in symbols], dtype=np.int64)
    except KeyError as error:
        symbol = str(error.args[0])
        raise StructureError(
            f"element {symbol} (atom {symbols.index(symbol)}) is unknown to this potential, which "
            f"knows {', '.join(elements)}{did_you_mean(symbol, elements)}"
        ) from None
