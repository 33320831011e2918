"""Inclusion probabilities of a k-DPP at dual cost."""

from __future__ import annotations

import numpy as np

from seedselect.kernel.gram import Spectrum
from seedselect.sampling.kdpp import tilted_probabilities
from tpainn_calc.base.arrays import Array


def eigenvector_marginals(values: Array, k: int) -> Array:
    """Return the probability that each eigenvector is among the k of a k-DPP.

    The conditional law of independent Bernoullis given their sum (Poisson-binomial), with the
    tilt of `tilted_probabilities`, so that nothing over- or underflows.

    Parameters
    ----------
    values : array (r,), positive
    k : int, 1 <= k <= r

    Returns
    -------
    array (r,), summing to k
    """
    p = tilted_probabilities(values, k)
    r = len(p)
    if k == r:
        return np.ones(r)
    # before[j, s] = P(s successes among the first j); after[j, s] the same from j on.
    before = np.zeros((r + 1, k + 1))
    after = np.zeros((r + 1, k + 1))
    before[0, 0] = after[r, 0] = 1.0
    for j in range(r):
        before[j + 1] = before[j] * (1 - p[j])
        before[j + 1, 1:] += before[j, :-1] * p[j]
    for j in range(r - 1, -1, -1):
        after[j] = after[j + 1] * (1 - p[j])
        after[j, 1:] += after[j + 1, :-1] * p[j]
    without = np.einsum("js,js->j", before[:-1, :k], after[1:, k - 1 :: -1][:, :k])
    return p * without / before[r, k]


def inclusion_probabilities(rows: Array, spectrum: Spectrum, k: int) -> Array:
    """Return P(i in S) for rows b_i of the kernel.

    Parameters
    ----------
    rows : array (m, D)
        ``kernel.rows(indices)``.
    spectrum : Spectrum
        Of the Gram matrix of the whole pool.
    k : int

    Returns
    -------
    array (m,)
    """
    weight = eigenvector_marginals(spectrum.values, k) / spectrum.values
    return np.minimum((rows @ spectrum.vectors) ** 2 @ weight, 1.0)
