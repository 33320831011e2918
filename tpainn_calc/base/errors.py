"""A user's mistake is one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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


class BusyError(DataError):
    """Another process works in the same folder; the caller may wait and try again."""


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


def check_choice(
    name: str,
    value: object,
    choices: Iterable[str],
    error: type[TPaiNNError] = ConfigError,
) -> str:
    """Return `value` if it is one of `choices`.

    Raises
    ------
    ConfigError
        Or the class `error`: names the parameter, the value, all choices and the closest one.
    """
    allowed = list(choices)
    if not isinstance(value, str) or value not in allowed:
        listing = ", ".join(repr(choice) for choice in allowed)
        hint = did_you_mean(str(value), allowed)
        raise error(f"{name}={value!r} is unknown; choose one of {listing}{hint}")
    return value


def one_line(error: BaseException) -> str:
    """Message of an error without line breaks; the name of its type if it has none."""
    return " ".join(str(error).split()) or type(error).__name__
