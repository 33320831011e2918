"""A campaign: a directory that lives from the first pick to the last label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from seedselect.atbagging import ATBagging
from seedselect.dataset import Dataset, frames_at
from seedselect.descriptors import describe
from seedselect.errors import SeedSelectError
from seedselect.frame import Frame
from seedselect.inputs import Inputs, fit_source, info_numbers, input_file, load_inputs
from seedselect.labels import Labels, read_labels
from seedselect.manifest import (
    Entry,
    Manifest,
    Round,
    read_manifest,
    versions,
)
from seedselect.output import write_selected
from seedselect.quality import shape_quality
from seedselect.selection import Selection
from seedselect.settings import PickSettings, label_costs
from tpainn_calc.base.files import sha256, write_atomically
from tpainn_calc.base.frames import iter_extxyz

if TYPE_CHECKING:
    from ase import Atoms

Array = NDArray[np.float64]

STATES = ("done", "pending")

#: Labels from which on `next` judges the pool by a committee on the labels themselves.
ENOUGH_LABELS = 20


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
        files = {"source": inputs.source, **({} if pool is None else {"pool": inputs.pool})}
        manifest = Manifest(
            kind=inputs.pool.kind,
            settings=settings.model_dump(),
            inputs={name: input_file(data, directory) for name, data in files.items()},
            duplicates_dropped=inputs.pool.n - len(inputs.kept),
            versions=versions(),
            rounds=[],
            entries=[],
        )
        campaign = cls(directory, manifest)
        campaign._add_round(inputs, settings)
        return campaign

    # -- state -------------------------------------------------------------------------------

    @property
    def entries(self) -> list[Entry]:
        """Chosen frames or rows, round by round in labelling order."""
        return self.manifest.entries

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

    def frames(self, keys: Iterable[str]) -> dict[str, Atoms]:
        """Return frames by key, without labels, round by round in labelling order.

        Raises
        ------
        SeedSelectError
            If the campaign is one of table rows, or a frame is in none of the rounds' files.
        """
        if self.manifest.kind != "frames":
            raise SeedSelectError(f"{self.directory}: a campaign of table rows holds no frames")
        wanted = set(keys)
        found: dict[str, Atoms] = {}
        for path in sorted(self.directory.glob("rounds/round_*.extxyz")):
            for atoms in iter_extxyz(path):
                key = str(atoms.info.get("frame_hash", ""))
                if key in wanted:
                    found[key] = atoms
        missing = wanted - set(found)
        if missing:
            raise SeedSelectError(
                f"{self.directory / 'rounds'}: frame {min(missing)} of the campaign is in none of "
                "the rounds' files; put the files back"
            )
        return found

    def check_keys(self, keys: Iterable[str]) -> None:
        """Refuse keys that were not chosen."""
        known = {entry.key for entry in self.entries}
        for key in keys:
            if key not in known:
                raise SeedSelectError(f"--failed {key}: not chosen in this campaign")

    def mark_failed(self, keys: Iterable[str]) -> None:
        """Record that labels of these keys could not be computed."""
        self.check_keys(keys := set(keys))
        self.manifest.entries = [
            entry.model_copy(update={"failed": True}) if entry.key in keys else entry
            for entry in self.entries
        ]
        self.write()

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
        if sha256(path) != record.sha256:
            raise SeedSelectError(
                f"{path}: changed since the campaign began: put the original back, or start a new "
                "campaign"
            )
        return path

    def load_inputs(self, candidates: Path | None = None) -> Inputs:
        """Read source and pool again, or `candidates` in the pool's place."""
        pool = candidates
        if pool is None and "pool" in self.manifest.inputs:
            pool = self.input_path("pool")
        others = [frame for name in self.pools()[1:] for frame in self.chosen(name).values()]
        if candidates is not None:
            others += self.chosen("").values()
        source = self.input_path("source")
        return load_inputs(source, pool, self.settings, self.directory, others)

    def pools(self) -> list[str]:
        """Return the names of the pools, the first one, "", included."""
        return ["", *(name for name in self.manifest.inputs if name not in ("source", "pool"))]

    def chosen(self, pool: str | None = None) -> dict[str, Frame]:
        """Return the chosen frames, of one pool or of all."""
        found: dict[str, Frame] = {}
        first = "pool" if "pool" in self.manifest.inputs else "source"
        for name in self.pools() if pool is None else [pool]:
            mine = [entry for entry in self.manifest.entries if entry.pool == name]
            if mine:
                frames = frames_at(self.input_path(name or first), [e.pool_row for e in mine])
                found |= {entry.key: frames[entry.pool_row] for entry in mine}
        return found

    def points(self, entries: Sequence[Entry], inputs: Inputs, pool: str = "") -> Array:
        """Return the descriptors of chosen rows, whichever pool they are from.

        Parameters
        ----------
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
            frames = self.chosen(name)
            places = [k for k, entry in enumerate(entries) if entry.pool == name]
            rows[places] = describe((frames[entries[k].key] for k in places), inputs.descriptor)
        return rows

    # -- choosing ----------------------------------------------------------------------------

    def choose_next(
        self,
        n: int | None,
        budget: float | None,
        candidates: Path | None = None,
        quality_key: str | None = None,
    ) -> int:
        """Choose another round, conditioned on done and pending rows; return its size.

        Parameters
        ----------
        n : int or None
        budget : float or None
        candidates : path, optional
            Frames to choose from, in place of the campaign's pool.
        quality_key : str, optional
            Number in the comment line of every candidate that says how much its label is worth,
            such as the force deviation of a committee.
        """
        if candidates is None and quality_key is not None:
            raise SeedSelectError("--quality-key needs --pool: the frames that carry the key")
        if candidates is not None and self.manifest.kind != "frames":
            raise SeedSelectError(f"{self.directory}: a campaign of table rows has one pool only")
        settings = self.settings.model_copy(
            update={
                "n": n,
                "budget": budget,
                "seed": self.settings.seed + len(self.manifest.rounds),
            }
        )
        before = len(self.manifest.entries)
        if candidates is None:
            self._add_round(self.load_inputs(), settings)
            return len(self.manifest.entries) - before
        inputs = self.load_inputs(candidates)
        known = {entry.key for entry in self.manifest.entries}
        fresh = [row for row in inputs.kept if inputs.pool.keys[row] not in known]
        inputs.kept = np.array(fresh, dtype=np.intp)
        name = f"round_{len(self.manifest.rounds) + 1:03d}"
        self.manifest.inputs[name] = input_file(inputs.pool, self.directory)
        self.manifest.duplicates_dropped += inputs.pool.n - len(inputs.kept)
        quality = None
        if quality_key is not None:
            raw = info_numbers(candidates, quality_key)[inputs.kept]
            quality = shape_quality(raw, temper=settings.temper)
        self._add_round(inputs, settings, name, quality)
        return len(self.manifest.entries) - before

    def _add_round(
        self, inputs: Inputs, settings: PickSettings, pool: str = "", given: Array | None = None
    ) -> None:
        # The committee and features are those of the first round; the draw has its own seed.
        model, own_rows = fit_source(inputs, self.settings)
        place = {int(row): i for i, row in enumerate(inputs.kept)}
        states = self.states()
        groups: dict[str, list[int]] = {"done": [], "pending": [], "failed": []}
        elsewhere: list[Entry] = []
        for entry in self.manifest.entries:
            if entry.pool == pool and entry.pool_row in place:
                groups[states[entry.key]].append(place[entry.pool_row])
            elif entry.pool != pool and states[entry.key] != "failed":
                elsewhere.append(entry)
        if given is None:
            quality, kind = self._quality(model, inputs, settings, states, pool)
        else:
            quality, kind = given, "given"
        if groups["failed"]:
            # Excluded without conditioning: nothing was learnt there.
            if quality is None:
                rows = None if own_rows else inputs.rows()
                raw, _ = model.pool_quality(rows)
                quality, kind = shape_quality(raw, temper=settings.temper), "score"
            quality[groups["failed"]] = 0.0
        costs = label_costs(settings, inputs.pool.sizes[inputs.kept])
        selection = model.select(
            settings.n,
            pool=None if own_rows else inputs.rows(),
            # rows of this pool, and descriptors of what was chosen from others
            labeled=np.array(groups["done"] + groups["pending"], dtype=int),
            pending=self.points(elsewhere, inputs, pool),
            cost=costs,
            budget=settings.budget,
            quality=quality,
            random_state=settings.seed,
        )
        counts = [len(groups[s]) + sum(states[e.key] == s for e in elsewhere) for s in STATES]
        self._record(inputs, settings, selection, kind, costs, pool, counts)

    def _quality(
        self,
        model: ATBagging,
        inputs: Inputs,
        settings: PickSettings,
        states: dict[str, str],
        pool: str,
    ) -> tuple[Array | None, str]:
        """Return a given quality of the kept rows, or None for the source committee's."""
        if settings.quality == "diversity":
            return np.ones(len(inputs.kept)), "diversity"
        done = [entry for entry in self.manifest.entries if states[entry.key] == "done"]
        if len(done) < ENOUGH_LABELS:
            return None, ""
        targets = self.labels().targets([entry.key for entry in done])
        judge = ATBagging(n_estimators=100, random_state=settings.seed).fit(
            self.points(done, inputs, pool), targets
        )
        spread = [
            judge.calibration_.expected_error(judge.committee_.predict(block).var(axis=0, ddof=1))
            for block in inputs.rows().blocks(4096)
        ]
        return shape_quality(np.concatenate(spread), temper=settings.temper), "label_spread"

    def _record(
        self,
        inputs: Inputs,
        settings: PickSettings,
        selection: Selection,
        kind: str,
        costs: Array | None,
        pool: str,
        counts: list[int],
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
                    pool=pool,
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
                n_labelled=counts[0],
                n_pending=counts[1],
            )
        )
        self.write(inputs.pool)

    def write(self, pool: Dataset | None = None) -> None:
        """Write the frames of the latest round, then the manifest, which makes it count."""
        if pool is not None:
            number = len(self.manifest.rounds)
            latest = [e for e in self.manifest.entries if e.round == number]
            write_selected(self.directory, number, latest, pool)
        write_atomically(self.directory / "manifest.json", self.manifest.to_text())
