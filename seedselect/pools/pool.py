"""The protocol of pools of candidate rows, and passes over them.

Every computation streams a pool in blocks of exactly `BLOCK_ROWS` rows, whatever the size of the
file, shard or chunk behind it, so that one block, many blocks and Dask give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from seedselect.errors import SeedSelectError
from tpainn_calc.base.arrays import Array

Result = TypeVar("Result")

#: Rows per block of every streamed pass.
BLOCK_ROWS = 4096


@runtime_checkable
class Pool(Protocol):
    """Contract of a pool: its size, its rows in order, and any rows by index."""

    @property
    def n(self) -> int:
        """Number of rows."""

    @property
    def n_features(self) -> int:
        """Number of columns."""

    def blocks(self, size: int) -> Iterator[Array]:
        """Yield the rows in order, `size` at a time (the last block may be shorter)."""

    def take(self, indices: NDArray[np.intp]) -> Array:
        """Return the rows at `indices`, in that order."""


def map_blocks(pool: Pool, function: Callable[[int, Array], Result]) -> Iterator[Result]:
    """Yield function(start, block) over the pool in order; in parallel where the pool can."""
    parallel = getattr(pool, "map_blocks", None)
    if parallel is not None:
        yield from parallel(function)
        return
    start = 0
    for block in pool.blocks(BLOCK_ROWS):
        yield function(start, block)
        start += len(block)


#: Largest number of a row.
LARGEST = float(np.finfo(np.float32).max)


def regroup(blocks: Iterable[Array], size: int) -> Iterator[Array]:
    """Yield the same rows in blocks of exactly `size` (the last may be shorter)."""
    waiting: list[Array] = []
    count = 0
    for block in blocks:
        offset = 0
        while offset < len(block):
            part = block[offset : offset + size - count]
            waiting.append(np.asarray(part, dtype=float))
            count += len(part)
            offset += len(part)
            if count == size:
                yield waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
                waiting, count = [], 0
    if count:
        yield waiting[0] if len(waiting) == 1 else np.concatenate(waiting)


def check_finite(block: Array, start: int, name: str) -> Array:
    """Return `block` or say where its first NaN, infinity or absurdly large number is.

    Forests compute in float32, so what float32 cannot hold is as good as infinite.
    """
    wrong = ~(np.abs(block) <= LARGEST)
    if wrong.any():
        row, column = (int(v[0]) for v in np.nonzero(wrong))
        value = block[row, column]
        kind = "NaN" if np.isnan(value) else f"{value:.4g}"
        raise SeedSelectError(
            f"{name} contains NaN or inf, or numbers beyond {LARGEST:.2g} ({kind} at row "
            f"{start + row}, column {column}): drop or impute the row before selecting"
        )
    return block
