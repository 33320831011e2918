"""Files that are whole or not there, and their checksums."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Let a library write a file in one piece: readers see the old one or the new one.

    The caller writes to the path that is yielded, which lies in the same folder and ends like
    `path`. At the end it is flushed to disk and renamed; after an error it is removed.

    Parameters
    ----------
    path : path
        Its folder is created.

    Yields
    ------
    Path
        An empty file to be written over.

    Raises
    ------
    OSError
        With the name of `path`, where the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(path.suffix, f".{path.stem[:100]}.", path.parent)
        os.close(descriptor)
        temporary = Path(name)
        yield temporary
        _flush(temporary)
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
        _flush(path.parent)  # the rename too
    except OSError as error:
        # a temporary name says nothing to the user
        if error.errno is not None and error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_atomically(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a file so that readers see the old one or the new one, never a part.

    Parameters
    ----------
    path : path
    data : bytes or str
        Text is written in UTF-8.
    """
    content = data.encode() if isinstance(data, str) else data
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def finished_files(folder: str | os.PathLike[str], pattern: str) -> list[Path]:
    """Files of a folder in the order of their names, without what a killed process left half.

    Parameters
    ----------
    folder : path
    pattern : str
        Such as ``*.h5``.
    """
    # the temporary files of `replacing` begin with a dot
    return sorted(p for p in Path(folder).glob(pattern) if not p.name.startswith("."))


def sha256(path: str | os.PathLike[str]) -> str:
    """Checksum of a file."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    # it can only be read by setting it
    value = os.umask(0o077)
    os.umask(value)
    return value
