"""Block formulas of the joint score against explicit matrices and against the stable route."""

from __future__ import annotations

import numpy as np
import pytest

from seedselect import joint_kl
from seedselect.scores import joint
from seedselect.scores.divergence import gaussian_kl


def direct(predictions, inside, ridge):
    """Explicit covariances; that of a single member is the ridge alone."""
    moments = []
    for group in (predictions[inside], predictions[~inside]):
        off = group - group.mean(axis=0)
        covariance = off.T @ off / max(len(group) - 1, 1)
        moments += [group.mean(axis=0), covariance + ridge * np.eye(predictions.shape[1])]
    return gaussian_kl(*moments)


@pytest.fixture
def white():
    rng = np.random.default_rng(3)
    return rng.normal(size=(24, 40)), rng.random((90, 24)) < 0.63


@pytest.fixture
def correlated():
    """Members that differ mostly by a constant: one eigenvalue far above the rest."""
    rng = np.random.default_rng(4)
    predictions = rng.normal(size=(24, 1)) + 1e-2 * rng.normal(size=(24, 40))
    return predictions, rng.random((30, 24)) < 0.63


def test_groups_of_every_size(white):
    predictions, _ = white
    in_bag = np.arange(24) < np.arange(1, 24)[:, None]
    values = joint_kl(predictions, in_bag, 0.05)
    for row, seen in enumerate(in_bag):
        assert values[row] == pytest.approx(direct(predictions, seen, 0.05), rel=1e-9)


def test_both_routes_agree(white, monkeypatch):
    blocks = joint_kl(*white)
    monkeypatch.setattr(joint, "CANCELLATION", -1.0)
    np.testing.assert_allclose(blocks, joint_kl(*white), rtol=1e-10)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_block_size_does_not_matter(white, monkeypatch, size):
    expected = joint_kl(*white)
    monkeypatch.setattr(joint, "BLOCK", size)
    np.testing.assert_allclose(joint_kl(*white), expected, rtol=1e-12)


def test_correlated_members_take_the_stable_route(correlated, monkeypatch):
    predictions, in_bag = correlated
    expected = [direct(predictions, seen, 1e-4) for seen in in_bag]
    np.testing.assert_allclose(joint_kl(predictions, in_bag, 1e-4), expected, rtol=1e-6)
    # Control: without the switch the block formulas lose the digits.
    monkeypatch.setattr(joint, "CANCELLATION", np.inf)
    lost = np.abs(joint_kl(predictions, in_bag, 1e-4) - expected).max()
    monkeypatch.undo()
    kept = np.abs(joint_kl(predictions, in_bag, 1e-4) - expected).max()
    assert kept < 0.1 * lost
