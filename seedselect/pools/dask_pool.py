"""Pools over Dask arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from seedselect.errors import SeedSelectError
from seedselect.pools.pool import BLOCK_ROWS, regroup
from tpainn_calc.base.arrays import Array

Result = TypeVar("Result")


class DaskPool:
    """A pool over a two-dimensional `dask.array` (extra ``tpainn[dask]``).

    Blocks are computed on the workers of the current Dask scheduler, a few at a time; results
    come back in order.

    Parameters
    ----------
    array : dask.array.Array (n, d)
    in_flight : int, default 8
        Blocks computed at once; bounds the memory.
    """

    def __init__(self, array: Any, in_flight: int = 8) -> None:
        if array.ndim != 2 or np.isnan(array.shape[0]):
            raise SeedSelectError(
                "a Dask pool needs two dimensions of known size: call compute_chunk_sizes() first"
            )
        self.array = array.rechunk((BLOCK_ROWS, -1))
        self.in_flight = in_flight

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.array.shape[0])

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return int(self.array.shape[1])

    def map_blocks(self, function: Callable[[int, Array], Result]) -> Iterator[Result]:
        """Yield function(start, block) in order, computed on the workers."""
        import dask

        def run(start: int, block: Any) -> Result:
            return function(start, np.asarray(block, dtype=float))

        call = dask.delayed(run, pure=False)
        parts = self.array.to_delayed()[:, 0]
        for first in range(0, len(parts), self.in_flight):
            some = range(first, min(first + self.in_flight, len(parts)))
            yield from dask.compute(*[call(i * BLOCK_ROWS, parts[i]) for i in some])

    def blocks(self, size: int) -> Iterator[Array]:
        """Yield blocks of `size` rows."""
        return regroup(self.map_blocks(lambda _, block: block), size)

    def take(self, indices: NDArray[np.intp]) -> Array:
        """Return rows by index."""
        unique, inverse = np.unique(indices, return_inverse=True)
        return np.asarray(self.array[unique].compute(), dtype=float)[inverse]
