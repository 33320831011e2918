"""Train, validation and test sets that do not share neighbouring frames of a trajectory."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from ase import Atoms

from tpainn_calc.base.errors import DataError


@dataclass(frozen=True)
class Split:
    """Indices of the three sets, each ascending."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split_blocks(
    groups: Sequence[Hashable], block: int, validation: float, test: float, seed: int
) -> Split:
    """Split by blocks of consecutive frames.

    Neighbouring frames of a trajectory are nearly copies of each other, so a frame-by-frame
    random split would test on what was trained on.

    Parameters
    ----------
    groups : sequence
        Trajectory of every frame, in file order; a block never crosses trajectories.
    block : int
        Frames per block; 1 for independent structures.
    validation, test : float
        Fractions of the blocks of every trajectory, rounded to the nearest block. The two sets
        get at least one block each overall where the fraction is not zero.
    seed : int
        The same seed gives the same split.

    Raises
    ------
    DataError
        If there are too few blocks.
    """
    if validation + test >= 1:
        raise DataError(f"validation ({validation}) and test ({test}) leave nothing to train on")
    rng = np.random.default_rng(seed)
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for _, members in groupby(
        sorted(range(len(groups)), key=lambda i: str(groups[i])), lambda i: groups[i]
    ):
        frames = sorted(members)
        blocks = [frames[i : i + block] for i in range(0, len(frames), block)]
        order = rng.permutation(len(blocks))
        n_test = round(test * len(blocks))
        n_validation = round(validation * len(blocks))
        for rank, b in enumerate(order):
            part = (
                "test"
                if rank < n_test
                else "validation"
                if rank < n_test + n_validation
                else "train"
            )
            parts[part] += blocks[b]
    wanted = {"train": True, "validation": validation > 0, "test": test > 0}
    for name, needed in wanted.items():
        if needed and not parts[name]:
            raise DataError(
                f"the {name} set is empty: {len(groups)} frames in blocks of {block} are too few "
                "for these fractions; use smaller blocks or more frames"
            )
    return Split(*(np.array(sorted(parts[k]), dtype=np.int64) for k in parts))


def split_groups(groups: Sequence[Hashable], validation: float, test: float, seed: int) -> Split:
    """Split by whole groups, such as all geometries of a molecule.

    Parameters
    ----------
    groups : sequence
        Group of every frame.
    validation, test : float
        Fractions of the groups, rounded.
    seed : int

    Raises
    ------
    DataError
        If there are too few groups.
    """
    names = list(dict.fromkeys(groups))
    # one frame of each group is split as if groups were frames; the others follow
    by_name = split_blocks([0] * len(names), 1, validation, test, seed)
    part_of = {names[k]: part for part, indices in vars(by_name).items() for k in indices.tolist()}
    parts: dict[str, list[int]] = {part: [] for part in vars(by_name)}
    for index, group in enumerate(groups):
        parts[part_of[group]].append(index)
    return Split(**{part: np.array(found, dtype=np.int64) for part, found in parts.items()})


def test_frames(record: Path, frames: Sequence[Atoms]) -> list[Atoms]:
    """The frames that a run's ``split.json`` lists as its test set.

    Raises
    ------
    DataError
        If the record is unreadable or none of its test frames is among `frames`.
    """
    try:
        listed = json.loads(record.read_text())["sets"]["test"]
        wanted = {(str(source), int(index)) for source, index in listed}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{record} is not a split.json of a training run ({error})") from None
    found = [a for a in frames if (a.info["source"], a.info["index"]) in wanted]
    if not found:
        raise DataError(f"{record} lists no test frame of this file")
    return found
