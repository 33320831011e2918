"""Methods of the comparison: ATBagging, its ablations, its variants, and the baselines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.active_learning.task import Split
from seedselect import baselines
from seedselect.atbagging import ATBagging
from seedselect.baselines import array_kernel
from seedselect.design import SourceDesign
from seedselect.kernel.features import RandomFourierFeatures
from seedselect.kernel.source_features import SourceAwareFeatures
from seedselect.sampling.kdpp import sample_kdpp
from seedselect.scores.divergence import joint_kl, marginal_kl
from seedselect.scores.quality import FLOOR, shape_quality
from tpainn_calc.base.arrays import Array

Index = NDArray[np.intp]


class Candidates:
    """Input of every method: the source with labels, the pool without.

    Parameters
    ----------
    split : Split
    n_estimators, n_features : int
    seed : int
        Seed of the committee and of the features, the same for every method.
    """

    def __init__(self, split: Split, n_estimators: int, n_features: int, seed: int) -> None:
        self.split = split
        self.seed = seed
        self.n_features = n_features
        self.designs: dict[str, SourceDesign] = {}
        self.model = ATBagging(
            n_estimators=n_estimators,
            features=RandomFourierFeatures(n_features),
            random_state=seed,
        ).fit(split.X_source, split.y_source)

    @cached_property
    def scaled(self) -> Array:
        """Standardised pool rows."""
        return self._scale(self.split.X_pool)

    def _scale(self, X: Array) -> Array:
        pool = self.split.X_pool
        scale = pool.std(axis=0)
        return (X - pool.mean(axis=0)) / np.where(scale > 1e-12, scale, 1.0)

    @cached_property
    def phi(self) -> Array:
        """Random Fourier features of the pool."""
        return self._features(self.split.X_pool)

    def _features(self, X: Array) -> Array:
        return RandomFourierFeatures(self.n_features, random_state=self.seed).fit_transform(X)

    @cached_property
    def score(self) -> Array:
        """Information gain of source rows, or calibrated spread of rows without a bag."""
        return self.model.pool_quality(None if self.split.pool_is_source else self.split.X_pool)[0]

    @cached_property
    def predictions(self) -> Array:
        """Predictions of the source committee at the pool, (T, n, K)."""
        return self.model.committee_.predict(self.split.X_pool)

    @cached_property
    def marginal(self) -> Array:
        """Mean information gain over probes from the pool; the score where there is no bag."""
        if not self.split.pool_is_source:
            return self.score
        members = len(self.predictions)
        at_probes = self.predictions[:, :300].reshape(members, -1)
        return marginal_kl(at_probes, self.model.committee_.in_bag)

    @cached_property
    def public_quality(self) -> Array:
        """The public code's quality: a joint divergence on replayed bags that no member saw."""
        if not self.split.pool_is_source:
            return self.predictions.std(axis=0).mean(axis=1)
        members, size = len(self.predictions), len(self.split.X_source)
        replayed = np.random.RandomState(self.seed)
        in_bag = np.zeros((size, members), dtype=bool)
        for column in range(members):
            in_bag[replayed.randint(0, size, size), column] = True
        quality = joint_kl(self.predictions[:, :300].reshape(members, -1), in_bag)
        return quality - quality.min()

    @cached_property
    def aware_phi(self) -> Array:
        """Features of the pool beside the source predictions, which count as a third of it."""
        features = SourceAwareFeatures(
            self.model, n_features=self.n_features, random_state=self.seed
        )
        return features.fit_transform(self.split.X_pool)


@dataclass(frozen=True)
class Method:
    """A way to choose, its group in the figures, and what it is.

    Attributes
    ----------
    choose : callable (Candidates, n, rng) -> indices
    group : {"baseline", "ablation", "design", "variant"}
    label : str
    """

    choose: Callable[[Candidates, int, np.random.Generator], Index]
    group: str
    label: str


def _kdpp(phi: Array, quality: Array, n: int, rng: np.random.Generator) -> Index:
    return sample_kdpp(array_kernel(phi, quality), n, rng)


def _random(c: Candidates, n: int, rng: np.random.Generator) -> Index:
    return baselines.random_rows(c.phi, n, rng)


def _shuffled(c: Candidates, n: int, rng: np.random.Generator) -> Index:
    return _kdpp(c.phi, rng.permutation(shape_quality(c.score)), n, rng)


