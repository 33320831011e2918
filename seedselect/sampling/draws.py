"""Draw or climb to a set of rows, then put it in labelling order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedselect.errors import SeedSelectError
from seedselect.kernel.low_rank import LowRankKernel
from seedselect.sampling.greedy import greedy_map, order_rows
from seedselect.sampling.inclusion import inclusion_probabilities
from seedselect.sampling.kdpp import check_rank, rank_message, sample_kdpp
from tpainn_calc.base.arrays import Array


@dataclass(frozen=True)
class Draw:
    """Ascending rows, their labelling order and their inclusion probabilities.

    Attributes
    ----------
    indices, order : int array (n,)
    probability : array (n,)
    info : dict
    """

    indices: NDArray[np.intp]
    order: NDArray[np.intp]
    probability: Array
    info: dict[str, Any] = field(default_factory=dict)


def draw_kdpp(
    kernel: LowRankKernel,
    n: int,
    rng: np.random.Generator,
    price: Array | None = None,
    budget: float | None = None,
) -> Draw:
    """Draw n rows from the exact k-DPP; cut the draw in labelling order where the budget ends.

    Parameters
    ----------
    kernel : LowRankKernel
        Its quality already carries the cost.
    n : int
    rng : numpy.random.Generator
    price : array (N,), optional
    budget : float, optional
        The probabilities are those of the uncut draw.
    """
    spectrum = kernel.gram().spectrum()
    info: dict[str, Any] = {
        "rank": spectrum.rank,
        "effective_dimension": spectrum.effective_dimension,
    }
    check_rank(n, spectrum)
    indices = np.sort(sample_kdpp(kernel, n, rng, spectrum))
    mapped = kernel.rows(indices)
    order = order_rows(mapped)
    probability = inclusion_probabilities(mapped, spectrum, n)
    if budget is not None and price is not None:
        keep = _affordable(price[indices[order]], budget)
        info["budget_cut"] = int((~keep).sum())
        kept = np.sort(order[keep])
        order = np.searchsorted(kept, order[keep])
        indices, probability = indices[kept], probability[kept]
    return Draw(indices, order, probability, info)


def draw_random(
    rows: NDArray[np.intp],
    n: int,
    rng: np.random.Generator,
    price: Array | None = None,
    budget: float | None = None,
) -> Draw:
    """Draw n rows uniformly, in random order; cut the draw where the budget ends.

    Parameters
    ----------
    rows : int array
        Those that may be drawn.
    n : int
    rng : numpy.random.Generator
    price : array (N,), optional
    budget : float, optional
    """
    drawn = rng.choice(rows, n, replace=False)
    if budget is not None and price is not None:
        drawn = drawn[_affordable(price[drawn], budget)]
    indices = np.sort(drawn)
    order = np.searchsorted(indices, drawn)
    return Draw(indices, order, np.full(len(indices), n / len(rows)))


def climb_map(
    kernel: LowRankKernel,
    n: int | None,
    noise: float,
    price: Array | None = None,
    budget: float | None = None,
) -> Draw:
    """Take rows greedily; by gain per cost where there is a price.

    Parameters
    ----------
    kernel : LowRankKernel
    n : int or None
    noise : float
        Used with a price only.
    price : array (N,), optional
    budget : float, optional
    """
    result = greedy_map(kernel, n, noise=0.0 if price is None else noise, cost=price, budget=budget)
    if n is not None and len(result.indices) < n and result.stopped == "eps":
        raise SeedSelectError(rank_message(n, len(result.indices)))
    if not len(result.indices):
        raise SeedSelectError(f"budget={budget} does not pay for a single row of the pool")
    indices = np.sort(result.indices)
    order = np.searchsorted(indices, result.indices)
    info = {"gain": result.gains, "stopped": result.stopped}
    return Draw(indices, order, np.ones(len(indices)), info)


def _affordable(prices: Array, budget: float) -> NDArray[np.bool_]:
    """Walk through prices in order and keep what the budget still pays for."""
    keep = np.zeros(len(prices), dtype=bool)
    spent = 0.0
    for position, price in enumerate(prices):
        if spent + price <= budget:
            keep[position] = True
            spent += float(price)
    if not keep.any():
        raise SeedSelectError(f"budget={budget} does not pay for any of the {len(prices)} points")
    return keep
