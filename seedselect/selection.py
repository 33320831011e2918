"""Result of a selection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedselect.errors import SeedSelectError
from tpainn_calc.base.arrays import Array


@dataclass(frozen=True)
class Selection:
    """Chosen rows of a pool.

    Attributes
    ----------
    indices : array (n,)
        Rows of the pool, ascending.
    order : array (n,)
        Positions in `indices`, most useful first: ``indices[order]`` is the order in which to
        label, and each of its prefixes is a balanced set.
    quality : array (n,)
        Quality q of the chosen rows, before cost.
    inclusion_probability : array (n,)
        Probability with which each row enters a draw of this size; 1 for a deterministic sampler.
    weights : array (n,)
        Horvitz-Thompson weights 1/probability, scaled to mean 1.
    diagnostics : dict
        ``quality_kind`` (per chosen row "information_gain" or "calibrated_spread"), ``rank``,
        ``effective_dimension``, ``effective_number``, ``length_scale``, ``reliability``,
        ``sampler``, ``gain`` (log-determinant gain in labelling order), ...
    """

    indices: NDArray[np.intp]
    order: NDArray[np.intp]
    quality: Array
    inclusion_probability: Array
    weights: Array
    diagnostics: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def ordered(self) -> NDArray[np.intp]:
        """Rows of the pool in the order in which to label them."""
        return self.indices[self.order]


def check_size(n: int | None, left: int, total: int) -> None:
    """Refuse to choose no row, or more rows than there are.

    Parameters
    ----------
    n : int or None
        None is checked elsewhere.
    left, total : int
        Rows that can be chosen, and rows of the pool.
    """
    if n is None:
        return
    if n < 1 or int(n) != n:
        raise SeedSelectError(f"n={n}: ask for at least one point")
    if n > left:
        raise SeedSelectError(
            f"n={n} exceeds the {left} rows that can be chosen (pool of {total}): ask for fewer"
        )
