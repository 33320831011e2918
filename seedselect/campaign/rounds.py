"""Rounds of a campaign: the first choice, and all that follow."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from seedselect.atbagging import ATBagging
from seedselect.campaign.campaign import MANIFEST, Campaign
from seedselect.campaign.input_files import InputFiles
from seedselect.campaign.inputs import (
    Inputs,
    fit_design,
    fit_source,
    info_numbers,
    input_record,
    load_inputs,
)
from seedselect.campaign.manifest import Entry, Manifest, Round, versions
from seedselect.campaign.selected import write_selected
from seedselect.campaign.settings import (
    Method,
    PickSettings,
    label_costs,
    labels_needed,
    method_of,
)
from seedselect.design import SourceDesign
from seedselect.errors import SeedSelectError, SourceWarning
from seedselect.frames.descriptors import describe
from seedselect.scores.quality import shape_quality
from seedselect.selection import Selection
from tpainn_calc.base.arrays import Array

#: Labels from which on a round judges the pool by a committee on the labels themselves.
ENOUGH_LABELS = 20


def first_round(
    directory: Path, source: InputFiles, pool: InputFiles | None, settings: PickSettings
) -> Campaign:
    """Choose the first round and write the campaign.

    Raises
    ------
    SeedSelectError
        If the directory already holds a manifest, readable or not.
    """
    check_new(directory)
    directory.mkdir(parents=True, exist_ok=True)
    method = method_of(settings, first=True)
    inputs = load_inputs(source, pool, settings, directory, labels_needed=labels_needed(settings))
    data = {"source": inputs.source, **({} if pool is None else {"pool": inputs.pool})}
    manifest = Manifest(
        kind=inputs.pool.kind,
        settings=settings.model_dump(),
        inputs={name: input_record(rows, directory) for name, rows in data.items()},
        duplicates_dropped=inputs.pool.n - len(inputs.kept),
        versions=versions(),
        rounds=[],
        entries=[],
    )
    campaign = Campaign(directory, manifest)
    _Choice(campaign, inputs, settings, method).make()
    return campaign


def check_new(directory: Path) -> None:
    """Refuse a directory that holds a campaign."""
    if (directory / MANIFEST).exists():
        raise SeedSelectError(
            f"{directory} already holds a campaign: use 'seedselect next {directory}' for more "
            "points, or another directory"
        )


def next_round(
    campaign: Campaign,
    n: int | None,
    budget: float | None,
    candidates: InputFiles | None = None,
    quality_key: str | None = None,
) -> int:
    """Choose another round, conditioned on done and pending rows; return its size.

    Parameters
    ----------
    campaign : Campaign
    n : int or None
    budget : float or None
    candidates : InputFiles, optional
        Frames to choose from, in place of the campaign's pool.
    quality_key : str, optional
        Number in the comment line of every candidate that says how much its label is worth,
        such as the force deviation of a committee.
    """
    manifest = campaign.manifest
    check_candidates(campaign, candidates, quality_key)
    seed = campaign.settings.seed + len(manifest.rounds)
    settings = campaign.settings.model_copy(update={"n": n, "budget": budget, "seed": seed})
    before = len(manifest.entries)
    inputs = campaign_inputs(campaign, candidates)
    name, quality = "", None
    if candidates is not None:
        known = {entry.key for entry in manifest.entries}
        fresh = [row for row in inputs.kept if inputs.pool.keys[row] not in known]
        inputs.kept = np.array(fresh, dtype=np.intp)
        name = f"round_{len(manifest.rounds) + 1:03d}"
        manifest.inputs[name] = input_record(inputs.pool, campaign.directory)
        manifest.duplicates_dropped += inputs.pool.n - len(inputs.kept)
        if quality_key is not None:
            raw = info_numbers(candidates, quality_key)[inputs.kept]
            quality = _shaped(raw, settings)
    method = method_of(settings, first=False)
    if quality is not None:
        method = Method("atbagging", f"the worth of a label is given by {quality_key}")
    _Choice(campaign, inputs, settings, method, name, quality).make()
    return len(manifest.entries) - before


def check_candidates(
    campaign: Campaign, candidates: InputFiles | None, quality_key: str | None
) -> None:
    """Refuse other candidates where they make no sense."""
    if candidates is None and quality_key is not None:
        raise SeedSelectError("--quality-key needs --pool: the frames that carry the key")
    if candidates is not None and campaign.manifest.kind != "frames":
        raise SeedSelectError(f"{campaign.directory}: a campaign of table rows has one pool only")


def campaign_inputs(campaign: Campaign, candidates: InputFiles | None = None) -> Inputs:
    """Read source and pool again, or `candidates` in the pool's place."""
    pool = candidates
    if pool is None and "pool" in campaign.manifest.inputs:
        pool = campaign.input_files("pool")
    others = [frame for name in campaign.pools()[1:] for frame in campaign.chosen(name).values()]
    if candidates is not None:
        others += campaign.chosen("").values()
    source = campaign.input_files("source")
    return load_inputs(source, pool, campaign.settings, campaign.directory, others)


