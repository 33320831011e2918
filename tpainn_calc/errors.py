"""What a user's mistake looks like: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable

__all__ = [
    "BuildError",
    "ConfigError",
    "DataError",
    "DivergedError",
    "ModelFileError",
    "StructureError",
    "TPaiNNError",
    "did_you_mean",
    "run_cli",
]


class TPaiNNError(Exception):
    """A mistake that the user can repair.

    The message is one line: what is wrong, where, and what to do about it. Commands print it
    without a traceback and exit with `exit_code`.
    """

    exit_code: int = 2

    def __init__(self, message: str = "") -> None:
        # Messages often quote other libraries, which write several lines.
        super().__init__(" ".join(line.strip() for line in message.splitlines()))


class ModelFileError(TPaiNNError):
    """A model file is missing, truncated, corrupt, foreign, or of another schema."""


class StructureError(TPaiNNError):
    """An atomic structure cannot be evaluated (non-finite positions, singular cell, ...)."""


class ConfigError(TPaiNNError):
    """An option or a configuration file is wrong (unknown key, wrong type, out of range)."""


class DataError(TPaiNNError):
    """A data set or a trajectory is missing, empty, or lacks what was asked of it."""


class DivergedError(TPaiNNError):
    """A training run left the numbers that a computer can hold."""


class BuildError(TPaiNNError):
    """Compiled code could not be built or loaded (no compiler, wrong torch, wrong LAMMPS)."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Suggest the choice that is closest to a misspelt word.

    Parameters
    ----------
    word : str
        What the user wrote.
    choices : iterable of str
        What would have been understood.

    Returns
    -------
    str
        ``' (did you mean "x"?)'``, to be appended to a message, or ``""`` if nothing is close.

    Examples
    --------
    >>> did_you_mean("cutof", ["cutoff", "skin"])
    ' (did you mean "cutoff"?)'
    >>> did_you_mean("zebra", ["cutoff", "skin"])
    ''
    """
    by_lower_case = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(word.lower(), list(by_lower_case), n=1)
    return f' (did you mean "{by_lower_case[close[0]]}"?)' if close else ""


def run_cli(main_function: Callable[[], int | None]) -> int:
    """Run the body of a command and turn a user's mistake into one line on stderr.

    Parameters
    ----------
    main_function : callable
        Takes nothing; returns an exit code, or None for success.

    Returns
    -------
    int
        The exit code: that of `main_function`, 2 after a user's mistake, 130 after Ctrl-C.
        Any other exception is a defect of the program and keeps its traceback.
    """
    try:
        return main_function() or 0
    except TPaiNNError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:  # no such file, no permission, a folder, disk full, ...
        what = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        line = f'"{error.filename}": {what}' if error.filename else str(error)
        print(f"error: {' '.join(line.split())}", file=sys.stderr)
        return TPaiNNError.exit_code
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130
