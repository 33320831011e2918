"""Labelled frames of a file or folder: read, checked, and never silently dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from ase import Atoms

from tpainn_calc.base.errors import DataError, StructureError
from tpainn_calc.base.frames import open_frames
from tpainn_calc.neighbors import neighbors
from training.data.keys import LabelKeys, RelabelledFrames
from training.data.qm9 import QM9Frames


class Advice(NamedTuple):
    """Advice of error messages, which depends on the command.

    Attributes
    ----------
    key : str
        How to name the key of a label, which stands for ``{}``.
    level : str
        What to do about frames of another level of theory.
    """

    key: str
    level: str


IN_CONFIGURATION = Advice(
    "'data: {}_key'", "of the set; train on one level at a time, and name it in 'data: level'"
)
USUAL_KEYS = LabelKeys()


class Frames(Sequence[Atoms]):
    """Frames out of one or more sequences, which may be on disk and larger than memory.

    Every frame has ``info["source"]``, the name of its file, and ``info["index"]``, its position
    there.

    Parameters
    ----------
    sources : sequence of (str, sequence of ase.Atoms)
        Names and frames.
    which, position : ndarray (frames,)
        Source of every frame, and its position there.
    """

    def __init__(
        self,
        sources: Sequence[tuple[str, Sequence[Atoms]]],
        which: np.ndarray,
        position: np.ndarray,
    ) -> None:
        self.sources = list(sources)
        self.which = which
        self.position = position

    def __len__(self) -> int:
        return len(self.position)

    @overload
    def __getitem__(self, key: int) -> Atoms: ...
    @overload
    def __getitem__(self, key: slice) -> Frames: ...
    def __getitem__(self, key: int | slice) -> Atoms | Frames:
        if isinstance(key, slice):
            return Frames(self.sources, self.which[key], self.position[key])
        name, frames = self.sources[self.which[key]]
        index = int(self.position[key])
        atoms = frames[index]
        atoms.info["source"] = name
        atoms.info["index"] = index
        return atoms

    def __iter__(self) -> Iterator[Atoms]:
        return (self[k] for k in range(len(self)))

    def __add__(self, other: Frames) -> Frames:
        return Frames(
            [*self.sources, *other.sources],
            np.concatenate([self.which, other.which + len(self.sources)]),
            np.concatenate([self.position, other.position]),
        )

    def select(self, chosen: np.ndarray) -> Frames:
        """The frames at these places, in this order."""
        return Frames(self.sources, self.which[chosen], self.position[chosen])

    def names(self) -> list[list[str | int]]:
        """``[source, index]`` of every frame, without reading it."""
        return [
            [self.sources[w][0], int(i)] for w, i in zip(self.which, self.position, strict=True)
        ]


#: Beyond these a file is damaged, or not in eV and Å: cell and positions (Å), the height of a
#: periodic cell (Å), energy per atom (eV; all electrons of uranium have 8e5), force (eV/Å).
LARGEST_LENGTH = 1e5
SMALLEST_HEIGHT = 0.5
LARGEST_ENERGY = 1e7
LARGEST_FORCE = 1e6


def level_in(path: Path) -> str:
    """Level of theory that the first frame of a file or folder carries, if any."""
    frames = QM9Frames(path) if path.suffix == ".npz" else open_frames(path)
    return str(frames[0].info.get("level", ""))


def read_frames(
    path: Path,
    level: str = "",
    max_force: float | None = None,
    min_distance: float | None = None,
    forces: bool = True,
    keys: LabelKeys = USUAL_KEYS,
    name: str | None = None,
    advice: Advice = IN_CONFIGURATION,
) -> tuple[Frames, list[str]]:
    """Read labelled frames.

    Parameters
    ----------
    path : Path
        Extended XYZ, plain or gzipped, with energy (eV) and forces (eV/Å); QM9 as ``.npz``; or a
        folder that ``tpainn-train classical`` wrote, whose HDF5 shards stay on disk.
    level : str
        Level of theory that frames with an info key ``level`` must have.
    max_force : float, optional
        Reject frames with a larger force on any atom, eV/Å.
    min_distance : float, optional
        Reject frames with two atoms closer than this, Å.
    forces : bool
        Whether every frame must have forces.
    keys : LabelKeys
        Names of the labels in the file.
    name : str, optional
        ``info["source"]`` of the frames; the name of the file by default.
    advice : Advice
        Advice of error messages, which depends on the command.

    Returns
    -------
    frames : Frames
    rejected : list of str
        One line per frame that was left out, with the reason.

    Raises
    ------
    DataError
        Missing, empty or unreadable file; a frame without the labels, or with labels that are no
        numbers; two levels of theory in one set; no frame left.
    """
    needed = ("energy", "forces") if forces else ("energy",)
    kept, rejected = [], []
    source = name if name is not None else path.name
    frames = QM9Frames(path) if path.suffix == ".npz" else open_frames(path)
    for index, atoms in enumerate(frames):
        where = f"{source}, frame {index}"
        found = keys.results(atoms, where)
        for label in needed:
            if label not in found:
                missing = keys.missing(label, atoms, advice.key.format(label))
                raise DataError(f"{where}: {missing}")
        own_level = str(atoms.info.get("level", level))
        if own_level != level:
            raise DataError(
                f"{where}: level of theory {own_level!r} differs from {level!r} {advice.level}"
            )
        problem = _problem(atoms, found, max_force, min_distance)
        if problem:
            rejected.append(f"{where}: {problem}")
        else:
            kept.append(index)
    if not kept:
        raise DataError(f"{path}: every frame was rejected; the first: {rejected[0]}")
    indices = np.array(kept, dtype=np.int64)
    labelled = frames if keys.usual else RelabelledFrames(frames, keys, source)
    return Frames([(source, labelled)], np.zeros_like(indices), indices), rejected


def _problem(
    atoms: Atoms, found: dict[str, Any], max_force: float | None, min_distance: float | None
) -> str | None:
    if not all(np.isfinite(x).all() for x in (atoms.positions, *found.values())):
        return "positions, energy, forces or stress are not finite"
    problem = _problem_of_cell(atoms)
    if problem:
        return problem
    if abs(found["energy"]) > LARGEST_ENERGY * len(atoms):
        return f"an energy of {found['energy']:.3g} eV"
    if "forces" in found:
        component = float(np.abs(found["forces"]).max())
        if component > LARGEST_FORCE:  # before it is squared
            return f"a force of {component:.3g} eV/Å"
        largest = float(np.linalg.norm(found["forces"], axis=1).max())
        if max_force is not None and largest > max_force:
            return f"force {largest:.1f} eV/Å exceeds max_force {max_force}"
    if min_distance is not None:
        try:
            edges = neighbors(atoms.positions, atoms.cell, atoms.pbc, min_distance)
        except StructureError as error:  # atoms that coincide
            return str(error)
        if len(edges):
            shortest = float(np.linalg.norm(edges.edge_vec, axis=1).min())
            return f"atoms {shortest:.3f} Å apart (min_distance {min_distance})"
    return None


def _problem_of_cell(atoms: Atoms) -> str | None:
    cell = np.asarray(atoms.cell)
    longest = float(np.abs([*cell, *atoms.positions]).max())
    if not longest <= LARGEST_LENGTH:
        return f"a cell or positions of {longest:.3g} Å"
    if not atoms.pbc.any():
        return None
    volume = abs(float(np.linalg.det(cell)))
    if atoms.pbc.all() or volume > 0:
        areas = np.linalg.norm(np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1)
        heights = volume / np.maximum(areas, 1e-300)
    else:  # vectors without periodicity may be missing
        heights = np.linalg.norm(cell, axis=1)
    height = float(heights[atoms.pbc].min())
    return f"a periodic cell of {height:.3g} Å" if height < SMALLEST_HEIGHT else None
