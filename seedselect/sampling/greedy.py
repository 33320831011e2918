"""Greedy maximum-a-posteriori selection, lazily evaluated in dual form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seedselect.errors import SeedSelectError
from seedselect.kernel.low_rank import LowRankKernel
from tpainn_calc.base.arrays import Array


@dataclass(frozen=True)
class GreedyResult:
    """Rows in the order of choice and the gain of each.

    Attributes
    ----------
    indices : array (m,)
    gains : array (m,)
        Conditional variance of the row given the earlier ones.
    stopped : str
        "n", "eps" or "budget": what ended the selection.
    """

    indices: NDArray[np.intp]
    gains: Array
    stopped: str


def greedy_map(
    kernel: LowRankKernel,
    n: int | None,
    *,
    noise: float = 0.0,
    eps: float = 1e-10,
    cost: Array | None = None,
    budget: float | None = None,
    batch: int = 256,
) -> GreedyResult:
    """Maximise det(L_S + noise I) greedily (Chen, Zhang, Zhou, NeurIPS 2018, arXiv 1709.05135).

    The gain of a row only falls as others are chosen, so stale gains are upper bounds and only
    the most promising rows are recomputed: memory O(N), few passes. Ties go to the lowest index.

    Parameters
    ----------
    kernel : LowRankKernel
    n : int or None
        Number of rows; None takes as many as `budget` pays for.
    noise : float
        0 is the determinant itself. Must be positive with `cost`.
    eps : float
        Stop when the gain falls under `eps` times the first gain.
    cost : array (N,), optional
        Chooses by log(1 + gain/noise) per cost.
    budget : float, optional
        Total cost that must not be exceeded.
    batch : int
        Rows recomputed together (the result does not depend on it).
    """
    if cost is not None and not noise > 0:
        raise SeedSelectError("a cost needs noise > 0: the gain per cost is log(1 + gain/noise)")
    bound = kernel.norms()
    price = np.ones(kernel.n) if cost is None else cost
    fresh = np.zeros(kernel.n, dtype=np.intp)
    open_rows = bound > 0
    directions = np.zeros((0, 0))
    chosen: list[int] = []
    gains: list[float] = []
    spent = 0.0
    limit = kernel.n if n is None else n
    stopped = "n"

    def priority(values: Array, rows: NDArray[np.intp] | slice) -> Array:
        return values if cost is None else np.log1p(values / noise) / price[rows]

    while len(chosen) < limit:
        if budget is not None:
            open_rows &= price <= budget - spent + 1e-12 * abs(budget)
        keys = np.where(open_rows, priority(bound, slice(None)), -1.0)
        if keys.max() < 0:
            stopped = "budget" if budget is not None else "eps"
            break
        width = batch
        while fresh[best := int(np.argmax(keys))] != len(chosen):
            # Among the highest bounds, refresh the stale ones; widen while ties keep coming.
            top = np.argpartition(-keys, min(width, kernel.n) - 1)[: min(width, kernel.n)]
            stale = top[(fresh[top] != len(chosen)) & open_rows[top]]
            if not len(stale):
                stale = np.array([best])
            rows = kernel.rows(stale)
            bound[stale] = _residual(rows, directions)
            fresh[stale] = len(chosen)
            keys[stale] = priority(bound[stale], stale)
            width *= 2
        gain = float(bound[best])
        if gain <= eps * (gains[0] if gains else 0.0) or gain <= 0:
            stopped = "eps"
            break
        directions = _extend(directions, kernel.rows(np.array([best]))[0], noise)
        chosen.append(best)
        gains.append(gain)
        spent += float(price[best])
        open_rows[best] = False
    return GreedyResult(np.array(chosen, dtype=np.intp), np.array(gains), stopped)


def _residual(rows: Array, directions: Array) -> Array:
    total = np.einsum("ij,ij->i", rows, rows)
    if not len(directions):
        return total
    known = rows @ directions.T
    return np.maximum(total - np.einsum("ij,ij->i", known, known), 0.0)


def _extend(directions: Array, row: Array, noise: float) -> Array:
    """Append g with I - G'G = (I + sum b b'/noise)^-1; Gram-Schmidt when noise is 0."""
    vector = row - (directions @ row) @ directions if len(directions) else row.copy()
    if noise == 0 and len(directions):
        vector -= (directions @ vector) @ directions
    new = vector / np.sqrt(noise + row @ vector)
    return new[None] if not len(directions) else np.vstack([directions, new])


def order_rows(rows: Array) -> NDArray[np.intp]:
    """Return the order in which to use chosen rows b_i: greedy log-determinant, ties to the first.

    Parameters
    ----------
    rows : array (n, D)

    Returns
    -------
    permutation (n,)
    """
    residual = np.einsum("ij,ij->i", rows, rows)
    work = rows.copy()
    order: list[int] = []
    left = np.ones(len(rows), dtype=bool)
    for _ in range(len(rows)):
        best = int(np.argmax(np.where(left, residual, -1.0)))
        order.append(best)
        left[best] = False
        norm = np.linalg.norm(work[best])
        if norm > 0:
            work -= np.outer(work @ (work[best] / norm), work[best] / norm)
            residual = np.einsum("ij,ij->i", work, work)
    return np.array(order, dtype=np.intp)


def information_per_label(features: Array, noise: float) -> Array:
    """Return the information each label adds to the earlier ones, in nats.

    The increments of 1/2 ln det(I + F F' / noise) (Krause, Singh, Guestrin, JMLR 9, 2008, eq. 8).

    Parameters
    ----------
    features : array (n, D)
        Unweighted features in labelling order.
    noise : float
    """
    matrix = np.eye(len(features)) + features @ features.T / noise
    return np.log(np.linalg.cholesky(matrix).diagonal())
