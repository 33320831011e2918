"""Whatever holds frames, opened: a file of either format, or a folder of shards."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from ase import Atoms

from tpainn_calc.base.errors import DataError
from tpainn_calc.base.files import finished_files, sha256
from tpainn_calc.base.frames.extxyz import iter_extxyz, read_extxyz
from tpainn_calc.base.frames.hdf5 import SUFFIX, SUFFIXES, FrameStore

EXTXYZ = "*.extxyz"


def open_frames(path: str | os.PathLike[str]) -> Sequence[Atoms]:
    """Frames of a file or folder.

    Parameters
    ----------
    path : path
        Extended XYZ, plain or gzipped; an HDF5 file; or a folder, such as ``tpainn-train
        classical`` writes, of HDF5 shards (which stay on disk) or of extended XYZ.

    Raises
    ------
    DataError
        If there is none, it holds no frames, or it cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        if finished_files(path, f"*{SUFFIX}"):
            return FrameStore(path)
        shards = _extxyz_shards(path)
        if shards:
            return [atoms for shard in shards for atoms in read_extxyz(shard)]
        raise DataError(f"{path} holds no frames (*{SUFFIX} or {EXTXYZ})")
    if path.suffix in SUFFIXES:
        return FrameStore(path)
    return read_extxyz(path)


def iter_frames(path: str | os.PathLike[str]) -> Iterator[Atoms]:
    """Frames of a file or folder, one by one.

    Parameters
    ----------
    path : path
        As :func:`open_frames` takes.

    Raises
    ------
    DataError
        As :func:`open_frames`.
    """
    path = Path(path)
    if path.is_dir() and not finished_files(path, f"*{SUFFIX}"):
        shards = _extxyz_shards(path)
        if shards:
            return chain.from_iterable(map(iter_extxyz, shards))
    elif not path.is_dir() and path.suffix not in SUFFIXES:
        return iter_extxyz(path)
    return iter(open_frames(path))


def checksum(path: str | os.PathLike[str]) -> str:
    """sha256 of a file, or of the shards of a folder."""
    path = Path(path)
    if not path.is_dir():
        return sha256(path)
    shards = sorted([*finished_files(path, f"*{SUFFIX}"), *finished_files(path, EXTXYZ)])
    lines = "".join(f"{sha256(shard)} {shard.name}\n" for shard in shards)
    return hashlib.sha256(lines.encode()).hexdigest()


def _extxyz_shards(folder: Path) -> list[Path]:
    # a classical source that gave nothing leaves an empty file
    return [path for path in finished_files(folder, EXTXYZ) if path.stat().st_size]
