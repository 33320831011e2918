"""Configuration of a training run: YAML, checked against a schema before anything starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import model_validator

from tpainn_calc.base.schema import PathText, Section, Seed
from training.data.config import DataSection
from training.fit.sections import (
    LossSection,
    ModelSection,
    OptimizerSection,
    ReplaySection,
    TrainerSection,
    TunedModelSection,
    TuneSection,
)

if TYPE_CHECKING:
    from ase import Atoms

    from training.fit.initial import InitialState


class RunConfig(Section):
    """Sections that every training run has.

    Attributes
    ----------
    output : str
        Folder of the run; created.
    seed : int
        Of the weights and of the order of the frames.
    device : {"auto", "cpu", "cuda"}
        ``auto``: a GPU where there is one.
    """

    output: PathText
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    data: DataSection
    loss: LossSection = LossSection()
    optimizer: OptimizerSection

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        if self.loss.energy == self.loss.forces == self.loss.stress == 0:
            raise ValueError("every weight in 'loss' is zero: there is nothing to learn")
        return self


class FitConfig(RunConfig):
    """A run of one training loop; what it starts from is up to the subclass.

    Attributes
    ----------
    logger : {"tensorboard", "wandb"}, optional
        Where progress is reported beside ``metrics.csv``.
    """

    method: ClassVar[str]
    trainer: TrainerSection = TrainerSection()
    logger: Literal["tensorboard", "wandb"] | None = None

    @property
    def name(self) -> str:
        """Name of the potential."""
        raise NotImplementedError

    @property
    def replayed(self) -> ReplaySection | None:
        """Frames of the pretraining level that are mixed in."""
        return None

    @property
    def anchor(self) -> float:
        """Decay of the weights towards those that the run starts from."""
        return 0.0

    def initial_state(self, frames: Sequence[Atoms]) -> InitialState:
        """The potential before its first step.

        Parameters
        ----------
        frames : sequence of ase.Atoms
            Training frames, for reference energies and energy scale.

        Raises
        ------
        ConfigError
            If no potential can be made that fits both `frames` and the configuration.
        """
        raise NotImplementedError


class TrainingConfig(FitConfig):
    """``scratch``: a run that starts from fresh weights."""

    method = "scratch"
    model: ModelSection = ModelSection()

    @property
    def name(self) -> str:
        """Name of the potential."""
        return self.model.name

    def initial_state(self, frames: Sequence[Atoms]) -> InitialState:
        """Fresh weights; see :func:`training.fit.initial.fresh_potential`."""
        from training.fit.initial import fresh_potential

        return fresh_potential(self.model, frames, self.method, self.device)


class PretrainConfig(TrainingConfig):
    """``pretrain``: a run from fresh weights whose model is meant to be tuned."""

    method = "pretrain"


class AutotuneConfig(FitConfig):
    """``autotune``: a run that starts from a pretrained model."""

    method = "autotune"
    model: TunedModelSection = TunedModelSection()
    tune: TuneSection = TuneSection()

    @property
    def name(self) -> str:
        """Name of the potential."""
        return self.model.name

    @property
    def replayed(self) -> ReplaySection | None:
        """Frames of the pretraining level that are mixed in."""
        return self.tune.replay

    @property
    def anchor(self) -> float:
        """Decay of the weights towards those that the run starts from."""
        return self.tune.anchor

    def starting_from(self, model: str | os.PathLike[str]) -> Self:
        """The same run from another pretrained model."""
        return self.model_copy(
            update={"tune": self.tune.model_copy(update={"start": os.fspath(model)})}
        )

    def initial_state(self, frames: Sequence[Atoms]) -> InitialState:
        """Pretrained weights; see :func:`training.fit.initial.pretrained_potential`."""
        from training.fit.initial import pretrained_potential

        return pretrained_potential(
            self.model, self.tune, self.data.level, frames, self.method, self.device
        )
