"""Baselines: each does what its name says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from seedselect import RandomFourierFeatures, SeedSelectError
from seedselect import baselines as b

RNG_METHODS = [b.random_rows, b.kmeans_plusplus, b.farthest_point, b.lcmd]
FEATURE_METHODS = [b.facility_location, b.max_det]


def clusters() -> np.ndarray:
    """Five tight, well separated clusters of very different sizes."""
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10], [10, 10], [5, 20.0]])
    sizes = [200, 50, 20, 10, 5]
    return np.vstack(
        [c + 0.1 * rng.normal(size=(n, 2)) for c, n in zip(centres, sizes, strict=True)]
    )


def owners(index: np.ndarray) -> set[int]:
    return set(np.searchsorted([200, 250, 270, 280, 285], index, side="right").tolist())


@pytest.mark.parametrize("method", RNG_METHODS + FEATURE_METHODS)
def test_distinct_and_reproducible(method):
    X = clusters()
    rows = (
        X if method in RNG_METHODS else RandomFourierFeatures(64, random_state=0).fit_transform(X)
    )
    first = method(rows, 12, np.random.default_rng(1))
    second = method(rows, 12, np.random.default_rng(1))
    np.testing.assert_array_equal(first, second)
    assert len(set(first.tolist())) == 12
    assert first.dtype.kind == "i"
    with pytest.raises(SeedSelectError):
        method(rows, len(X) + 1, np.random.default_rng(1))


@pytest.mark.parametrize(
    "method", [b.kmeans_plusplus, b.farthest_point, b.lcmd, b.facility_location, b.max_det]
)
def test_diverse_methods_visit_every_cluster(method):
    X = clusters()
    rows = X
    if method in FEATURE_METHODS:
        rows = RandomFourierFeatures(128, length_scale=0.3, random_state=0).fit_transform(X)
    assert owners(method(rows, 5, np.random.default_rng(3))) == {0, 1, 2, 3, 4}


def test_random_rows_miss_small_clusters():
    """Control for the test above."""
    hits = [len(owners(b.random_rows(clusters(), 5, np.random.default_rng(s)))) for s in range(50)]
    assert np.mean(hits) < 3.5


@pytest.mark.parametrize("method", [*RNG_METHODS, b.max_det])
def test_duplicates_do_not_break(method):
    X = np.repeat(np.random.default_rng(0).normal(size=(6, 8)), 4, axis=0)
    drawn = method(X, 6, np.random.default_rng(0))
    assert len(set(drawn.tolist())) == 6
    if method is not b.random_rows:
        assert len(set((drawn // 4).tolist())) == 6


def test_farthest_point_halves_the_covering_radius():
    X = np.random.default_rng(0).uniform(size=(500, 2))
    rng = np.random.default_rng(1)
    radius = cdist(X, X[b.farthest_point(X, 20, rng)]).min(axis=1).max()
    chance = [cdist(X, X[b.random_rows(X, 20, rng)]).min(axis=1).max() for _ in range(20)]
    assert radius < 0.75 * np.mean(chance)


def test_facility_location_is_greedy():
    phi = RandomFourierFeatures(256, random_state=0).fit_transform(clusters())
    chosen = b.facility_location(phi, 4, np.random.default_rng(0))
    similarity = np.maximum(phi @ phi.T, 0)
    first = int(np.argmax(similarity.sum(axis=1)))
    assert chosen[0] == first
    gain = np.maximum(similarity - similarity[first], 0).sum(axis=1)
    gain[first] = -1
    assert chosen[1] == int(np.argmax(gain))


def test_ensemble_covariance_prefers_disagreement():
    rng = np.random.default_rng(0)
    predictions = 0.01 * rng.normal(size=(40, 100))
    predictions[:, :10] = rng.normal(size=(40, 10))
    chosen = b.ensemble_covariance(predictions, 8, rng)
    assert (chosen < 10).all()
    # A flat committee has nothing to say: a random but valid answer.
    assert len(set(b.ensemble_covariance(np.ones((5, 30)), 4, rng).tolist())) == 4


def test_top_scores():
    assert b.top_scores(np.array([1.0, 5.0, 3.0, 5.0]), 3).tolist() == [1, 3, 2]
