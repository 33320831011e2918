"""Information-gain scores: members that saw a row against members that did not.

All three scores are Kullback-Leibler divergences KL(in-bag || out-of-bag) between Gaussian
predictive distributions (ATBagging, arXiv 2602.02415, abstract),

    KL = 1/2 [tr(S_oob^-1 S_in) + dm' S_oob^-1 dm - M + ln|S_oob| - ln|S_in|],

and differ in the points where the members are compared: the row itself (`local_kl`), every probe
point on its own (`marginal_kl`), all probe points together (`joint_kl`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from seedselect.errors import SeedSelectError
from seedselect.scores.joint import joint_divergences
from tpainn_calc.base.arrays import Array


def gaussian_kl(mean_p: Array, cov_p: Array, mean_q: Array, cov_q: Array) -> float:
    """Return KL(p || q) of two multivariate Gaussians, in nats.

    The textbook formula with explicit matrices: the reference for the fast scores below.

    Parameters
    ----------
    mean_p, mean_q : array (M,)
    cov_p, cov_q : array (M, M), positive definite
    """
    delta = mean_p - mean_q
    _, logdet_p = np.linalg.slogdet(cov_p)
    _, logdet_q = np.linalg.slogdet(cov_q)
    solved = np.linalg.solve(cov_q, np.column_stack([cov_p, delta]))
    trace = float(np.trace(solved[:, :-1]))
    return 0.5 * (trace + float(delta @ solved[:, -1]) - len(delta) + logdet_q - logdet_p)


def univariate_kl(mean_p: Array, var_p: Array, mean_q: Array, var_q: Array) -> Array:
    """Return KL(p || q) of univariate Gaussians, elementwise, in nats (always >= 0)."""
    ratio = var_p / var_q
    kl = 0.5 * (ratio - 1.0 - np.log(ratio) + (mean_p - mean_q) ** 2 / var_q)
    return np.asarray(np.maximum(kl, 0.0))


def _check(predictions: Array, in_bag: NDArray[np.bool_], ridge: float) -> None:
    if predictions.shape[0] != in_bag.shape[1]:
        raise SeedSelectError(
            f"predictions hold {predictions.shape[0]} members but in_bag {in_bag.shape[1]}: "
            "pass predictions as (members, points) and in_bag as (rows, members)"
        )
    if not ridge > 0:
        raise SeedSelectError(f"ridge={ridge!r} must be positive: members may agree exactly")


def _moments(count: Array, first: Array, second: Array, ridge: float) -> tuple[Array, Array]:
    """Mean and ridged unbiased variance from counts and power sums."""
    safe = np.maximum(count, 1.0)
    mean = first / safe
    spread = np.maximum(second - safe * mean**2, 0.0)
    return mean, spread / np.maximum(count - 1.0, 1.0) + ridge


def local_kl(predictions: Array, in_bag: NDArray[np.bool_], ridge: float = 1e-2) -> Array:
    """Return the own-point information gain of each row.

    Parameters
    ----------
    predictions : array (T, N)
        Prediction of every member at every row, in units of the standard deviation of y.
    in_bag : bool array (N, T)
        True where the member saw the row.
    ridge : float
        Added to both variances, in units of the variance of y.

    Returns
    -------
    array (N,)
        KL(in || oob) in nats, >= 0; 0 for a row that all or no members saw.
    """
    _check(predictions, in_bag, ridge)
    if predictions.shape[1] != in_bag.shape[0]:
        raise SeedSelectError("the local score compares members at the rows themselves: N differs")
    # The common mean is removed so that squares do not cancel.
    centred = predictions - predictions.mean(axis=0)
    seen = in_bag.T
    n_in = seen.sum(axis=0).astype(float)
    first = np.where(seen, centred, 0.0).sum(axis=0)
    second = np.where(seen, centred**2, 0.0).sum(axis=0)
    mean_in, var_in = _moments(n_in, first, second, ridge)
    n_oob = len(centred) - n_in
    mean_oob, var_oob = _moments(
        n_oob, centred.sum(axis=0) - first, (centred**2).sum(axis=0) - second, ridge
    )
    kl = univariate_kl(mean_in, var_in, mean_oob, var_oob)
    return np.where((n_in > 0) & (n_oob > 0), kl, 0.0)


def marginal_kl(predictions: Array, in_bag: NDArray[np.bool_], ridge: float = 1e-2) -> Array:
    """Return the mean information gain of each row over M probe points taken one by one.

    Moments of all rows are two matrix products, membership (N, T) times predictions (T, M).

    Parameters
    ----------
    predictions : array (T, M)
    in_bag : bool array (N, T)
    ridge : float

    Returns
    -------
    array (N,), nats per probe point
    """
    _check(predictions, in_bag, ridge)
    centred = predictions - predictions.mean(axis=0)
    squared = centred**2
    total_first, total_second = centred.sum(axis=0), squared.sum(axis=0)
    member = in_bag.astype(float)
    n_in = member.sum(axis=1, keepdims=True)
    n_oob = member.shape[1] - n_in
    kl = np.empty(len(member))
    step = max(1, 4_000_000 // max(1, centred.shape[1]))
    for start in range(0, len(member), step):
        part = slice(start, start + step)
        first, second = member[part] @ centred, member[part] @ squared
        mean_in, var_in = _moments(n_in[part], first, second, ridge)
        mean_oob, var_oob = _moments(n_oob[part], total_first - first, total_second - second, ridge)
        kl[part] = univariate_kl(mean_in, var_in, mean_oob, var_oob).mean(axis=1)
    usable = (n_in[:, 0] > 0) & (n_oob[:, 0] > 0)
    return np.where(usable, kl, 0.0)


def joint_kl(predictions: Array, in_bag: NDArray[np.bool_], ridge: float = 1e-2) -> Array:
    """Return the information gain of each row over all M probe points jointly.

    The covariances differ from ``ridge * I`` only in the span of the T members, so that every
    term follows from the (T, T) Gram matrix of the members (Woodbury); no (M, M) matrix is built.
    With T of the order of M this score is mostly noise: read `ATBagging.reliability_`.

    Parameters
    ----------
    predictions : array (T, M)
    in_bag : bool array (N, T)
    ridge : float

    Returns
    -------
    array (N,), nats
    """
    _check(predictions, in_bag, ridge)
    centred = predictions - predictions.mean(axis=0)
    return np.maximum(joint_divergences(centred @ centred.T, in_bag, ridge), 0.0)


def spearman(a: Array, b: Array) -> float:
    """Return Spearman's rank correlation; 0 when either ranking is constant."""
    ra, rb = rankdata(a), rankdata(b)
    ra, rb = ra - ra.mean(), rb - rb.mean()
    norm = float(np.sqrt((ra @ ra) * (rb @ rb)))
    return float(ra @ rb) / norm if norm > 0 else 0.0


def split_half_reliability(first: Array, second: Array) -> float:
    """Return the reliability of a score whose two half-committees gave `first` and `second`.

    Spearman's correlation r of the halves, stepped up to the full length by the Spearman-Brown
    formula 2r/(1+r); a negative r is returned as it is.
    """
    r = spearman(first, second)
    return 2.0 * r / (1.0 + r) if r > 0 else r
