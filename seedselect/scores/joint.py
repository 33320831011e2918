"""Joint divergence from the Gram matrix of the members, without matrices of the probe points.

In units of the ridge the out-of-bag covariance is ``I + c E'E`` with E the centred out-of-bag
members, n of T, and c = 1/(n - 1); the in-bag one is the same with d = 1/(T - n - 1). As the sums
over both groups are fixed, everything follows from (n, n) blocks of three (T, T) matrices:

* ``A = I + c G``, whose inverse block is Woodbury's core for the out-of-bag covariance,
* ``G G``, for the trace of the total scatter in the out-of-bag metric,
* ``(I + d G)^-1``, whose blocks give the in-bag determinant (Jacobi's complementary minors).

A border of ones stands for the centring of a group on its own mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri, dtrtri

from tpainn_calc.base.arrays import Array

# Rows worked on at once: their blocks fit into a second-level cache.
BLOCK = 32
# Largest absolute error (nats) that the block formulas may make by cancellation.
CANCELLATION = 1e-8


def joint_divergences(gram: Array, in_bag: NDArray[np.bool_], ridge: float) -> Array:
    """Return KL(in-bag || out-of-bag) over all probe points jointly, for every row.

    Parameters
    ----------
    gram : array (T, T)
        Scalar products of the members' predictions, the mean member taken off.
    in_bag : bool array (N, T)
    ridge : float, positive

    Returns
    -------
    array (N,), nats; 0 for a row that all or no members saw
    """
    members = len(gram)
    eigenvalues, vectors = np.linalg.eigh(gram / ridge)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    square = gram @ gram / ridge**2
    out = in_bag.shape[1] - in_bag.sum(axis=1)
    kl = np.zeros(len(in_bag))
    for n in np.unique(out[(out > 0) & (out < members)]).tolist():
        rows = np.flatnonzero(out == n)
        scales = 1.0 / max(n - 1, 1), 1.0 / max(members - n - 1, 1)
        # The square of the largest eigenvalue cancels in the trace; in `_one_row` only the
        # eigenvalue itself does.
        lost = np.finfo(float).eps * scales[0] * scales[1] * eigenvalues[-1] ** 2
        if lost > CANCELLATION:
            for row in rows:
                kl[row] = _one_row(gram, in_bag[row], ridge)
            continue
        core = scales[0] / ridge * gram
        core.flat[:: members + 1] += 1.0
        bordered = np.ones((members + 1, members + 1))
        bordered[:-1, :-1] = (vectors / (1.0 + scales[1] * eigenvalues)) @ vectors.T
        bordered[-1, -1] = members
        logdet = float(np.log1p(scales[1] * eigenvalues).sum())
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            outside = np.nonzero(~in_bag[part])[1].reshape(len(part), n)
            log_in = logdet - np.log(members - n) + _bordered_logdet(bordered, outside)
            kl[part] = _block(core, square, outside, float(eigenvalues.sum()), log_in)
    return kl


def _take(matrix: Array, index: NDArray[np.intp]) -> Array:
    """Return the principal blocks (B, n, n) of a square matrix, for indices (B, n)."""
    return np.asarray(matrix.take(index[:, :, None] * len(matrix) + index[:, None, :]))


def _bordered_logdet(bordered: Array, outside: NDArray[np.intp]) -> Array:
    border = np.full((len(outside), 1), len(bordered) - 1)
    factor = np.linalg.cholesky(_take(bordered, np.hstack([outside, border])))
    return np.asarray(2.0 * np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1))


def _block(
    core: Array, square: Array, outside: NDArray[np.intp], total: float, log_in: Array
) -> Array:
    """Return the divergences of a block of rows with equally many out-of-bag members.

    Parameters
    ----------
    core : array (T, T)
        I + c G.
    square : array (T, T)
        G G.
    outside : int array (B, n)
        Out-of-bag members of every row.
    total : float
        Trace of G.
    log_in : array (B,)
        Log-determinant of the in-bag covariance, in units of the ridge.
    """
    rows, n = outside.shape
    members = len(core)
    inside = members - n
    c, d = 1.0 / max(n - 1, 1), 1.0 / max(inside - 1, 1)
    inverse = _take(core, outside)
    log_oob = np.empty(rows)
    for row in range(rows):
        # The transpose is a view in LAPACK's order, worked on in place.
        factor, _ = dpotrf(inverse[row].T, lower=1, clean=1, overwrite_a=1)
        log_oob[row] = 2.0 * np.log(factor.diagonal()).sum()
        dpotri(factor, lower=1, overwrite_c=1)
    # One triangle with half the diagonal: the inverse is this plus its transpose.
    diagonal = np.einsum("bii->bi", inverse)
    trace = diagonal.sum(axis=1)
    diagonal *= 0.5
    ones = inverse.sum(axis=1) + inverse.sum(axis=2)
    norm = ones.sum(axis=1)
    log_oob += np.log(norm / n)
    # Squared out-of-bag mean in the out-of-bag metric (the mean over all members is the origin).
    mean_sq = (n / norm - 1.0) / (c * n)
    trace -= np.einsum("bi,bi->b", ones, ones) / norm
    own = (n - 1.0 - trace) / c
    block = _take(square, outside)
    scatter = 2.0 * np.einsum("bi,bi->b", inverse.reshape(rows, -1), block.reshape(rows, -1))
    scatter -= np.einsum("bi,bi->b", ones, (block @ ones[:, :, None])[:, :, 0]) / norm
    excess = total - c * scatter - own - n * members / inside * mean_sq
    mahalanobis = (members / inside) ** 2 * mean_sq
    return np.asarray(0.5 * (trace - (n - 1.0) + d * excess + mahalanobis + log_oob - log_in))


def _one_row(gram: Array, seen: NDArray[np.bool_], ridge: float) -> float:
    """Return the divergence of one row from explicitly centred blocks: slower, loses less."""
    inside, outside = np.flatnonzero(seen), np.flatnonzero(~seen)
    n_in, n_oob = len(inside), len(outside)
    order = np.concatenate([outside, inside])
    block = gram.take(order, axis=0).take(order, axis=1)
    # (I - E S') G (I - S E'), with E the indicator of the two groups and S = E / size, centres
    # every member on the mean of its own group.
    rows_oob = block[:, :n_oob].mean(axis=1)
    rows_in = block[:, n_oob:].mean(axis=1)
    oob_oob, oob_in = rows_oob[:n_oob].mean(), rows_oob[n_oob:].mean()
    in_in = rows_in[n_oob:].mean()
    own = np.concatenate([rows_oob[:n_oob], rows_in[n_oob:]])
    # <member - own mean, in-bag mean - out-of-bag mean> of the out-of-bag members.
    shift = (rows_in[:n_oob] - rows_oob[:n_oob]) - (oob_in - oob_oob)
    scale_in, scale_oob = 1.0 / max(n_in - 1, 1), 1.0 / max(n_oob - 1, 1)
    part = own[:n_oob]
    a_oob = block[:n_oob, :n_oob] - part - (part - oob_oob)[:, None]
    a_oob *= scale_oob / ridge
    a_oob.flat[:: n_oob + 1] += 1.0
    part = own[n_oob:]
    a_in = block[n_oob:, n_oob:] - part - (part - in_in)[:, None]
    a_in *= scale_in / ridge
    trace_in = float(a_in.trace()) * ridge
    a_in.flat[:: n_in + 1] += 1.0
    cross = block[:n_oob, n_oob:] - rows_in[:n_oob, None] - (rows_oob[n_oob:] - oob_in)
    cross *= np.sqrt(scale_in * scale_oob)
    chol_oob, _ = dpotrf(a_oob.T, lower=1, clean=1, overwrite_a=1)
    chol_in, _ = dpotrf(a_in.T, lower=1, clean=0, overwrite_a=1)
    inverse, _ = dtrtri(chol_oob, lower=1)
    solved = inverse @ cross
    moved = inverse @ shift
    spread, size = solved.ravel(), inverse.T.ravel()
    trace = (trace_in - float(spread @ spread) / ridge) / ridge - n_oob + float(size @ size)
    delta_sq = in_in - 2.0 * oob_in + oob_oob
    mahalanobis = (delta_sq - scale_oob * float(moved @ moved) / ridge) / ridge
    logdet = np.log(chol_oob.diagonal()).sum() - np.log(chol_in.diagonal()).sum()
    return 0.5 * (trace + mahalanobis) + float(logdet)
