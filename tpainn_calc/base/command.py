"""The outside of every command: its version, its errors in one line, its exit code."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable

from tpainn_calc._version import __version__
from tpainn_calc.base.errors import TPaiNNError, one_line

DEBUG = "--debug"
#: What shells expect of a program that Ctrl-C ended.
INTERRUPTED = 130


def command_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """Parser with the options that all our commands share: ``--version`` and ``--debug``.

    Parameters
    ----------
    name : str
        Of the program.
    description : str, optional
    """
    parser = argparse.ArgumentParser(name, description=description)
    parser.add_argument("--version", action="version", version=f"{name} {__version__}")
    parser.add_argument(DEBUG, action="store_true", help="show where an error comes from")
    return parser


def run_command(body: Callable[[], int | None], debug: bool = False) -> int:
    """Run the body of a command and turn whatever goes wrong into one line on stderr.

    Parameters
    ----------
    body : callable
        Takes nothing; returns an exit code, or None for success.
    debug : bool
        Print the traceback too.

    Returns
    -------
    int
        The exit code: that of `body`, 2 after an error, 130 after Ctrl-C.
    """
    try:
        return body() or 0
    except BrokenPipeError:  # of `command | head`; the interpreter must not flush into it again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            traceback.print_exception(error)
        print(f"error: {_line_of(error)}", file=sys.stderr)
        return INTERRUPTED if isinstance(error, KeyboardInterrupt) else TPaiNNError.exit_code


def _line_of(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "interrupted"  # whoever knows how to go on has said so
    if isinstance(error, TPaiNNError):
        return str(error)
    if isinstance(error, OSError):  # no such file, no permission, a folder, disk full, ...
        return describe_os_error(error)
    if isinstance(error, ValueError) and "null byte" in str(error):
        return "a path cannot hold a NUL character"
    # what the interpreter says where the system gives it no memory for a thread's stack
    if isinstance(error, MemoryError) or "can't start new thread" in str(error):
        return f"out of memory ({one_line(error)})"
    # a defect, or a library that meets input it did not expect
    return f"{type(error).__name__}: {one_line(error)} ({DEBUG} before the command shows where)"


def describe_os_error(error: OSError) -> str:
    """Path and reason, such as ``"runs/water": no such file``."""
    what = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
    return f'"{error.filename}": {what}' if error.filename and what else one_line(error)
