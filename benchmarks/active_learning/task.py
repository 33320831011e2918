"""A benchmark task and its random splits."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seedselect.errors import SeedSelectError
from tpainn_calc.base.arrays import Array


@dataclass(frozen=True)
class Split:
    """One repetition of a task.

    Attributes
    ----------
    X_source, y_source : array (N, d), (N, K)
        The cheap, labelled source.
    X_pool, y_pool : array (n, d), (n,)
        Candidates and their expensive labels, which a method must not see.
    X_test, y_test : array
    pool_is_source : bool
        True for target transfer: pool row i is source row i.
    """

    X_source: Array
    y_source: Array
    X_pool: Array
    y_pool: Array
    X_test: Array
    y_test: Array
    pool_is_source: bool


@dataclass(frozen=True)
class Task:
    """All rows of a task.

    Attributes
    ----------
    name : str
    kind : {"target transfer", "feature shift"}
    X, y : array (N, d), (N,)
        Rows with the expensive label: pool and test come from here.
    source_X, source_y : array
        Target transfer: the same rows with the cheap label. Feature shift: other rows.
    note : str
        How the task is defined, and what of the paper could not be had.
    """

    name: str
    kind: str
    X: Array
    y: Array
    source_X: Array
    source_y: Array
    note: str

    def split(self, pool_size: int, test_size: int, rng: np.random.Generator) -> Split:
        """Draw pool, test and source rows.

        When the task is too small, two thirds of the rows make the pool.
        """
        total = len(self.X)
        pool_size = min(pool_size, 2 * total // 3)
        rows = rng.permutation(total)
        pool, test = rows[:pool_size], rows[pool_size : pool_size + test_size]
        if self.kind == "target transfer":
            source = pool
        else:
            source = rng.permutation(len(self.source_X))[:pool_size]
        source_y = self.source_y.reshape(len(self.source_X), -1)
        return Split(
            self.source_X[source],
            source_y[source],
            self.X[pool],
            self.y[pool],
            self.X[test],
            self.y[test],
            self.kind == "target transfer",
        )


def data_directory() -> Path:
    """Return the directory of the data sets: $TPAINN_DATA, else ../shared/data of the repository.

    Raises
    ------
    SeedSelectError
        If it does not exist.
    """
    named = os.environ.get("TPAINN_DATA")
    path = Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "data"
    if not path.is_dir():
        raise SeedSelectError(
            f"{path}: the data sets are not there; set TPAINN_DATA to their directory"
        )
    return path


def data_file(name: str) -> Path:
    """Return the path of one data file, or say that it is missing."""
    path = data_directory() / name
    if not path.is_file():
        raise SeedSelectError(
            f"{path}: this data file is missing; set TPAINN_DATA to its directory"
        )
    return path


def principal_components(rows: Array, count: int = 30) -> Array:
    """Return the leading principal components of standardised rows, scaled by their deviation."""
    centred = rows - rows.mean(axis=0)
    scale = centred.std(axis=0)
    keep = scale > 1e-10 * max(float(np.abs(rows).max()), 1e-300)
    centred = centred[:, keep] / scale[keep]
    _, vectors = np.linalg.eigh(centred.T @ centred)
    vectors = vectors[:, ::-1][:, :count]
    # A fixed sign makes the result independent of the linear-algebra library.
    sign = np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
    return np.asarray(centred @ (vectors * sign))
