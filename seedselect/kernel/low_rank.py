"""The quality-diversity kernel L = diag(q) Phi T T Phi' diag(q), by rows on demand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedselect.errors import SeedSelectError
from seedselect.kernel.gram import DualGram
from seedselect.pools.pool import Pool, map_blocks
from tpainn_calc.base.arrays import Array


class LowRankKernel:
    """Rows b_i = q_i T phi(x_i) of a pool; nothing of size N x D is kept.

    Parameters
    ----------
    pool : Pool
    features : object with ``transform(X) -> (n, D)``
    quality : array (N,) or None
        Non-negative; 0 shuts a row out. None is 1 everywhere.
    transform : array (D, D) or None
        Symmetric; see `seedselect.kernel.posterior.posterior_transform`.
    """

    def __init__(
        self,
        pool: Pool,
        features: Any,
        quality: Array | None = None,
        transform: Array | None = None,
    ) -> None:
        self.pool = pool
        self.features = features
        self.transform = transform
        self.quality = np.ones(pool.n) if quality is None else np.asarray(quality, dtype=float)
        if self.quality.shape != (pool.n,):
            raise SeedSelectError(
                f"quality has shape {self.quality.shape}, but the pool has {pool.n} rows"
            )
        if not np.isfinite(self.quality).all() or (self.quality < 0).any():
            raise SeedSelectError("quality must be finite and not negative")

    @property
    def n(self) -> int:
        """Number of rows of the pool."""
        return self.pool.n

    def _map(self, block: Array) -> Array:
        phi = self.features.transform(block)
        return phi if self.transform is None else phi @ self.transform

    def rows(self, indices: NDArray[np.intp]) -> Array:
        """Return b_i for the given rows, (len(indices), D), recomputed."""
        indices = np.asarray(indices, dtype=np.intp)
        return self._map(self.pool.take(indices)) * self.quality[indices, None]

    def _weighted(self, start: int, block: Array) -> Array:
        return self._map(block) * self.quality[start : start + len(block), None]

    def gram(self) -> DualGram:
        """Accumulate C = B'B in one streamed pass."""

        def part(start: int, block: Array) -> DualGram:
            weighted = self._weighted(start, block)
            return DualGram(weighted.shape[1]).update(weighted)

        parts = map_blocks(self.pool, part)
        total = next(parts, None)
        if total is None:
            raise SeedSelectError("the pool is empty: nothing to select from")
        for other in parts:
            total.merge(other)
        return total

    def norms(self, matrix: Array | None = None) -> Array:
        """Return ``|b_i W|^2`` for every row, (N,); W = identity when `matrix` is None."""

        def part(start: int, block: Array) -> Array:
            weighted = self._weighted(start, block)
            mapped = weighted if matrix is None else weighted @ matrix
            return np.einsum("ij,ij->i", mapped, mapped)

        return np.concatenate(list(map_blocks(self.pool, part)))
