"""A command in a child process with bounds, and a verdict on how it ended."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path

from lammps_plugin.locate import find_plugin
from tpainn_calc import ops

#: A command, or a program that it starts; returns an exit code.
Body = Callable[[], int | None]

#: What commands import when they need it: here once, for all children.
IMPORTED_LATER = (
    "lammps",
    "lightning.pytorch",
    "matplotlib.pyplot",
    "pebble",
    "seedselect.campaign.inputs",
    "seedselect.campaign.rounds",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "tpainn_calc.calculator",
    "training.fit.evaluation",
    "training.loop.run",
)

#: Bytes of address space: damaged sizes end in a message, not in the machine's last memory.
MEMORY = 12 * 2**30
#: Exit codes of launchers beyond it stand for a signal.
_SIGNALLED = 128
#: The end of the line for errors that no code of ours foresaw.
BOUNDARY = "(--debug before the command shows where)"


class Verdict(StrEnum):
    """Verdict on a case, from good to bad."""

    CLEAN = "clean"  # refused in one line
    HARMLESS = "harmless"  # accepted, and the results are those of the file's content
    BOUNDARY = "boundary"  # one line, from the last resort of the command
    SILENT = "silently wrong"
    TRACEBACK = "traceback"
    CRASH = "crash"
    HANG = "hang"
    CODE = "code run"


@dataclass(frozen=True)
class Ended:
    """Remains of a child: its status and its words.

    Attributes
    ----------
    code : int, optional
        Exit code; None where a signal or the clock ended it.
    signal : int
        That ended it; 0 where none did.
    timed_out : bool
    output, errors : str
        What it printed on stdout and stderr.
    """

    code: int | None
    signal: int
    timed_out: bool
    output: str
    errors: str

    def verdict(
        self, accepted_is_right: Callable[[Ended], bool], code_ran: Callable[[], bool]
    ) -> Verdict:
        """Verdict; `accepted_is_right` judges results that came without an error."""
        if code_ran():
            return Verdict.CODE
        if self.timed_out:
            return Verdict.HANG
        if self.code is None or self.code > _SIGNALLED:
            return Verdict.CRASH
        if "Traceback (most recent call last)" in self.errors:
            return Verdict.TRACEBACK
        if self.code == 0:
            return Verdict.HARMLESS if accepted_is_right(self) else Verdict.SILENT
        if BOUNDARY in self.errors:
            return Verdict.BOUNDARY
        refused = self.code == 2 and self.errors.strip()
        refused_by_lammps = "ERROR" in self.output + self.errors
        return Verdict.CLEAN if refused or refused_by_lammps else Verdict.TRACEBACK


def import_now() -> None:
    """Import what commands import later, and compile what they need, for all children to come."""
    for name in IMPORTED_LATER:
        import_module(name)
    # a forked child hangs in the threads that its parent's OpenMP had
    import_module("torch").set_num_threads(1)
    ops.load()
    find_plugin()


def run_child(body: Body, folder: Path, seconds: float) -> Ended:
    """Run a function in a forked child, in a folder, within time and memory.

    Parameters
    ----------
    body : callable
        Returns an exit code.
    folder : Path
        Working directory of the child; holds what it prints.
    seconds : float
        Of processor time; on the clock, ten times as many.
    """
    return end_child(start_child(body, folder, lambda: _bound(seconds)), folder, 10 * seconds)


def start_child(
    body: Body, folder: Path, limits: Callable[[], None] = lambda: None, prints: Path | None = None
) -> int:
    """Fork a child that runs a function in a folder; returns its process id.

    A fork starts in milliseconds with everything imported that the parent has imported. The child
    leads a process group of its own, and ends with the exit code that the function returns.

    Parameters
    ----------
    body : callable
    folder : Path
        Working directory of the child.
    limits : callable
        Called in the child before `body`.
    prints : Path, optional
        Folder for ``stdout`` and ``stderr``, by default `folder`.
    """
    child = os.fork()
    if child == 0:
        _child(body, folder, limits, prints or folder)
    return child


def end_child(child: int, prints: Path, seconds: float) -> Ended:
    """Wait for a child, and kill it and all that it started after some seconds on the clock."""
    status, timed_out = _wait(child, seconds)
    output, errors = (
        path.read_text(errors="replace") if (path := prints / name).is_file() else ""
        for name in ("stdout", "stderr")
    )
    if os.WIFEXITED(status):
        return Ended(os.WEXITSTATUS(status), 0, timed_out, output, errors)
    number = os.WTERMSIG(status)
    return Ended(None, number, timed_out or number == signal.SIGXCPU, output, errors)


def _bound(seconds: float) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(used.ru_utime + used.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (spent + int(seconds), spent + int(seconds) + 5))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _child(body: Body, folder: Path, limits: Callable[[], None], prints: Path) -> None:
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        for number, name in ((0, Path(os.devnull)), (1, prints / "stdout"), (2, prints / "stderr")):
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(descriptor, number)
        sys.stdout, sys.stderr = (os.fdopen(n, "w", closefd=False) for n in (1, 2))
        limits()
        try:
            code = body() or 0
        except SystemExit as stop:  # of a parser of arguments
            code = stop.code if isinstance(stop.code, int) else 1
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _wait(child: int, seconds: float) -> tuple[int, bool]:
    deadline = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status, False
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1], True
        time.sleep(0.002)
