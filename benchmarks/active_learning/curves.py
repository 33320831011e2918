"""Learning curves of one repetition of one task."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.active_learning.config import BenchmarkConfig
from benchmarks.active_learning.learners import Forest, KernelRidge, rmse
from benchmarks.active_learning.methods import METHODS, Candidates
from benchmarks.active_learning.task import Split, Task
from seedselect.baselines import array_kernel
from seedselect.kernel.posterior import posterior_transform
from seedselect.sampling.kdpp import sample_kdpp
from seedselect.scores.quality import shape_quality
from tpainn_calc.base.arrays import Array

Index = NDArray[np.intp]


@dataclass(frozen=True)
class Point:
    """One point of a learning curve.

    Attributes
    ----------
    protocol : str
        "seed" (the seed set alone) or "loopN" (active learning from a seed of N).
    method, learner : str
    draw : int
        Number of the random draw; 0 for the others.
    n : int
        Labels used.
    rmse : float
        Test error in units of the deviation of the test target.
    """

    protocol: str
    method: str
    learner: str
    draw: int
    n: int
    rmse: float


def stream(*parts: object) -> np.random.Generator:
    """Return a generator that depends on the values of `parts` only."""
    return np.random.default_rng([zlib.crc32(str(part).encode()) for part in parts])


class Repetition:
    """A split, a source committee and the learners, shared by all methods.

    Parameters
    ----------
    task : Task
    number : int
    config : BenchmarkConfig
    """

    def __init__(self, task: Task, number: int, config: BenchmarkConfig) -> None:
        self.config = config
        self.key = (config.base_seed, task.name, number)
        self.split: Split = task.split(
            config.pool_size, config.test_size, stream(*self.key, "split")
        )
        self.learner_seed = int(stream(*self.key, "learner").integers(2**31))
        committee_seed = int(stream(*self.key, "committee").integers(2**31))
        self.candidates = Candidates(
            self.split, config.n_estimators, config.n_features, committee_seed
        )
        self.unit = float(self.split.y_test.std())
        pool = self.split.X_pool
        self.mean, self.scale = pool.mean(axis=0), pool.std(axis=0)

    def points(self) -> Iterator[Point]:
        """Yield all points of all methods."""
        for method in self.config.methods:
            draws = self.config.random_draws if method == "random" else 1
            for draw in range(draws):
                for size in self.config.seed_sizes:
                    rows = self._choose(method, draw, size)
                    for learner, error in self._errors(rows)[0].items():
                        yield Point("seed", method, learner, draw, size, error)
                for size in self.config.loop_seeds:
                    yield from self._loop(method, draw, size)

    def _choose(self, method: str, draw: int, size: int) -> Index:
        rng = stream(*self.key, method, draw, size)
        return METHODS[method].choose(self.candidates, size, rng)

    def _errors(self, rows: Index) -> tuple[dict[str, float], Array]:
        """Test errors of all learners, and the forest's spread over the pool."""
        split = self.split
        X, y = split.X_pool[rows], split.y_pool[rows]
        model = Forest(self.learner_seed, self.config.learner_trees).fit(X, y)
        errors = {"forest": rmse(model.predict(split.X_test), split.y_test) / self.unit}
        if "kernel_ridge" in self.config.learners:
            ridge = KernelRidge(self.mean, self.scale).fit(X, y)
            errors["kernel_ridge"] = rmse(ridge.predict(split.X_test), split.y_test) / self.unit
        self._forest = model
        return {k: v for k, v in errors.items() if k in self.config.learners}, y

    def _spread(self) -> Array:
        """Spread of the latest forest over the pool."""
        return self._forest.members(self.split.X_pool).std(axis=0)

    def _loop(self, method: str, draw: int, size: int) -> Iterator[Point]:
        """Active learning from a seed set: the same acquisition for every method."""
        rows = self._choose(method, draw, size)
        protocol = f"loop{size}"
        for turn in range(self.config.rounds + 1):
            for learner, error in self._errors(rows)[0].items():
                yield Point(protocol, method, learner, draw, len(rows), error)
            if turn < self.config.rounds:
                rng = stream(*self.key, method, draw, size, turn, "acquire")
                rows = np.concatenate([rows, self._acquire(rows, size // 2, rng)])

    def _acquire(self, rows: Index, count: int, rng: np.random.Generator) -> Index:
        """The committee's spread times diversity, conditioned on what is labelled."""
        phi = self.candidates.phi
        quality = shape_quality(self._spread())
        quality[rows] = 0.0
        mapped = phi @ posterior_transform(phi[rows], noise=1e-2)
        return sample_kdpp(array_kernel(mapped, quality), count, rng)
