"""Time and memory that a pick will need, measured on this machine before it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeRegressor

from seedselect.campaign.input_files import InputFiles
from seedselect.campaign.inputs import check_labels, check_targets
from seedselect.campaign.settings import PickSettings, label_costs, make_descriptor
from seedselect.campaign.tables import load_table
from seedselect.errors import SeedSelectError
from seedselect.frames.descriptors import describe
from seedselect.kernel.gram import DualGram
from seedselect.pools.pool import BLOCK_ROWS
from seedselect.selection import check_size
from tpainn_calc.base.arrays import Array


@dataclass(frozen=True)
class Estimate:
    """Expected rows, seconds and bytes.

    Attributes
    ----------
    source_rows, pool_rows, columns : int
    seconds : dict of step -> float
    bytes : dict of part -> float
    """

    source_rows: int
    pool_rows: int
    columns: int
    seconds: dict[str, float]
    bytes: dict[str, float]

    def lines(self) -> list[str]:
        """Return the estimate as text."""
        total_s, total_b = sum(self.seconds.values()), sum(self.bytes.values())
        out = [
            f"source {self.source_rows} rows, pool {self.pool_rows} rows, {self.columns} columns"
        ]
        out += [f"  time   {name:<22} {value:10.1f} s" for name, value in self.seconds.items()]
        out.append(f"  time   {'total':<22} {total_s:10.1f} s ({total_s / 60:.1f} min)")
        out += [f"  memory {name:<22} {value / 1e6:10.1f} MB" for name, value in self.bytes.items()]
        out.append(f"  memory {'total':<22} {total_b / 1e6:10.1f} MB ({total_b / 1e9:.2f} GB)")
        return out


def estimate(
    source: InputFiles,
    pool: InputFiles | None,
    settings: PickSettings,
    taken: frozenset[str] = frozenset(),
    labels_needed: bool = False,
) -> Estimate:
    """Time a few frames, one tree and one block, and scale them up.

    Parameters
    ----------
    source : InputFiles
    pool : InputFiles or None
    settings : PickSettings
    taken : set of str
        Keys that were chosen before.
    labels_needed : bool
        Whether the choice rests on the source's labels.

    Raises
    ------
    SeedSelectError
        What the choice itself would refuse, as far as it can be known without describing frames.
    """
    inputs = [files for files in (source, pool) if files is not None]
    if len({files.kind() for files in inputs}) > 1:
        raise SeedSelectError(f"{source} and {pool} differ in kind: give frames or tables for both")
    per_row = 0.0
    if source.kind() == "frames":
        surveys = [_survey(files) for files in inputs]
        few = list(islice(source.frames(), 8))
        elements = sorted(set().union(*(survey.elements for survey in surveys)))
        descriptor = make_descriptor(settings, elements)
        begin = time.perf_counter()
        columns = describe(few, descriptor).shape[1]
        per_row = (time.perf_counter() - begin) / len(few)
        n_targets = 2
        keys, sizes = surveys[-1].keys, surveys[-1].sizes
        if settings.quality == "score":
            check_labels(source, surveys[0].labelled, labels_needed)
        counts = [len(survey.keys) for survey in surveys]
    else:
        tables = [load_table(files.paths[0], settings.targets, settings.drop) for files in inputs]
        columns = tables[0].pool.n_features
        n_targets = max(len(tables[0].target_names), 1)
        keys, sizes = tables[-1].keys, tables[-1].sizes
        if settings.quality == "score":
            check_targets(tables[0], labels_needed, settings.targets)
        counts = [table.n for table in tables]
    open_sizes = {key: size for key, size in zip(keys, sizes, strict=True) if key not in taken}
    check_size(settings.n, len(open_sizes), len(keys))
    prices = label_costs(settings, np.array(list(open_sizes.values())))
    if settings.budget is not None and prices is not None and prices.min() > settings.budget:
        raise SeedSelectError(f"budget={settings.budget} does not pay for a single row of the pool")
    n_source, n_pool = counts[0], counts[-1]
    fitted = min(n_source, settings.max_source)
    members = 400 if settings.n_estimators == "auto" else int(settings.n_estimators)
    trees = _tree_seconds(fitted, columns) * members * n_targets**0.5
    block = _block_seconds(columns, settings.n_features) * max(1.0, n_pool / BLOCK_ROWS)
    d = settings.n_features
    seconds = {
        "reading": 2e-3 * sum(counts) if per_row else 0.0,
        "descriptors": per_row * sum(counts),
        f"committee of {members}": trees if settings.quality == "score" else 0.0,
        "kernel and draw": 2.5 * block + 1e-8 * d**3,
        "thinning": 2e-6 * columns**0.5 * n_pool,
    }
    memory = {
        "interpreter": 150e6,
        "source rows": 8.0 * fitted * columns * 3,
        "committee": members * (fitted * 2 * 64 + fitted),
        "predictions of a block": 8.0 * members * min(BLOCK_ROWS, n_pool) * n_targets * 2,
        "features of a block": 8.0 * 3 * min(BLOCK_ROWS, n_pool) * d,
        "kernel": 8.0 * 4 * d**2,
        "per pool row": 120.0 * n_pool,
    }
    return Estimate(n_source, n_pool, columns, seconds, memory)


@dataclass(frozen=True)
class _Survey:
    """Counts of a pass over frames, which are not described for it."""

    keys: list[str]
    sizes: Array
    labelled: NDArray[np.bool_]
    elements: set[int]


def _survey(files: InputFiles) -> _Survey:
    keys, sizes, labelled = [], [], []
    elements: set[int] = set()
    for frame in files.frames():
        keys.append(frame.key)
        sizes.append(float(len(frame)))
        labelled.append([frame.energy is not None, frame.forces is not None])
        elements.update(np.unique(frame.numbers).tolist())
    return _Survey(keys, np.array(sizes), np.array(labelled), elements)


def _tree_seconds(rows: int, columns: int) -> float:
    size = min(rows, 2000)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(size, columns)), rng.normal(size=size)
    DecisionTreeRegressor().fit(X[:10], y[:10])  # the first fit of a process pays for imports
    begin = time.perf_counter()
    DecisionTreeRegressor().fit(X, y)
    elapsed = time.perf_counter() - begin
    return elapsed * (rows * np.log2(rows + 2)) / (size * np.log2(size + 2))


def _block_seconds(columns: int, n_features: int) -> float:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(BLOCK_ROWS, columns))
    directions = rng.normal(size=(columns, n_features // 2))
    begin = time.perf_counter()
    angles = rows @ directions
    DualGram(n_features).update(np.hstack([np.sin(angles), np.cos(angles)]))
    return time.perf_counter() - begin
