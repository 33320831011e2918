"""Random Fourier features of a Gaussian kernel, in standardised units."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_array, check_is_fitted, check_random_state

from seedselect.errors import SeedSelectError
from tpainn_calc.base.arrays import Array

#: Rows used by the median heuristic.
MEDIAN_ROWS = 1000


def column_scale(X: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Return mean, standard deviation and the mask of columns that vary.

    A column is constant when its deviation is below 1e-10 of its magnitude; its scale is 1.
    """
    mean = X.mean(axis=0)
    scale = X.std(axis=0)
    varies = scale > 1e-10 * np.maximum(np.abs(X).max(axis=0), 1e-300)
    return mean, np.where(varies, scale, 1.0), varies


def median_distance(X: Array, n_rows: int = MEDIAN_ROWS) -> float:
    """Return the median distance between evenly spaced rows of `X` (distances of 0 left out)."""
    rows = np.unique(np.linspace(0, len(X) - 1, min(n_rows, len(X))).astype(int))
    distances = pdist(X[rows])
    distances = distances[distances > 0]
    return float(np.median(distances)) if len(distances) else 1.0


class RandomFourierFeatures(TransformerMixin, BaseEstimator):
    """Paired sine and cosine features with ``phi(x)'phi(z) -> exp(-|x - z|^2 / (2 l^2))``.

    Pairs make the diagonal exactly 1, where cosines with a random phase are off by 10 %
    (Rahimi and Recht, NIPS 2007, eq. 5; Sutherland and Schneider, UAI 2015, sec. 2).
    Columns are standardised on the rows given to `fit`; constant columns are left out.

    Parameters
    ----------
    n_features : int, default 512
        Number D of features, even.
    length_scale : float or "median"
        Kernel width l in standardised units; "median" is `length_factor` times the median
        distance of the fitted rows.
    length_factor : float, default 0.5
        A smaller factor gives a narrower kernel and a larger numerical rank.
    standardise : bool, default True
        False takes columns in the units they have, because their scale is deliberate.
    random_state : int, RandomState or None

    Attributes
    ----------
    length_scale_ : float
    varies_ : bool array (d,), columns that are not constant
    frequencies_ : array (d_varying, D/2)
    """

    def __init__(
        self,
        n_features: int = 512,
        length_scale: float | str = "median",
        length_factor: float = 0.5,
        standardise: bool = True,
        random_state: Any = None,
    ) -> None:
        self.n_features = n_features
        self.length_scale = length_scale
        self.length_factor = length_factor
        self.standardise = standardise
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> RandomFourierFeatures:
        """Standardise, choose the length scale, draw the frequencies.

        Raises
        ------
        SeedSelectError
            If `n_features` is odd, the length scale not positive, or every column constant.
        """
        rows: Array = check_array(X, dtype=float)
        if self.n_features < 2 or self.n_features % 2:
            raise SeedSelectError(
                f"n_features={self.n_features} must be even and at least 2: features come in pairs"
            )
        self.mean_, self.scale_, self.varies_ = column_scale(rows)
        if not self.standardise:
            self.scale_ = np.ones_like(self.scale_)
        if not self.varies_.any():
            raise SeedSelectError(
                f"all {rows.shape[1]} columns of X are constant: no row differs from another; "
                "check the descriptor"
            )
        self.n_features_in_ = rows.shape[1]
        if isinstance(self.length_scale, str):
            if self.length_scale != "median":
                raise SeedSelectError(
                    f"length_scale={self.length_scale!r}: give a positive number or 'median'"
                )
            self.length_scale_ = self.length_factor * median_distance(self.scaled(rows))
        else:
            self.length_scale_ = float(self.length_scale)
        if not (np.isfinite(self.length_scale_) and self.length_scale_ > 0):
            raise SeedSelectError(
                f"length scale {self.length_scale_!r} must be positive and finite"
            )
        rng = check_random_state(self.random_state)
        shape = (int(self.varies_.sum()), self.n_features // 2)
        self.frequencies_ = rng.standard_normal(shape) / self.length_scale_
        return self

    def scaled(self, X: Array) -> Array:
        """Return the varying columns of `X` in units of their standard deviation."""
        scaled = (X - self.mean_) / self.scale_
        return scaled if self.varies_.all() else scaled[:, self.varies_]

    def transform(self, X: ArrayLike) -> Array:
        """Return the features, (n, D); every row has norm 1."""
        check_is_fitted(self)
        rows = np.asarray(X, dtype=float)
        if rows.ndim != 2 or rows.shape[1] != self.n_features_in_:
            raise SeedSelectError(
                f"X has shape {rows.shape}, but the features were fitted on {self.n_features_in_} "
                "columns: use the same descriptor for source and pool"
            )
        angles = self.scaled(rows) @ self.frequencies_
        half = self.n_features // 2
        out = np.empty((len(rows), self.n_features))
        np.sin(angles, out=out[:, :half])
        np.cos(angles, out=out[:, half:])
        out *= 1.0 / np.sqrt(half)
        return out


class LinearFeatures(TransformerMixin, BaseEstimator):
    """Standardised columns with an intercept: the linear kernel, for features that are ready made.

    Parameters
    ----------
    standardise : bool, default True
        False takes the columns as they are (already a feature map).
    """

    def __init__(self, standardise: bool = True) -> None:
        self.standardise = standardise

    def fit(self, X: ArrayLike, y: object = None) -> LinearFeatures:
        """Store means and scales."""
        rows: Array = check_array(X, dtype=float)
        self.n_features_in_ = rows.shape[1]
        self.mean_, self.scale_, self.varies_ = column_scale(rows)
        return self

    def transform(self, X: ArrayLike) -> Array:
        """Return the features, (n, d + 1) or (n, d)."""
        check_is_fitted(self)
        rows = np.asarray(X, dtype=float)
        if not self.standardise:
            return rows
        scaled = (rows - self.mean_) / self.scale_
        return np.hstack([scaled, np.ones((len(rows), 1))]) / np.sqrt(rows.shape[1] + 1)
