"""ATBagging: seed sets from a bagged committee on a cheap, labelled source."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted, validate_data

from seedselect.entropy import entropy_of
from seedselect.errors import SeedSelectError, SourceWarning
from seedselect.kernel.features import RandomFourierFeatures, column_scale
from seedselect.kernel.low_rank import LowRankKernel
from seedselect.kernel.posterior import known_points, posterior_transform
from seedselect.pools.opening import as_pool, pool_like
from seedselect.pools.pool import Pool, check_finite, map_blocks
from seedselect.sampling.draws import climb_map, draw_kdpp, draw_random
from seedselect.sampling.greedy import information_per_label
from seedselect.scores.committee import Committee
from seedselect.scores.quality import (
    FORMS,
    SCORE_FLOOR,
    TEMPER,
    SpreadCalibration,
    check_cost,
    divide_by_cost,
    effective_number,
    equal_share,
    published_quality,
    shape_quality,
)
from seedselect.scores.source import SCORES, score_source
from seedselect.selection import Selection, check_size
from tpainn_calc.base.arrays import Array
from tpainn_calc.base.errors import check_choice

SAMPLERS = ("kdpp", "map", "random")

#: Members fitted before the reliability is looked at for the first time.
FIRST_BATCH = 100

#: Share of equal source labels from which on a user is warned, in a source of so many rows.
EQUAL_LABELS, ENOUGH_TO_WARN = 0.2, 200

#: Resolution of the standardised labels, in standard deviations.
TARGET_GRID = 2.0**-24


class ATBagging(BaseEstimator):
    """Choose which rows deserve an expensive label (ATBagging, arXiv 2602.02415).

    A bagged committee is fitted on a labelled source. The information gain of a source row is the
    divergence between the members that saw it and those that did not. Quality times diversity,
    L_ij = q_i phi_i'phi_j q_j, is the kernel of an exact k-DPP, which draws the set.

    Parameters
    ----------
    n_estimators : int or "auto", default "auto"
        "auto" starts with 100 members and doubles until `target_reliability` or `max_estimators`.
    base_estimator : regressor, optional
        Default: a fully grown decision tree.
    score : {"local", "marginal", "joint"}, default "local"
        Where members are compared: at the row itself, at probe points one by one, or jointly.
        The joint score is noise unless the committee is much larger than the number of probes.
    features : transformer, optional
        ``fit(X)``/``transform(X) -> (n, D)``; default `RandomFourierFeatures` (D = 512).
    sampler : {"kdpp", "map", "random"}, default "kdpp"
        Exact random draw, the greedy deterministic mode, or a uniform draw (the control).
    n_probes : int, default 300
        Source rows that serve as probe points when `probes` is None.
    probes : array (M, d), optional
        Probe points of the marginal and joint score, for instance rows of the target pool.
    ridge : float, default 0.01
        Added to every variance, in units of the variance of y.
    clip : (float, float), default (0.0, 0.99)
        Quantiles at which the tails of the score are cut.
    form : {"tempered", "published"}, default "tempered"
        The published form takes the score less its minimum as it is: rows of the lowest score are
        never drawn, which hurts where many labels of the source are equal.
    temper : float, default 0.25
        Exponent of the clipped score in the tempered form; 0 is diversity alone.
    floor : float, default 0.3
        Smallest quality in the tempered form, where the largest is 1.
    noise : float, default 0.01
        Label noise for conditioning and costs, relative to the prior variance 1 of a point.
    cost_exponent : float, default 1.0
        beta in q / cost^beta.
    target_reliability : float, default 0.9
    max_estimators : int, default 800
    random_state : int, RandomState or None
        Rules everything: bags, features, probes, the draw. With an int, equal calls give equal
        results, bit for bit.

    Attributes
    ----------
    scores_ : array (N,)
        Information gain of the source rows, nats, >= 0.
    reliability_ : float
        Split-half reliability of `scores_` (Spearman-Brown); 1 is perfectly repeatable.
    committee_ : Committee
    n_estimators_ : int
    features_ : fitted transformer
    calibration_ : SpreadCalibration
    constant_columns_ : array of int
    """

    def __init__(
        self,
        n_estimators: int | str = "auto",
        base_estimator: Any = None,
        score: str = "local",
        features: Any = None,
        sampler: str = "kdpp",
        n_probes: int = 300,
        probes: Any = None,
        ridge: float = 1e-2,
        clip: tuple[float, float] = (0.0, 0.99),
        form: str = "tempered",
        temper: float = TEMPER,
        floor: float = SCORE_FLOOR,
        noise: float = 1e-2,
        cost_exponent: float = 1.0,
        target_reliability: float = 0.9,
        max_estimators: int = 800,
        random_state: Any = None,
    ) -> None:
        self.n_estimators = n_estimators
        self.base_estimator = base_estimator
        self.score = score
        self.features = features
        self.sampler = sampler
        self.n_probes = n_probes
        self.probes = probes
        self.ridge = ridge
        self.clip = clip
        self.form = form
        self.temper = temper
        self.floor = floor
        self.noise = noise
        self.cost_exponent = cost_exponent
        self.target_reliability = target_reliability
        self.max_estimators = max_estimators
        self.random_state = random_state

    # -- fit ---------------------------------------------------------------------------------

    def fit(self, X_source: ArrayLike, y_source: ArrayLike) -> ATBagging:
        """Fit the committee and score the source rows.

        Parameters
        ----------
        X_source : array (N, d)
        y_source : array (N,) or (N, K)
            Cheap labels, any units: scores do not change when y is shifted or scaled.

        Raises
        ------
        SeedSelectError
            NaN, fewer than two rows, only constant columns, unknown options.
        """
        self._check_parameters()
        raw = np.asarray(y_source)
        if raw.dtype.kind == "f":
            check_finite(
                raw.reshape(len(raw), -1) if raw.ndim else raw.reshape(1, 1), 0, "y_source"
            )
        X, y = validate_data(
            self,
            X_source,
            y_source,
            dtype=np.float64,
            multi_output=True,
            y_numeric=True,
            ensure_all_finite=False,
        )
        check_finite(X, 0, "X_source")
        y = np.asarray(y, dtype=float).reshape(len(X), -1)
        if len(X) < 2:
            raise SeedSelectError(
                "X_source has n_samples=1: a committee needs at least 2 rows to differ; "
                "give more source rows"
            )
        self._entropy = entropy_of(self.random_state)
        self._source = X
        share = equal_share(y)
        if len(y) >= ENOUGH_TO_WARN and EQUAL_LABELS < share < 1:
            warnings.warn(
                f"{share:.0%} of the source's labels are equal: the score says little of these "
                "rows; an expected-error design does not rest on it",
                SourceWarning,
                stacklevel=2,
            )
        varies = column_scale(X)[2]
        self.constant_columns_ = np.flatnonzero(~varies)
        self.features_ = self._fit_features(X)
        self._y_mean, self._y_scale, _ = column_scale(y)
        # On a grid, sums are exact: equal splits stay equal whatever the units of y were.
        target = np.round((y - self._y_mean) / self._y_scale / TARGET_GRID) * TARGET_GRID
        self.committee_ = Committee(self.base_estimator, (*self._entropy, 1))
        self._fit_committee(X, target)
        self.n_estimators_ = len(self.committee_)
        self._is_single_target = np.ndim(y_source) == 1
        return self

    def _check_parameters(self) -> None:
        check_choice("score", self.score, SCORES, SeedSelectError)
        check_choice("form", self.form, FORMS, SeedSelectError)
        check_choice("sampler", self.sampler, SAMPLERS, SeedSelectError)
        n = self.n_estimators
        if n != "auto" and (isinstance(n, str | bool) or int(n) != n or n < 4):
            raise SeedSelectError(f"n_estimators={n!r}: give 'auto' or an integer of at least 4")
        if not self.noise > 0:
            raise SeedSelectError(f"noise={self.noise!r} must be positive")

    def _seed(self, stream: int) -> int:
        return int(np.random.SeedSequence([*self._entropy, stream]).generate_state(1)[0] % 2**31)

    def _fit_features(self, X: Array) -> Any:
        features = RandomFourierFeatures() if self.features is None else clone(self.features)
        if features.get_params().get("random_state", 0) is None:
            features.set_params(random_state=self._seed(2))
        return features.fit(X)

    def _fit_committee(self, X: Array, y: Array) -> None:
        if self.n_estimators == "auto":
            size, most = min(FIRST_BATCH, self.max_estimators), self.max_estimators
        else:
            size = most = int(self.n_estimators)
        probes = self._probe_points(X)
        self.committee_.grow(X, y, size)
        self._score_source(X, y, probes)
        while self.reliability_ < self.target_reliability and len(self.committee_) < most:
            self.committee_.grow(X, y, min(len(self.committee_), most - len(self.committee_)))
            self._score_source(X, y, probes)

    def _probe_points(self, X: Array) -> Array:
        if self.probes is not None:
            probes = np.asarray(self.probes, dtype=float)
            if probes.ndim != 2 or probes.shape[1] != X.shape[1]:
                raise SeedSelectError(
                    f"probes have shape {probes.shape}, but X_source has {X.shape[1]} columns"
                )
            return check_finite(probes, 0, "probes")
        rng = np.random.default_rng([*self._entropy, 3])
        size = min(self.n_probes, len(X))
        return X[np.sort(rng.choice(len(X), size=size, replace=False))]

    def _score_source(self, X: Array, y: Array, probes: Array) -> None:
        report = score_source(self.committee_, X, y, probes, self.score, self.ridge)
        self.scores_ = report.scores
        self.reliability_ = report.reliability
        self.calibration_ = SpreadCalibration().fit(report.variance, report.squared_residual)
        self._source_error = self.calibration_.expected_error(report.variance)

    # -- predict -----------------------------------------------------------------------------

    def predict(self, X: ArrayLike) -> Array:
        """Return the committee's mean in the units of y, (n,) or (n, K)."""
        check_is_fitted(self, "committee_")
        rows: Array = validate_data(self, X, dtype=np.float64, reset=False, ensure_all_finite=False)
        check_finite(rows, 0, "X")
        mean = self.committee_.predict(rows).mean(axis=0) * self._y_scale + self._y_mean
        return mean[:, 0] if self._is_single_target else mean

    def pool_quality(self, pool: Any = None) -> tuple[Array, NDArray[np.bool_]]:
        """Return raw qualities of pool rows and which of them have a bag.

        Rows equal to a source row get its information gain; the others the committee's spread,
        calibrated by out-of-bag residuals. Where both kinds meet in one pool, the spread is
        scaled so that the medians of the two over the source agree.

        Returns
        -------
        quality : array (n,), >= 0
        has_bag : bool array (n,)
        """
        check_is_fitted(self, "committee_")
        if pool is None:
            return self.scores_.copy(), np.ones(len(self.scores_), dtype=bool)
        pool = pool_like(pool, self.n_features_in_)
        known = {row.tobytes(): i for i, row in enumerate(np.ascontiguousarray(self._source))}

        def part(start: int, block: Array) -> tuple[Array, NDArray[np.intp]]:
            block = np.ascontiguousarray(check_finite(block, start, "pool"))
            match = np.array([known.get(row.tobytes(), -1) for row in block], dtype=np.intp)
            error = np.zeros(len(block))
            new = match < 0
            if new.any():
                variance = self.committee_.predict(block[new]).var(axis=0, ddof=1)
                error[new] = self.calibration_.expected_error(variance)
            return error, match

        parts = list(map_blocks(pool, part))
        error, match = (np.concatenate(column) for column in zip(*parts, strict=True))
        has_bag = match >= 0
        if has_bag.any() and not has_bag.all():
            middle = float(np.median(self._source_error)) if len(self._source_error) else 0.0
            error *= float(np.median(self.scores_)) / middle if middle > 0 else 1.0
        error[has_bag] = self.scores_[match[has_bag]]
        return error, has_bag

    def shaped(self, score: Array) -> Array:
        """Return the quality that a score of rows takes in this form."""
        if self.form == "published":
            return published_quality(score)
        return shape_quality(score, self.clip, self.temper, self.floor)

    # -- select ------------------------------------------------------------------------------

    def select(
        self,
        n: int | None = None,
        pool: Any = None,
        labeled: Any = None,
        pending: Any = None,
        cost: ArrayLike | None = None,
        budget: float | None = None,
        quality: ArrayLike | None = None,
        random_state: int | None = None,
    ) -> Selection:
        """Choose `n` rows.

        Parameters
        ----------
        n : int or None
            None takes what `budget` pays for (``sampler="map"`` only).
        pool : array (n_pool, d), Pool, dask array or path, optional
            Default: the source rows.
        labeled, pending : int array of pool rows, or float array (m, d), optional
            Points that are labelled or on their way: they are never chosen again, and the rest is
            chosen to complement them.
        cost : array (n_pool,), optional
            Cost of a label, for instance atoms cubed.
        budget : float, optional
            Total cost that must not be exceeded. With ``sampler="kdpp"`` the draw is cut in
            labelling order, and its probabilities are then not those of the cut set.
        quality : array (n_pool,), optional
            Replaces the committee's quality (1 everywhere: diversity alone).
        random_state : int, optional
            Seed of this draw alone; default: that of the estimator.

        Returns
        -------
        Selection

        Raises
        ------
        SeedSelectError
            n larger than the pool or than the numerical rank, NaN, mismatched columns.
        """
        check_is_fitted(self, "committee_")
        rows = as_pool(self._source) if pool is None else pool_like(pool, self.n_features_in_)
        raw, has_bag = self._raw_quality(quality, pool, rows)
        shaped = self.shaped(raw) if quality is None else raw
        open_rows, known = known_points(rows, labeled=labeled, pending=pending)
        self._check_size(n, budget, cost, int((open_rows & (shaped > 0)).sum()), rows.n)
        transform = None
        if known is not None:
            transform = posterior_transform(self.features_.transform(known), self.noise)
        price = None if cost is None else check_cost(cost, rows.n)
        weighted = np.where(open_rows, shaped, 0.0)
        if self.sampler == "kdpp" and n is not None:
            if price is not None:
                weighted = divide_by_cost(weighted, price, self.cost_exponent)
            kernel = LowRankKernel(rows, self.features_, weighted, transform)
            entropy = self._entropy if random_state is None else entropy_of(random_state)
            rng = np.random.default_rng([*entropy, 4])
            draw = draw_kdpp(kernel, n, rng, price, budget)
        elif self.sampler == "random" and n is not None:
            entropy = self._entropy if random_state is None else entropy_of(random_state)
            rng = np.random.default_rng([*entropy, 5])
            draw = draw_random(np.flatnonzero(weighted > 0), n, rng, price, budget)
        else:
            kernel = LowRankKernel(rows, self.features_, weighted, transform)
            draw = climb_map(kernel, n, self.noise, price, budget)
        indices, order, probability = draw.indices, draw.order, draw.probability
        features = self.features_.transform(rows.take(indices[order]))
        if transform is not None:
            features = features @ transform
        kinds = np.where(has_bag[indices], "information_gain", "calibrated_spread")
        if quality is not None:
            kinds = np.full(len(indices), "given")
        info = draw.info | {
            "sampler": self.sampler,
            "pool_rows": rows.n,
            "quality_kind": kinds,
            "information": information_per_label(features, self.noise),
            "effective_number": effective_number(shaped[open_rows]),
            "length_scale": getattr(self.features_, "length_scale_", None),
            "reliability": self.reliability_,
            "n_estimators": self.n_estimators_,
            "n_conditioned": 0 if known is None else len(known),
            "constant_columns": self.constant_columns_,
        }
        weights = np.where(probability > 0, 1.0 / np.maximum(probability, 1e-300), np.nan)
        return Selection(
            indices, order, shaped[indices], probability, weights / weights.mean(), info
        )

    def _raw_quality(
        self, quality: ArrayLike | None, pool: Any, rows: Pool
    ) -> tuple[Array, NDArray[np.bool_]]:
        if quality is None:
            return self.pool_quality(None if pool is None else rows)
        given = np.asarray(quality, dtype=float)
        if given.shape != (rows.n,) or not np.isfinite(given).all() or (given < 0).any():
            raise SeedSelectError(
                f"quality must be ({rows.n},), finite and not negative; got shape {given.shape}"
            )
        return given, np.zeros(rows.n, dtype=bool)

    def _check_size(
        self, n: int | None, budget: float | None, cost: object, left: int, total: int
    ) -> None:
        if n is None and (budget is None or self.sampler != "map"):
            raise SeedSelectError("give n (only sampler='map' can do with a budget alone)")
        if budget is not None and cost is None:
            raise SeedSelectError("a budget needs the cost of every pool row: give cost=")
        check_size(n, left, total)
