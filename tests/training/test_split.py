import numpy as np
import pytest

from tpainn_calc.errors import DataError
from training.data.split import split_blocks, split_groups

GROUPS = ["a"] * 100 + ["b"] * 63


def test_parts_are_disjoint_and_complete() -> None:
    split = split_blocks(GROUPS, 10, 0.1, 0.2, seed=0)
    joined = np.concatenate([split.train, split.validation, split.test])
    assert sorted(joined) == list(range(163))


def test_blocks_stay_together_and_do_not_cross_trajectories() -> None:
    split = split_blocks(GROUPS, 10, 0.1, 0.2, seed=0)
    part = np.empty(163, dtype=int)
    for k, indices in enumerate((split.train, split.validation, split.test)):
        part[indices] = k
    for first in [*range(0, 100, 10), *range(100, 163, 10)]:
        end = min(first + 10, 100 if first < 100 else 163)
        assert len(set(part[first:end])) == 1


def test_seed_decides() -> None:
    a, b, c = (split_blocks(GROUPS, 5, 0.1, 0.2, seed=s) for s in (0, 0, 1))
    assert np.array_equal(a.test, b.test)
    assert not np.array_equal(a.test, c.test)


def test_too_few_blocks_are_refused() -> None:
    with pytest.raises(DataError, match="test set is empty"):
        split_blocks(["a"] * 10, 10, 0.0, 0.3, seed=0)
    with pytest.raises(DataError, match="nothing to train on"):
        split_blocks(["a"] * 10, 1, 0.5, 0.5, seed=0)


def test_whole_groups_stay_together() -> None:
    groups = [k // 3 for k in range(60)]
    split = split_groups(groups, 0.1, 0.2, seed=0)
    sets = [{groups[i] for i in part} for part in vars(split).values()]
    assert [len(s) for s in sets] == [14, 2, 4]
    assert set.union(*sets) == set(range(20))
    assert sum(len(part) for part in vars(split).values()) == 60
