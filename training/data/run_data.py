"""The data of a run: frames, their split, and the record of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from tpainn_calc.base.errors import ConfigError, DataError
from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.frames import checksum, results_of
from tpainn_calc.base.records import record_once
from training.data.config import DataSection
from training.data.frames import Frames, read_frames
from training.data.keys import LabelKeys
from training.data.paths import expand_files
from training.data.split import Split, split_blocks, split_groups

_log = logging.getLogger(__name__)


@dataclass
class RunData:
    """The frames of a run, split.

    Attributes
    ----------
    frames : Frames
    split : Split
    files : dict of str to str
        sha256 of each file.
    rejected : list of str
        One line per frame that was left out.
    """

    frames: Frames
    split: Split
    files: dict[str, str]
    rejected: list[str] = field(default_factory=list)

    def part(self, name: str) -> Frames:
        """Frames of ``"train"``, ``"validation"`` or ``"test"``."""
        return self.frames.select(getattr(self.split, name))

    def describe(self) -> str:
        """A line for people."""
        sizes = ", ".join(f"{len(part)} {name}" for name, part in vars(self.split).items())
        return f"frames: {sizes}; {len(self.rejected)} rejected"

    def subset(self, n_train: int, seed: int) -> RunData:
        """The same set with `n_train` training frames; subsets of one seed are nested.

        Raises
        ------
        DataError
            If there are not as many.
        """
        train = self.split.train
        if n_train > len(train):
            raise DataError(f"there are {len(train)} training frames, not n_train = {n_train}")
        chosen = np.random.default_rng((seed, 0)).permutation(train)[:n_train]
        return replace(self, split=replace(self.split, train=np.sort(chosen)))


def read_run_data(d: DataSection, base: Path, forces: bool = True, stress: bool = False) -> RunData:
    """Read, check and split data.

    Parameters
    ----------
    d : DataSection
    base : Path
        Folder that relative paths refer to.
    forces : bool
        Whether every frame must have forces.
    stress : bool
        Whether there must be training frames with a stress.

    Raises
    ------
    DataError
        If the frames lack labels, or are too few to be split.
    """
    held_out = list(expand_files(d.test_files, base).values())
    others = [path for path in expand_files(d.files, base).values() if path not in held_out]
    extra = list(expand_files(d.training_files, base).values())
    # together, so that no two have one name
    paths = [str(path) for path in [*others, *held_out, *extra]]
    names = {path: name for name, path in expand_files(paths, base).items()}
    frames, rejected = _read(d, [(names[path], path) for path in others], forces)
    split = _split(d, frames)
    if held_out:
        tests, without = _read(d, [(names[path], path) for path in held_out], forces)
        _check_unseen(frames, tests, "files")
        split = replace(split, test=len(frames) + np.arange(len(tests)))
        frames, rejected = frames + tests, rejected + without
    if extra:
        more, without = _read(d, [(names[path], path) for path in extra], forces)
        held_out_ones = frames.select(np.concatenate([split.validation, split.test]))
        _check_unseen(more, held_out_ones, "training_files")
        added = len(frames) + np.arange(len(more))
        split = replace(split, train=np.concatenate([split.train, added]))
        frames, rejected = frames + more, rejected + without
    files = {name: checksum(path) for path, name in names.items()}
    data = RunData(frames, split, files, rejected)
    if stress and not any("stress" in results_of(atoms) for atoms in data.part("train")):
        raise DataError(
            "loss.stress is not zero, but no training frame has a stress; set it to zero, or label "
            "frames with their stress"
        )
    return data.subset(d.n_train, d.subset_seed) if d.n_train else data


def _read(
    d: DataSection, named: Sequence[tuple[str, Path]], forces: bool
) -> tuple[Frames, list[str]]:
    """Frames of files, and a line for each that was left out."""
    if not named:
        raise ConfigError("every file of data.files is in data.test_files: nothing to train on")
    keys = LabelKeys(d.energy_key, d.forces_key, d.stress_key)
    read = [
        read_frames(path, d.level, d.max_force, d.min_distance, forces, keys, name)
        for name, path in named
    ]
    frames = read[0][0]
    for part, _ in read[1:]:
        frames = frames + part
    return frames, [line for _, left_out in read for line in left_out]


def _split(d: DataSection, frames: Frames) -> Split:
    test = 0.0 if d.test_files else d.test
    if d.group_by:
        groups = [(a.info["source"], a.info.get(d.group_by)) for a in frames]
    else:
        groups = [(source, None) for source, _ in frames.names()]
    if not d.whole_groups:
        return split_blocks(groups, d.block, d.validation, test, d.split_seed)
    if not d.group_by:
        raise ConfigError("data.whole_groups needs data.group_by: the key that names a group")
    return split_groups(groups, d.validation, test, d.split_seed)


def _check_unseen(frames: Frames, tests: Frames, where: str) -> None:
    """Refuse held-out frames that are among those of a key of the configuration."""
    seen = {(atoms.numbers.tobytes(), atoms.positions.tobytes()) for atoms in frames}
    for atoms, (source, index) in zip(tests, tests.names(), strict=True):
        if (atoms.numbers.tobytes(), atoms.positions.tobytes()) in seen:
            raise DataError(
                f"{source}, frame {index}: a held-out frame that is in data.{where} as well; "
                "take it out there"
            )


def record_split(output: Path, data: RunData, start: str | None = None) -> None:
    """Write ``split.json`` and ``rejected.txt``, or check that they are those of this run.

    Parameters
    ----------
    output : Path
    data : RunData
    start : str, optional
        sha256 of the model that the run starts from.

    Raises
    ------
    ConfigError
        If the folder records another split or start.
    """
    record = {
        "files_sha256": data.files,
        "sets": {
            name: data.frames.select(indices).names() for name, indices in vars(data.split).items()
        },
    }
    if start is not None:
        record["start_sha256"] = start
    record_once(
        output / "split.json",
        record,
        f"{output / 'split.json'} records another data split: the data, the model or the "
        "configuration changed since this run began; choose another output folder",
    )
    write_atomically(output / "rejected.txt", "\n".join(data.rejected).encode())
    if data.rejected:
        _log.warning("%d frames rejected, see %s%srejected.txt", len(data.rejected), output, os.sep)
