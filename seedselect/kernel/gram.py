"""Dual Gram matrices that are accumulated over blocks of rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seedselect.errors import SeedSelectError
from tpainn_calc.base.arrays import Array


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues above the numerical noise and their eigenvectors.

    Attributes
    ----------
    values : array (r,), descending, positive
    vectors : array (D, r)
    """

    values: Array
    vectors: Array

    @property
    def rank(self) -> int:
        """Numerical rank r: the largest number of points that can be drawn."""
        return len(self.values)

    @property
    def effective_dimension(self) -> float:
        """Participation ratio (sum of eigenvalues)^2 / sum of squares."""
        return float(self.values.sum() ** 2 / (self.values**2).sum()) if self.rank else 0.0


class DualGram:
    """Accumulate C = B'B (D, D) in float64 over blocks of B (N, D).

    The non-zero spectrum of C is that of the kernel L = BB' (N, N), which is never built.

    Parameters
    ----------
    n_features : int
        D.

    Attributes
    ----------
    matrix : array (D, D)
    n_rows : int
    """

    def __init__(self, n_features: int) -> None:
        self.matrix: Array = np.zeros((n_features, n_features))
        self.n_rows = 0

    def update(self, block: Array) -> DualGram:
        """Add the rows of one block (n, D)."""
        block = np.ascontiguousarray(block, dtype=float)
        if block.ndim != 2 or block.shape[1] != len(self.matrix):
            raise SeedSelectError(
                f"block has shape {block.shape}, expected (n, {len(self.matrix)})"
            )
        self.matrix += block.T @ block
        self.n_rows += len(block)
        return self

    def merge(self, other: DualGram) -> DualGram:
        """Add the rows that another accumulator has seen."""
        if other.matrix.shape != self.matrix.shape:
            raise SeedSelectError(
                f"cannot merge Gram matrices of {len(self.matrix)} and {len(other.matrix)} features"
            )
        self.matrix += other.matrix
        self.n_rows += other.n_rows
        return self

    def spectrum(self, transform: Array | None = None) -> Spectrum:
        """Return the eigen-decomposition of C, or of T C T for a symmetric `transform` T.

        Eigenvalues below ``4 D eps`` of the largest are noise of the float64 sum and left out.
        """
        matrix = self.matrix if transform is None else transform @ self.matrix @ transform
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        values, vectors = values[::-1], vectors[:, ::-1]
        top = float(values[0]) if len(values) else 0.0
        keep = values > max(4 * len(values) * np.finfo(float).eps * top, 0.0)
        return Spectrum(np.ascontiguousarray(values[keep]), np.ascontiguousarray(vectors[:, keep]))
