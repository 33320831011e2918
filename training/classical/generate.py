"""Run a classical source: shard by shard, on several processes, resumable at any time."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ase import Atoms
from tqdm import tqdm

from tpainn_calc.base.errors import ConfigError
from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.frames import SUFFIX, to_extxyz, write_shard
from tpainn_calc.base.records import first_difference, read_record, write_record
from training.classical.config import (
    CalculatorSection,
    ClassicalConfig,
    LammpsSection,
    MoleculesSection,
    WaterSection,
)
from training.classical.contract import Limits, Rejected, Shard, Source
from training.data.paths import expand_path

_log = logging.getLogger(__name__)


def make_source(config: ClassicalConfig, base: Path) -> Source:
    """Source that a configuration describes; relative paths refer to `base`."""
    s = config.source
    if isinstance(s, WaterSection):
        from training.classical.water import WaterSource

        return WaterSource(
            s.model,
            tuple(s.n_molecules),
            tuple(s.temperatures),
            tuple(s.densities),
            tuple(s.pressures),
            s.frames,
            s.spacing,
            s.equilibration,
            s.timestep,
            s.stress,
            s.labels,
        )
    if isinstance(s, MoleculesSection):
        from training.classical.molecules import MoleculeSource

        return MoleculeSource.from_section(s, base)
    if isinstance(s, LammpsSection):
        from training.classical.lammps_input import LammpsSource

        return LammpsSource.from_section(s, base)
    assert isinstance(s, CalculatorSection)  # no other kind passes the schema
    from training.classical.calculator import CalculatorSource

    return CalculatorSource.from_section(s, base)


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
        The folder: one file per shard, ``source.json`` (what made them) and ``rejected.txt``.

    Raises
    ------
    ConfigError
        If the folder holds frames of another configuration.
    """
    folder = expand_path(config.output, base)
    source = make_source(config, base)
    shards = source.shards()
    _record(folder, config, source)
    suffix = SUFFIX if config.format == "hdf5" else ".extxyz"
    todo = [s for s in shards if not (folder / f"{s.key}{suffix}").is_file()]
    jobs = [(source, shard, config, folder) for shard in todo]
    began, n_frames = time.monotonic(), 0
    with tqdm(total=len(shards), initial=len(shards) - len(todo), disable=not progress) as bar:
        for n in _run_jobs(jobs, config.workers):
            n_frames += n
            bar.update()
            bar.set_postfix_str(f"{n_frames / (time.monotonic() - began):.1f} frames/s")
    rejected = [line for shard in shards for line in _rejected(folder, shard.key)]
    write_atomically(folder / "rejected.txt", "\n".join(rejected).encode())
    seconds = time.monotonic() - began
    if n_frames:
        _log.info("%d frames in %.0f s (%.2f frames/s)", n_frames, seconds, n_frames / seconds)
    if rejected:
        _log.warning(
            "%d frames rejected, listed in %s%srejected.txt", len(rejected), folder, os.sep
        )
    return folder


Job = tuple[Source, Shard, ClassicalConfig, Path]


def _run_jobs(jobs: list[Job], workers: int) -> Iterator[int]:
    if workers == 1 or len(jobs) < 2:
        yield from map(_run_job, jobs)
        return
    # spawn: OpenMM and torch do not survive a fork of their threads
    with multiprocessing.get_context("spawn").Pool(min(workers, len(jobs))) as pool:
        yield from pool.imap_unordered(_run_job, jobs)


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
    if config.format == "hdf5":
        write_shard(folder, shard.key, kept, rejected)
        return len(kept)
    # the list first: the frames mark the shard as done
    write_atomically(folder / f"{shard.key}.rejected", json.dumps(rejected).encode())
    write_atomically(folder / f"{shard.key}.extxyz", to_extxyz(kept))
    return len(kept)


def _rejected(folder: Path, key: str) -> list[str]:
    listed = folder / f"{key}.rejected"
    if listed.is_file():
        return list(json.loads(listed.read_text()))
    import h5py

    with h5py.File(folder / f"{key}{SUFFIX}", "r") as file:
        return list(json.loads(file.attrs["rejected"]))


def _record(folder: Path, config: ClassicalConfig, source: Source) -> None:
    path = folder / "source.json"
    settings = config.model_dump(mode="json", exclude={"output", "workers"})
    record = {"level": source.level, "config": settings, "source": source.describe()}
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
