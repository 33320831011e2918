"""The cache of compiled libraries: where it is, whom it trusts, and what fits this machine.

Free of torch, because LAMMPS asks at every start. A library that is loaded runs as the user, so
nothing is taken from folders or files that somebody else could have written.
"""

from __future__ import annotations

import os
import platform
import stat
import sys
from pathlib import Path

from tpainn_calc.base.errors import BuildError

__all__ = ["cache_root", "check_trusted", "make_private", "processor", "target_march"]


def cache_root() -> Path:
    """Folder of compiled libraries: ``$TPAINN_CACHE``, else ``~/.cache/tpainn``."""
    named = os.environ.get("TPAINN_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tpainn"


def make_private(folder: Path) -> None:
    """Create a folder of the cache, and the cache, for this user alone.

    Raises
    ------
    BuildError
        If it cannot be created, or is there and not to be trusted.
    """
    try:
        for place in reversed([folder, *folder.parents]):
            if not place.is_dir():
                place.mkdir(mode=0o700, exist_ok=True)  # whatever the umask allows to others
    except OSError as error:
        raise BuildError(
            f"cannot write the cache {cache_root()} ({error.strerror}); set TPAINN_CACHE to a "
            "folder that can be written"
        ) from None
    check_trusted(folder)


def check_trusted(path: Path) -> None:
    """Refuse what others could have written: the file or folder, and what is above it in the cache.

    Raises
    ------
    BuildError
        If one of them belongs to another user (other than root), can be written by others, or is a
        link.
    """
    root = cache_root()
    above = [path, *path.parents]
    if root not in above:
        raise BuildError(f"{path} is not in the cache {root}")
    for place in above[: above.index(root) + 1]:
        status = place.stat() if place == root else place.lstat()
        if stat.S_ISLNK(status.st_mode):
            problem = "is a link"
        elif status.st_uid not in (os.getuid(), 0):
            problem = f"belongs to another user (uid {status.st_uid})"
        elif status.st_mode & 0o022:
            problem = "can be written by others"
        else:
            continue
        raise BuildError(
            f"{place} {problem}, so that compiled libraries in it cannot be trusted; remove it, or "
            "set TPAINN_CACHE to a folder of your own (chmod 700)"
        )


def target_march() -> str:
    """``$TPAINN_MARCH``: ``native``, or another ``-march``, of a binary for unlike machines."""
    return os.environ.get("TPAINN_MARCH") or "native"


def processor() -> str:
    """Part of a binary's key: the processor that it was compiled for.

    A ``native`` binary must not travel to a processor with fewer instructions.
    """
    if target_march() != "native":
        return platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    except OSError:
        pass
    return platform.processor() or sys.platform
