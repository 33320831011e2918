"""A command in a child process with bounds, and a verdict on how it ended."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

#: Bytes of address space: damaged sizes end in a message, not in the machine's last memory.
MEMORY = 12 * 2**30
#: The end of the line for errors that no code of ours foresaw.
BOUNDARY = "(--debug before the command shows where)"


class Verdict(StrEnum):
    """How a case ended, from good to bad."""

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
    """What a child left.

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

    def verdict(self, accepted_is_right: Callable[[Ended], bool]) -> Verdict:
        """Verdict; `accepted_is_right` judges results that came without an error."""
        if self.timed_out:
            return Verdict.HANG
        if self.code is None:
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


def run_child(body: Callable[[], int | None], folder: Path, seconds: float) -> Ended:
    """Run a function in a forked child, in a folder, within time and memory.

    A fork starts in milliseconds with everything imported that the parent has imported.

    Parameters
    ----------
    body : callable
        Returns an exit code.
    folder : Path
        Working directory of the child; holds what it prints.
    seconds : float
        Of processor time; on the clock, ten times as many.
    """
    child = os.fork()
    if child == 0:
        _child(body, folder, seconds)
    status, timed_out = _wait(child, 10 * seconds)
    output, errors = (
        path.read_text(errors="replace") if (path := folder / name).is_file() else ""
        for name in ("stdout", "stderr")
    )
    if os.WIFEXITED(status):
        return Ended(os.WEXITSTATUS(status), 0, False, output, errors)
    number = os.WTERMSIG(status)
    timed_out = timed_out or number == signal.SIGXCPU
    return Ended(None, number, timed_out, output, errors)


def _child(body: Callable[[], int | None], folder: Path, seconds: float) -> None:
    code = 1
    try:
        os.setsid()
        os.chdir(folder)
        for number, name in ((1, "stdout"), (2, "stderr")):
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(descriptor, number)
        used = resource.getrusage(resource.RUSAGE_SELF)
        spent = int(used.ru_utime + used.ru_stime)  # a fork inherits no time, but limits are whole
        resource.setrlimit(resource.RLIMIT_CPU, (spent + int(seconds), spent + int(seconds) + 5))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            code = body() or 0
        except SystemExit as stop:  # of a parser of arguments
            code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        import sys

        sys.stdout.flush()
        sys.stderr.flush()
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
