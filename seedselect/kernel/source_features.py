"""A kernel that knows what the source knows: source predictions beside the descriptor."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from seedselect.errors import SeedSelectError
from seedselect.kernel.features import RandomFourierFeatures, column_scale
from tpainn_calc.base.arrays import Array


class SourceAwareFeatures(TransformerMixin, BaseEstimator):
    """Random Fourier features of the descriptor and of a source model's predictions.

    The labels of the source enter as similarity and not as quality: rows that the source model
    takes for different are apart even where their descriptors are close. With
    `seedselect.baselines.facility_location` this is the form in which source labels helped in our
    benchmark (examples/active_learning/README.md).

    Parameters
    ----------
    model : fitted regressor
        With ``predict``; for instance a fitted `ATBagging`.
    weight : float, default 0.5
        Weight of the predictions in squared distances, where the descriptor has 1.
    n_features : int, default 512
    length_factor : float, default 0.5
    random_state : int, RandomState or None

    Attributes
    ----------
    features_ : RandomFourierFeatures
    """

    def __init__(
        self,
        model: Any,
        weight: float = 0.5,
        n_features: int = 512,
        length_factor: float = 0.5,
        random_state: Any = None,
    ) -> None:
        self.model = model
        self.weight = weight
        self.n_features = n_features
        self.length_factor = length_factor
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> SourceAwareFeatures:
        """Standardise descriptor and predictions on `X`, (n, d)."""
        if not self.weight >= 0:
            raise SeedSelectError(f"weight={self.weight!r} must not be negative")
        rows = np.asarray(X, dtype=float)
        predictions = self._predict(rows)
        self._mean, self._scale, varies = column_scale(np.hstack([rows, predictions]))
        columns, targets = rows.shape[1], predictions.shape[1]
        factor = np.ones(columns + targets)
        # All predictions together weigh `weight` times all varying columns together.
        factor[columns:] = np.sqrt(self.weight * max(int(varies[:columns].sum()), 1) / targets)
        self._factor = factor
        self.features_ = RandomFourierFeatures(
            self.n_features,
            length_factor=self.length_factor,
            standardise=False,
            random_state=self.random_state,
        ).fit(self._joint(rows))
        return self

    def _predict(self, rows: Array) -> Array:
        return np.asarray(self.model.predict(rows), dtype=float).reshape(len(rows), -1)

    def _joint(self, rows: Array) -> Array:
        both = np.hstack([rows, self._predict(rows)])
        return (both - self._mean) / self._scale * self._factor

    def transform(self, X: ArrayLike) -> Array:
        """Return the features, (n, n_features)."""
        check_is_fitted(self, "features_")
        return self.features_.transform(self._joint(np.asarray(X, dtype=float)))
