"""Files of a set of classical frames: one for each shard, in either format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ase import Atoms

from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.frames import SUFFIX, FrameStore, to_extxyz, write_shard


def shard_file(folder: Path, key: str, form: str) -> Path:
    """File of the frames of a shard, in format ``hdf5`` or ``extxyz``."""
    return folder / f"{key}{SUFFIX if form == 'hdf5' else '.extxyz'}"


def is_written(folder: Path, key: str, form: str) -> bool:
    """Whether a shard is done."""
    return shard_file(folder, key, form).is_file()


def write_frames(
    folder: Path, key: str, form: str, kept: Sequence[Atoms], rejected: Sequence[str]
) -> None:
    """Write a shard, and a line for each frame that was left out."""
    if form == "hdf5":
        write_shard(folder, key, kept, rejected)
        return
    # the list first: the frames mark the shard as done
    write_atomically(folder / f"{key}.rejected", json.dumps(list(rejected)))
    write_atomically(shard_file(folder, key, form), to_extxyz(kept))


def rejected_lines(folder: Path, key: str) -> list[str]:
    """A line for each frame that was left out of a shard."""
    listed = folder / f"{key}.rejected"
    if listed.is_file():
        return list(json.loads(listed.read_text()))
    return FrameStore(folder / f"{key}{SUFFIX}").rejected
