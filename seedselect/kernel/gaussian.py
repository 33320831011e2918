"""The covariance of a Gaussian process over standardised columns, and its fit to labels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from tpainn_calc.base.arrays import Array

#: Fitted parameters are rounded to this step of their logarithm: an optimiser's last digits are
#: noise, and a choice of rows should not depend on them.
LOG_STEP = 0.02


@dataclass(frozen=True)
class GaussianKernel:
    """Covariance s² exp(-|Δ|² / (2 l²)) + 1 of standardised labels.

    The 1 stands for an offset that is not known beforehand.

    Parameters
    ----------
    signal : float
        s².
    length : float
        l, in standard deviations of the columns.
    noise : float
        Variance of a label around the process.
    """

    signal: float
    length: float
    noise: float

    @classmethod
    def unfitted(cls, n_columns: int) -> GaussianKernel:
        """Return what is sensible before any label: l = √d, noise 0.1."""
        return cls(1.0, float(np.sqrt(n_columns)), 0.1)

    def __call__(self, first: Array, second: Array) -> Array:
        """Covariances of two sets of rows, (n, m)."""
        squared = cdist(first, second, "sqeuclidean")
        squared *= -0.5 / self.length**2
        np.exp(squared, out=squared)
        squared *= self.signal
        squared += 1.0
        return squared

    @property
    def variance(self) -> float:
        """Variance of a row."""
        return self.signal + 1.0


#: Factors by which a fit may leave what is sensible without labels. Labels that are mostly noise
#: would otherwise ask for a process that is flat or all noise, and for rows that cover nothing.
SIGNAL_FACTORS, LENGTH_FACTORS, NOISE_FACTORS = (0.3, 3.0), (0.5, 2.0), (0.1, 3.0)


def fit_gaussian(X: Array, y: Array) -> GaussianKernel:
    """Fit signal, length and noise by marginal likelihood, within bounds.

    Parameters
    ----------
    X : array (n, d), standardised
    y : array (n, K), standardised
        The likelihoods of several columns are multiplied.
    """
    start = GaussianKernel.unfitted(X.shape[1])
    kernel = (
        ConstantKernel(start.signal, _around(start.signal, SIGNAL_FACTORS))
        * RBF(start.length, _around(start.length, LENGTH_FACTORS))
        + ConstantKernel(1.0, "fixed")
        + WhiteKernel(start.noise, _around(start.noise, NOISE_FACTORS))
    )
    process = GaussianProcessRegressor(kernel, alpha=1e-10)
    with warnings.catch_warnings():
        # a parameter at its bound is a fit too
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(X, y)
    # logarithms of signal, length and noise, in this order
    theta = np.exp(LOG_STEP * np.round(process.kernel_.theta / LOG_STEP))
    return GaussianKernel(*map(float, theta))


def _around(value: float, factors: tuple[float, float]) -> tuple[float, float]:
    return value * factors[0], value * factors[1]
