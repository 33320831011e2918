"""Run LAMMPS with the plugin."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lammps_plugin.build import lammps_folder
from lammps_plugin.locate import find_plugin, mpi_library
from tpainn_calc.base.errors import BuildError, TPaiNNError


def lammps_command(arguments: Sequence[str], ranks: int = 1) -> list[str]:
    """Argument list that starts LAMMPS, under ``mpiexec`` for more than one rank.

    Raises
    ------
    BuildError
        If LAMMPS or ``mpiexec`` is missing.
    """
    program = lammps_folder() / "lmp"
    if not program.is_file():
        raise BuildError(f"no LAMMPS executable {program}: pip install lammps mpich")
    command = [str(program), *arguments]
    return [*_mpiexec(), "-n", str(ranks), *command] if ranks > 1 else command


def lammps_environment() -> dict[str, str]:
    """Environment in which LAMMPS finds the plugin (compiled now if need be) and MPI.

    Raises
    ------
    BuildError
        If the plugin cannot be compiled.
    """
    environment = dict(os.environ)
    _prepend(environment, "LAMMPS_PLUGIN_PATH", str(find_plugin().parent))
    library = mpi_library()
    if library is not None:
        _prepend(environment, "LD_LIBRARY_PATH", str(library.parent))
    return environment


def run_lammps(input_file: Path, arguments: Sequence[str] = (), ranks: int = 1) -> int:
    """Run an input file; returns LAMMPS' exit code.

    Raises
    ------
    TPaiNNError
        If there is no such input file, or LAMMPS or the plugin cannot be had.
    """
    if not input_file.is_file():
        raise TPaiNNError(f"no LAMMPS input file {str(input_file)!r}")
    if ranks < 1:
        raise TPaiNNError(f"--ranks must be at least 1, not {ranks}")
    command = lammps_command(["-in", str(input_file), *arguments], ranks)
    return subprocess.run(command, env=lammps_environment(), check=False).returncode


def _mpiexec() -> list[str]:
    # that of the same environment first: LAMMPS and its launcher must be of one MPI
    beside = Path(sys.executable).parent / "mpiexec"
    found = str(beside) if beside.is_file() else shutil.which("mpiexec")
    if not found:
        raise BuildError("no mpiexec for several ranks: pip install mpich")
    return [found]


def _prepend(environment: dict[str, str], name: str, folder: str) -> None:
    before = environment.get(name)
    environment[name] = f"{folder}{os.pathsep}{before}" if before else folder
