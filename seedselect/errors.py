"""The exception that stands for a user's mistake in a selection."""

from __future__ import annotations

from tpainn_calc.base.errors import TPaiNNError


class SeedSelectError(TPaiNNError, ValueError):
    """A user's mistake: one line that says what is wrong, where, and how to cure it.

    The command line prints the message and leaves with exit code 2; a library caller may catch it
    as the `ValueError` that scikit-learn's conventions ask for.
    """
