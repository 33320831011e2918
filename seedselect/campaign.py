"""A campaign: a directory that lives from the first pick to the last label."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedselect.atbagging import ATBagging
from seedselect.cache import file_hash
from seedselect.dataset import Dataset, iter_any_frames, kind_of, load_any
from seedselect.descriptors import elements_of
from seedselect.errors import SeedSelectError
from seedselect.features import RandomFourierFeatures
from seedselect.labels import Labels, read_labels
from seedselect.manifest import (
    Entry,
    InputFile,
    Manifest,
    Round,
    read_manifest,
    versions,
    write_text,
)
from seedselect.output import write_selected
from seedselect.pool import Pool
from seedselect.quality import shape_quality
from seedselect.selection import Selection
from seedselect.settings import PickSettings, label_costs, make_descriptor, relative
from seedselect.thinning import SubsetPool, thin

Array = NDArray[np.float64]

#: Labels from which on `next` judges the pool by a committee on the labels themselves.
ENOUGH_LABELS = 20


@dataclass
class Inputs:
    """Source and pool of a campaign, described, and the pool rows that are kept.

    Attributes
    ----------
    source, pool : Dataset
        The same object when the pool is the source.
    kept : int array
        Pool rows after de-duplication.
    """

    source: Dataset
    pool: Dataset
    kept: NDArray[np.intp]

    @property
    def is_source(self) -> bool:
        """Whether the pool is the source itself."""
        return self.pool is self.source

    def rows(self) -> Pool:
        """Return the kept rows of the pool."""
        return SubsetPool(self.pool.pool, self.kept)


def load_inputs(source: Path, pool: Path | None, settings: PickSettings, directory: Path) -> Inputs:
    """Read, describe and thin the inputs; what was described is found again after a kill."""
    kinds = {path: kind_of(path) for path in (source, pool) if path is not None}
    if len(set(kinds.values())) > 1:
        raise SeedSelectError(f"{source} and {pool} differ in kind: give frames or tables for both")
    descriptor = None
    if kinds[source] == "frames":
        paths = [source] if pool is None else [source, pool]
        elements = elements_of(*(iter_any_frames(path) for path in paths))
        descriptor = make_descriptor(settings, elements)

    def read(path: Path) -> Dataset:
        name = hashlib.sha256(f"{file_hash(path)} {descriptor!r}".encode()).hexdigest()[:16]
        cache = directory / ".cache" / name
        return load_any(path, lambda: descriptor, cache, settings.targets, settings.drop)

    first = read(source)
    if settings.quality == "score":
        _check_targets(first, settings)
    second = first if pool is None else read(pool)
    if first.pool.n_features != second.pool.n_features:
        raise SeedSelectError(
            f"{source} has {first.pool.n_features} columns and {pool} {second.pool.n_features}: "
            "source and pool need the same columns"
        )
    return Inputs(first, second, thin(second.pool, second.keys, settings.dedup))


def _check_targets(source: Dataset, settings: PickSettings) -> None:
    if source.targets is None:
        wanted = f"columns {settings.targets}" if settings.targets else "energies or forces"
        if source.kind == "table":
            wanted += " (name them with --target)"
        raise SeedSelectError(
            f"{source.path}: no labels: the source needs {wanted}; or use --quality diversity"
        )
    bad = np.flatnonzero(~np.isfinite(source.targets).all(axis=1))
    if len(bad):
        raise SeedSelectError(
            f"{source.path}: row {bad[0]} has no finite label ({len(bad)} such rows): label or "
            "drop them, or use --quality diversity"
        )


def fit_source(inputs: Inputs, settings: PickSettings) -> tuple[ATBagging, bool]:
    """Fit on the source; return the model and whether the kept pool rows are its rows."""
    source = inputs.source
    rows = inputs.kept if inputs.is_source else thin(source.pool, source.keys, settings.dedup)
    whole = len(rows) <= settings.max_source
    if not whole:
        rng = np.random.default_rng([settings.seed, 11])
        rows = np.sort(rng.choice(rows, settings.max_source, replace=False))
    features = RandomFourierFeatures(settings.n_features, length_factor=settings.length_factor)
    model = ATBagging(
        n_estimators=settings.n_estimators if settings.quality == "score" else 4,
        score=settings.score,
        sampler=settings.sampler,
        features=features,
        temper=settings.temper,
        cost_exponent=settings.cost_exponent,
        random_state=settings.seed,
    )
    X = source.pool.take(rows)
    if settings.quality == "score" and source.targets is not None:
        model.fit(X, source.targets[rows])
    else:
        # Diversity alone: the committee is not used.
        model.fit(X, np.zeros(len(rows)))
    return model, inputs.is_source and whole


class Campaign:
    """A campaign directory and its manifest.

    Parameters
    ----------
    directory : path
    manifest : Manifest
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory = directory
        self.manifest = manifest
        self.settings = PickSettings.model_validate(manifest.settings)

    @classmethod
    def open(cls, directory: Path) -> Campaign:
        """Read a campaign; a corrupted manifest is refused."""
        return cls(directory, read_manifest(directory))

    @classmethod
    def create(
        cls, directory: Path, source: Path, pool: Path | None, settings: PickSettings
    ) -> Campaign:
        """Choose the first round and write the campaign.

        Raises
        ------
        SeedSelectError
            If the directory already holds a manifest, readable or not.
        """
        if (directory / "manifest.json").exists():
            raise SeedSelectError(
                f"{directory} already holds a campaign: use 'seedselect next {directory}' for more "
                "points, or another directory"
            )
        directory.mkdir(parents=True, exist_ok=True)
        inputs = load_inputs(source, pool, settings, directory)
        files = {"source": inputs.source} if pool is None else vars(inputs)
        manifest = Manifest(
            kind=inputs.pool.kind,
            settings=settings.model_dump(),
            inputs={
                name: InputFile(
                    path=relative(files[name].path, directory),
                    sha256=file_hash(files[name].path),
                    rows=files[name].n,
                )
                for name in ("source", "pool")
                if name in files
            },
            duplicates_dropped=inputs.pool.n - len(inputs.kept),
            versions=versions(),
            rounds=[],
            entries=[],
        )
        campaign = cls(directory, manifest)
        campaign._add_round(inputs, settings)
        return campaign

    # -- state -------------------------------------------------------------------------------

    def labels(self) -> Labels:
        """Return the labels that have come in."""
        return read_labels(self.directory, self.manifest.kind)

    def states(self) -> dict[str, str]:
        """Return key -> "done", "failed" or "pending" for every chosen row."""
        done = self.labels().keys()
        return {
            entry.key: "done" if entry.key in done else "failed" if entry.failed else "pending"
            for entry in self.manifest.entries
        }

    def input_path(self, name: str) -> Path:
        """Return the path of an input and check that the file has not changed."""
        record = self.manifest.inputs.get(name)
        if record is None:
            raise SeedSelectError(f"{self.directory}: the campaign has no input {name!r}")
        path = self.directory / record.path
        if not path.is_file():
            raise SeedSelectError(
                f"{path}: the {name} file of the campaign is missing: put it back there"
            )
        if file_hash(path) != record.sha256:
            raise SeedSelectError(
                f"{path}: changed since the campaign began: put the original back, or start a new "
                "campaign"
            )
        return path

    def load_inputs(self) -> Inputs:
        """Read source and pool again."""
        pool = self.input_path("pool") if "pool" in self.manifest.inputs else None
        return load_inputs(self.input_path("source"), pool, self.settings, self.directory)

    # -- choosing ----------------------------------------------------------------------------

    def choose_next(self, n: int | None, budget: float | None) -> int:
        """Choose another round, conditioned on done and pending rows; return its size."""
        settings = self.settings.model_copy(
            update={
                "n": n,
                "budget": budget,
                "seed": self.settings.seed + len(self.manifest.rounds),
            }
        )
        before = len(self.manifest.entries)
        self._add_round(self.load_inputs(), settings)
        return len(self.manifest.entries) - before

    def _add_round(self, inputs: Inputs, settings: PickSettings) -> None:
        # The committee and features are those of the first round; the draw has its own seed.
        model, own_rows = fit_source(inputs, self.settings)
        place = {int(row): i for i, row in enumerate(inputs.kept)}
        states = self.states()
        groups: dict[str, list[int]] = {"done": [], "pending": [], "failed": []}
        for entry in self.manifest.entries:
            if entry.pool_row in place:
                groups[states[entry.key]].append(place[entry.pool_row])
        quality, kind = self._quality(model, inputs, settings, groups["done"])
        if groups["failed"]:
            # Excluded without conditioning: nothing was learnt there.
            if quality is None:
                pool = None if own_rows else inputs.rows()
                raw, _ = model.pool_quality(pool)
                quality, kind = shape_quality(raw, temper=settings.temper), "score"
            quality[groups["failed"]] = 0.0
        costs = label_costs(settings, inputs.pool.sizes[inputs.kept])
        selection = model.select(
            settings.n,
            pool=None if own_rows else inputs.rows(),
            labeled=np.array(groups["done"], dtype=int),
            pending=np.array(groups["pending"], dtype=int),
            cost=costs,
            budget=settings.budget,
            quality=quality,
            random_state=settings.seed,
        )
        self._record(inputs, settings, selection, kind, costs, groups)

    def _quality(
        self, model: ATBagging, inputs: Inputs, settings: PickSettings, done: list[int]
    ) -> tuple[Array | None, str]:
        """Return a given quality of the kept rows, or None for the source committee's."""
        if settings.quality == "diversity":
            return np.ones(len(inputs.kept)), "diversity"
        if len(done) < ENOUGH_LABELS:
            return None, ""
        labels = self.labels()
        keys = [inputs.pool.keys[inputs.kept[i]] for i in done]
        judge = ATBagging(n_estimators=100, random_state=settings.seed).fit(
            inputs.rows().take(np.array(done)), labels.targets(keys)
        )
        pool = inputs.rows()
        spread = [
            judge.calibration_.expected_error(judge.committee_.predict(block).var(axis=0, ddof=1))
            for block in pool.blocks(4096)
        ]
        return shape_quality(np.concatenate(spread), temper=settings.temper), "label_spread"

    def _record(
        self,
        inputs: Inputs,
        settings: PickSettings,
        selection: Selection,
        kind: str,
        costs: Array | None,
        groups: dict[str, list[int]],
    ) -> None:
        info = selection.diagnostics
        number = len(self.manifest.rounds) + 1
        for order, position in enumerate(selection.order):
            kept = int(selection.indices[position])
            row = int(inputs.kept[kept])
            probability = float(selection.inclusion_probability[position])
            self.manifest.entries.append(
                Entry(
                    key=inputs.pool.keys[row],
                    pool_row=row,
                    round=number,
                    order=order,
                    quality=float(selection.quality[position]),
                    quality_kind=kind or str(info["quality_kind"][position]),
                    inclusion_probability=probability,
                    weight=float(selection.weights[position]),
                    cost=1.0 if costs is None else float(costs[kept]),
                    information=float(info["information"][order]),
                )
            )
        self.manifest.rounds.append(
            Round(
                round=number,
                date=datetime.now(UTC).isoformat(timespec="seconds"),
                n=len(selection),
                seed=settings.seed,
                reliability=float(info["reliability"]),
                rank=info.get("rank"),
                length_scale=info["length_scale"],
                n_labelled=len(groups["done"]),
                n_pending=len(groups["pending"]),
            )
        )
        self.write(inputs.pool)

    def write(self, pool: Dataset | None = None) -> None:
        """Write the frames of the latest round, then the manifest, which makes it count."""
        if pool is not None:
            number = len(self.manifest.rounds)
            latest = [e for e in self.manifest.entries if e.round == number]
            write_selected(self.directory, number, latest, pool)
        write_text(self.directory / "manifest.json", self.manifest.to_text())
