"""Read and write frames: the only place of seedselect that imports ASE."""

from __future__ import annotations

import gzip
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

import ase
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import read_xyz, write_xyz
from numpy.typing import NDArray

from seedselect.descriptors import describe
from seedselect.errors import SeedSelectError
from seedselect.frame import Frame

Array = NDArray[np.float64]


def to_frame(atoms: Any) -> Frame:
    """Return a `Frame` from `ase.Atoms`, with energy and forces if a calculator holds them."""
    results = {} if atoms.calc is None else atoms.calc.results
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


def to_atoms(frame: Frame) -> Any:
    """Return `ase.Atoms` with the labels in a `SinglePointCalculator`."""
    atoms = ase.Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    atoms.info.update(frame.info)
    if frame.energy is not None or frame.forces is not None:
        labels = {
            k: v for k, v in (("energy", frame.energy), ("forces", frame.forces)) if v is not None
        }
        atoms.info.pop("energy", None)
        atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


def _open(path: Path) -> TextIO:
    try:
        if path.suffix == ".gz":
            return io.TextIOWrapper(gzip.open(path, "rb"), encoding="utf-8")  # type: ignore[arg-type]
        return path.open(encoding="utf-8")
    except OSError as error:
        raise SeedSelectError(f"{path}: cannot be read ({error.strerror or error})") from error


def iter_frames(path: str | Path) -> Iterator[Frame]:
    """Yield the frames of an extended-XYZ file (plain or .gz) one by one.

    Raises
    ------
    SeedSelectError
        Names the file and the frame for missing, empty, malformed and truncated files.
    """
    path = Path(path)
    number = 0
    with _open(path) as stream:
        try:
            while True:
                text = _next_block(stream, path, number)
                if text is None:
                    break
                for atoms in read_xyz(io.StringIO(text), 0):
                    yield to_frame(atoms)
                number += 1
        except SeedSelectError:
            raise
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise SeedSelectError(f"{path}: broken after frame {number} ({error})") from error
        except Exception as error:
            raise SeedSelectError(
                f"{path}: frame {number} is not valid extended XYZ ({error})"
            ) from error
    if number == 0:
        raise SeedSelectError(f"{path}: holds no frames")


def _next_block(stream: TextIO, path: Path, number: int) -> str | None:
    """Return the text of the next frame, or None at the end."""
    first = stream.readline()
    while first and not first.strip():
        first = stream.readline()
    if not first:
        return None
    try:
        count = int(first)
    except ValueError as error:
        raise SeedSelectError(
            f"{path}: frame {number} starts with {first.strip()[:30]!r} instead of a count of atoms"
        ) from error
    lines = [first, *(stream.readline() for _ in range(count + 1))]
    if not lines[-1]:
        raise SeedSelectError(f"{path}: truncated in frame {number}; cut the file before it")
    return "".join(lines)


def read_frames(path: str | Path) -> list[Frame]:
    """Return all frames of an extended-XYZ file."""
    return list(iter_frames(path))


def write_frames(path: str | Path, frames: Iterable[Frame]) -> None:
    """Write an extended-XYZ file atomically (a temporary file, then a rename)."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        for frame in frames:
            write_xyz(stream, [to_atoms(frame)])
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


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
        self.path = Path(path)
        self.descriptor = descriptor
        self.offsets = self._index()
        first = next(iter_frames(self.path))
        self._width = len(np.asarray(descriptor(first)).ravel())

    def _index(self) -> list[int]:
        offsets = []
        opener = gzip.open if self.path.suffix == ".gz" else open
        try:
            with opener(self.path, "rb") as stream:
                while True:
                    here = stream.tell()
                    line = stream.readline()
                    if not line:
                        break
                    if not line.strip():
                        continue
                    offsets.append(here)
                    for _ in range(int(line) + 1):
                        stream.readline()
        except OSError as error:
            raise SeedSelectError(f"{self.path}: cannot be read ({error})") from error
        except ValueError as error:
            raise SeedSelectError(
                f"{self.path}: frame {len(offsets) - 1} does not start with a number of atoms"
            ) from error
        return offsets

    @property
    def n(self) -> int:
        """Number of frames."""
        return len(self.offsets)

    @property
    def n_features(self) -> int:
        """Number of descriptor columns."""
        return self._width

    def blocks(self, size: int) -> Iterator[Array]:
        """Yield descriptors of `size` frames at a time."""
        waiting: list[Frame] = []
        for frame in iter_frames(self.path):
            waiting.append(frame)
            if len(waiting) == size:
                yield describe(waiting, self.descriptor)
                waiting = []
        if waiting:
            yield describe(waiting, self.descriptor)

    def frames(self, indices: NDArray[np.intp]) -> list[Frame]:
        """Return frames by number."""
        wanted = {int(i) for i in indices}
        found: dict[int, Frame] = {}
        if self.path.suffix == ".gz":
            for number, frame in enumerate(iter_frames(self.path)):
                if number in wanted:
                    found[number] = frame
                if len(found) == len(wanted):
                    break
        else:
            with _open(self.path) as stream:
                for number in sorted(wanted):
                    stream.seek(self.offsets[number])
                    text = _next_block(stream, self.path, number)
                    found[number] = to_frame(next(read_xyz(io.StringIO(text or ""), 0)))
        return [found[int(i)] for i in indices]

    def take(self, indices: NDArray[np.intp]) -> Array:
        """Return descriptors of frames by number."""
        return describe(self.frames(indices), self.descriptor)
