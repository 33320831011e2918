"""Drop duplicates and correlated neighbours of a trajectory before selecting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from seedselect.errors import SeedSelectError
from seedselect.kernel.features import column_scale, median_distance
from seedselect.pools.arrays import ArrayPool
from seedselect.pools.pool import Pool, regroup
from tpainn_calc.base.arrays import Array

#: Rows compared at a time.
STEP = 256


def thin(
    pool: Pool, keys: Sequence[str], tolerance: float = 0.2, window: int = 1000
) -> NDArray[np.intp]:
    """Return the rows that are kept.

    A row is dropped if its key has occurred before, or if it lies closer than `tolerance` times
    the median distance to one of the last `window` kept rows (standardised descriptors).
    Consecutive frames of a trajectory are dropped; independent ones are not.

    Parameters
    ----------
    pool : Pool
    keys : sequence of str (n,)
    tolerance : float
        0 drops exact repetitions only.
    window : int
        Bounds the cost by n * window; frames that far apart in a file are not correlated.
    """
    if tolerance < 0:
        raise SeedSelectError(f"dedup={tolerance} must not be negative")
    seen: set[str] = set()
    first = np.zeros(pool.n, dtype=bool)
    for row, key in enumerate(keys):
        first[row] = key not in seen
        seen.add(key)
    if tolerance == 0:
        return np.flatnonzero(first)
    sample = pool.take(np.unique(np.linspace(0, pool.n - 1, min(1000, pool.n)).astype(np.intp)))
    mean, scale, varies = column_scale(sample)
    limit = tolerance * median_distance(((sample - mean) / scale)[:, varies])
    kept: list[int] = []
    recent = np.empty((0, int(varies.sum())))
    start = 0
    for block in pool.blocks(STEP):
        scaled = ((block - mean) / scale)[:, varies]
        free = first[start : start + len(block)].copy()
        if len(recent):
            free &= cdist(scaled, recent).min(axis=1) >= limit
        inside = cdist(scaled, scaled) < limit
        for row in range(len(block)):
            if free[row]:
                free[row + 1 :] &= ~inside[row, row + 1 :]
        kept.extend((start + np.flatnonzero(free)).tolist())
        recent = np.vstack([recent, scaled[free]])[-window:]
        start += len(block)
    return np.array(kept, dtype=np.intp)


class SubsetPool:
    """Some rows of another pool.

    Parameters
    ----------
    pool : Pool
    rows : int array, ascending
    """

    def __init__(self, pool: Pool, rows: NDArray[np.intp]) -> None:
        self.pool, self.rows = pool, rows

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.rows)

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self.pool.n_features

    def blocks(self, size: int) -> Iterator[Array]:
        """Yield blocks of `size` rows."""
        wanted = np.zeros(self.pool.n, dtype=bool)
        wanted[self.rows] = True

        def kept() -> Iterator[Array]:
            start = 0
            for block in self.pool.blocks(size):
                yield block[wanted[start : start + len(block)]]
                start += len(block)

        return regroup(kept(), size)

    def take(self, indices: NDArray[np.intp]) -> Array:
        """Return rows by index."""
        return self.pool.take(self.rows[indices])

    def load(self) -> ArrayPool:
        """Return the rows as an array in memory."""
        return ArrayPool(self.take(np.arange(self.n)))
