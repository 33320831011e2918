"""Inputs of a campaign: a source, a pool, and the committee of the source."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from seedselect.atbagging import ATBagging
from seedselect.campaign.dataset import Dataset, load_frames
from seedselect.campaign.input_files import InputFiles
from seedselect.campaign.manifest import InputFile
from seedselect.campaign.settings import PickSettings, make_descriptor
from seedselect.campaign.tables import load_table
from seedselect.design import SourceDesign
from seedselect.errors import SeedSelectError
from seedselect.frames.descriptors import elements_of
from seedselect.frames.frame import Frame
from seedselect.kernel.features import RandomFourierFeatures
from seedselect.pools.pool import Pool
from seedselect.pools.thinning import SubsetPool, thin
from seedselect.scores.quality import TEMPER
from tpainn_calc.base.arrays import Array
from tpainn_calc.base.errors import did_you_mean


@dataclass
class Inputs:
    """Source and pool of a campaign, described, and the pool rows that are kept.

    Attributes
    ----------
    source, pool : Dataset
        The same object when the pool is the source.
    kept : int array
        Pool rows after de-duplication.
    descriptor : callable or None
        Frame -> row (d,).
    """

    source: Dataset
    pool: Dataset
    kept: NDArray[np.intp]
    descriptor: Callable[[Frame], Array] | None = None

    @property
    def is_source(self) -> bool:
        """Whether the pool is the source itself."""
        return self.pool is self.source

    def rows(self) -> Pool:
        """Return the kept rows of the pool."""
        return SubsetPool(self.pool.pool, self.kept)


def load_inputs(
    source: InputFiles,
    pool: InputFiles | None,
    settings: PickSettings,
    directory: Path,
    others: Iterable[Frame] = (),
    labels_needed: bool = False,
) -> Inputs:
    """Read, describe and thin the inputs; what was described is found again after a kill.

    Parameters
    ----------
    source, pool : InputFiles
    settings : PickSettings
    directory : path
        Of the campaign.
    others : iterable of Frame
        Frames that the same descriptor must be able to describe.
    labels_needed : bool
        Whether the choice rests on the source's labels.
    """
    inputs = [files for files in (source, pool) if files is not None]
    kinds = {files.kind() for files in inputs}
    if len(kinds) > 1:
        raise SeedSelectError(f"{source} and {pool} differ in kind: give frames or tables for both")
    descriptor = None
    if kinds == {"frames"}:
        elements = elements_of(*(files.frames() for files in inputs), others)
        descriptor = make_descriptor(settings, elements)

    def read(files: InputFiles) -> Dataset:
        if descriptor is None:
            return load_table(files.paths[0], settings.targets, settings.drop)
        name = hashlib.sha256(f"{files.checksum()} {descriptor!r}".encode()).hexdigest()[:16]
        return load_frames(files, descriptor, directory / ".cache" / name)

    first = read(source)
    if settings.quality == "score":
        check_targets(first, labels_needed, settings.targets)
    second = first if pool is None else read(pool)
    if first.pool.n_features != second.pool.n_features:
        raise SeedSelectError(
            f"{source} has {first.pool.n_features} columns and {pool} {second.pool.n_features}: "
            "source and pool need the same columns"
        )
    return Inputs(first, second, thin(second.pool, second.keys, settings.dedup), descriptor)


def check_targets(source: Dataset, needed: bool, names: Sequence[str]) -> None:
    """Refuse a source that lacks labels that are needed or named, or has them for some rows."""
    for name in names:
        if name not in source.target_names:
            raise SeedSelectError(
                f"{source.files}: no labels: no column {name!r}{did_you_mean(name, source.columns)}"
            )
    wanted = "energies or forces"
    if source.kind == "table":
        wanted = "target columns (name them with --target)"
    labelled = None if source.targets is None else np.isfinite(source.targets)
    check_labels(source.files, labelled, needed, wanted)


def check_labels(
    files: InputFiles,
    labelled: NDArray[np.bool_] | None,
    needed: bool,
    wanted: str = "energies or forces",
) -> None:
    """Refuse a source of which no row, or not every row, has its labels.

    Parameters
    ----------
    files : InputFiles
    labelled : bool array (n, K) or None
        Which labels are there; a column that is empty is no label.
    needed : bool
        Whether the choice rests on labels.
    wanted : str
        What labels are.
    """
    if labelled is None or not labelled.any():
        if needed:
            raise SeedSelectError(
                f"{files}: no labels: the source needs {wanted}; or use --quality diversity, or "
                "--method design"
            )
        return
    bad = np.flatnonzero(~labelled[:, labelled.any(axis=0)].all(axis=1))
    if len(bad):
        raise SeedSelectError(
            f"{files}: row {bad[0]} has no finite label ({len(bad)} such rows): label or "
            "drop them, or use --quality diversity"
        )


def input_record(data: Dataset, directory: Path) -> InputFile:
    """Return the record of an input; its paths are relative, so that both may move together."""
    first, *more = (
        os.path.relpath(path.resolve(), directory.resolve()) for path in data.files.paths
    )
    return InputFile(path=first, sha256=data.files.checksum(), rows=data.n, more=more)


def info_numbers(files: InputFiles, key: str) -> Array:
    """Return a number of the comment line of every frame."""
    values = []
    for number, frame in enumerate(files.frames()):
        value = frame.info.get(key)
        if not isinstance(value, int | float | np.number) or not 0 <= float(value) < np.inf:
            raise SeedSelectError(
                f"{files}, frame {number}: {key}={value!r}: every frame needs a number that is "
                "finite and not negative there"
            )
        values.append(float(value))
    return np.array(values)


def source_rows(inputs: Inputs, settings: PickSettings) -> tuple[NDArray[np.intp], bool]:
    """Return the rows of the source to fit on, and whether the kept pool rows are these rows."""
    source = inputs.source
    rows = inputs.kept if inputs.is_source else thin(source.pool, source.keys, settings.dedup)
    whole = len(rows) <= settings.max_source
    if not whole:
        rng = np.random.default_rng([settings.seed, 11])
        rows = np.sort(rng.choice(rows, settings.max_source, replace=False))
    return rows, inputs.is_source and whole


def fit_source(inputs: Inputs, settings: PickSettings) -> tuple[ATBagging, bool]:
    """Fit a committee on the source; return it and whether the kept pool rows are its rows."""
    source = inputs.source
    rows, own_rows = source_rows(inputs, settings)
    scored = settings.quality == "score" and source.targets is not None
    features = RandomFourierFeatures(settings.n_features, length_factor=settings.length_factor)
    model = ATBagging(
        n_estimators=settings.n_estimators if scored else 4,
        score=settings.score,
        sampler=settings.sampler,
        features=features,
        form=settings.form,
        temper=TEMPER if settings.temper is None else settings.temper,
        floor=settings.floor,
        cost_exponent=settings.cost_exponent,
        random_state=settings.seed,
    )
    X = source.pool.take(rows)
    if scored and source.targets is not None:
        model.fit(X, source.targets[rows])
    else:
        # Diversity alone: the committee is not used.
        model.fit(X, np.zeros(len(rows)))
    return model, own_rows


def fit_design(inputs: Inputs, settings: PickSettings) -> tuple[SourceDesign, bool]:
    """Take the source into a design; return it and whether the kept pool rows are its rows."""
    source = inputs.source
    rows, own_rows = source_rows(inputs, settings)
    labels = None if source.targets is None else source.targets[rows]
    design = SourceDesign(random_state=settings.seed).fit(source.pool.take(rows), labels)
    return design, own_rows
