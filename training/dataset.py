"""Labelled structures: reading, checking, and turning them into batches of graphs."""

from __future__ import annotations

import gzip
import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from tpainn_calc.errors import DataError
from tpainn_calc.graph import Graph


@dataclass(frozen=True)
class Batch:
    """A batch of graphs with its labels, in eV and Å.

    Attributes
    ----------
    graph : Graph
    energy : Tensor (structures,)
    forces : Tensor (atoms, 3)
    stress : Tensor (structures, 3, 3)
        NaN where a frame has no stress label.
    volume : Tensor (structures,)
    """

    graph: Graph
    energy: Tensor
    forces: Tensor
    stress: Tensor
    volume: Tensor

    @property
    def n_atoms(self) -> Tensor:
        """Atoms per structure (structures,)."""
        return torch.bincount(self.graph.structure, minlength=self.graph.n_structures)

    def to(self, device: torch.device | str) -> Batch:
        """Copy on another device."""
        return Batch(
            self.graph.to(device),
            self.energy.to(device),
            self.forces.to(device),
            self.stress.to(device),
            self.volume.to(device),
        )


class FrameDataset(Dataset[Batch]):
    """Frames as one-structure batches; neighbour lists are made on demand.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        With energy and forces, as :func:`read_frames` returns them.
    elements : sequence of str
        The potential's elements.
    cutoff : float
        Å.
    """

    def __init__(self, frames: Sequence[Atoms], elements: Sequence[str], cutoff: float) -> None:
        self.frames = frames
        self.elements = tuple(elements)
        self.cutoff = cutoff

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Batch:
        atoms = self.frames[index]
        graph = Graph.from_atoms(atoms, self.elements, self.cutoff)
        stress = np.full((3, 3), np.nan)
        if "stress" in atoms.calc.results:
            stress = atoms.get_stress(voigt=False)
        return Batch(
            graph,
            torch.tensor([atoms.get_potential_energy()], dtype=torch.float64),
            torch.from_numpy(np.array(atoms.get_forces(), dtype=np.float64)),
            torch.from_numpy(np.array(stress, dtype=np.float64)).unsqueeze(0),
            torch.tensor([abs(atoms.cell.volume)], dtype=torch.float64),
        )


def collate(batches: Sequence[Batch]) -> Batch:
    """Join one-structure batches."""
    return Batch(
        Graph.batch([b.graph for b in batches]),
        torch.cat([b.energy for b in batches]),
        torch.cat([b.forces for b in batches]),
        torch.cat([b.stress for b in batches]),
        torch.cat([b.volume for b in batches]),
    )


class StreamSampler(Sampler[int]):
    """Endless shuffled passes over the data, cut into rounds of equal length.

    Round r always draws the same indices for a given seed, whatever happened before: a run that
    is resumed at the start of a round sees the data as if it had never stopped.

    Parameters
    ----------
    n : int
        Number of frames.
    per_round : int
        Frames drawn per round (the trainer's "epoch").
    seed : int
    """

    def __init__(self, n: int, per_round: int, seed: int) -> None:
        self.n = n
        self.per_round = per_round
        self.seed = seed
        self.round = 0

    def set_round(self, number: int) -> None:
        """Choose the round that the next iteration runs through."""
        self.round = number

    def __len__(self) -> int:
        return self.per_round

    def __iter__(self) -> Iterator[int]:
        first = self.round * self.per_round
        for position in range(first, first + self.per_round):
            if position == first or position % self.n == 0:
                order = np.random.default_rng((self.seed, position // self.n)).permutation(self.n)
            yield int(order[position % self.n])


def read_frames(
    path: Path, level: str = "", max_force: float | None = None
) -> tuple[list[Atoms], list[str]]:
    """Read labelled frames from extended XYZ.

    Parameters
    ----------
    path : Path
        Extended XYZ, plain or gzipped, with energy (eV) and forces (eV/Å).
    level : str
        Level of theory that frames with an info key ``level`` must have.
    max_force : float, optional
        Reject frames with a larger force on any atom, eV/Å.

    Returns
    -------
    frames : list of ase.Atoms
        ``info["source"]`` is the file name and ``info["index"]`` the position in the file.
    rejected : list of str
        One line per frame that was left out, with the reason.

    Raises
    ------
    DataError
        Missing, empty or unreadable file; a frame without energy or forces, or with non-finite
        numbers; two levels of theory in one set.
    """
    frames = _parse(path)
    kept, rejected = [], []
    for index, atoms in enumerate(frames):
        where = f"{path.name}, frame {index}"
        for label in ("energy", "forces"):
            if not _has_label(atoms, label):
                raise DataError(f"{where}: no {label}; label every frame before training")
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise DataError(f"{where}: energy or forces are not finite; remove or relabel it")
        own_level = str(atoms.info.get("level", level))
        if own_level != level:
            raise DataError(
                f"{where}: level of theory {own_level!r} differs from {level!r} of the set; train "
                "on one level at a time, and name it in 'data: level'"
            )
        largest = float(np.linalg.norm(forces, axis=1).max())
        if max_force is not None and largest > max_force:
            rejected.append(f"{where}: force {largest:.1f} eV/Å exceeds max_force {max_force}")
            continue
        atoms.info["source"] = path.name
        atoms.info["index"] = index
        kept.append(atoms)
    if not kept:
        raise DataError(f"{path}: every frame was rejected; the first: {rejected[0]}")
    return kept, rejected


def _parse(path: Path) -> list[Atoms]:
    if not path.is_file():
        raise DataError(f"no data file {path}")
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt") as handle:
            text = handle.read()
        # ASE reads a string several times faster than a compressed file
        frames = ase.io.read(io.StringIO(text), ":", format="extxyz") if text.strip() else []
    except Exception as error:  # ASE raises what its parser happens to meet
        raise DataError(f"{path} is not readable extended XYZ: {error}") from None
    if not frames:
        raise DataError(f"{path} holds no frames")
    return list(frames)


def _has_label(atoms: Atoms, label: str) -> bool:
    if atoms.calc is None:
        return False
    try:
        return atoms.calc.get_property(label, atoms, allow_calculation=False) is not None
    except PropertyNotImplementedError:
        return False


def elements_of(frames: Sequence[Atoms]) -> tuple[str, ...]:
    """Chemical symbols that occur, by atomic number."""
    numbers = sorted({int(z) for atoms in frames for z in np.unique(atoms.numbers)})
    return tuple(ase.data.chemical_symbols[z] for z in numbers)


def composition(frames: Sequence[Atoms], elements: Sequence[str]) -> np.ndarray:
    """Atoms of each element per frame, (frames, elements)."""
    counts = [Counter(atoms.get_chemical_symbols()) for atoms in frames]
    return np.array([[c[e] for e in elements] for c in counts], dtype=float)


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


def sha256(path: Path) -> str:
    """Checksum of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
