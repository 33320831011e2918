"""Frames in one HDF5 file: flat arrays and offsets.

Layout: ``offset`` (n + 1), ``numbers`` (atoms), ``positions`` (atoms, 3), and optionally ``cell``
(n, 3, 3), ``pbc`` (n, 3), ``energy`` (n), ``forces`` (atoms, 3); eV and Angstrom.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from seedselect.errors import SeedSelectError
from seedselect.frame import Frame


def holds_frames(path: str | Path) -> bool:
    """Tell whether an HDF5 file holds frames (and not a table)."""
    try:
        with h5py.File(path, "r") as file:
            return "positions" in file
    except OSError as error:
        raise SeedSelectError(f"{path}: cannot be read as HDF5 ({error})") from error


def iter_hdf5(path: str | Path) -> Iterator[Frame]:
    """Yield the frames of an HDF5 file one by one."""
    with h5py.File(path, "r") as file:
        missing = [k for k in ("offset", "numbers", "positions") if k not in file]
        if missing:
            raise SeedSelectError(f"{path}: no data set {missing[0]!r}; see seedselect.hdf5frames")
        offset = file["offset"][:]
        n = len(offset) - 1
        if n < 1:
            raise SeedSelectError(f"{path}: holds no frames")
        cell = file["cell"][:] if "cell" in file else np.zeros((n, 3, 3))
        pbc = file["pbc"][:].astype(bool) if "pbc" in file else np.abs(cell).sum(axis=2) > 0
        energy = file["energy"][:] if "energy" in file else None
        for i in range(n):
            part = slice(int(offset[i]), int(offset[i + 1]))
            yield Frame(
                file["numbers"][part].astype(np.int64),
                file["positions"][part].astype(float),
                np.asarray(cell[i], dtype=float),
                pbc[i],
                None if energy is None else float(energy[i]),
                file["forces"][part].astype(float) if "forces" in file else None,
            )


def write_hdf5(path: str | Path, frames: Sequence[Frame]) -> None:
    """Write frames atomically; labels are kept when all frames have them."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with h5py.File(temporary, "w") as file:
        file["offset"] = np.concatenate([[0], np.cumsum([len(f) for f in frames])])
        file["numbers"] = np.concatenate([f.numbers for f in frames])
        file["positions"] = np.concatenate([f.positions for f in frames])
        file["cell"] = np.array([f.cell for f in frames])
        file["pbc"] = np.array([f.pbc for f in frames])
        energies = [f.energy for f in frames if f.energy is not None]
        if len(energies) == len(frames):
            file["energy"] = np.array(energies)
        forces = [f.forces for f in frames if f.forces is not None]
        if len(forces) == len(frames):
            file["forces"] = np.concatenate(forces)
    os.replace(temporary, path)
