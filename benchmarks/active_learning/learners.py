"""Learners that turn a chosen set into a test error."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.spatial.distance import cdist
from sklearn import config_context
from sklearn.tree import DecisionTreeRegressor

from tpainn_calc.base.arrays import Array


class KernelRidge:
    """Gaussian kernel ridge regression whose width and ridge are chosen by leave-one-out error.

    The closed form of the leave-one-out residual, alpha_i / (K + r I)^-1_ii (Rasmussen and
    Williams 2006, eq. 5.10-5.12), makes the choice as cheap as a fit.

    Parameters
    ----------
    mean, scale : array (d,)
        Standardisation, from unlabelled pool rows.
    """

    WIDTHS = (0.5, 1.0, 2.0, 4.0)
    RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)

    def __init__(self, mean: Array, scale: Array) -> None:
        self.mean, self.scale = mean, np.where(scale > 1e-12, scale, 1.0)

    def fit(self, X: Array, y: Array) -> KernelRidge:
        """Fit on labelled rows."""
        self.X = (X - self.mean) / self.scale
        self.offset = float(y.mean())
        target = y - self.offset
        squared = cdist(self.X, self.X, "sqeuclidean")
        # Half the mean squared distance of standardised rows is the number of columns.
        unit = float(self.X.shape[1])
        best = np.inf
        for width in self.WIDTHS:
            values, vectors = np.linalg.eigh(np.exp(-squared / (2 * width**2 * unit)))
            rotated = vectors.T @ target
            for ridge in self.RIDGES:
                inverse = 1.0 / (np.maximum(values, 0.0) + ridge)
                alpha = vectors @ (inverse * rotated)
                error = float(((alpha / (vectors**2 @ inverse)) ** 2).mean())
                if error < best:
                    best, self.alpha, self.width = error, alpha, width * np.sqrt(unit)
        return self

    def predict(self, X: Array) -> Array:
        """Return predictions (n,)."""
        squared = cdist((X - self.mean) / self.scale, self.X, "sqeuclidean")
        return np.exp(-squared / (2 * self.width**2)) @ self.alpha + self.offset


class Forest:
    """Random forest regression: bootstrap samples and fully grown trees (Breiman 2001).

    The same model as scikit-learn's, fitted without its per-tree bookkeeping, which takes most of
    the time when there are a hundred rows and thousands of fits.

    Parameters
    ----------
    seed : int
    n_trees : int
    """

    def __init__(self, seed: int, n_trees: int) -> None:
        self.seed = seed
        self.n_trees = n_trees
        self.trees: list[Any] = []

    def fit(self, X: Array, y: Array) -> Forest:
        """Fit on labelled rows."""
        rng = np.random.RandomState(self.seed)
        rows = np.ascontiguousarray(X, dtype=np.float32)
        target = np.ascontiguousarray(y, dtype=float)
        with config_context(skip_parameter_validation=True):
            for _ in range(self.n_trees):
                bag = rng.randint(0, len(y), len(y))
                tree = DecisionTreeRegressor(random_state=int(rng.randint(2**31 - 1)))
                tree.fit(rows[bag], target[bag], check_input=False)
                self.trees.append(tree.tree_)
        return self

    def members(self, X: Array) -> Array:
        """Return the predictions of all trees, (T, n)."""
        rows = np.ascontiguousarray(X, dtype=np.float32)
        return np.array([tree.predict(rows)[:, 0] for tree in self.trees])

    def predict(self, X: Array) -> Array:
        """Return predictions (n,)."""
        return self.members(X).mean(axis=0)


def rmse(prediction: Array, truth: Array) -> float:
    """Return the root-mean-square error."""
    return float(np.sqrt(((prediction - truth) ** 2).mean()))
