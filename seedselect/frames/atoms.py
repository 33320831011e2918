"""Frames from and to files: the only place of seedselect that builds `ase.Atoms`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ase
import numpy as np
from numpy.typing import NDArray

from seedselect.frames.descriptors import describe
from seedselect.frames.frame import Frame
from tpainn_calc.base.arrays import Array
from tpainn_calc.base.frames import (
    ExtXYZFile,
    attach_results,
    iter_extxyz,
    results_of,
    write_extxyz,
)


def to_frame(atoms: Any) -> Frame:
    """Return a `Frame` from `ase.Atoms`, with energy and forces as far as they are there."""
    results = results_of(atoms)
    info = {
        k: v for k, v in atoms.info.items() if isinstance(v, str | bool | int | float | np.generic)
    }
    energy = results.get("energy", info.get("energy"))
    forces = results.get("forces", atoms.arrays.get("forces"))
    return Frame(
        numbers=np.asarray(atoms.numbers, dtype=np.int64),
        positions=np.array(atoms.positions, dtype=float),
        cell=np.array(atoms.cell[:], dtype=float),
        pbc=np.array(atoms.pbc, dtype=bool),
        energy=None if energy is None else float(energy),
        forces=None if forces is None else np.array(forces, dtype=float),
        info=info,
    )


def to_atoms(frame: Frame) -> ase.Atoms:
    """Return `ase.Atoms` with the labels in a `SinglePointCalculator`."""
    atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    atoms.info.update(frame.info)
    if frame.energy is not None or frame.forces is not None:
        atoms.info.pop("energy", None)
    return attach_results(atoms, frame.energy, frame.forces)


def iter_frames(path: str | Path) -> Iterator[Frame]:
    """Yield the frames of an extended-XYZ file (plain or .gz) one by one.

    Raises
    ------
    DataError
        Names the file and the frame for missing, empty, malformed and truncated files.
    """
    return map(to_frame, iter_extxyz(path))


def read_frames(path: str | Path) -> list[Frame]:
    """Return all frames of an extended-XYZ file."""
    return list(iter_frames(path))


def write_frames(path: str | Path, frames: Iterable[Frame]) -> None:
    """Write an extended-XYZ file atomically."""
    write_extxyz(path, map(to_atoms, frames))


class FramePool:
    """A pool over an extended-XYZ file and a descriptor; one block of frames is in memory.

    Parameters
    ----------
    path : path
        Plain or .gz. Rows are taken by byte offset from plain files, by reading on in .gz files.
    descriptor : callable
        ``descriptor(frame) -> (d,)``
    """

    def __init__(self, path: str | Path, descriptor: Any) -> None:
        self.file = ExtXYZFile(path)
        self.descriptor = descriptor
        self._width = len(np.asarray(descriptor(to_frame(self.file[0]))).ravel())

    @property
    def n(self) -> int:
        """Number of frames."""
        return len(self.file)

    @property
    def n_features(self) -> int:
        """Number of descriptor columns."""
        return self._width

    def blocks(self, size: int) -> Iterator[Array]:
        """Yield descriptors of `size` frames at a time."""
        waiting: list[Frame] = []
        for atoms in self.file:
            waiting.append(to_frame(atoms))
            if len(waiting) == size:
                yield describe(waiting, self.descriptor)
                waiting = []
        if waiting:
            yield describe(waiting, self.descriptor)

    def take(self, indices: NDArray[np.intp]) -> Array:
        """Return descriptors of frames by number."""
        return describe(map(to_frame, self.file.take(indices)), self.descriptor)
