"""Compile C++ against the installed torch, once, and keep the result in a cache.

The folder's name holds everything that the binary depends on (torch version and ABI, processor,
sources, flags; compiler), so a change of any of them leads to a fresh build and never to a stale
library. Where there is no compiler, such as on a compute node, a binary that fits in all else is
taken, whichever compiler made it.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from tpainn_calc.base.errors import BuildError
from tpainn_calc.base.locks import Lock
from tpainn_calc.build_cache import (
    cache_root,
    check_trusted,
    make_private,
    processor,
    target_march,
)


@dataclass(frozen=True)
class Library:
    """Sources of a shared library, and the way to compile them.

    Attributes
    ----------
    name : str
        File name of the result, for example ``tpainn_ops.so``.
    sources : sequence of Path
        C++ sources, all compiled in one call.
    headers : sequence of Path
        Files that the sources include, part of the cache key.
    include, links, rpath : sequence of str
        Extra include folders, link arguments and run paths.
    flags : sequence of str
        Further arguments of the compiler, such as definitions.
    key : sequence of str
        Whatever else the binary depends on, such as the version of LAMMPS.
    """

    name: str
    sources: Sequence[Path]
    headers: Sequence[Path] = ()
    include: Sequence[str] = ()
    links: Sequence[str] = ()
    rpath: Sequence[str] = ()
    flags: Sequence[str] = ()
    key: Sequence[str] = field(default=())


def find_compiler() -> str:
    """Path of the C++ compiler: ``$CXX``, else g++, c++ or clang++ on PATH.

    Raises
    ------
    BuildError
        If there is none.
    """
    named = os.environ.get("CXX")
    for candidate in [named] if named else ["g++", "c++", "clang++"]:
        path = shutil.which(candidate)
        if path:
            return path
    where = f"$CXX = {named!r} is not a program" if named else "no g++, c++ or clang++ on PATH"
    raise BuildError(
        f"no C++ compiler: {where}; install g++ (Debian: apt-get install g++) or set CXX"
    )


def library_path(library: Library) -> Path:
    """Path in the cache at which the compiled library is, or will be."""
    compiler = hashlib.sha256(_compiler_version().encode()).hexdigest()[:8]
    return _folder(library, compiler) / library.name


def compile_library(library: Library, notify: Callable[[str], None] | None = None) -> Path:
    """Compile `library` unless the cache has it.

    Parameters
    ----------
    library : Library
        What to compile.
    notify : callable, optional
        Called with one line before a compilation starts (it takes about a minute).

    Returns
    -------
    Path
        The shared library.

    Raises
    ------
    BuildError
        No compiler, the compiler failed (the message has its first error), the cache cannot be
        written, or it is one that others can write.
    """
    target = library_path(library)
    if target.is_file():
        check_trusted(target)
        return target
    try:
        find_compiler()  # without one, say only that, and announce nothing
    except BuildError:
        fitting = _fitting(library)
        if fitting is None:
            raise
        check_trusted(fitting)
        return fitting
    make_private(target.parent)
    with Lock(target.parent / "lock", "", patience=math.inf):
        if target.is_file():  # another process was faster
            return target
        if notify:
            notify(f"compiling {library.name} for torch {torch.__version__} (once, about a minute)")
        _compile(library, target)
    return target


def _fitting(library: Library) -> Path | None:
    """The newest binary of any compiler that fits in all else."""
    folder = _folder(library, "*")
    found = [path / library.name for path in folder.parent.glob(folder.name)]
    return max((p for p in found if p.is_file()), key=lambda p: p.stat().st_mtime, default=None)


def _folder(library: Library, compiler: str) -> Path:
    return cache_root() / f"{Path(library.name).stem}-{_cache_key(library)}-{compiler}"


def torch_folders() -> tuple[Path, Path]:
    """Include folder and library folder of the installed torch."""
    root = Path(torch.__file__).parent
    return root / "include", root / "lib"


def _command(library: Library, output: Path) -> list[str]:
    include, lib = torch_folders()
    folders = [include, include / "torch" / "csrc" / "api" / "include", *map(Path, library.include)]
    abi = int(torch._C._GLIBCXX_USE_CXX11_ABI)
    links = ["-ltorch", "-ltorch_cpu", "-lc10", *library.links]
    # One OpenMP runtime per process: torch's own where the wheel brings it. A second one would
    # keep its own spinning threads and fight torch for the cores.
    gomp = next(iter(sorted(lib.glob("libgomp*.so*"))), None)
    links.append(str(gomp) if gomp else "-fopenmp")
    return [
        find_compiler(),
        "-O3",
        "-std=c++20",
        "-shared",
        "-fPIC",
        "-fopenmp",
        *_target_flags(),
        "-fno-math-errno",
        "-fno-trapping-math",
        "-fassociative-math",
        "-fno-signed-zeros",
        "-w",
        f"-D_GLIBCXX_USE_CXX11_ABI={abi}",
        *library.flags,
        *[f"-I{folder}" for folder in folders],
        *[str(source) for source in library.sources],
        "-o",
        str(output),
        f"-L{lib}",
        "-nodefaultlibs",
        "-Wl,--no-as-needed",
        *links,
        "-Wl,--as-needed",
        "-lstdc++",
        "-lm",
        "-lgcc_s",
        "-lgcc",
        "-lc",
        "-lpthread",
        *[f"-Wl,-rpath,{folder}" for folder in [str(lib), *library.rpath]],
    ]


def _target_flags() -> list[str]:
    march = target_march()
    flags = [f"-march={march}"]
    if platform.machine() == "x86_64" and march == "native":
        flags.append("-mprefer-vector-width=512")
    return flags


def _compile(library: Library, target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        output = Path(folder) / library.name
        command = _command(library, output)
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise BuildError(f"cannot run the compiler {command[0]}: {error}") from None
        log = target.parent / "build.log"
        log.write_text(" ".join(command) + "\n" + done.stdout + done.stderr)
        if done.returncode != 0:
            first = next((s for s in done.stderr.splitlines() if "error" in s), "no message")
            raise BuildError(f"compiling {library.name} failed: {first.strip()} (see {log})")
        output.chmod(0o700)  # whatever the umask allows to others
        os.replace(output, target)


def _cache_key(library: Library) -> str:
    digest = hashlib.sha256()
    for item in [
        torch.__version__,
        str(torch._C._GLIBCXX_USE_CXX11_ABI),
        # the run path is compiled in, so another installation is another key
        str(torch_folders()[1]),
        processor(),
        *_target_flags(),
        *library.include,
        *library.links,
        *library.rpath,
        *library.flags,
        *library.key,
    ]:
        digest.update(item.encode() + b"\0")
    for path in [Path(__file__), *library.sources, *library.headers]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _compiler_version() -> str:
    try:
        compiler = find_compiler()
    except BuildError:
        return "none"
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return f"{compiler} {done.stdout.splitlines()[0] if done.stdout else ''}"