def _public(c: Candidates, n: int, rng: np.random.Generator) -> Index:
    """The public code's behaviour, re-derived from what was measured on it.

    Bags are replayed and match no member; the joint divergence over 300 probes is shifted to a
    minimum of 0; features are cosines with random phase of raw columns, length 2; a DPP of
    inflated expected size is cut.
    """
    split, quality = c.split, c.public_quality
    width = split.X_pool.shape[1]
    angles = split.X_pool @ (rng.standard_normal((width, c.n_features)) / 2.0)
    phi = np.sqrt(2.0 / c.n_features) * np.cos(angles + rng.uniform(0, 2 * np.pi, c.n_features))
    return baselines.inflate_and_truncate(phi, quality, n, rng)


def _dpp(score: str | None, temper: float = 1.0, floor: float = FLOOR) -> Any:
    """A k-DPP with one of the scores."""

    def choose(c: Candidates, n: int, rng: np.random.Generator) -> Index:
        quality = np.ones(len(c.phi))
        if score is not None:
            quality = shape_quality(getattr(c, score), temper=temper, floor=floor)
        return _kdpp(c.phi, quality, n, rng)

    return choose


def _facility(kernel: str, score: str | None) -> Any:
    """Facility location in which every row demands to be covered, by its score or equally."""

    def choose(c: Candidates, n: int, rng: np.random.Generator) -> Index:
        demand = None if score is None else shape_quality(getattr(c, score), temper=0.5)
        return baselines.facility_location(getattr(c, kernel), n, rng, demand=demand)

    return choose


def _design(labels: str) -> Any:
    """Expected-error design, with the source's labels, without, or with permuted ones."""

    def choose(c: Candidates, n: int, rng: np.random.Generator) -> Index:
        split = c.split
        y = split.y_source
        if labels == "permuted":
            y = y[np.random.default_rng([c.seed, 8]).permutation(len(y))]
        if labels not in c.designs:
            design = SourceDesign(0.0 if labels == "none" else 0.3, random_state=c.seed)
            c.designs[labels] = design.fit(split.X_source, y)
        return c.designs[labels].select(n, None if split.pool_is_source else split.X_pool).ordered

    return choose


#: Name -> method. The reference of all ratios is "random".
METHODS: dict[str, Method] = {
    "random": Method(_random, "baseline", "random"),
    "kmeans++": Method(
        lambda c, n, r: baselines.kmeans_plusplus(c.scaled, n, r), "baseline", "k-means++"
    ),
    "farthest": Method(
        lambda c, n, r: baselines.farthest_point(c.scaled, n, r), "baseline", "farthest point"
    ),
    "facility": Method(
        lambda c, n, r: baselines.facility_location(c.phi, n, r), "baseline", "facility location"
    ),
    "max_det": Method(lambda c, n, r: baselines.max_det(c.phi, n), "baseline", "greedy max-det"),
    "lcmd": Method(lambda c, n, r: baselines.lcmd(c.scaled, n, r), "baseline", "LCMD"),
    "ensemble_covariance": Method(
        lambda c, n, r: baselines.ensemble_covariance(c.predictions, n, r),
        "baseline",
        "ensemble covariance",
    ),
    "public_code": Method(_public, "baseline", "public code, re-derived"),
    "diversity": Method(_dpp(None), "ablation", "diversity only (k-DPP, q = 1)"),
    "score": Method(
        lambda c, n, r: baselines.top_scores(c.score, n), "ablation", "score only (top k)"
    ),
    "shuffled": Method(_shuffled, "ablation", "shuffled score x diversity"),
    "atbagging": Method(_dpp("score"), "ablation", "ATBagging (score x diversity)"),
    "temper_half": Method(_dpp("score", 0.5), "variant", "tempered score, q^0.5"),
    "floor_full": Method(_dpp("score", 1.0, floor=0.3), "variant", "score with a floor of 0.3"),
    "floor_half": Method(_dpp("score", 0.5, floor=0.3), "variant", "score^0.5 with a floor of 0.3"),
    "floor_quarter": Method(
        _dpp("score", 0.25, floor=0.3), "variant", "score^0.25 with a floor of 0.3"
    ),
    "design": Method(_design("true"), "design", "expected-error design"),
    "v_optimal": Method(_design("none"), "design", "V-optimal design (no labels)"),
    "design_permuted": Method(_design("permuted"), "design", "design, labels permuted"),
    "marginal": Method(_dpp("marginal"), "variant", "marginal score, pool probes"),
    "demand": Method(_facility("phi", "score"), "variant", "facility location, score as demand"),
    "aware_facility": Method(
        _facility("aware_phi", None), "variant", "facility location, source prediction in kernel"
    ),
}
