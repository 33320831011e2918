"""What a pick will need, measured on this machine before it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from sklearn.tree import DecisionTreeRegressor

from seedselect.dataset import iter_any_frames, kind_of, load_table
from seedselect.descriptors import describe, elements_of
from seedselect.gram import DualGram
from seedselect.pool import BLOCK_ROWS
from seedselect.settings import PickSettings, make_descriptor


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


def estimate(source: Path, pool: Path | None, settings: PickSettings) -> Estimate:
    """Time a few frames, one tree and one block, and scale them up."""
    per_row = 0.0
    if kind_of(source) == "frames":
        counts = [_count(path) for path in (source, pool) if path is not None]
        few = list(islice(iter_any_frames(source), 8))
        descriptor = make_descriptor(settings, elements_of(few, *_first(pool)))
        begin = time.perf_counter()
        columns = describe(few, descriptor).shape[1]
        per_row = (time.perf_counter() - begin) / len(few)
        n_targets = 2
    else:
        tables = [
            load_table(path, settings.targets, settings.drop)
            for path in (source, pool)
            if path is not None
        ]
        counts = [table.n for table in tables]
        columns = tables[0].pool.n_features
        n_targets = max(len(tables[0].target_names), 1)
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


def _first(path: Path | None) -> list[list]:
    return [] if path is None else [list(islice(iter_any_frames(path), 8))]


def _count(path: Path) -> int:
    return sum(1 for _ in iter_any_frames(path))


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
