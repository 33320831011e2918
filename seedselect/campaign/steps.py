"""The steps of a campaign: begin it, choose more, take labels; one process at a time.

Every step holds the campaign's lock while it works and may be given `patience`: the seconds that it
waits for another process before it raises `tpainn_calc.base.errors.BusyError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seedselect.campaign.campaign import Campaign
from seedselect.campaign.ingestion import ingest_frames, ingest_rows
from seedselect.campaign.input_files import AnyPath, InputFiles, as_path
from seedselect.campaign.settings import PickSettings, labels_needed
from seedselect.errors import SeedSelectError
from tpainn_calc.base.locks import Lock

if TYPE_CHECKING:
    from ase import Atoms

    from seedselect.campaign.estimate import Estimate


def campaign_lock(directory: AnyPath, patience: float = 0.0) -> Lock:
    """Lock of a campaign's directory.

    Parameters
    ----------
    directory : path
        Created when missing.
    patience : float
        Seconds to wait for another process.
    """
    busy = (
        f"{directory}: process {{holder}} is working on this campaign; wait for it to end and try "
        "again"
    )
    return Lock(as_path(directory) / ".lock", busy, patience=patience)


def begin(
    directory: AnyPath,
    source: AnyPath | Sequence[AnyPath],
    settings: PickSettings,
    *,
    pool: AnyPath | Sequence[AnyPath] | None = None,
    patience: float = 0.0,
) -> Campaign:
    """Choose the first round and write the campaign (``seedselect pick``).

    Parameters
    ----------
    directory : path
        Must not hold a campaign.
    source : path or sequence of path
        The cheap, labelled frames or rows; several files of frames are read as one.
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
    from seedselect.campaign.rounds import first_round

    files = InputFiles.of(source)
    candidates = None if pool is None else InputFiles.of(pool)
    for given in (files, candidates):
        if given is not None:
            given.kind()  # refuses what is missing before there is a directory
    with campaign_lock(directory, patience):
        return first_round(as_path(directory), files, candidates, settings)


def preview(
    directory: AnyPath,
    source: AnyPath | Sequence[AnyPath],
    settings: PickSettings,
    *,
    pool: AnyPath | Sequence[AnyPath] | None = None,
) -> Estimate:
    """Say what :func:`begin` would need, and refuse what it would refuse; write nothing."""
    from seedselect.campaign.estimate import estimate
    from seedselect.campaign.rounds import check_new

    check_new(as_path(directory))
    files = InputFiles.of(source)
    candidates = None if pool is None else InputFiles.of(pool)
    needed = labels_needed(settings)
    return estimate(files, candidates, settings, labels_needed=needed)


def preview_next(
    directory: AnyPath,
    n: int | None = None,
    *,
    budget: float | None = None,
    pool: AnyPath | Sequence[AnyPath] | None = None,
    quality_key: str | None = None,
) -> Estimate:
    """Say what :func:`choose_next` would need, and refuse what it would refuse."""
    from seedselect.campaign.estimate import estimate
    from seedselect.campaign.inputs import info_numbers
    from seedselect.campaign.rounds import check_candidates

    _check_wish(n, budget)
    campaign = Campaign.open(directory)
    candidates = None if pool is None else InputFiles.of(pool)
    check_candidates(campaign, candidates, quality_key)
    if candidates is not None and quality_key is not None:
        info_numbers(candidates, quality_key)
    if candidates is None and "pool" in campaign.manifest.inputs:
        candidates = campaign.input_files("pool")
    settings = campaign.settings.model_copy(update={"n": n, "budget": budget})
    taken = frozenset(entry.key for entry in campaign.entries)
    return estimate(campaign.input_files("source"), candidates, settings, taken)


def _check_wish(n: int | None, budget: float | None) -> None:
    if n is None and budget is None:
        raise SeedSelectError("say how many to choose: -n 50 (or --budget with sampler map)")
    if n is not None and n < 1:
        raise SeedSelectError(f"-n {n}: ask for at least one point")


@dataclass(frozen=True)
class Chosen:
    """Result of :func:`choose_next`: the campaign with another round.

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
    pool: AnyPath | Sequence[AnyPath] | None = None,
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
    _check_wish(n, budget)
    from seedselect.campaign.rounds import next_round

    candidates = None if pool is None else InputFiles.of(pool)
    Campaign.open(directory)  # a lock would make the directory
    with campaign_lock(directory, patience):
        campaign = Campaign.open(directory)
        found = len(campaign.manifest.rounds)
        if number is not None and number <= found:
            return Chosen(campaign, 0)
        if number is not None and number != found + 1:
            raise SeedSelectError(f"--round {number}: {directory} has {found} rounds")
        return Chosen(campaign, next_round(campaign, n, budget, candidates, quality_key))


@dataclass(frozen=True)
class Ingested:
    """Result of :func:`ingest`: the campaign with its new labels.

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
        Keys whose label could not be computed, or the beginnings of keys that are unique.
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
    Campaign.open(directory)  # a lock would make the directory
    with campaign_lock(directory, patience):
        campaign = Campaign.open(directory)
        failed = campaign.full_keys(failed)
        files = [as_path(path) for path in paths]
        new = known = 0
        if campaign.manifest.kind == "frames":
            if files or frames:
                new, known = ingest_frames(
                    campaign.directory, files, campaign.chosen(), replace, frames
                )
        elif frames:
            raise SeedSelectError(f"{directory}: a campaign of table rows takes no frames")
        elif files:
            from seedselect.campaign.tables import load_table

            settings = campaign.settings
            path = campaign.input_files("source").paths[0]
            source = load_table(path, settings.targets, settings.drop)
            columns = source.target_names or ["y0"]
            keys = {entry.key for entry in campaign.entries}
            new, known = ingest_rows(campaign.directory, files, keys, columns, replace)
        if failed:
            campaign.mark_failed(failed)
        return Ingested(campaign, new, known)
