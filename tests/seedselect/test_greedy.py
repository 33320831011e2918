"""Greedy MAP against brute force, budgets, ordering."""

from __future__ import annotations

import numpy as np
import pytest

from seedselect import SeedSelectError, greedy_map
from seedselect.baselines import array_kernel
from seedselect.sampling.greedy import information_per_label, order_rows


def brute_force(rows, n):
    kernel = rows @ rows.T
    chosen: list[int] = []
    for _ in range(n):
        best = max(
            (i for i in range(len(rows)) if i not in chosen),
            key=lambda i: np.linalg.det(kernel[np.ix_([*chosen, i], [*chosen, i])]),
        )
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("batch", [1, 3, 256])
@pytest.mark.parametrize("seed", range(3))
def test_equals_brute_force(seed, batch):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(40, 12)) * rng.uniform(0.5, 1.5, size=(40, 1))
    result = greedy_map(array_kernel(rows), 10, batch=batch)
    assert result.indices.tolist() == brute_force(rows, 10)
    assert (np.diff(result.gains) <= 1e-12).all()


def test_stops_at_the_rank():
    rows = np.random.default_rng(0).normal(size=(30, 4))
    result = greedy_map(array_kernel(rows), 10)
    assert len(result.indices) == 4
    assert result.stopped == "eps"


def test_duplicates_are_not_repeated():
    rows = np.repeat(np.random.default_rng(0).normal(size=(5, 9)), 3, axis=0)
    result = greedy_map(array_kernel(rows), 5)
    assert len(set(result.indices // 3)) == 5


def test_budget_is_kept_and_cheap_rows_win():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 20))
    rows /= np.linalg.norm(rows, axis=1)[:, None]
    cost = np.where(np.arange(60) < 30, 1.0, 10.0)
    result = greedy_map(array_kernel(rows), None, noise=0.1, cost=cost, budget=25.0)
    assert cost[result.indices].sum() <= 25.0
    assert result.stopped == "budget"
    assert (result.indices < 30).mean() > 0.8
    free = greedy_map(array_kernel(rows), 20, noise=0.1)
    assert (free.indices < 30).mean() < 0.8


def test_cost_needs_noise():
    with pytest.raises(SeedSelectError, match="noise"):
        greedy_map(array_kernel(np.eye(3)), 2, cost=np.ones(3))


def test_noise_agrees_with_the_ridged_determinant():
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(25, 6))
    result = greedy_map(array_kernel(rows), 9, noise=0.5)
    kernel = rows @ rows.T
    chosen: list[int] = []
    for _ in range(9):
        best = max(
            (i for i in range(25) if i not in chosen),
            key=lambda i: np.linalg.det(
                kernel[np.ix_([*chosen, i], [*chosen, i])] + 0.5 * np.eye(len(chosen) + 1)
            ),
        )
        chosen.append(best)
    assert result.indices.tolist() == chosen


@pytest.mark.parametrize("seed", range(5))
def test_prefixes_of_the_order_are_better_than_chance(seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(20, 30)) * rng.uniform(0.2, 2, size=(20, 1))
    order = order_rows(rows)
    assert sorted(order.tolist()) == list(range(20))

    def volume(index):
        return np.linalg.slogdet(rows[index] @ rows[index].T)[1]

    for size in (3, 8, 15):
        chance = [volume(rng.permutation(20)[:size]) for _ in range(100)]
        assert np.mean(volume(order[:size]) > chance) > 0.9


def test_order_survives_zero_rows():
    assert sorted(order_rows(np.zeros((4, 3))).tolist()) == [0, 1, 2, 3]


def test_information_adds_up_to_the_log_determinant():
    features = np.random.default_rng(0).normal(size=(6, 9))
    info = information_per_label(features, 0.1)
    total = 0.5 * np.linalg.slogdet(np.eye(6) + features @ features.T / 0.1)[1]
    assert info.sum() == pytest.approx(total)
    twice = information_per_label(np.vstack([features, features[:1]]), 0.1)
    assert twice[-1] < 0.2 * info[0]
