"""The steps of a campaign: begin it, choose more, take labels; one process at a time.

Every step holds the campaign's lock while it works and may be given `patience`: the seconds that it
waits for another process before it raises `tpainn_calc.base.errors.BusyError`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seedselect.campaign.campaign import Campaign
from seedselect.dataset import load_table
from seedselect.errors import SeedSelectError
from seedselect.labels import ingest_frames, ingest_rows
from seedselect.settings import PickSettings
from tpainn_calc.base.locks import Lock

if TYPE_CHECKING:
    from ase import Atoms

AnyPath = str | os.PathLike[str]


def campaign_lock(directory: AnyPath, patience: float = 0.0) -> Lock:
    """Lock of a campaign's directory.

    Parameters
    ----------
    directory : path
        Created when missing.
    patience : float
        Seconds to wait for another process.
    """
    busy = f"{directory}: process {{holder}} is working on this campaign; wait for it to end and "
    return Lock(Path(directory) / ".lock", f"{busy}try again", patience=patience)


def begin(
    directory: AnyPath,
    source: AnyPath,
    settings: PickSettings,
    *,
    pool: AnyPath | None = None,
    patience: float = 0.0,
) -> Campaign:
    """Choose the first round and write the campaign (``seedselect pick``).

    Parameters
    ----------
    directory : path
        Must not hold a campaign.
    source : path
        The cheap, labelled frames or rows.
    settings : PickSettings
    pool : path, optional
        Candidates, if they are not the source itself.
    patience : float, s

    Returns
    -------
    Campaign

    Raises
    ------
    SeedSelectError
        The input or a setting is wrong, or there is a campaign already.
    BusyError
        Another process works on the campaign.
    """
    with campaign_lock(directory, patience):
        candidates = None if pool is None else Path(pool)
        return Campaign.create(Path(directory), Path(source), candidates, settings)


@dataclass(frozen=True)
class Chosen:
    """What another round added.

    Attributes
    ----------
    campaign : Campaign
    n : int
        Size of the round; 0 if the round that was asked for is there already.
    """

    campaign: Campaign
    n: int


def choose_next(
    directory: AnyPath,
    n: int | None = None,
    *,
    budget: float | None = None,
    pool: AnyPath | None = None,
    quality_key: str | None = None,
    number: int | None = None,
    patience: float = 0.0,
) -> Chosen:
    """Choose another round, knowing what is labelled and pending (``seedselect next``).

    Parameters
    ----------
    directory : path
    n : int, optional
        How many; None takes what `budget` pays for.
    budget : float, optional
    pool : path, optional
        Frames to choose from, in place of the campaign's own pool.
    quality_key : str, optional
        Number in the comment line of every frame of `pool` that says how much its label is worth,
        such as the force deviation of a committee.
    number : int, optional
        Number of the round that is wanted, from 1: one that is there already is left as it is, so
        that a caller that was killed may ask again.
    patience : float, s

    Returns
    -------
    Chosen

    Raises
    ------
    SeedSelectError, BusyError
    """
    if n is None and budget is None:
        raise SeedSelectError("say how many to choose: -n 50 (or --budget with sampler map)")
    if n is not None and n < 1:
        raise SeedSelectError(f"-n {n}: ask for at least one point")
    with campaign_lock(directory, patience):
        campaign = Campaign.open(Path(directory))
        found = len(campaign.manifest.rounds)
        if number is not None and number <= found:
            return Chosen(campaign, 0)
        if number is not None and number != found + 1:
            raise SeedSelectError(f"--round {number}: {directory} has {found} rounds")
        candidates = None if pool is None else Path(pool)
        return Chosen(campaign, campaign.choose_next(n, budget, candidates, quality_key))


@dataclass(frozen=True)
class Ingested:
    """What a campaign took.

    Attributes
    ----------
    campaign : Campaign
    new, known : int
        Labels of frames that had none, and of those that had one.
    """

    campaign: Campaign
    new: int
    known: int


def ingest(
    directory: AnyPath,
    paths: Sequence[AnyPath] = (),
    *,
    frames: Iterable[Atoms] = (),
    failed: Sequence[str] = (),
    replace: bool = False,
    patience: float = 0.0,
) -> Ingested:
    """Take labels and failures, partially and in any order (``seedselect ingest``).

    Parameters
    ----------
    directory : path
    paths : sequence of path
        Extended XYZ of labelled frames; CSV for a campaign of table rows.
    frames : iterable of ase.Atoms
        Labelled frames, recognised as those of a file are: by ``info["frame_hash"]`` or geometry.
    failed : sequence of str
        Keys whose label could not be computed.
    replace : bool
        Let a new label replace one that contradicts it.
    patience : float, s

    Returns
    -------
    Ingested

    Raises
    ------
    SeedSelectError
        Unknown frame or key, moved atoms, missing or contradicting label: nothing is written then.
    BusyError
    """
    frames = list(frames)
    if not paths and not frames and not failed:
        raise SeedSelectError("nothing to ingest: give files with labels, or --failed HASH")
    with campaign_lock(directory, patience):
        campaign = Campaign.open(Path(directory))
        campaign.check_keys(failed)
        files = [Path(path) for path in paths]
        new = known = 0
        if campaign.manifest.kind == "frames":
            if files or frames:
                new, known = ingest_frames(
                    campaign.directory, files, campaign.chosen(), replace, frames
                )
        elif frames:
            raise SeedSelectError(f"{directory}: a campaign of table rows takes no frames")
        elif files:
            settings = campaign.settings
            source = load_table(campaign.input_path("source"), settings.targets, settings.drop)
            columns = source.target_names or ["y0"]
            keys = {entry.key for entry in campaign.entries}
            new, known = ingest_rows(campaign.directory, files, keys, columns, replace)
        if failed:
            campaign.mark_failed(failed)
        return Ingested(campaign, new, known)
