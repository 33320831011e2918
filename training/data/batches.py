"""Batches of labelled graphs, and the order in which training sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress
from torch import Tensor
from torch.utils.data import Dataset

from tpainn_calc.base.frames import results_of
from tpainn_calc.graph import Graph

TENSOR_BYTES = 1024
"""Memory of a small tensor beside its numbers, roughly."""


@dataclass(frozen=True)
class Batch:
    """A batch of graphs with its labels, in eV and Å.

    Attributes
    ----------
    graph : Graph
    energy : Tensor (structures,)
    forces : Tensor (atoms, 3)
        NaN where a frame has no forces.
    stress : Tensor (structures, 3, 3)
        NaN where a frame has no stress label.
    volume : Tensor (structures,)
    weight : Tensor (structures,)
        Of every structure in the loss.
    """

    graph: Graph
    energy: Tensor
    forces: Tensor
    stress: Tensor
    volume: Tensor
    weight: Tensor

    @property
    def n_atoms(self) -> Tensor:
        """Atoms per structure (structures,)."""
        return torch.bincount(self.graph.structure, minlength=self.graph.n_structures)

    @property
    def n_bytes(self) -> int:
        """Memory that it takes."""
        tensors = [x for part in (self, self.graph) for x in vars(part).values()]
        return sum(x.nbytes + TENSOR_BYTES for x in tensors if isinstance(x, Tensor))

    def to(self, device: torch.device | str) -> Batch:
        """Copy on another device."""
        return Batch(
            self.graph.to(device),
            self.energy.to(device),
            self.forces.to(device),
            self.stress.to(device),
            self.volume.to(device),
            self.weight.to(device),
        )


@dataclass
class Memory:
    """Room for graphs, which data sets of a run share.

    Attributes
    ----------
    room : int
        Bytes that are left.
    """

    room: int

    def take(self, batch: Batch) -> bool:
        """Reserve room for a batch, if there is enough."""
        n_bytes = batch.n_bytes
        if n_bytes > self.room:
            return False
        self.room -= n_bytes
        return True


class FrameDataset(Dataset[Batch]):
    """Frames as one-structure batches; neighbour lists are made on demand.

    What was made is kept while there is room: a network on a GPU is faster than neighbour search.
    None gives way to another, since shuffled passes ask for all equally often.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        With energy and mostly forces, as :func:`training.data.frames.read_frames` returns them.
    elements : sequence of str
        The potential's elements.
    cutoff : float
        Å.
    weight : float
        Of these frames in the loss.
    shift : ndarray (elements,), optional
        Added to the energy of every atom, eV: moves labels of one level of theory to the
        reference energies of another.
    memory : Memory, optional
        Room for batches to keep; none by default.
    """

    def __init__(
        self,
        frames: Sequence[Atoms],
        elements: Sequence[str],
        cutoff: float,
        weight: float = 1.0,
        shift: np.ndarray | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.frames = frames
        self.elements = tuple(elements)
        self.cutoff = cutoff
        self.weight = weight
        self.shift = shift
        self.memory = memory if memory is not None else Memory(0)
        self._kept: dict[int, Batch] = {}

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Batch:
        if index in self._kept:
            return self._kept[index]
        batch = self._make(self.frames[index])
        if self.memory.take(batch):
            self._kept[index] = batch
        return batch

    def _make(self, atoms: Atoms) -> Batch:
        graph = Graph.from_atoms(atoms, self.elements, self.cutoff)
        found = results_of(atoms)
        energy = float(found["energy"])
        if self.shift is not None:
            energy += float(self.shift[graph.species.numpy()].sum())
        forces, stress = np.full((len(atoms), 3), np.nan), np.full((3, 3), np.nan)
        if "forces" in found:
            forces = found["forces"]
        if "stress" in found:
            stress = voigt_6_to_full_3x3_stress(found["stress"])
        return Batch(
            graph,
            torch.tensor([energy], dtype=torch.float64),
            torch.from_numpy(np.array(forces, dtype=np.float64)),
            torch.from_numpy(np.array(stress, dtype=np.float64)).unsqueeze(0),
            torch.tensor([abs(atoms.cell.volume)], dtype=torch.float64),
            torch.tensor([self.weight], dtype=torch.float64),
        )


def collate(batches: Sequence[Batch]) -> Batch:
    """Join one-structure batches."""
    return Batch(
        Graph.batch([b.graph for b in batches]),
        torch.cat([b.energy for b in batches]),
        torch.cat([b.forces for b in batches]),
        torch.cat([b.stress for b in batches]),
        torch.cat([b.volume for b in batches]),
        torch.cat([b.weight for b in batches]),
    )


def shortest_distances(graphs: Iterator[Graph], elements: Sequence[str]) -> dict[str, float]:
    """Smallest distance (Å) of every element pair, with keys like ``"H-O"``."""
    best: dict[str, float] = {}
    n = len(elements)
    for graph in graphs:
        r = torch.linalg.vector_norm(graph.edge_vec, dim=1).numpy()
        pair = (graph.species[graph.centre] * n + graph.species[graph.neighbour]).numpy()
        smallest = np.full(n * n, np.inf)
        np.minimum.at(smallest, pair, r)
        for k in np.flatnonzero(np.isfinite(smallest)).tolist():
            key = "-".join(sorted((elements[k // n], elements[k % n])))
            best[key] = round(min(float(smallest[k]), best.get(key, np.inf)), 4)
    return best
