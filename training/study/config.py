"""Configuration of a learning curve, and the runs that it consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from tpainn_calc.base.schema import PathText, Section, Seed
from training.fit.config import AutotuneConfig, FitConfig, RunConfig, TrainingConfig
from training.fit.sections import (
    SHAPE,
    LossSection,
    ModelSection,
    OptimizerSection,
    Rate,
    TunedModelSection,
    TuneSection,
)

SCRATCH = "scratch"
#: The arm that starts from a single pretrained model.
TPAINN = "tpainn"
ArmName = Annotated[str, Field(pattern=r"^[\w.+-]+$", max_length=100)]
Rates = Annotated[list[Rate], Field(min_length=1)]


class CurveSection(Section):
    """Points of the curve.

    Attributes
    ----------
    pretrained : str, or by arm
        Model file that the arm ``tpainn`` starts from; or several, each with the name of its arm.
    sizes : list of int
        Numbers of DFT training frames.
    seeds : list of int
        Each draws its own nested subsets, weights and order of the data.
    learning_rates : list of float, or by arm
        The grid, the same for all arms, or one for each: a network that has learnt wants gentler
        rates.
    grid_seeds : int
        With how many of the seeds the grid is searched; the others use what was best there.
    """

    pretrained: PathText | dict[ArmName, PathText]
    sizes: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    seeds: list[Seed] = Field(min_length=1)
    learning_rates: Rates | dict[ArmName, Rates]
    grid_seeds: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _an_entry_for_each_arm(self) -> Self:
        if SCRATCH in self.starts:
            raise ValueError("curve.pretrained: scratch is the arm without a pretrained model")
        if isinstance(self.learning_rates, dict) and set(self.learning_rates) != set(self.arms):
            names = ", ".join(self.arms)
            raise ValueError(f"curve.learning_rates: give one list, or one for each of {names}")
        return self

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        lists: dict[str, Sequence[float]] = {"sizes": self.sizes, "seeds": self.seeds}
        if isinstance(self.learning_rates, dict):
            lists |= {f"learning_rates.{arm}": r for arm, r in self.learning_rates.items()}
        else:
            lists["learning_rates"] = self.learning_rates
        for key, values in lists.items():
            twice = [v for k, v in enumerate(values) if v in values[:k]]
            if twice:
                raise ValueError(f"curve.{key}: {twice[0]} is there twice")
        return self

    @property
    def starts(self) -> dict[str, str]:
        """Pretrained models by arm."""
        if isinstance(self.pretrained, str):
            return {TPAINN: self.pretrained}
        return self.pretrained

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of all arms."""
        return (SCRATCH, *self.starts)

    def rates(self, arm: str) -> list[float]:
        """Learning rates that an arm tries."""
        rates = self.learning_rates
        return rates[arm] if isinstance(rates, dict) else rates


class CurveConfig(RunConfig):
    """``tpainn-train curve``: the sections of a scratch run, `tune` and `curve`."""

    model: ModelSection = ModelSection()
    tune: TuneSection = TuneSection()
    curve: CurveSection

    def run(self, point: Point, pretrained: Path | None) -> FitConfig:
        """Configuration of one run.

        Parameters
        ----------
        point : Point
        pretrained : Path, optional
            Where it starts; none: from scratch.
        """
        data = self.data.model_copy(update={"n_train": point.n_train, "subset_seed": point.seed})
        optimizer: OptimizerSection = self.optimizer.model_copy(
            update={"learning_rate": point.learning_rate}
        )
        loss: LossSection = self.loss
        common: dict[str, Any] = {"output": point.key, "seed": point.seed, "device": self.device}
        if pretrained is None:
            return TrainingConfig(
                **common, data=data, loss=loss, optimizer=optimizer, model=self.model
            )
        shape = {"name", *SHAPE}
        if "norm_epsilon" not in self.model.model_fields_set:
            shape -= {"norm_epsilon"}  # older models have another one, and are as good
        model = TunedModelSection(**self.model.model_dump(include=shape))
        tuned = AutotuneConfig(
            **common, data=data, loss=loss, optimizer=optimizer, model=model, tune=self.tune
        )
        return tuned.starting_from(pretrained)


@dataclass(frozen=True)
class Point:
    """One run of a curve."""

    arm: str
    n_train: int
    seed: int
    learning_rate: float

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Point of a row of ``curve.csv``."""
        return cls(row["arm"], int(row["n_train"]), int(row["seed"]), float(row["learning_rate"]))

    @property
    def key(self) -> str:
        """Name of its folder."""
        return f"{self.arm}-n{self.n_train}-seed{self.seed}-lr{self.learning_rate:g}"


CurveConfig.model_rebuild()
