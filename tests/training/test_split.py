from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from tpainn_calc.base.errors import ConfigError, DataError
from tpainn_calc.base.frames import attach_results, write_extxyz
from training.data.config import DataSection
from training.data.run_data import read_run_data
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


@pytest.fixture
def two_files(tmp_path: Path, frames: list[Atoms]) -> Path:
    write_extxyz(tmp_path / "set-train.extxyz", frames[:-3])
    write_extxyz(tmp_path / "set-test.extxyz", frames[-3:])
    return tmp_path


def test_a_test_set_of_its_own(two_files: Path, frames: list[Atoms]) -> None:
    """The pattern matches it, too; it is not trained on all the same."""
    d = DataSection(files=["set-*.extxyz"], test_files=["set-test.extxyz"], validation=0.2)
    data = read_run_data(d, two_files)
    assert [len(data.part(name)) for name in ("train", "validation", "test")] == [
        len(frames) - 3 - round(0.2 * (len(frames) - 3)),
        round(0.2 * (len(frames) - 3)),
        3,
    ]
    assert {source for source, _ in data.part("test").names()} == {"set-test.extxyz"}
    for a, b in zip(data.part("test"), frames[-3:], strict=True):
        assert np.allclose(a.positions, b.positions, atol=1e-7)  # as the file has them
    assert set(data.files) == {"set-train.extxyz", "set-test.extxyz"}


def test_a_test_frame_that_is_trained_on_is_refused(two_files: Path, frames: list[Atoms]) -> None:
    write_extxyz(two_files / "more.extxyz", frames[-1:])
    d = DataSection(files=["set-train.extxyz", "more.extxyz"], test_files=["set-test.extxyz"])
    with pytest.raises(DataError, match=r"set-test.extxyz, frame 2: .* in data.files as well"):
        read_run_data(d, two_files)


def test_frames_that_are_only_trained_on(two_files: Path, frames: list[Atoms]) -> None:
    more = [atoms.copy() for atoms in frames[:2]]
    for atoms, labelled in zip(more, frames[:2], strict=True):
        atoms.positions += 0.01
        attach_results(atoms, labelled.get_potential_energy(), labelled.get_forces())
    write_extxyz(two_files / "more.extxyz", more)
    d = DataSection(files=["set-*.extxyz"], validation=0.2, test=0.2)
    alone = read_run_data(d, two_files)
    both = read_run_data(d.model_copy(update={"training_files": ["more.extxyz"]}), two_files)
    for name in ("validation", "test"):
        assert both.part(name).names() == alone.part(name).names()
    train = alone.part("train").names()
    assert both.part("train").names() == [*train, ["more.extxyz", 0], ["more.extxyz", 1]]
    (two_files / "other").mkdir()  # another file of the same name
    write_extxyz(two_files / "other" / "set-train.extxyz", more)
    d = d.model_copy(update={"training_files": ["other/set-train.extxyz"]})
    assert len(read_run_data(d, two_files).files) == len(alone.files) + 1
    d = d.model_copy(update={"training_files": []})
    held_out, _ = alone.part("test").names()[0]
    with pytest.raises(DataError, match="listed twice"):
        read_run_data(d.model_copy(update={"training_files": [held_out]}), two_files)
    (two_files / "copy.extxyz").write_bytes((two_files / held_out).read_bytes())
    d = d.model_copy(update={"training_files": ["copy.extxyz"]})
    with pytest.raises(DataError, match=r"held-out frame that is in data\.training_files"):
        read_run_data(d, two_files)


def test_two_definitions_of_the_test_set_are_refused(two_files: Path) -> None:
    with pytest.raises(ValueError, match="not both"):
        DataSection(files=["set-train.extxyz"], test=0.1, test_files=["set-test.extxyz"])
    d = DataSection(files=["set-test.extxyz"], test_files=["set-test.extxyz"])
    with pytest.raises(ConfigError, match="nothing to train on"):
        read_run_data(d, two_files)
