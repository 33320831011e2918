"""Run a classical source: shard by shard, on several processes, resumable at any time."""

from __future__ import annotations

import logging
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

from ase import Atoms
from tqdm import tqdm

from tpainn_calc.base.errors import ConfigError, DataError
from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.records import first_difference, read_record, write_record
from training.classical.config import ClassicalConfig
from training.classical.contract import Limits, Rejected, Shard, Source
from training.classical.relabel import relabel
from training.classical.shards import is_written, rejected_lines, write_frames
from training.classical.sources import level_of, make_source
from training.data.paths import expand_path
from training.run_folder import run_folder

_log = logging.getLogger(__name__)


def generate(config: ClassicalConfig, base: Path, progress: bool = True) -> Path:
    """Write the frames of a classical source.

    Run it again after an interruption: shards whose frames are on disk are not repeated, and the
    result is the same, byte for byte, as that of an undisturbed run.

    Parameters
    ----------
    config : ClassicalConfig
    base : Path
        Folder that relative paths refer to.
    progress : bool
        Show a bar with the time left.

    Returns
    -------
    Path
        The folder: one file per shard, ``source.json`` (what made them), ``rejected.txt``,
        ``config.yaml`` (with all defaults) and ``log.txt``.
        With ``labels`` from another level, ``sampled/`` holds the frames as they were sampled.

    Raises
    ------
    ConfigError
        If the folder holds frames of another configuration.
    BusyError
        If another process makes them.
    LabelError
        If the engine that labels does not work.
    """
    folder = expand_path(config.output, base)
    # mistakes are said before the folder is made
    source = make_source(config.source, base)
    level = level_of(config.source, base)
    shards = source.shards()
    check = partial(_record, folder, config, source, level)
    busy = "process {holder} makes these frames; wait for it to end"
    with run_folder(folder, config, check, busy):
        return _generate(config, source, shards, folder, progress)


def _generate(
    config: ClassicalConfig,
    source: Source,
    shards: Sequence[Shard],
    folder: Path,
    progress: bool,
) -> Path:
    engine = config.source.labels
    sampled = folder if engine is None else folder / "sampled"
    began = time.monotonic()
    n_frames = _sample(config, source, shards, sampled, folder, progress)
    if engine is not None:
        n_frames = relabel(config, engine, shards, sampled, folder, progress)
    rejected = [line for shard in shards for line in rejected_lines(folder, shard.key)]
    write_atomically(folder / "rejected.txt", "\n".join(rejected))
    seconds = time.monotonic() - began
    if n_frames:
        _log.info("%d frames in %.0f s (%.2f frames/s)", n_frames, seconds, n_frames / seconds)
    if rejected:
        _log.warning(
            "%d frames rejected, listed in %s%srejected.txt", len(rejected), folder, os.sep
        )
    return folder


def _sample(
    config: ClassicalConfig,
    source: Source,
    shards: Sequence[Shard],
    sampled: Path,
    folder: Path,
    progress: bool,
) -> int:
    """Write the shards that are not there, and not labelled either; return the frames."""
    todo = [
        shard
        for shard in shards
        if not is_written(sampled, shard.key, config.format)
        and not is_written(folder, shard.key, config.format)
    ]
    jobs = [(source, shard, config, sampled) for shard in todo]
    began, n_frames = time.monotonic(), 0
    with tqdm(total=len(shards), initial=len(shards) - len(todo), disable=not progress) as bar:
        for n in _run_jobs(jobs, config.workers):
            n_frames += n
            bar.update()
            bar.set_postfix_str(f"{n_frames / (time.monotonic() - began):.1f} frames/s")
    return n_frames


Job = tuple[Source, Shard, ClassicalConfig, Path]


def _run_jobs(jobs: list[Job], workers: int) -> Iterator[int]:
    if workers == 1 or len(jobs) < 2:
        yield from map(_run_job, jobs)
        return
    # spawn: OpenMM and torch do not survive a fork of their threads
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), context) as executor:
        futures = [executor.submit(_run_job, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise DataError(
                "a process that sampled was killed, perhaps for want of memory: fewer workers; "
                "what is finished is kept"
            ) from None
        finally:
            executor.shutdown(wait=False, cancel_futures=True)


def _run_job(job: Job) -> int:
    source, shard, config, folder = job
    limits = Limits(config.max_force, config.min_distance)
    kept: list[Atoms] = []
    rejected: list[str] = []
    for number, frame in enumerate(source.frames(shard, config.seed)):
        problem = frame.reason if isinstance(frame, Rejected) else limits.problem(frame)
        if problem is not None:
            rejected.append(f"{shard.key}, frame {number}: {problem}")
            continue
        assert isinstance(frame, Atoms)  # a rejected one has a problem
        frame.info["level"] = source.level
        kept.append(frame)
    write_frames(folder, shard.key, config.format, kept, rejected)
    return len(kept)


def _record(folder: Path, config: ClassicalConfig, source: Source, level: str) -> None:
    path = folder / "source.json"
    settings = config.model_dump(mode="json", exclude={"output", "workers", "time_limit"})
    record = {
        "level": level,
        "config": settings,
        "source": source.describe(),
    }
    if not path.is_file():
        write_record(path, record)
        return
    found = read_record(path, "choose another output folder")
    # versions of libraries may differ
    key = first_difference(found.get("config"), settings)
    if key:
        raise ConfigError(
            f"{folder} holds frames of another configuration ({key}; see source.json there); "
            "choose another output folder"
        )
