"""De-duplication of trajectories."""

from __future__ import annotations

import numpy as np
import pytest

from seedselect import ArrayPool, SeedSelectError
from seedselect.pools.thinning import SubsetPool, thin


def keys(n):
    return [str(i) for i in range(n)]


def trajectory(step: float, n: int = 600) -> np.ndarray:
    """A slow random walk around independent centres: correlated within, not between."""
    rng = np.random.default_rng(0)
    centres = np.repeat(rng.normal(size=(n // 20, 4)), 20, axis=0)
    return centres + step * rng.normal(size=(n, 4))


def test_correlated_frames_are_dropped_and_independent_ones_kept():
    correlated = thin(ArrayPool(trajectory(0.01)), keys(600))
    assert 25 <= len(correlated) <= 33
    independent = np.random.default_rng(1).normal(size=(600, 30))
    assert len(thin(ArrayPool(independent), keys(600))) == 600


def test_kept_rows_are_apart_and_dropped_rows_are_near():
    X = trajectory(0.05)
    kept = thin(ArrayPool(X), keys(600), tolerance=0.2)
    scaled = (X - X.mean(axis=0)) / X.std(axis=0)
    from scipy.spatial.distance import cdist, pdist

    limit = 0.2 * np.median(pdist(scaled))
    assert pdist(scaled[kept]).min() >= 0.95 * limit
    assert cdist(scaled, scaled[kept]).min(axis=1).max() < 1.05 * limit


def test_exact_repetitions_are_dropped_by_key():
    X = np.random.default_rng(0).normal(size=(5, 3))
    kept = thin(ArrayPool(X), ["a", "b", "a", "c", "b"], tolerance=0)
    assert kept.tolist() == [0, 1, 3]


def test_negative_tolerance():
    with pytest.raises(SeedSelectError, match="negative"):
        thin(ArrayPool(np.zeros((2, 2))), keys(2), tolerance=-1)


def test_subset_pool():
    X = np.random.default_rng(0).normal(size=(50, 3))
    rows = np.array([1, 4, 20, 21, 49])
    pool = SubsetPool(ArrayPool(X), rows)
    np.testing.assert_array_equal(np.concatenate(list(pool.blocks(2))), X[rows])
    assert [len(b) for b in pool.blocks(2)] == [2, 2, 1]
    np.testing.assert_array_equal(pool.take(np.array([4, 0])), X[[49, 1]])
    np.testing.assert_array_equal(pool.load().rows, X[rows])
