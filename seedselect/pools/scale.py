"""Mean and deviation of a pool's columns, in one pass."""

from __future__ import annotations

import numpy as np

from seedselect.pools.pool import Pool, check_finite, map_blocks
from tpainn_calc.base.arrays import Array


def streamed_scale(rows: Pool) -> tuple[Array, Array]:
    """Return mean and standard deviation of a pool's columns in one pass; 0 where constant."""
    first = rows.take(np.zeros(1, dtype=np.intp))[0]

    def part(start: int, block: Array) -> tuple[Array, Array, Array]:
        # the first row taken off keeps digits
        block = check_finite(block, start, "the pool") - first
        return block.sum(axis=0), (block**2).sum(axis=0), np.abs(block + first).max(axis=0)

    total, square, largest = np.zeros_like(first), np.zeros_like(first), np.abs(first)
    for one, two, top in map_blocks(rows, part):
        total, square, largest = total + one, square + two, np.maximum(largest, top)
    mean = total / rows.n
    deviation = np.sqrt(np.maximum(square / rows.n - mean**2, 0.0))
    return mean + first, np.where(deviation > 1e-10 * np.maximum(largest, 1e-300), deviation, 0.0)
