"""Random Fourier features: exact diagonal, kernel values, scales."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from seedselect import LinearFeatures, RandomFourierFeatures, SeedSelectError


def test_diagonal_is_exact_and_kernel_converges():
    X = np.random.default_rng(0).normal(size=(60, 3))
    features = RandomFourierFeatures(8192, length_scale=1.5, random_state=0).fit(X)
    phi = features.transform(X)
    np.testing.assert_allclose((phi**2).sum(axis=1), 1.0, atol=1e-12)
    standard = (X - X.mean(axis=0)) / X.std(axis=0)
    kernel = np.exp(-cdist(standard, standard, "sqeuclidean") / (2 * 1.5**2))
    assert np.abs(phi @ phi.T - kernel).max() < 0.07
    # Control: another length scale is not this kernel.
    wrong = np.exp(-cdist(standard, standard, "sqeuclidean") / (2 * 3.0**2))
    assert np.abs(phi @ phi.T - wrong).max() > 0.2


def test_units_do_not_matter():
    X = np.random.default_rng(0).normal(size=(50, 3))
    shift, scale = np.array([5.0, -3.0, 0.0]), np.array([1e3, 1e-3, 1.0])
    a = RandomFourierFeatures(64, random_state=1).fit(X)
    b = RandomFourierFeatures(64, random_state=1).fit(X * scale + shift)
    np.testing.assert_allclose(a.transform(X), b.transform(X * scale + shift), atol=1e-8)


def test_constant_columns_are_left_out():
    X = np.random.default_rng(0).normal(size=(50, 3))
    with_constant = np.column_stack([X, np.full(50, 0.1)])
    a = RandomFourierFeatures(64, random_state=1).fit(X)
    b = RandomFourierFeatures(64, random_state=1).fit(with_constant)
    assert b.varies_.tolist() == [True, True, True, False]
    np.testing.assert_allclose(a.transform(X), b.transform(with_constant))


def test_only_constant_columns_are_refused():
    with pytest.raises(SeedSelectError, match="all 2 columns of X are constant"):
        RandomFourierFeatures().fit(np.ones((5, 2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_features": 7}, "even"),
        ({"length_scale": "mean"}, "median"),
        ({"length_scale": -1.0}, "positive"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(SeedSelectError, match=message):
        RandomFourierFeatures(**options).fit(np.random.default_rng(0).normal(size=(9, 2)))


def test_mismatched_columns():
    features = RandomFourierFeatures(16).fit(np.random.default_rng(0).normal(size=(9, 2)))
    with pytest.raises(SeedSelectError, match="fitted on 2 columns"):
        features.transform(np.zeros((3, 4)))


def test_smaller_length_scale_raises_the_rank():
    from seedselect import DualGram

    X = np.random.default_rng(0).normal(size=(300, 2))
    ranks = []
    for factor in (2.0, 0.5, 0.1):
        phi = RandomFourierFeatures(256, length_factor=factor, random_state=0).fit_transform(X)
        ranks.append(DualGram(256).update(phi).spectrum().rank)
    assert ranks[0] < ranks[1] < ranks[2]


def test_linear_features():
    X = np.random.default_rng(0).normal(size=(20, 3)) * 7 + 2
    phi = LinearFeatures().fit(X).transform(X)
    assert phi.shape == (20, 4)
    np.testing.assert_allclose(phi[:, :3].mean(axis=0), 0, atol=1e-12)
    raw = LinearFeatures(standardise=False).fit(X).transform(X)
    np.testing.assert_array_equal(raw, X)
