"""The one exception that stands for a user's mistake."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SeedSelectError(ValueError):
    """A user's mistake: one line that says what is wrong, where, and how to cure it.

    The command line prints the message and leaves with exit code 2; a library caller may catch it
    as the `ValueError` it is.
    """


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the closest choice, or an empty string."""
    close = difflib.get_close_matches(str(word), list(choices), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def check_choice(name: str, value: object, choices: Iterable[str]) -> str:
    """Return `value` if it is one of `choices`.

    Raises
    ------
    SeedSelectError
        Names the parameter, the value, all choices and the closest one.
    """
    allowed = list(choices)
    if not isinstance(value, str) or value not in allowed:
        listing = ", ".join(repr(c) for c in allowed)
        hint = did_you_mean(str(value), allowed)
        raise SeedSelectError(f"{name}={value!r} is unknown; choose one of {listing}{hint}")
    return value
