"""Exact sampling of a k-DPP with a low-rank kernel.

Eigenvectors: the kernel is scaled so that the expected size is k, and independent Bernoullis are
redrawn until their sum is k (about sqrt(2 pi k) tries); the law is that of elementary symmetric
polynomials (Kulesza and Taskar, arXiv 1207.6083, sec. 5.2), without their over- and underflow.
Items: leverage-score rejection (Barthelme, Tremblay, Amblard, AISTATS 2023, arXiv 2210.17358).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from seedselect.errors import SeedSelectError
from seedselect.kernel.gram import Spectrum
from seedselect.kernel.low_rank import LowRankKernel
from tpainn_calc.base.arrays import Array

#: Proposals whose rows are recomputed together.
PROPOSAL_BATCH = 64

#: Relative residual below which a row counts as lying in the span of the chosen ones.
DUPLICATE_RESIDUAL = 1e-10


def rank_message(k: int, rank: int) -> str:
    """Say that `k` points are more than the kernel carries, and what to do."""
    return (
        f"n={k} exceeds the numerical rank {rank} of the kernel: ask for at most {rank} points, or "
        "raise the rank with a smaller length scale (length_factor=0.25) or more features "
        "(n_features=1024), and remove duplicate rows"
    )


def check_rank(k: int, spectrum: Spectrum) -> None:
    """Refuse a sample that the numerical rank of the kernel cannot carry.

    Raises
    ------
    SeedSelectError
        The message prints the rank and the cure.
    """
    if k > spectrum.rank:
        raise SeedSelectError(rank_message(k, spectrum.rank))


def tilted_probabilities(values: Array, k: int) -> Array:
    """Return p_j = a l_j / (1 + a l_j) with the a for which the sum is k.

    Parameters
    ----------
    values : array (r,), positive eigenvalues
    k : int, 1 <= k <= r
    """
    if k == len(values):
        return np.ones(len(values))
    log_values = np.log(values)

    def excess(log_a: float) -> float:
        return float((0.5 * (1.0 + np.tanh(0.5 * (log_values + log_a)))).sum() - k)

    # At -max - log(r) every p is below 1/r; at -min + 40 every p is 1 in float64.
    low = -float(log_values.max()) - np.log(len(values)) - 1.0
    high = -float(log_values.min()) + 40.0
    log_a = float(brentq(excess, low, high, xtol=1e-13, rtol=1e-14))
    return 0.5 * (1.0 + np.tanh(0.5 * (log_values + log_a)))


def sample_eigenvectors(values: Array, k: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw k of the eigenvectors with probability proportional to the product of eigenvalues."""
    probabilities = tilted_probabilities(values, k)
    if k == len(values):
        return np.arange(k)
    while True:
        chosen = rng.random((16, len(values))) < probabilities
        hits = np.flatnonzero(chosen.sum(axis=1) == k)
        if len(hits):
            return np.flatnonzero(chosen[hits[0]])


def sample_projection(
    rows: Callable[[NDArray[np.intp]], Array],
    leverage: Array,
    basis: Array,
    rng: np.random.Generator,
) -> NDArray[np.intp]:
    """Draw from the projection DPP with kernel (BW)(BW)'.

    Parameters
    ----------
    rows : callable
        ``rows(indices) -> b_i``, (m, D).
    leverage : array (N,)
        |b_i W|^2, summing to k.
    basis : array (D, k)
        W, with orthonormal columns of BW.
    rng : numpy.random.Generator

    Returns
    -------
    array (k,) of distinct row indices, in the order of drawing
    """
    k = basis.shape[1]
    cumulative = np.cumsum(leverage)
    chosen: list[int] = []
    span = np.zeros((k, k))
    tries = 0
    while len(chosen) < k:
        u = rng.random(PROPOSAL_BATCH) * cumulative[-1]
        proposals = np.minimum(np.searchsorted(cumulative, u, side="right"), len(leverage) - 1)
        accept = rng.random(PROPOSAL_BATCH)
        mapped = rows(proposals) @ basis
        for index, vector, threshold in zip(proposals, mapped, accept, strict=True):
            total = float(vector @ vector)
            known = span[: len(chosen)]
            residual = vector - (known @ vector) @ known
            fraction = float(residual @ residual) / total if total > 0 else 0.0
            if fraction <= max(threshold, DUPLICATE_RESIDUAL) or int(index) in chosen:
                continue
            # A second orthogonalisation keeps the span orthonormal to rounding.
            residual -= (known @ residual) @ known
            span[len(chosen)] = residual / np.linalg.norm(residual)
            chosen.append(int(index))
            if len(chosen) == k:
                break
        tries += PROPOSAL_BATCH
        if tries > 10_000_000:
            raise SeedSelectError(
                f"only {len(chosen)} of {k} distinct points could be drawn: the pool holds too few "
                "rows that differ; ask for fewer points"
            )
    return np.array(chosen, dtype=np.intp)


def sample_kdpp(
    kernel: LowRankKernel, k: int, rng: np.random.Generator, spectrum: Spectrum | None = None
) -> NDArray[np.intp]:
    """Draw exactly k rows with probability proportional to det(L_S).

    Parameters
    ----------
    kernel : LowRankKernel
    k : int
    rng : numpy.random.Generator
    spectrum : Spectrum, optional
        Of ``kernel.gram()``; computed when missing.

    Returns
    -------
    array (k,) of distinct row indices

    Raises
    ------
    SeedSelectError
        If k is not between 1 and the numerical rank.
    """
    if k < 1:
        raise SeedSelectError(f"n={k}: ask for at least one point")
    spectrum = kernel.gram().spectrum() if spectrum is None else spectrum
    check_rank(k, spectrum)
    used = sample_eigenvectors(spectrum.values, k, rng)
    basis = spectrum.vectors[:, used] / np.sqrt(spectrum.values[used])
    return sample_projection(kernel.rows, kernel.norms(basis), basis, rng)
