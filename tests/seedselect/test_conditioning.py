"""Conditioning on labelled and pending points."""

from __future__ import annotations

import numpy as np
import pytest

from seedselect import ArrayPool, LowRankKernel, SeedSelectError, posterior_transform
from seedselect.baselines import _Identity, array_kernel
from seedselect.kernel.posterior import known_points


@pytest.mark.parametrize("m", [2, 5, 20])
def test_posterior_covariance_of_a_gaussian_process(m):
    rng = np.random.default_rng(m)
    known, new = rng.normal(size=(m, 6)), rng.normal(size=(4, 6))
    noise = 0.3
    transform = posterior_transform(known, noise)
    np.testing.assert_allclose(transform, transform.T, atol=1e-12)
    mapped = new @ transform
    cross = new @ known.T
    expected = new @ new.T - cross @ np.linalg.solve(known @ known.T + noise * np.eye(m), cross.T)
    np.testing.assert_allclose(mapped @ mapped.T, expected, atol=1e-10)


def test_conditioned_gram_is_the_transformed_gram():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 6))
    transform = posterior_transform(rows[:3], 0.1)
    direct = LowRankKernel(ArrayPool(rows), _Identity(), None, transform).gram().spectrum()
    dual = array_kernel(rows).gram().spectrum(transform)
    np.testing.assert_allclose(direct.values, dual.values, rtol=1e-9)


def test_noise_must_be_positive():
    with pytest.raises(SeedSelectError, match="noise"):
        posterior_transform(np.eye(2), 0.0)


def test_known_points_by_row_and_by_descriptor():
    pool = ArrayPool(np.arange(12.0).reshape(6, 2))
    open_rows, known = known_points(pool, labeled=[1, 4], pending=np.array([[9.0, 9.0]]))
    assert open_rows.tolist() == [True, False, True, True, False, True]
    np.testing.assert_array_equal(known, [[2, 3], [8, 9], [9, 9]])
    assert known_points(pool, labeled=None, pending=[])[1] is None


@pytest.mark.parametrize(
    ("value", "message"),
    [([7], "outside the pool"), ([-1], "outside"), (np.zeros((1, 3)), "pending has shape")],
)
def test_bad_known_points(value, message):
    pool = ArrayPool(np.zeros((6, 2)))
    with pytest.raises(SeedSelectError, match=message):
        known_points(pool, pending=value)