def points(campaign: Campaign, entries: Sequence[Entry], inputs: Inputs, pool: str = "") -> Array:
    """Return the descriptors of chosen rows, whichever pool they are from.

    Parameters
    ----------
    campaign : Campaign
    entries : sequence of Entry
    inputs : Inputs
    pool : str
        Name of the pool that `inputs` holds.
    """
    rows = np.empty((len(entries), inputs.pool.pool.n_features))
    own = np.array([entry.pool == pool for entry in entries], dtype=bool)
    if own.any():
        rows[own] = inputs.pool.pool.take(
            np.array([e.pool_row for e in entries if e.pool == pool], dtype=np.intp)
        )
    for name in sorted({entry.pool for entry in entries} - {pool}):
        frames = campaign.chosen(name)
        places = [k for k, entry in enumerate(entries) if entry.pool == name]
        rows[places] = describe((frames[entries[k].key] for k in places), inputs.descriptor)
    return rows


def _shaped(worth: Array, settings: PickSettings) -> Array:
    return shape_quality(worth, temper=1.0 if settings.temper is None else settings.temper)


def source_pairs(
    campaign: Campaign, inputs: Inputs, design: SourceDesign, pool: str = ""
) -> tuple[Array, Array, list[str]]:
    """Return the source's labels and the labels that came in, of the same rows.

    Parameters
    ----------
    campaign : Campaign
    inputs : Inputs
    design : SourceDesign
        Whose committee carries the source's labels to rows of other pools.
    pool : str
        Name of the pool that `inputs` holds.

    Returns
    -------
    cheap, labels : array (m, K)
        Of the targets that both have.
    names : list of str
    """
    source = inputs.source
    states = campaign.states()
    done = [entry for entry in campaign.entries if states[entry.key] == "done"]
    if source.targets is None or not done:
        return np.empty((0, 0)), np.empty((0, 0)), []
    labels, names = campaign.labels().targets([entry.key for entry in done])
    own = np.array([inputs.is_source and entry.pool == pool for entry in done])
    cheap = np.empty((len(done), source.targets.shape[1]))
    if own.any():
        cheap[own] = source.targets[[e.pool_row for e, mine in zip(done, own, strict=True) if mine]]
    if not own.all():
        others = [entry for entry, mine in zip(done, own, strict=True) if not mine]
        cheap[~own] = design.predict(points(campaign, others, inputs, pool))
    both = [name for name in names if name in source.target_names]
    return (
        cheap[:, [source.target_names.index(name) for name in both]],
        labels[:, [names.index(name) for name in both]],
        both,
    )


