"""The error of a mean over a correlated series, by blocking."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tpainn_calc.base.arrays import Array
from tpainn_calc.base.errors import ConfigError, DataError

__all__ = ["MIN_BLOCKS", "BlockAverage", "block_average"]

MIN_BLOCKS = 5
"""Fewest blocks that an error bar is taken from."""


@dataclass(frozen=True)
class BlockAverage:
    """Mean of a correlated series with its standard error.

    Attributes
    ----------
    mean, error : float
        Mean of the series and the standard error of the mean; the error of one value is NaN.
    block_size, n_blocks : int
        Length and number of the blocks that the error was taken from.
    converged : bool
        False if the series is too short for the error to reach its plateau: `error` is then the
        largest that was seen, and too small.
    """

    mean: float
    error: float
    block_size: int
    n_blocks: int
    converged: bool


def block_average(series: ArrayLike) -> BlockAverage:
    """Average a correlated series and estimate the standard error of the mean by blocking.

    Blocks are doubled (Flyvbjerg and Petersen, J. Chem. Phys. 91, 461 (1989)) until the block
    length B satisfies B³ > 2 N (σ_B / σ_1)⁴, the balance of systematic and statistical error of
    the estimate (Lee et al., Phys. Rev. E 83, 066706 (2011)); at least five blocks are kept.

    Parameters
    ----------
    series : (T,) array
        Values at equal intervals.

    Returns
    -------
    BlockAverage

    Raises
    ------
    DataError
        If the series is empty, not one-dimensional, or has values that are not finite.
    """
    x = np.asarray(series, dtype=np.float64)
    if x.ndim != 1 or len(x) == 0:
        raise DataError(f"a series of values is needed to average, got shape {x.shape}")
    if not np.isfinite(x).all():
        bad = int(np.flatnonzero(~np.isfinite(x))[0])
        raise DataError(f"value {bad} of the series is not finite ({x[bad]})")
    if len(x) == 1:
        return BlockAverage(float(x[0]), np.nan, 1, 1, False)
    single = np.var(x, ddof=1) / len(x)
    # Rounding of the mean alone gives a constant series a variance of this order.
    if single <= (1e-15 * np.abs(x).max()) ** 2:
        return BlockAverage(float(x.mean()), 0.0, 1, len(x), True)
    levels = []
    size = 1
    while size == 1 or len(x) // size >= MIN_BLOCKS:
        count = len(x) // size
        blocks = x[len(x) - count * size :].reshape(count, size).mean(axis=1)
        squared = np.var(blocks, ddof=1) / count
        levels.append((float(np.sqrt(squared)), size, count))
        if size**3 > 2 * len(x) * (squared / single) ** 2:
            return BlockAverage(float(x.mean()), *levels[-1], True)
        size *= 2
    return BlockAverage(float(x.mean()), *max(levels), False)


def checked_blocks(n_blocks: int) -> int:
    if n_blocks < MIN_BLOCKS:
        raise ConfigError(f"n_blocks must be at least {MIN_BLOCKS}, got {n_blocks}")
    return n_blocks


def split_blocks(frames: range, n_blocks: int) -> list[range]:
    """Consecutive blocks of nearly equal length."""
    if len(frames) < MIN_BLOCKS:
        raise DataError(f"{len(frames)} frames give no error bar: at least {MIN_BLOCKS} are needed")
    count = min(checked_blocks(n_blocks), len(frames))
    edges = np.linspace(0, len(frames), count + 1).astype(int)
    return [frames[low:high] for low, high in itertools.pairwise(edges)]


def mean_and_error(blocks: Array) -> tuple[Array, Array]:
    """Mean over the first axis and its standard error."""
    return blocks.mean(axis=0), blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks))
