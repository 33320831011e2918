"""Labels of another level on frames that a cheap force field has sampled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from ase import Atoms
from tqdm import tqdm

from tpainn_calc.base.errors import DataError
from tpainn_calc.base.frames import open_frames
from training.classical.config import ClassicalConfig
from training.classical.contract import Limits, Shard
from training.classical.shards import is_written, shard_file, write_frames
from training.labels.breakdowns import settle
from training.labels.engines.config import AnyEngine
from training.labels.engines.contract import Label
from training.labels.journal import Journal
from training.labels.processes import label_on_processes

#: Info key of the level that a frame was sampled with.
SAMPLED_WITH = "sampled_with"


def relabel(
    config: ClassicalConfig,
    engine: AnyEngine,
    shards: Sequence[Shard],
    sampled: Path,
    folder: Path,
    progress: bool = True,
) -> int:
    """Label the frames of all shards that are not in a folder yet, by an engine, in parallel.

    Geometry and info of a frame stay; it carries the level of its labels, and under
    ``sampled_with`` that of the force field. Labels are kept one by one in ``labelling/``, so that
    a killed run loses no more than those that were being computed.

    Parameters
    ----------
    config : ClassicalConfig
    engine : AnyEngine
    shards : sequence of Shard
    sampled : Path
        Folder of the sampled frames.
    folder : Path
        Of the labelled ones.
    progress : bool

    Returns
    -------
    int
        Frames that were labelled.

    Raises
    ------
    LabelError
        If the engine does not work.
    """
    journals = {
        shard.key: Journal(folder / "labelling" / f"{shard.key}.extxyz")
        for shard in shards
        if not is_written(folder, shard.key, config.format)
    }
    left = dict.fromkeys(journals, 0)

    def open_ones() -> Iterator[tuple[str, Atoms]]:
        for key, journal in journals.items():
            frames = _sampled_frames(sampled, key, config.format)
            todo = [k for k in range(len(frames)) if k not in journal.known]
            left[key] = len(todo)
            if not todo:
                _finish(config, key, frames, journal, folder)
            for k in todo:
                yield f"{key}/{k}", frames[k]

    n = 0
    outcomes = settle(label_on_processes(config.workers, engine, open_ones(), config.time_limit))
    with tqdm(desc="labels", disable=not progress, unit="label") as bar:
        for name, result in outcomes:
            key, _, number = name.rpartition("/")
            journals[key].write(int(number), result)
            n += isinstance(result, Label)
            bar.update()
            left[key] -= 1
            if not left[key]:
                frames = _sampled_frames(sampled, key, config.format)
                _finish(config, key, frames, journals[key], folder)
    return n


def _sampled_frames(folder: Path, key: str, form: str) -> Sequence[Atoms]:
    path = shard_file(folder, key, form)
    if not path.is_file():
        raise DataError(f"{path} is gone; put it back, or begin a new output folder")
    if not path.stat().st_size:
        return []
    return open_frames(path)


def _finish(
    config: ClassicalConfig, key: str, frames: Sequence[Atoms], journal: Journal, folder: Path
) -> None:
    """Write the labelled shard, in the order of the sampled one."""
    limits = Limits(config.max_force, config.min_distance)
    said = journal.read()
    kept, rejected = [], []
    for k, sampled in enumerate(frames):
        result = said[k]
        problem = result if isinstance(result, str) else limits.problem(result)
        if problem is not None:
            rejected.append(f"{key}, frame {k}: {problem}")
            continue
        assert isinstance(result, Atoms)  # one without a label has a problem
        level = result.info["level"]
        # numbers as they were sampled, not as text has rounded them
        result.positions = sampled.positions
        result.set_cell(sampled.cell)
        result.info = {**sampled.info, "level": level, SAMPLED_WITH: sampled.info["level"]}
        kept.append(result)
    write_frames(folder, key, config.format, kept, rejected)
    journal.remove()
