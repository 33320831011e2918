"""Settings of a benchmark."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from benchmarks.active_learning.methods import METHODS
from benchmarks.active_learning.tasks import TASKS
from tpainn_calc.base.errors import did_you_mean
from tpainn_calc.base.schema import Section

LearnerName = Literal["forest", "kernel_ridge"]


class BenchmarkConfig(Section):
    """Tasks and methods of a comparison, and its length.

    Attributes
    ----------
    tasks, methods : list of str
        Names of `benchmarks.active_learning.tasks.TASKS` and ``methods.METHODS``.
    repetitions : int
        Random splits; every method meets the same split, test set and learner seed.
    seed_sizes : list of int
        Sizes of the seed sets of the seed curve.
    loop_seeds : list of int
        Seed sizes from which active learning goes on.
    rounds : int
        Rounds of active learning, each of half the seed size.
    learners : list of str
    pool_size, test_size : int
    n_estimators, n_features : int
        Members of the source committee; random features of the kernel.
    learner_trees : int
        Trees of the forest that learns from what was chosen.
    random_draws : int
        Random seed sets per repetition whose mean is the reference.
    tuning_tasks : list of str
        Tasks on which a form of the score may be chosen; all others are held out.
    tuned_methods : list of str
        Forms of the score among which the choice is made.
    base_seed : int
    """

    tasks: list[str] = Field(min_length=1)
    methods: list[str] = Field(min_length=1)
    repetitions: int = Field(20, ge=1)
    seed_sizes: list[int] = Field([10, 20, 50, 100], min_length=2)
    loop_seeds: list[int] = Field([20])
    rounds: int = Field(4, ge=0)
    learners: list[LearnerName] = Field(["forest", "kernel_ridge"], min_length=1)
    pool_size: int = Field(1200, ge=50)
    test_size: int = Field(800, ge=10)
    n_estimators: int = Field(100, ge=10)
    n_features: int = Field(256, ge=16, multiple_of=2)
    learner_trees: int = Field(15, ge=2)
    random_draws: int = Field(3, ge=1)
    tuning_tasks: list[str] = Field([])
    tuned_methods: list[str] = Field([])
    base_seed: int = 0

    @field_validator("tasks", "tuning_tasks")
    @classmethod
    def _known_tasks(cls, names: list[str]) -> list[str]:
        return _known(names, list(TASKS), "task")

    @field_validator("methods", "tuned_methods")
    @classmethod
    def _known_methods(cls, names: list[str]) -> list[str]:
        return _known(names, list(METHODS), "method")


def _known(names: list[str], allowed: list[str], kind: str) -> list[str]:
    for name in names:
        if name not in allowed:
            listed = ", ".join(allowed)
            raise ValueError(
                f"unknown {kind} {name!r}{did_you_mean(name, allowed)}; known: {listed}"
            )
    return names