@dataclass
class _Choice:
    """A round in the making.

    Parameters
    ----------
    campaign : Campaign
    inputs : Inputs
    settings : PickSettings
        Those of the campaign, with size and seed of this round.
    method : Method
    pool : str
        Name of the pool that `inputs` holds.
    given : array, optional
        Quality of the kept rows, in place of what the source or the labels say.
    """

    campaign: Campaign
    inputs: Inputs
    settings: PickSettings
    method: Method
    pool: str = ""
    given: Array | None = None

    def make(self) -> None:
        """Choose, and write what was chosen."""
        self.states = self.campaign.states()
        self._sort_entries()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", SourceWarning)
            choose = self._by_design if self.method.name == "design" else self._by_atbagging
            selection, kind = choose()
        notes = [str(w.message) for w in caught if issubclass(w.category, SourceWarning)]
        for other in caught:
            if not issubclass(other.category, SourceWarning):
                warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
        self._record(selection, kind, notes)

    def _by_design(self) -> tuple[Selection, str]:
        inputs = self.inputs
        design, own_rows = fit_design(inputs, self.campaign.settings)
        cheap, labels, _ = source_pairs(self.campaign, inputs, design, self.pool)
        if len(cheap):
            design.learn(cheap, labels)
        known = None
        if inputs.is_source and not own_rows and inputs.pool.targets is not None:
            known = inputs.pool.targets[inputs.kept]
        selection = design.select(
            self.settings.n,
            pool=None if own_rows else inputs.rows(),
            cheap=known,
            labeled=np.array(self.here["done"] + self.here["pending"], dtype=int),
            pending=points(self.campaign, self.elsewhere, inputs, self.pool),
            cost=self._costs(),
            budget=self.settings.budget,
            excluded=np.array(self.here["failed"], dtype=int),
            random_state=self.settings.seed,
        )
        return selection, "expected_error"

    def _by_atbagging(self) -> tuple[Selection, str]:
        # The committee and features are those of the first round; the draw has its own seed.
        model, own_rows = fit_source(self.inputs, self.campaign.settings)
        if self.given is None:
            quality, kind = self._quality()
        else:
            quality, kind = self.given, "given"
        if self.here["failed"]:
            # Excluded without conditioning: nothing was learnt there.
            if quality is None:
                raw, _ = model.pool_quality(None if own_rows else self.inputs.rows())
                quality, kind = model.shaped(raw), "score"
            quality[self.here["failed"]] = 0.0
        selection = model.select(
            self.settings.n,
            pool=None if own_rows else self.inputs.rows(),
            # rows of this pool, and descriptors of what was chosen from others
            labeled=np.array(self.here["done"] + self.here["pending"], dtype=int),
            pending=points(self.campaign, self.elsewhere, self.inputs, self.pool),
            cost=self._costs(),
            budget=self.settings.budget,
            quality=quality,
            random_state=self.settings.seed,
        )
        return selection, kind

    def _sort_entries(self) -> None:
        """Tell what was chosen from this pool, by state, from what was chosen elsewhere."""
        place = {int(row): i for i, row in enumerate(self.inputs.kept)}
        self.here: dict[str, list[int]] = {"done": [], "pending": [], "failed": []}
        self.elsewhere: list[Entry] = []
        for entry in self.campaign.entries:
            state = self.states[entry.key]
            if entry.pool == self.pool and self.inputs.pool.keys[entry.pool_row] != entry.key:
                raise SeedSelectError(
                    f"{self.inputs.pool.files}: row {entry.pool_row} is another frame than the "
                    f"campaign's {entry.key}; its manifest is damaged: restore it from a copy"
                )
            if entry.pool == self.pool and entry.pool_row in place:
                self.here[state].append(place[entry.pool_row])
            elif entry.pool != self.pool and state != "failed":
                self.elsewhere.append(entry)

    def _method_name(self, info: dict[str, Any]) -> str:
        if self.method.name == "design":
            return "expected-error design" if info["rho2"] else "V-optimal design"
        if self.settings.sampler == "random":
            return "a uniform draw"
        if self.settings.quality == "diversity":
            return "diversity alone"
        return "ATBagging"

    def _costs(self) -> Array | None:
        return label_costs(self.settings, self.inputs.pool.sizes[self.inputs.kept])

    def _quality(self) -> tuple[Array | None, str]:
        """Return a given quality of the kept rows, or None for the source committee's."""
        if self.settings.quality == "diversity":
            return np.ones(len(self.inputs.kept)), "diversity"
        done = [entry for entry in self.campaign.entries if self.states[entry.key] == "done"]
        if len(done) < ENOUGH_LABELS:
            if self.inputs.source.targets is None:
                return np.ones(len(self.inputs.kept)), "diversity"
            return None, ""
        targets, _ = self.campaign.labels().targets([entry.key for entry in done])
        judge = ATBagging(n_estimators=100, random_state=self.settings.seed).fit(
            points(self.campaign, done, self.inputs, self.pool), targets
        )
        spread = [
            judge.calibration_.expected_error(judge.committee_.predict(block).var(axis=0, ddof=1))
            for block in self.inputs.rows().blocks(4096)
        ]
        return _shaped(np.concatenate(spread), self.settings), "label_spread"

    def _record(self, selection: Selection, kind: str, notes: list[str]) -> None:
        info = selection.diagnostics
        manifest = self.campaign.manifest
        number = len(manifest.rounds) + 1
        costs = self._costs()
        chosen = []
        for order, position in enumerate(selection.order):
            kept = int(selection.indices[position])
            row = int(self.inputs.kept[kept])
            chosen.append(
                Entry(
                    key=self.inputs.pool.keys[row],
                    pool_row=row,
                    round=number,
                    order=order,
                    quality=float(selection.quality[position]),
                    quality_kind=kind or str(info["quality_kind"][position]),
                    inclusion_probability=float(selection.inclusion_probability[position]),
                    weight=float(selection.weights[position]),
                    cost=1.0 if costs is None else float(costs[kept]),
                    information=float(info["information"][order]),
                    pool=self.pool,
                )
            )
        counts = {
            state: len(self.here[state]) + sum(self.states[e.key] == state for e in self.elsewhere)
            for state in ("done", "pending")
        }
        manifest.entries += chosen
        manifest.rounds.append(
            Round(
                round=number,
                date=datetime.now(UTC).isoformat(timespec="seconds"),
                n=len(selection),
                seed=self.settings.seed,
                reliability=info.get("reliability"),
                rank=info.get("rank"),
                length_scale=info["length_scale"],
                n_labelled=counts["done"],
                n_pending=counts["pending"],
                method=self._method_name(info),
                reason=self.method.reason,
                rho2=info.get("rho2"),
                label_share=info.get("label_share"),
                notes=notes,
            )
        )
        write_selected(self.campaign.directory, number, chosen, self.inputs.pool)
        self.campaign.write()
