"""Expected-error design: seeds that a cheap label's own map asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from seedselect.entropy import entropy_of
from seedselect.errors import SeedSelectError
from seedselect.kernel.features import column_scale
from seedselect.kernel.gaussian import GaussianKernel, fit_gaussian
from seedselect.kernel.posterior import known_points
from seedselect.pools.opening import as_pool, pool_like
from seedselect.pools.pool import Pool, check_finite
from seedselect.pools.scale import streamed_scale
from seedselect.sampling.expected_error import ExpectedError
from seedselect.scores.carrier import LabelCarrier
from seedselect.scores.quality import check_cost
from seedselect.selection import Selection, check_size
from tpainn_calc.base.arrays import Array

Index = NDArray[np.intp]

#: Candidates for every row that is asked for, where the pool is that large.
CANDIDATES_PER_ROW = 4
#: Labels that weigh as much as the value of rho2 that was assumed, when it is learnt.
RHO2_STRENGTH = 10.0


#: Pairs of cheap and target labels from which on rho2 is learnt.
ENOUGH_PAIRS = 10


class SourceDesign(BaseEstimator):
    """Choose rows greedily by the error that is expected after labelling them.

    The target is thought of as a multiple of the source's label plus an independent Gaussian
    process (co-kriging). Rows are added that take most off

        J(S) = ρ² mean_v (f_v - m_S(v))² + (1 - ρ²) mean_v var_S(v) / s²,

    where f is the source's label of pool row v, m_S and var_S the posterior of a process that has
    seen f on S: see `seedselect.sampling.expected_error.ExpectedError`. Without labels, or with
    ``rho2=0``, this is V-optimal design. Every prefix of the choice is a good set.

    Parameters
    ----------
    rho2 : float, default 0.3
        Share of the target's variance that the source is expected to explain.
    n_candidates, n_reference : int, default 800, 600
        Rows of the pool that may be chosen and over which the error is averaged, drawn at random;
        all rows where the pool has no more. There are at least four candidates for every row that
        is asked for.
    fit_covariance : bool, default False
        Fit signal, length and noise of the process to the source's labels, within a factor of two
        or three of the default (l = √d, noise 0.1). In the benchmark that gained nothing.
    n_fit : int, default 400
        Rows of the source on which they are fitted.
    random_state : int, RandomState or None
        Rules which rows are looked at. With an int, equal calls give equal results.

    Attributes
    ----------
    rho2_ : float
        The value in use: `rho2`, or what `learn` made of it; 0 without labels.
    kernel_ : GaussianKernel
        In units of the columns' deviations over the source; another pool has its own units.
    labels_ : {"used", "none", "constant", "ignored"}
    """

    def __init__(
        self,
        rho2: float = 0.3,
        n_candidates: int = 800,
        n_reference: int = 600,
        fit_covariance: bool = False,
        n_fit: int = 400,
        random_state: Any = None,
    ) -> None:
        self.rho2 = rho2
        self.n_candidates = n_candidates
        self.n_reference = n_reference
        self.fit_covariance = fit_covariance
        self.n_fit = n_fit
        self.random_state = random_state

    def fit(self, X_source: ArrayLike, y_source: ArrayLike | None = None) -> SourceDesign:
        """Take the source in.

        Parameters
        ----------
        X_source : array (N, d)
        y_source : array (N,) or (N, K), optional
            Cheap labels, any units. Without them the design is V-optimal.

        Raises
        ------
        SeedSelectError
            NaN, only constant columns, options out of range.
        """
        if not 0 <= self.rho2 <= 1:
            raise SeedSelectError(f"rho2={self.rho2!r} must lie between 0 and 1")
        for name in ("n_candidates", "n_reference", "n_fit"):
            if not getattr(self, name) >= 2:
                raise SeedSelectError(f"{name}={getattr(self, name)!r} must be at least 2")
        options: dict[str, Any] = {"dtype": np.float64, "ensure_all_finite": False}
        if y_source is None:
            X = validate_data(self, X_source, **options)
            y = np.zeros((len(X), 1))
        else:
            raw = np.asarray(y_source)
            if raw.dtype.kind == "f" and raw.ndim:
                check_finite(raw.reshape(len(raw), -1), 0, "y_source")
            X, y = validate_data(
                self, X_source, y_source, multi_output=True, y_numeric=True, **options
            )
            y = np.asarray(y, dtype=float).reshape(len(X), -1)
        self._source = check_finite(X, 0, "X_source")
        if len(X) < 2:
            raise SeedSelectError("X_source has n_samples=1: give at least 2 rows")
        self._entropy = entropy_of(self.random_state)
        varies = column_scale(y)[2]
        self.labels_ = "none" if y_source is None else "used" if varies.any() else "constant"
        if self.rho2 == 0:
            self.labels_ = "ignored"
        self._labels = y
        self._carrier = LabelCarrier(self._source, self._labels, (*self._entropy, 1))
        self.rho2_ = self.rho2 if self.labels_ == "used" else 0.0
        self._units = self._units_of(as_pool(self._source))
        self.kernel_ = self._units.kernel
        return self

    def learn(self, cheap: ArrayLike, target: ArrayLike) -> SourceDesign:
        """Learn ρ² from rows whose target is known.

        Parameters
        ----------
        cheap : array (m,) or (m, K)
            The source's labels of these rows.
        target : array (m,) or (m, M)
            The labels that were paid for.

        Returns
        -------
        SourceDesign
            Itself; `rho2_` is the mean of the shares of variance that a linear map of the cheap
            labels explains, corrected for chance, and of `rho2` with the weight of ten labels.
        """
        check_is_fitted(self, "rho2_")
        f, t = (np.asarray(a, dtype=float).reshape(len(np.asarray(a)), -1) for a in (cheap, target))
        if len(f) != len(t):
            raise SeedSelectError(f"{len(f)} cheap labels and {len(t)} targets: give pairs")
        rows, columns = f.shape
        if self.labels_ == "used" and rows >= max(ENOUGH_PAIRS, columns + 3):
            design = np.column_stack([np.ones(rows), f])
            left = t - design @ np.linalg.lstsq(design, t, rcond=None)[0]
            spread = ((t - t.mean(axis=0)) ** 2).sum(axis=0)
            explained = 1.0 - (left**2).sum(axis=0) / np.where(spread > 0, spread, np.inf)
            corrected = 1.0 - (1.0 - explained) * (rows - 1) / (rows - columns - 1)
            found = float(np.clip(corrected, 0.0, 1.0).mean())
            self.rho2_ = (rows * found + RHO2_STRENGTH * self.rho2) / (rows + RHO2_STRENGTH)
        return self

    def predict(self, X: ArrayLike) -> Array:
        """Return the source's labels at other rows, (n, K), as a bagged committee sees them."""
        check_is_fitted(self, "rho2_")
        rows: Array = validate_data(self, X, dtype=np.float64, reset=False)
        return self._carrier.predict(rows)

    def select(
        self,
        n: int | None = None,
        pool: Any = None,
        cheap: ArrayLike | None = None,
        labeled: Any = None,
        pending: Any = None,
        cost: ArrayLike | None = None,
        budget: float | None = None,
        excluded: ArrayLike | None = None,
        random_state: int | None = None,
    ) -> Selection:
        """Choose `n` rows.

        Parameters
        ----------
        n : int or None
            None takes what `budget` pays for.
        pool : array (n_pool, d), Pool, dask array or path, optional
            Default: the source rows.
        cheap : array (n_pool,) or (n_pool, K), optional
            Cheap labels of the pool. Default: those of the source, and where the pool is another
            one, the predictions of a committee that is fitted on the source.
        labeled, pending : int array of pool rows, or float array (m, d), optional
            Points that are labelled or on their way: the choice goes on from them.
        cost : array (n_pool,), optional
            Rows are chosen by decrease of J per cost.
        budget : float, optional
            Total cost that must not be exceeded.
        excluded : int array of pool rows, optional
            Rows that cannot be chosen and taught nothing, such as failed ones.
        random_state : int, optional
            Seed of this choice alone; default: that of the estimator.

        Returns
        -------
        Selection
            Its probabilities and weights are 1: nothing is drawn.

        Raises
        ------
        SeedSelectError
            n larger than the pool, NaN, mismatched rows or columns.
        """
        check_is_fitted(self, "rho2_")
        rows = as_pool(self._source) if pool is None else pool_like(pool, self.n_features_in_)
        if n is None and budget is None:
            raise SeedSelectError("give n, or a budget")
        if budget is not None and cost is None:
            raise SeedSelectError("a budget needs the cost of every pool row: give cost=")
        groups = {"labeled": labeled, "pending": pending}
        open_rows, _ = known_points(rows, **groups)
        if excluded is not None:
            open_rows[np.asarray(excluded, dtype=np.intp)] = False
        check_size(n, int(open_rows.sum()), rows.n)
        price = None if cost is None else check_cost(cost, rows.n)
        units = self._units if pool is None else self._units_of(rows)
        entropy = self._entropy if random_state is None else entropy_of(random_state)
        candidates, reference = self._draw(rows.n, n, np.random.default_rng([*entropy, 6]))
        candidates = candidates[open_rows[candidates]]
        table = self._cheap_table(pool is None, cheap, rows.n)
        known = [self._points(rows, table, value) for value in groups.values() if _given(value)]
        over = self._points(rows, table, reference)
        parts = [self._points(rows, table, candidates), _joined(known, like=over), over]
        return self._choose(units, n, rows.n, candidates, parts, price, budget)

    # -- parts -------------------------------------------------------------------------------

    def _units_of(self, rows: Pool) -> _Units:
        """Standardise columns on the pool; the covariance is one of these units."""
        mean, scale = streamed_scale(rows)
        if not (scale > 0).any():
            raise SeedSelectError(
                f"all {rows.n_features} columns are constant: no row differs from another; "
                "check the descriptor"
            )
        kernel = GaussianKernel.unfitted(int((scale > 0).sum()))
        units = _Units(mean, scale, kernel)
        if self.labels_ == "used" and self.fit_covariance:
            rng = np.random.default_rng([*self._entropy, 7])
            size = min(self.n_fit, len(self._source))
            some = np.sort(rng.choice(len(self._source), size, replace=False))
            offset, unit, varies = column_scale(self._labels[some])
            if varies.any():
                y = ((self._labels[some] - offset) / unit)[:, varies]
                kernel = fit_gaussian(units.scaled(self._source[some]), y)
        return _Units(mean, scale, kernel)

    def _draw(self, total: int, n: int | None, rng: np.random.Generator) -> tuple[Index, Index]:
        """Return the rows that may be chosen and those over which the error is averaged."""
        # prefixes of a permutation: more candidates contain fewer
        wanted = max(self.n_candidates, CANDIDATES_PER_ROW * (n or 0))
        candidates = rng.permutation(total)[:wanted]
        reference = rng.permutation(total)[: self.n_reference]
        return np.sort(candidates), np.sort(reference)

    def _cheap_table(self, is_source: bool, cheap: ArrayLike | None, total: int) -> Array | None:
        """Return the cheap labels of all pool rows, where they are known."""
        if cheap is not None:
            table = np.asarray(cheap, dtype=float)
            if table.shape[:1] != (total,) or table.ndim > 2:
                raise SeedSelectError(
                    f"cheap labels have shape {table.shape}, but the pool has {total} rows"
                )
            return check_finite(table.reshape(total, -1), 0, "cheap")
        return self._labels if is_source and self.labels_ == "used" else None

    def _points(self, rows: Pool, table: Array | None, which: Any) -> _Points:
        """Return points with their cheap labels: pool rows by number, or descriptors."""
        which = np.asarray(which)
        by_number = which.ndim == 1
        X = rows.take(which.astype(np.intp)) if by_number else which.astype(float)
        check_finite(X, 0, "the pool")
        if by_number and table is not None:
            return _Points(X, table[which.astype(np.intp)])
        if self.labels_ == "used":
            return _Points(X, self.predict(X) if len(X) else self._labels[:0])
        if table is not None:
            raise SeedSelectError(
                "points from outside the pool need a source with labels: fit(X_source, y_source)"
            )
        return _Points(X, np.empty((len(X), 0)))

    def _choose(
        self,
        units: _Units,
        n: int | None,
        total: int,
        candidates: Index,
        parts: list[_Points],
        price: Array | None,
        budget: float | None,
    ) -> Selection:
        open_part, known, reference = parts
        mean, scale, varies = column_scale(reference.cheap)
        labels = [((part.cheap - mean) / scale)[:, varies] for part in parts]
        rho2 = self.rho2 if self.labels_ in ("none", "constant") else self.rho2_
        if not varies.any():
            rho2, labels = 0.0, [np.zeros((len(part.X), 1)) for part in parts]
        rows = np.concatenate([units.scaled(open_part.X), units.scaled(known.X)])
        error = ExpectedError(
            units.kernel,
            rows,
            units.scaled(reference.X),
            np.concatenate(labels[:2]),
            labels[2],
            rho2,
        )
        same = np.unique(rows, axis=0, return_inverse=True)[1].ravel()
        free = np.arange(len(rows)) < len(candidates)
        for place in range(len(candidates), len(rows)):
            error.add(place)
            free &= same != same[place]
        path = [(error.objective, error.rho2 * error.label_term)]
        chosen: list[int] = []
        information: list[float] = []
        spent = 0.0
        worth = np.ones(len(rows))
        if price is not None:
            worth[: len(candidates)] = price[candidates]
        stopped = "n"
        while n is None or len(chosen) < n:
            if budget is not None:
                free &= worth <= budget - spent + 1e-12 * abs(budget)
            if not free.any():
                stopped = "rows" if budget is None else "budget"
                break
            best = int(np.argmax(np.where(free, error.gains() / worth, -np.inf)))
            information.append(error.information(best))
            error.add(best)
            free &= same != same[best]
            chosen.append(best)
            spent += float(worth[best])
            path.append((error.objective, error.rho2 * error.label_term))
        if stopped == "rows" and n is not None:
            raise SeedSelectError(
                f"n={n} exceeds the {len(chosen)} distinct rows that can be chosen (pool of "
                f"{total}): ask for fewer"
            )
        if not chosen:
            raise SeedSelectError(f"budget={budget} does not pay for a single row of the pool")
        info = {"rho2": rho2, "pool_rows": total, "n_conditioned": len(known.X)}
        return self._selection(candidates[chosen], path, information, units.kernel, info)

    def _selection(
        self,
        ordered: Index,
        path: list[tuple[float, float]],
        information: list[float],
        kernel: GaussianKernel,
        more: dict[str, Any],
    ) -> Selection:
        objective, label_term = np.array(path).T
        drop = float(objective[0] - objective[-1])
        indices = np.sort(ordered)
        order = np.searchsorted(indices, ordered)
        gain = -np.diff(objective)
        quality = np.empty(len(ordered))
        quality[order] = gain
        ones = np.ones(len(ordered))
        info = {
            "sampler": "design",
            "quality_kind": np.full(len(ordered), "expected_error"),
            "objective": objective,
            "gain": gain,
            "labels": self.labels_,
            "label_share": float(label_term[0] - label_term[-1]) / drop if drop > 0 else 0.0,
            "signal": kernel.signal,
            "length_scale": kernel.length,
            "noise": kernel.noise,
            "information": np.array(information),
            **more,
        }
        return Selection(indices, order, quality, ones, ones, info)


@dataclass(frozen=True)
class _Units:
    """Units of the columns over a pool, 0 for those that are constant, and the covariance."""

    mean: Array
    scale: Array
    kernel: GaussianKernel

    def scaled(self, X: Array) -> Array:
        varies = self.scale > 0
        return ((X - self.mean) / np.where(varies, self.scale, 1.0))[:, varies]


@dataclass(frozen=True)
class _Points:
    """Rows and their cheap labels, in the units they came in."""

    X: Array
    cheap: Array


def _joined(parts: list[_Points], like: _Points) -> _Points:
    parts = [_Points(like.X[:0], like.cheap[:0]), *parts]
    X, cheap = zip(*((part.X, part.cheap) for part in parts), strict=True)
    return _Points(np.concatenate(X), np.concatenate(cheap))


def _given(value: Any) -> bool:
    return value is not None and len(value) > 0
