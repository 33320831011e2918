"""What a campaign chooses from: a source, a pool, and the committee of the source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedselect.atbagging import ATBagging
from seedselect.dataset import Dataset, iter_any_frames, kind_of, load_any
from seedselect.descriptors import elements_of
from seedselect.errors import SeedSelectError
from seedselect.features import RandomFourierFeatures
from seedselect.frame import Frame
from seedselect.manifest import InputFile
from seedselect.pool import Pool
from seedselect.settings import PickSettings, make_descriptor, relative
from seedselect.thinning import SubsetPool, thin
from tpainn_calc.base.files import sha256

Array = NDArray[np.float64]


@dataclass
class Inputs:
    """Source and pool of a campaign, described, and the pool rows that are kept.

    Attributes
    ----------
    source, pool : Dataset
        The same object when the pool is the source.
    kept : int array
        Pool rows after de-duplication.
    descriptor : Descriptor or None
        Of frames.
    """

    source: Dataset
    pool: Dataset
    kept: NDArray[np.intp]
    descriptor: Any = None

    @property
    def is_source(self) -> bool:
        """Whether the pool is the source itself."""
        return self.pool is self.source

    def rows(self) -> Pool:
        """Return the kept rows of the pool."""
        return SubsetPool(self.pool.pool, self.kept)


def load_inputs(
    source: Path,
    pool: Path | None,
    settings: PickSettings,
    directory: Path,
    others: Iterable[Frame] = (),
) -> Inputs:
    """Read, describe and thin the inputs; what was described is found again after a kill.

    `others` are frames that the same descriptor must be able to describe.
    """
    kinds = {path: kind_of(path) for path in (source, pool) if path is not None}
    if len(set(kinds.values())) > 1:
        raise SeedSelectError(f"{source} and {pool} differ in kind: give frames or tables for both")
    descriptor = None
    if kinds[source] == "frames":
        paths = [source] if pool is None else [source, pool]
        elements = elements_of(*(iter_any_frames(path) for path in paths), others)
        descriptor = make_descriptor(settings, elements)

    def read(path: Path) -> Dataset:
        name = hashlib.sha256(f"{sha256(path)} {descriptor!r}".encode()).hexdigest()[:16]
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
    return Inputs(first, second, thin(second.pool, second.keys, settings.dedup), descriptor)


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


def input_file(data: Dataset, directory: Path) -> InputFile:
    """Return the record of a file."""
    return InputFile(path=relative(data.path, directory), sha256=sha256(data.path), rows=data.n)


def info_numbers(path: Path, key: str) -> Array:
    """Return a number of the comment line of every frame."""
    values = []
    for number, frame in enumerate(iter_any_frames(path)):
        value = frame.info.get(key)
        if not isinstance(value, int | float | np.number) or not 0 <= float(value) < np.inf:
            raise SeedSelectError(
                f"{path}, frame {number}: {key}={value!r}: every frame needs a number that is "
                "finite and not negative there"
            )
        values.append(float(value))
    return np.array(values)


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
