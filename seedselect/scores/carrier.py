"""Labels of a source, carried to rows that have none."""

from __future__ import annotations

from functools import cached_property

from seedselect.kernel.features import column_scale
from seedselect.scores.committee import Committee
from tpainn_calc.base.arrays import Array

#: Members of the committee.
MEMBERS = 100


class LabelCarrier:
    """A committee that predicts the source's labels at other rows, fitted when it is asked.

    Parameters
    ----------
    X : array (N, d)
    labels : array (N, K)
    entropy : tuple of int
    """

    def __init__(self, X: Array, labels: Array, entropy: tuple[int, ...]) -> None:
        self.X, self.labels, self.entropy = X, labels, entropy

    @cached_property
    def committee(self) -> Committee:
        """The fitted committee."""
        mean, scale, _ = column_scale(self.labels)
        committee = Committee(None, self.entropy)
        committee.grow(self.X, (self.labels - mean) / scale, MEMBERS)
        return committee

    def predict(self, rows: Array) -> Array:
        """Return the mean of the members, (n, K), in the units of the labels."""
        mean, scale, _ = column_scale(self.labels)
        return self.committee.predict(rows).mean(axis=0) * scale + mean
