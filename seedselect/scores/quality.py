"""Turn raw scores into qualities: clip the tails, temper, divide by cost."""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from seedselect.errors import SeedSelectError
from tpainn_calc.base.arrays import Array

#: Smallest quality as a fraction of the largest: a weak row stays possible, the kernel keeps rank.
FLOOR = 1e-3


def shape_quality(
    score: Array,
    clip: tuple[float, float] = (0.0, 0.99),
    temper: float = 1.0,
    floor: float = FLOOR,
) -> Array:
    """Return qualities in (0, 1] from non-negative scores.

    Parameters
    ----------
    score : array (N,)
    clip : (low, high)
        Quantiles at which the tails are cut.
    temper : float
        Exponent; 0 is diversity alone, 1 the clipped score.
    floor : float
        Smallest quality.

    Returns
    -------
    array (N,)
        Between `floor` and 1; all 1 when the score is constant zero.
    """
    low, high = clip
    if not 0 <= low < high <= 1:
        raise SeedSelectError(f"clip={clip!r}: give two increasing quantiles between 0 and 1")
    if not temper >= 0:
        raise SeedSelectError(f"temper={temper!r} must not be negative")
    if not 0 < floor <= 1:
        raise SeedSelectError(f"floor={floor!r} must lie between 0 and 1")
    score = np.asarray(score, dtype=float)
    if temper == 0:
        return np.ones(len(score))
    bottom, top = np.quantile(score, [low, high])
    if top <= 0:
        # More than the clipped share is 0: keep the few that are not.
        top = float(score.max())
    if top <= 0:
        return np.ones(len(score))
    return np.maximum((np.clip(score, bottom, top) / top) ** temper, floor)


#: Forms of the quality that a score may take.
FORMS = ("tempered", "published")

#: Exponent and smallest quality of the tempered form: examples/active_learning/tuning.yaml.
TEMPER, SCORE_FLOOR = 0.25, 0.3


def published_quality(score: Array) -> Array:
    """Return the quality of the published method: the score less its minimum, scaled to 1.

    A row of the lowest score is never drawn.
    """
    score = np.asarray(score, dtype=float)
    above = score - score.min()
    top = float(above.max())
    return above / top if top > 0 else np.ones(len(score))


def equal_share(y: Array) -> float:
    """Return the largest share of rows with one and the same label, over columns of y (N, K)."""
    counts = [np.unique(column, return_counts=True)[1].max() for column in y.T]
    return float(max(counts, default=0)) / max(len(y), 1)


def divide_by_cost(quality: Array, cost: Array, exponent: float) -> Array:
    """Return q / c^exponent, scaled to a maximum of 1."""
    value = quality / (cost / cost.min()) ** exponent
    return value / value.max()


def check_cost(cost: object, n: int) -> Array:
    """Return `cost` as an array (n,) of positive finite numbers."""
    values = np.asarray(cost, dtype=float)
    if values.shape != (n,):
        raise SeedSelectError(f"cost has shape {values.shape}, but the pool has {n} rows")
    if not np.isfinite(values).all() or (values <= 0).any():
        bad = int(np.flatnonzero(~(np.isfinite(values) & (values > 0)))[0])
        raise SeedSelectError(f"cost of row {bad} is {values[bad]}: costs must be positive")
    return values


def effective_number(quality: Array) -> float:
    """Return (sum q^2)^2 / sum q^4: how many rows the weights q^2 amount to."""
    weight = quality**2
    total = float((weight**2).sum())
    return float(weight.sum() ** 2 / total) if total > 0 else 0.0


class SpreadCalibration:
    """Map a committee's variance to an expected squared error.

    Squared out-of-bag residuals are fitted by ``a + b * variance`` with a, b >= 0 (per target):
    where the spread says nothing about the error, b goes to 0 and the quality is flat.

    Attributes
    ----------
    intercept_, slope_ : array (K,)
    """

    def fit(self, variance: Array, squared_residual: Array) -> SpreadCalibration:
        """Fit on out-of-bag variances and squared residuals, both (N, K)."""
        if not len(variance):
            # Nothing to calibrate on: the plain spread.
            self.intercept_ = np.zeros(variance.shape[1])
            self.slope_ = np.ones(variance.shape[1])
            return self
        pairs = []
        for column in range(variance.shape[1]):
            v, r = variance[:, column], squared_residual[:, column]
            # Weighting by the inverse variance keeps a few wild rows from ruling the fit.
            weight = 1.0 / (v + max(float(v.mean()), 1e-12))
            design = np.column_stack([np.ones_like(v), v]) * weight[:, None]
            scale = np.maximum(np.linalg.norm(design, axis=0), 1e-300)
            solution, _ = nnls(design / scale, r * weight)
            pairs.append(solution / scale)
        self.intercept_, self.slope_ = np.array(pairs).T
        return self

    def expected_error(self, variance: Array) -> Array:
        """Return the calibrated root-mean-square error over targets, (n,), standardised units."""
        return np.sqrt((self.intercept_ + self.slope_ * variance).mean(axis=1))
