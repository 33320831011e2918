"""Score the rows of a source set with a committee, and collect its out-of-bag errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seedselect.pools.pool import BLOCK_ROWS
from seedselect.scores.committee import Committee
from seedselect.scores.divergence import joint_kl, local_kl, marginal_kl, split_half_reliability
from tpainn_calc.base.arrays import Array

SCORES = ("local", "marginal", "joint")


@dataclass(frozen=True)
class SourceReport:
    """Scores of the source rows and what calibrates the committee's spread.

    Attributes
    ----------
    scores : array (N,), nats
    reliability : float
        Split-half reliability of `scores`.
    variance, squared_residual : array (m, K)
        Out-of-bag, standardised units, for the m rows that at least two members did not see.
    """

    scores: Array
    reliability: float
    variance: Array
    squared_residual: Array


def score_source(
    committee: Committee, X: Array, y: Array, probes: Array, score: str, ridge: float
) -> SourceReport:
    """Score all rows with all members and with each half of them.

    Parameters
    ----------
    committee : Committee, fitted on (X, y)
    X : array (N, d)
    y : array (N, K), standardised
    probes : array (M, d)
        Used by the marginal and joint score.
    score : {"local", "marginal", "joint"}
    ridge : float
    """
    in_bag = committee.in_bag
    halves = [slice(None), slice(0, None, 2), slice(1, None, 2)]
    scores = np.empty((len(halves), len(X)))
    if score != "local":
        at_probes = committee.predict(probes).reshape(len(committee), -1)
        function = marginal_kl if score == "marginal" else joint_kl
        for row, half in enumerate(halves):
            scores[row] = function(at_probes[half], in_bag[:, half], ridge)
    variances, residuals = [], []
    for start in range(0, len(X), BLOCK_ROWS):
        part = slice(start, start + BLOCK_ROWS)
        predictions = committee.predict(X[part])
        out = ~in_bag[part].T[:, :, None]
        count = out.sum(axis=0)
        mean = (predictions * out).sum(axis=0) / np.maximum(count, 1)
        spread = ((predictions - mean) ** 2 * out).sum(axis=0) / np.maximum(count - 1, 1)
        usable = count[:, 0] > 1
        variances.append(spread[usable])
        residuals.append((mean - y[part])[usable] ** 2)
        if score == "local":
            for row, half in enumerate(halves):
                per_target = [
                    local_kl(predictions[half, :, k], in_bag[part, half], ridge)
                    for k in range(y.shape[1])
                ]
                scores[row, part] = np.mean(per_target, axis=0)
    return SourceReport(
        scores[0],
        split_half_reliability(scores[1], scores[2]),
        np.concatenate(variances),
        np.concatenate(residuals),
    )
