"""Files that a campaign reads: one, several one after the other, or a folder of shards."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from seedselect.errors import SeedSelectError
from seedselect.frames.frame import Frame
from tpainn_calc.base.frames import SUFFIX, checksum, iter_frames

AnyPath = str | os.PathLike[str]

FRAME_SUFFIXES = (".xyz", ".extxyz")
TABLE_SUFFIXES = (".csv", ".npz")
HDF5_SUFFIXES = (SUFFIX, ".hdf5")


@dataclass(frozen=True)
class InputFiles:
    """Files that are read one after the other, as one.

    Parameters
    ----------
    paths : tuple of Path
        Extended XYZ, HDF5, or folders of either; or one table.
    """

    paths: tuple[Path, ...]

    @classmethod
    def of(cls, given: AnyPath | Sequence[AnyPath]) -> InputFiles:
        """Make one from a path or several.

        Raises
        ------
        SeedSelectError
            If there is none, or a path holds what no path can.
        """
        several = [given] if isinstance(given, str | os.PathLike) else list(given)
        if not several:
            raise SeedSelectError("name at least one file")
        return cls(tuple(as_path(path) for path in several))

    def __str__(self) -> str:
        others = len(self.paths) - 1
        return f"{self.paths[0]}" + (f" and {others} more" if others else "")

    def kind(self) -> str:
        """Return "frames" or "table".

        Raises
        ------
        SeedSelectError
            If a file is missing or of no known kind, or tables are more than one.
        """
        kinds = {_kind_of(path) for path in self.paths}
        if len(kinds) > 1 or (kinds == {"table"} and len(self.paths) > 1):
            raise SeedSelectError(f"{self}: several files must all be frames; a table is one file")
        return kinds.pop()

    def checksum(self) -> str:
        """sha256 of the file, or of the list of those of several."""
        if len(self.paths) == 1:
            return checksum(self.paths[0])
        text = "".join(f"{checksum(path)}\n" for path in self.paths)
        return hashlib.sha256(text.encode()).hexdigest()

    def frames(self) -> Iterator[Frame]:
        """Yield the frames, one by one.

        Raises
        ------
        DataError
            If a file cannot be read.
        SeedSelectError
            If a frame has positions or a cell that are no geometry, with its number.
        """
        from seedselect.frames.atoms import to_frame

        for path in self.paths:
            for number, atoms in enumerate(iter_frames(path)):
                frame = to_frame(atoms)
                fault = frame.fault()
                if fault:
                    raise SeedSelectError(f"{path}, frame {number}: {fault}")
                yield frame


def as_path(given: AnyPath) -> Path:
    """Return a path, or say that it cannot be one."""
    if "\0" in os.fspath(given):
        raise SeedSelectError(f"{os.fspath(given)!r}: a path cannot hold a NUL character")
    return Path(given)


def _kind_of(path: Path) -> str:
    if path.is_dir():
        return "frames"
    if not path.is_file():
        raise SeedSelectError(f"{path}: no such file")
    suffixes = [s for s in path.suffixes if s != ".gz"]
    suffix = suffixes[-1].lower() if suffixes else ""
    if suffix in FRAME_SUFFIXES:
        return "frames"
    if suffix in TABLE_SUFFIXES:
        return "table"
    if suffix in HDF5_SUFFIXES:
        return "frames" if holds_frames(path) else "table"
    known = ", ".join((*FRAME_SUFFIXES, *TABLE_SUFFIXES, *HDF5_SUFFIXES))
    raise SeedSelectError(f"{path}: unknown kind of file; known endings are {known} (and .gz)")


def holds_frames(path: Path) -> bool:
    """Tell whether an HDF5 file holds frames (and not a table)."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return "positions" in file
    except (OSError, RuntimeError) as error:
        raise SeedSelectError(f"{path}: cannot be read as HDF5 ({error})") from error
