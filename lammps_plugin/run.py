"""Run LAMMPS with the plugin: as a command, or for other packages."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from lammps_plugin.installation import lammps_folder, mpi_library
from lammps_plugin.locate import find_plugin
from tpainn_calc.base.errors import BuildError, TPaiNNError


class LammpsError(TPaiNNError):
    """LAMMPS ended with an error; the message is its own.

    Attributes
    ----------
    output : str
        All that LAMMPS printed.
    """

    def __init__(self, message: str, output: str = "") -> None:
        super().__init__(message)
        self.output = output


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
    """Run an input file on this terminal; returns LAMMPS' exit code.

    Raises
    ------
    TPaiNNError
        If there is no such input file, or LAMMPS or the plugin cannot be had.
    LammpsError
        If a signal ended it, about which LAMMPS itself could say nothing.
    """
    command = _command(input_file, arguments, ranks)
    code = subprocess.run(command, env=lammps_environment(), check=False).returncode
    if code < 0:
        raise LammpsError(_ended_by(-code))
    return code


def run_captured(
    input_file: Path,
    arguments: Sequence[str] = (),
    ranks: int = 1,
    *,
    output: Path | None = None,
    timeout: float | None = None,
    defaults: Mapping[str, str] | None = None,
) -> str:
    """Run an input file in its own folder; returns what LAMMPS printed.

    Parameters
    ----------
    input_file : path
    arguments : sequence of str
        Further arguments of LAMMPS, such as ``["-var", "T", "300"]``.
    ranks : int
        MPI ranks.
    output : path, optional
        File that gets the output while LAMMPS runs.
    timeout : float, optional
        Seconds after which it is ended.
    defaults : mapping of str to str, optional
        Variables of the environment, for those that are not set.

    Raises
    ------
    TPaiNNError
        If there is no such input file, or LAMMPS or the plugin cannot be had.
    LammpsError
        If LAMMPS fails, with its error message.
    """
    command = _command(input_file, arguments, ranks)
    command[command.index("-in") + 1] = input_file.name
    environment = {**(defaults or {}), **lammps_environment()}
    handle = output.open("w+b") if output else None
    try:
        done = subprocess.run(
            command,
            cwd=input_file.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=handle or subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
        if handle:
            handle.seek(0)
        # LAMMPS quotes its input as it has understood it, which need not be UTF-8
        text = (handle.read() if handle else done.stdout).decode(errors="replace")
    except subprocess.TimeoutExpired:
        raise LammpsError(f"LAMMPS did not end within {timeout:.0f} s") from None
    finally:
        if handle:
            handle.close()
    if done.returncode != 0:
        error = next((s for s in text.splitlines() if s.startswith("ERROR")), "")
        last = _ended_by(-done.returncode) if done.returncode < 0 else text.strip()[-400:]
        raise LammpsError(f"LAMMPS: {error or last or done.returncode}", text)
    return text


def _command(input_file: Path, arguments: Sequence[str], ranks: int) -> list[str]:
    if not input_file.is_file():
        raise TPaiNNError(f"no LAMMPS input file {str(input_file)!r}")
    if ranks < 1:
        raise TPaiNNError(f"--ranks must be at least 1, not {ranks}")
    return lammps_command(["-in", str(input_file), *arguments], ranks)


def _ended_by(number: int) -> str:
    name = signal.strsignal(number) or "unknown"
    hint = ", perhaps by the system for want of memory" if number == signal.SIGKILL else ""
    return f"LAMMPS was ended by signal {number} ({name}){hint}"


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
