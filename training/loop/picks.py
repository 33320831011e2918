"""Picks and labels of a loop: seedselect's campaign, and its labels as a training set."""

from __future__ import annotations

from pathlib import Path

from ase import Atoms

from seedselect.campaign import Campaign, PickSettings, begin, choose_next
from tpainn_calc.base.errors import DataError, TPaiNNError
from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.frames import read_extxyz, to_extxyz
from tpainn_calc.base.schema import check_config
from training.labels.folder import LabelFolder
from training.labels.labelling import PATIENCE, label_campaign
from training.loop.config import LoopConfig
from training.loop.dynamics import DEVIATION
from training.loop.waiting import Waiting


def pick_at_random(pool: Path, n: int, seed: int, campaign: Path) -> None:
    """Draw frames of a pool uniformly into a campaign; nothing where it is there already."""
    settings = PickSettings(
        n=n,
        sampler="random",
        seed=seed,
        dedup=0.0,
        # the score of the frames is not asked for
        quality="diversity",
        n_estimators=4,
        n_features=8,
    )
    _begin(pool, campaign, settings)


def _begin(pool: Path, campaign: Path, settings: PickSettings) -> None:
    manifest = campaign / "manifest.json"
    if manifest.is_file():
        return
    try:
        begin(campaign, pool, settings, patience=PATIENCE)
    except TPaiNNError:
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
        content = {**config.pick.settings, "seed": config.seed, "n": config.pick.first}
        _begin(pool, campaign, check_config(content, PickSettings, "pick.settings"))
        return
    by_deviation = config.pick.quality == "deviation"
    choose_next(
        campaign,
        config.pick.next,
        pool=pool,
        quality_key=DEVIATION if by_deviation else None,
        number=number + 1,
        patience=PATIENCE,
    )


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
        pending = {k for k, state in Campaign.open(campaign).states().items() if state == "pending"}
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
