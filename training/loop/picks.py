"""Picks and labels of a loop: seedselect's campaign, and its labels as a training set."""

from __future__ import annotations

from pathlib import Path

import yaml
from ase import Atoms

from tpainn_calc.base.errors import DataError
from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.frames import read_extxyz, to_extxyz
from training.labels.campaign import Campaign, run_seedselect
from training.labels.folder import LabelFolder
from training.labels.labelling import label_campaign
from training.loop.config import LoopConfig
from training.loop.waiting import Waiting


def pick_at_random(pool: Path, n: int, seed: int, campaign: Path) -> None:
    """Draw frames of a pool uniformly into a campaign; nothing where it is there already."""
    # diversity and few members: the score of the frames is not asked for
    words = ["--sampler", "random", "--quality", "diversity", "--dedup", "0"]
    words += ["-n", str(n), "--seed", str(seed), "--n-estimators", "4", "--n-features", "8"]
    _begin(pool, campaign, *words)


def _begin(pool: Path, campaign: Path, *options: str) -> None:
    manifest = campaign / "manifest.json"
    if manifest.is_file():
        return
    try:
        run_seedselect("pick", str(pool), "-o", str(campaign), *options)
    except DataError:
        # what a killed loop had started may have come to its end beside us
        if not manifest.is_file():
            raise


def pick(config: LoopConfig, number: int, pool: Path, campaign: Path) -> None:
    """Pick the frames of a round, unless they are picked already.

    Parameters
    ----------
    config : LoopConfig
    number : int
        Of the round, from 0.
    pool : Path
        The classical pool for round 0; for the others the frames of the MD of the round before.
    campaign : Path
    """
    if number == 0:
        settings = campaign.parent / "pick.yaml"
        content = {**config.pick.settings, "seed": config.seed}
        write_atomically(settings, yaml.safe_dump(content).encode())
        words = ["-n", str(config.pick.first), "--config", str(settings)]
        _begin(pool, campaign, *words)
        return
    words = ["next", str(campaign), "-n", str(config.pick.next), "--pool", str(pool)]
    words += ["--round", str(number + 1)]
    if config.pick.quality == "deviation":
        words += ["--quality-key", "force_deviation"]
    run_seedselect(*words)


def round_file(campaign: Path, number: int) -> Path:
    """Frames that a round of the loop picked."""
    return campaign / "rounds" / f"round_{number + 1:03d}.extxyz"


def label(config: LoopConfig, campaign: Path, progress: bool) -> tuple[list[Atoms], list[str]]:
    """Label what is open in a campaign.

    Returns
    -------
    frames : list of ase.Atoms
        All labelled frames of the campaign, by round and order, whatever order they were labelled
        in, so that training does not depend on it.
    failed : list of str
        Keys of those without a label.

    Raises
    ------
    Waiting
        If labels are made elsewhere and not all are there.
    DataError
        If not one frame has a label.
    """
    if config.label.where == "elsewhere":
        folder = LabelFolder(campaign / "labels")
        known = folder.keys() | set(folder.failures())
        pending = {k for k, state in Campaign(campaign).states.items() if state == "pending"}
        n_open = len(pending - known)
        if n_open:
            raise Waiting(
                f"{n_open} frames of {campaign} wait for labels: tpainn-train label {campaign} "
                "--engine ..., then this command again"
            )
    summary = label_campaign(
        campaign,
        config.label.engine,
        jobs=config.label.jobs,
        progress=progress,
        time_limit=config.label.time_limit,
    )
    if not summary.labels.is_file():
        why = next(iter(summary.reasons.values()), "none was tried")
        raise DataError(f"{campaign}: no frame could be labelled; the first: {why}")
    return read_extxyz(summary.labels), sorted(summary.reasons)


def write_labelled(frames: list[Atoms], path: Path) -> None:
    """Write a training set; times of labelling are left out, so that it is the same every time."""
    for atoms in frames:
        atoms.info = {k: v for k, v in atoms.info.items() if k != "label_seconds"}
    write_atomically(path, to_extxyz(frames))
