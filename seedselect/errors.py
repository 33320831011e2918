"""A user's mistake in a selection, and what to be warned of."""

from __future__ import annotations

from tpainn_calc.base.errors import TPaiNNError


class SourceWarning(UserWarning):
    """A source whose labels can mislead a choice."""


class SeedSelectError(TPaiNNError, ValueError):
    """A user's mistake: one line that says what is wrong, where, and how to cure it.

    The command line prints the message and leaves with exit code 2; a library caller may catch it
    as the `ValueError` that scikit-learn's conventions ask for.
    """
