"""Scores against closed forms; true bags; reliability."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin

from seedselect import SeedSelectError, joint_kl, local_kl, marginal_kl, split_half_reliability
from seedselect.scores.committee import Committee
from seedselect.scores.divergence import gaussian_kl


class BagRecorder(RegressorMixin, BaseEstimator):
    """A regressor that keeps the rows it was fitted on (column 0 of X is the row number)."""

    def fit(self, X, y, sample_weight=None):
        # Bagging passes either the bootstrap sample or weights that count repetitions.
        seen = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight)
        self.seen_ = set(X[seen > 0, 0].astype(int).tolist())
        return self

    def predict(self, X):
        return np.isin(X[:, 0].astype(int), list(self.seen_)).astype(float)


def random_ensemble(members=30, rows=25, points=12, seed=0):
    rng = np.random.default_rng(seed)
    in_bag = rng.random((rows, members)) < 0.63
    return rng.normal(size=(members, points)), in_bag


def direct(predictions, inside, ridge):
    """Mean and covariance of two groups of members, then the textbook formula."""
    groups = [predictions[inside], predictions[~inside]]
    means = [g.mean(axis=0) for g in groups]
    covs = [np.atleast_2d(np.cov(g.T)) + ridge * np.eye(predictions.shape[1]) for g in groups]
    return gaussian_kl(means[0], covs[0], means[1], covs[1])


def test_bags_are_those_the_members_saw():
    X = np.column_stack([np.arange(60.0), np.ones(60)])
    committee = Committee(BagRecorder(), (3,))
    committee.grow(X, np.zeros((60, 1)), 25)
    committee.grow(X, np.zeros((60, 1)), 15)
    assert committee.in_bag.shape == (60, 40)
    for column, member in enumerate(committee.members):
        assert set(np.flatnonzero(committee.in_bag[:, column]).tolist()) == member.seen_
    # Control: a replayed random stream gives other bags.
    replay = np.random.RandomState(3)
    matches = sum(
        set(replay.randint(0, 60, 60).tolist()) == member.seen_ for member in committee.members
    )
    assert matches == 0


def test_gaussian_kl_by_hand():
    # N(1, 2) against N(0, 4): 1/2 [0.5 + 0.25 - 1 + ln 2].
    value = gaussian_kl(np.array([1.0]), np.array([[2.0]]), np.zeros(1), np.array([[4.0]]))
    assert value == pytest.approx(0.5 * (0.5 + 0.25 - 1 + np.log(2)))
    identical = gaussian_kl(np.ones(3), np.eye(3), np.ones(3), np.eye(3))
    assert identical == pytest.approx(0, abs=1e-14)


def test_local_on_a_hand_made_ensemble():
    # Row 0: in-bag members say 1, 3 (mean 2, variance 2), the others 0, 2 (mean 1, variance 2).
    predictions = np.array([[1.0], [3.0], [0.0], [2.0]])
    in_bag = np.array([[True, True, False, False]])
    ridge = 1e-2
    expected = 0.5 * 1.0 / (2 + ridge)
    assert local_kl(predictions, in_bag, ridge)[0] == pytest.approx(expected)


def test_local_equals_closed_form():
    predictions, in_bag = random_ensemble(rows=12, points=12)
    values = local_kl(predictions, in_bag, 0.05)
    for i in range(12):
        expected = direct(predictions[:, [i]], in_bag[i], 0.05)
        assert values[i] == pytest.approx(expected, rel=1e-9)


def test_marginal_equals_mean_of_closed_forms():
    predictions, in_bag = random_ensemble()
    values = marginal_kl(predictions, in_bag, 0.05)
    for i in range(len(in_bag)):
        expected = np.mean([direct(predictions[:, [m]], in_bag[i], 0.05) for m in range(12)])
        assert values[i] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("points", [3, 12, 80])
def test_joint_equals_full_matrices(points):
    predictions, in_bag = random_ensemble(points=points)
    predictions = predictions + 4.0
    values = joint_kl(predictions, in_bag, 0.05)
    for i in range(len(in_bag)):
        assert values[i] == pytest.approx(direct(predictions, in_bag[i], 0.05), rel=1e-8)


@pytest.mark.parametrize("function", [local_kl, marginal_kl, joint_kl])
def test_never_negative(function):
    for seed in range(5):
        predictions, in_bag = random_ensemble(rows=12, seed=seed)
        assert function(predictions, in_bag, 1e-3).min() >= 0


def test_wrong_sign_of_the_log_determinant_would_be_negative():
    """Control: the faulty formula falls below zero where ours does not."""
    small, big = np.eye(2) * 0.1, np.eye(2)
    right = gaussian_kl(np.zeros(2), small, np.zeros(2), big)
    # Turning the sign of ln|S_oob| - ln|S_in| subtracts it once where it should be added.
    wrong = right - (np.linalg.slogdet(big)[1] - np.linalg.slogdet(small)[1])
    assert right > 0 > wrong


@pytest.mark.parametrize("function", [local_kl, marginal_kl, joint_kl])
def test_rows_that_all_or_no_members_saw_score_zero(function):
    predictions, in_bag = random_ensemble(rows=12)
    in_bag[0], in_bag[1] = True, False
    values = function(predictions, in_bag, 0.05)
    assert values[0] == values[1] == 0
    assert (values[2:] > 0).all()


def test_shapes_and_ridge_are_checked():
    predictions, in_bag = random_ensemble()
    with pytest.raises(SeedSelectError, match="members"):
        marginal_kl(predictions[:-1], in_bag)
    with pytest.raises(SeedSelectError, match="ridge"):
        marginal_kl(predictions, in_bag, 0.0)


def test_split_half_reliability():
    truth = np.random.default_rng(0).normal(size=2000)
    noise = np.random.default_rng(1).normal(size=(2, 2000))
    assert split_half_reliability(truth, truth) == pytest.approx(1)
    # Equal parts of signal and noise: r = 1/2 steps up to 2/3 (ranks: a little less).
    value = split_half_reliability(truth + noise[0], truth + noise[1])
    assert value == pytest.approx(2 / 3, abs=0.05)
    assert abs(split_half_reliability(noise[0], noise[1])) < 0.1
    assert split_half_reliability(np.ones(5), np.arange(5.0)) == 0
