"""Frames in extended XYZ, plain or gzipped: one after the other, at random, or all at once."""

from __future__ import annotations

import gzip
import io
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from ase import Atoms

from tpainn_calc.base.errors import DataError, one_line
from tpainn_calc.base.files import replacing, write_atomically
from tpainn_calc.base.frames.sequence import FrameSequence

#: Atoms of a frame: a header that promises more is damaged, and no memory is asked for.
MAX_ATOMS = 50_000_000
#: Columns of a line; likewise.
MAX_COLUMNS = 10_000


def read_extxyz(path: str | os.PathLike[str]) -> list[Atoms]:
    """All frames of a file.

    Raises
    ------
    DataError
        Missing, empty, malformed and truncated files, with the number of the frame.
    """
    return list(iter_extxyz(path))


def iter_extxyz(path: str | os.PathLike[str]) -> Iterator[Atoms]:
    """Frames of a file, one by one.

    Raises
    ------
    DataError
        As :func:`read_extxyz`.
    """
    path = Path(path)
    number = 0
    with _open_text(path) as stream:
        while (text := _next_block(stream, path, number)) is not None:
            yield _parse(text, path, number)
            number += 1
    if number == 0:
        raise DataError(f"{path} holds no frames")


def to_extxyz(frames: Iterable[Atoms]) -> bytes:
    """Text of frames, with labels, info and arrays."""
    text = io.StringIO()
    _write(text, frames)
    return text.getvalue().encode()


def write_extxyz(path: str | os.PathLike[str], frames: Iterable[Atoms]) -> None:
    """Write frames in one piece; a name that ends in ``.gz`` is compressed.

    The compressed bytes depend on the frames alone, not on name and time.
    """
    path = Path(path)
    if path.suffix == ".gz":
        write_atomically(path, gzip.compress(to_extxyz(frames), mtime=0))
        return
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        _write(stream, frames)


class ExtXYZFile(FrameSequence):
    """Frames of a file that stay on disk.

    Frames are taken by their place in a plain file, and by reading up to them in a compressed one.

    Parameters
    ----------
    path : path

    Raises
    ------
    DataError
        If the file is missing, empty, or not what it should be.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.offsets = self._index()
        if not self.offsets:
            raise DataError(f"{self.path} holds no frames")

    def __len__(self) -> int:
        return len(self.offsets)

    def read(self, index: int) -> Atoms:
        """Frame by number."""
        return self.take([index])[0]

    def __iter__(self) -> Iterator[Atoms]:
        return iter_extxyz(self.path)

    def take(self, indices: Iterable[int]) -> list[Atoms]:
        """Frames by number, in the order that is asked for."""
        order = [int(i) for i in indices]
        wanted = sorted(set(order))
        found: dict[int, Atoms] = {}
        with _open_text(self.path) as stream:
            if self.path.suffix != ".gz":
                for number in wanted:
                    stream.seek(self.offsets[number])
                    text = _next_block(stream, self.path, number)
                    found[number] = _parse(text or "", self.path, number)
            else:
                for number in range(wanted[-1] + 1 if wanted else 0):
                    text = _next_block(stream, self.path, number)
                    if number in set(wanted):
                        found[number] = _parse(text or "", self.path, number)
        return [found[i] for i in order]

    def _index(self) -> list[int]:
        offsets: list[int] = []
        with _open_binary(self.path) as stream:
            try:
                while True:
                    here = stream.tell()
                    line = stream.readline()
                    if not line:
                        return offsets
                    if not line.strip():
                        continue
                    count = _count(line, self.path, len(offsets))
                    offsets.append(here)
                    for _ in range(count + 1):
                        if not stream.readline():
                            raise _truncated(self.path, len(offsets) - 1)
            except (OSError, EOFError) as error:
                raise DataError(
                    f"{self.path}: broken after frame {len(offsets)} ({one_line(error)})"
                ) from None


def _open_binary(path: Path) -> BinaryIO:
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        opened = opener(path, "rb")
    except FileNotFoundError:
        raise DataError(f"no data file {path}") from None
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        reason = getattr(error, "strerror", None) or one_line(error)
        raise DataError(f"{path} cannot be read: {reason}") from None
    return cast(BinaryIO, opened)


def _open_text(path: Path) -> TextIO:
    return io.TextIOWrapper(_open_binary(path), encoding="utf-8")


def _next_block(stream: TextIO, path: Path, number: int) -> str | None:
    """Text of the next frame, or None at the end."""
    try:
        first = stream.readline()
        while first and not first.strip():
            first = stream.readline()
        if not first:
            return None
        lines = [first]
        for _ in range(_count(first, path, number) + 1):
            line = stream.readline()
            if not line:
                raise _truncated(path, number)
            lines.append(line)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: broken after frame {number} ({one_line(error)})") from None
    return "".join(lines)


def _count(line: str | bytes, path: Path, number: int) -> int:
    try:
        count = int(line)
    except ValueError:
        text = line.decode(errors="replace") if isinstance(line, bytes) else line
        raise DataError(
            f"{path}: frame {number} starts with {text.strip()[:30]!r} instead of a count of atoms"
        ) from None
    if not 0 < count <= MAX_ATOMS:
        raise DataError(f"{path}: frame {number} promises {count} atoms; the file is damaged")
    return count


def _truncated(path: Path, number: int) -> DataError:
    return DataError(f"{path}: truncated in frame {number}; cut the file before it")


def _parse(text: str, path: Path, number: int) -> Atoms:
    from ase.io.extxyz import read_xyz

    columns = re.findall(r":[SIRL]:(\d+)", text.split("\n", 2)[1])
    if sum(map(int, columns)) > MAX_COLUMNS:
        raise DataError(f"{path}: frame {number} promises too many columns; the file is damaged")
    try:
        (atoms,) = read_xyz(io.StringIO(text), 0)
    except Exception as error:  # ASE raises what its parser happens to meet
        raise DataError(
            f"{path}: frame {number} is not valid extended XYZ ({one_line(error)})"
        ) from None
    return atoms


def _write(stream: TextIO, frames: Iterable[Atoms]) -> None:
    from ase.io.extxyz import write_xyz

    for atoms in frames:
        write_xyz(stream, [atoms])
