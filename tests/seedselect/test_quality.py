"""Qualities: tails, tempering, cost, calibration."""

from __future__ import annotations

import numpy as np
import pytest

from seedselect import SeedSelectError
from seedselect.scores.quality import (
    FLOOR,
    SpreadCalibration,
    check_cost,
    divide_by_cost,
    effective_number,
    shape_quality,
)


def test_tails_are_cut_and_floored():
    score = np.concatenate([np.linspace(0, 1, 99), [1e6]])
    q = shape_quality(score, clip=(0.0, 0.98))
    assert q.max() == 1
    assert q.min() == FLOOR
    assert q[50] > 0.3
    # Control: without the cut one wild score empties all others.
    assert shape_quality(score, clip=(0.0, 1.0))[50] == FLOOR


def test_temper_flattens():
    score = np.random.default_rng(0).gamma(1.0, size=200)
    numbers = [effective_number(shape_quality(score, temper=t)) for t in (0.0, 0.5, 1.0, 2.0)]
    assert numbers[0] == pytest.approx(200)
    assert numbers == sorted(numbers, reverse=True)


def test_constant_zero_scores_mean_diversity_alone():
    np.testing.assert_array_equal(shape_quality(np.zeros(4)), np.ones(4))


@pytest.mark.parametrize("options", [{"clip": (0.5, 0.5)}, {"clip": (-1, 1)}, {"temper": -1}])
def test_bad_options(options):
    with pytest.raises(SeedSelectError):
        shape_quality(np.ones(3), **options)


def test_cost_lowers_quality():
    q = divide_by_cost(np.ones(3), np.array([1.0, 2.0, 4.0]), 1.0)
    np.testing.assert_allclose(q, [1, 0.5, 0.25])


@pytest.mark.parametrize("cost", [[1, 2], [1, 2, -1], [1, 2, np.nan]])
def test_bad_costs(cost):
    with pytest.raises(SeedSelectError, match="cost"):
        check_cost(cost, 3)


def test_calibration_finds_a_scale_and_ignores_noise():
    rng = np.random.default_rng(0)
    variance = rng.gamma(2.0, size=(4000, 1))
    honest = 3.0 * variance * rng.chisquare(1, size=variance.shape)
    fit = SpreadCalibration().fit(variance, honest)
    assert fit.slope_[0] == pytest.approx(3, rel=0.2)
    assert fit.intercept_[0] < 0.5
    unrelated = rng.chisquare(1, size=variance.shape)
    flat = SpreadCalibration().fit(variance, unrelated)
    expected = flat.expected_error(np.array([[0.1], [10.0]]))
    assert expected[1] / expected[0] < 1.5
    good = fit.expected_error(np.array([[0.1], [10.0]]))
    assert good[1] / good[0] > 3
