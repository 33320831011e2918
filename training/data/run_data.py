"""The data of a run: frames, their split, and the record of it."""

from __future__ import annotations

import logging
import os
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
    parts: list[Frames] = []
    rejected: list[str] = []
    files = {}
    keys = LabelKeys(d.energy_key, d.forces_key, d.stress_key)
    for name, path in expand_files(d.files, base).items():
        kept, left_out = read_frames(path, d.level, d.max_force, d.min_distance, forces, keys, name)
        parts.append(kept)
        rejected += left_out
        files[name] = checksum(path)
    frames = parts[0]
    for part in parts[1:]:
        frames = frames + part
    if d.group_by:
        groups = [(a.info["source"], a.info.get(d.group_by)) for a in frames]
    else:
        groups = [(source, None) for source, _ in frames.names()]
    if d.whole_groups:
        if not d.group_by:
            raise ConfigError("data.whole_groups needs data.group_by: the key that names a group")
        split = split_groups(groups, d.validation, d.test, d.split_seed)
    else:
        split = split_blocks(groups, d.block, d.validation, d.test, d.split_seed)
    data = RunData(frames, split, files, rejected)
    if stress and not any("stress" in results_of(atoms) for atoms in data.part("train")):
        raise DataError(
            "loss.stress is not zero, but no training frame has a stress; set it to zero, or label "
            "frames with their stress"
        )
    return data.subset(d.n_train, d.subset_seed) if d.n_train else data


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
