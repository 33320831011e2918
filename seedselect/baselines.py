"""Other ways to choose rows, for comparison and as ablations.

Every function returns distinct row indices in the order of choice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from seedselect.errors import SeedSelectError
from seedselect.kernel.gram import DualGram
from seedselect.kernel.low_rank import LowRankKernel
from seedselect.pools.arrays import ArrayPool
from seedselect.sampling.greedy import greedy_map
from seedselect.sampling.kdpp import sample_projection, tilted_probabilities
from tpainn_calc.base.arrays import Array

Index = NDArray[np.intp]


def _check(X: Array, n: int) -> None:
    if not 1 <= n <= len(X):
        raise SeedSelectError(f"n={n} must lie between 1 and the {len(X)} rows of the pool")


class _Identity:
    """A feature map that is already applied."""

    def transform(self, X: Array) -> Array:
        return X


def array_kernel(features: Array, quality: Array | None = None) -> LowRankKernel:
    """Return the kernel of a feature array (N, D) that fits in memory."""
    return LowRankKernel(ArrayPool(features), _Identity(), quality)


def random_rows(X: Array, n: int, rng: np.random.Generator) -> Index:
    """Draw rows uniformly without replacement."""
    _check(X, n)
    return rng.choice(len(X), size=n, replace=False).astype(np.intp)


def kmeans_plusplus(X: Array, n: int, rng: np.random.Generator) -> Index:
    """Draw rows by squared distance to the chosen ones (Arthur and Vassilvitskii, SODA 2007)."""
    _check(X, n)
    chosen = [int(rng.integers(len(X)))]
    nearest = cdist(X, X[chosen], "sqeuclidean")[:, 0]
    while len(chosen) < n:
        nearest[chosen] = 0.0
        total = nearest.sum()
        if total > 0:
            new = int(rng.choice(len(X), p=nearest / total))
        else:
            new = int(rng.choice(np.setdiff1d(np.arange(len(X)), chosen)))
        chosen.append(new)
        nearest = np.minimum(nearest, cdist(X, X[[new]], "sqeuclidean")[:, 0])
    return np.array(chosen, dtype=np.intp)


def farthest_point(X: Array, n: int, rng: np.random.Generator) -> Index:
    """Add the row farthest from the chosen ones (Gonzalez 1985); the first row is random."""
    _check(X, n)
    chosen = [int(rng.integers(len(X)))]
    nearest = cdist(X, X[chosen], "sqeuclidean")[:, 0]
    while len(chosen) < n:
        nearest[chosen] = -1.0
        new = int(np.argmax(nearest))
        chosen.append(new)
        nearest = np.minimum(nearest, cdist(X, X[[new]], "sqeuclidean")[:, 0])
    return np.array(chosen, dtype=np.intp)


def facility_location(
    features: Array,
    n: int,
    rng: np.random.Generator,
    n_reference: int = 2000,
    demand: Array | None = None,
) -> Index:
    """Greedily maximise sum_i w_i max_{j in S} k(i, j) (Wei, Iyer, Bilmes, ICML 2015).

    Gains only fall, so that stale ones are bounds and few are computed again (Minoux 1978).

    Parameters
    ----------
    features : array (N, D)
        Feature map of a non-negative kernel.
    n_reference : int
        Rows of the sum; a random subset of the pool when the pool is larger.
    demand : array (N,), optional
        Weights w; default 1.
    """
    _check(features, n)
    size = min(n_reference, len(features))
    rows = np.sort(rng.choice(len(features), size, replace=False))
    similarity = np.maximum(features @ features[rows].T, 0.0)
    if demand is not None:
        similarity *= demand[rows]
    covered = np.zeros(size)
    bound = similarity.sum(axis=1)
    fresh = np.zeros(len(features), dtype=np.intp)
    chosen: list[int] = []
    while len(chosen) < n:
        best = int(np.argmax(bound))
        if fresh[best] == len(chosen):
            chosen.append(best)
            covered = np.maximum(covered, similarity[best])
            bound[best] = -1.0
            continue
        bound[best] = np.maximum(similarity[best] - covered, 0.0).sum()
        fresh[best] = len(chosen)
    return np.array(chosen, dtype=np.intp)


def max_det(features: Array, n: int, rng: np.random.Generator | None = None) -> Index:
    """Greedy determinant maximisation on features alone (k-DPP mode with quality 1)."""
    _check(features, n)
    return _fill(greedy_map(array_kernel(features), n).indices, len(features), n)


def lcmd(X: Array, n: int, rng: np.random.Generator) -> Index:
    """Largest-cluster maximum distance (Holzmueller et al., JMLR 24, 2023, sec. 4.2).

    Rows belong to their nearest chosen row; the farthest row of the cluster with the largest sum
    of squared distances is added.
    """
    _check(X, n)
    first = int(np.argmax(np.einsum("ij,ij->i", X, X)))
    chosen = [first]
    nearest = cdist(X, X[[first]], "sqeuclidean")[:, 0]
    owner = np.zeros(len(X), dtype=np.intp)
    while len(chosen) < n:
        nearest[chosen] = 0.0
        sizes = np.bincount(owner, weights=nearest, minlength=len(chosen))
        inside = np.where(owner == int(np.argmax(sizes)), nearest, -1.0)
        inside[chosen] = -2.0
        new = int(np.argmax(inside))
        distance = cdist(X, X[[new]], "sqeuclidean")[:, 0]
        closer = distance < nearest
        owner[closer] = len(chosen)
        nearest = np.minimum(nearest, distance)
        owner[new] = len(chosen)
        chosen.append(new)
    return np.array(chosen, dtype=np.intp)


def ensemble_covariance(predictions: Array, n: int, rng: np.random.Generator) -> Index:
    """Greedy log-determinant on the covariance of a committee's predictions (Kirsch, 2023).

    The black-box batch acquisition of arXiv 2302.08981: k(i, j) = cov over members.

    Parameters
    ----------
    predictions : array (T, N) or (T, N, K)
    """
    if predictions.ndim == 2:
        predictions = predictions[:, :, None]
    centred = predictions - predictions.mean(axis=0)
    members, rows, targets = centred.shape
    features = centred.transpose(1, 0, 2).reshape(rows, members * targets) / np.sqrt(members)
    _check(features, n)
    noise = 1e-2 * float((features**2).sum(axis=1).mean())
    if noise <= 0:
        return random_rows(features, n, rng)
    return _fill(greedy_map(array_kernel(features), n, noise=noise).indices, rows, n)


def top_scores(scores: Array, n: int, rng: np.random.Generator | None = None) -> Index:
    """Take the n largest scores: quality without diversity."""
    _check(scores[:, None], n)
    return np.argsort(-scores, kind="stable")[:n].astype(np.intp)


def inflate_and_truncate(
    features: Array,
    quality: Array,
    n: int,
    rng: np.random.Generator,
    inflation: float = 1.5,
) -> Index:
    """Draw a DPP of inflated expected size and keep n of its rows: not a k-DPP.

    The behaviour of the public ATBagging code, re-derived from its description, kept as a
    baseline and as a negative control of the sampler's tests.
    """
    kernel = array_kernel(features, quality)
    _check(features, n)
    gram = DualGram(features.shape[1]).update(kernel.rows(np.arange(len(features))))
    spectrum = gram.spectrum()
    size = min(spectrum.rank, max(n, int(np.ceil(inflation * n))))
    probability = tilted_probabilities(spectrum.values, size)
    for _ in range(1000):
        used = np.flatnonzero(rng.random(spectrum.rank) < probability)
        if len(used) < n:
            continue
        basis = spectrum.vectors[:, used] / np.sqrt(spectrum.values[used])
        drawn = sample_projection(kernel.rows, kernel.norms(basis), basis, rng)
        return drawn[rng.permutation(len(drawn))[:n]]
    raise SeedSelectError(f"no draw of at least {n} rows: the kernel has rank {spectrum.rank}")


def _fill(indices: Index, total: int, n: int) -> Index:
    """Complete a greedy choice that ran out of gain with the lowest unused rows."""
    if len(indices) >= n:
        return indices
    unused = np.setdiff1d(np.arange(total), indices)[: n - len(indices)]
    return np.concatenate([indices, unused]).astype(np.intp)
