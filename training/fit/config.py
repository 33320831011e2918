"""Configuration of a training run: YAML, checked against a schema before anything starts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tpainn_calc.base.schema import Fraction, NonNegative, Positive, Section
from training.data.config import DataSection

if TYPE_CHECKING:
    from ase import Atoms

    from training.fit.initial import InitialState


class ModelSection(Section):
    """Shape of the network; see :class:`tpainn_calc.potential.Hyperparameters`."""

    name: str = "potential"
    elements: list[str] | None = None
    n_features: int = Field(64, ge=2)
    n_blocks: int = Field(3, ge=1)
    cutoff: Positive = 5.0
    n_basis: int = Field(20, ge=2)
    basis: Literal["bessel", "gaussian"] = "bessel"
    envelope: Literal["cosine", "polynomial"] = "polynomial"
    dtype: Literal["float32", "float64"] = "float32"


class LossSection(Section):
    """Weights of the terms, each per atom or per component, in units of `scale`.

    ``huber`` is quadratic below `delta` (eV/Å and eV/atom) and linear above, robust against the
    few frames with large forces; ``mse`` is quadratic throughout.
    """

    kind: Literal["huber", "mse"] = "huber"
    delta: Positive = 0.02
    energy: NonNegative = 1.0
    forces: NonNegative = 1.0
    stress: NonNegative = 0.0


class OptimizerSection(Section):
    """AdamW, its schedule, and when to stop.

    Attributes
    ----------
    learning_rate : float
        Peak value, reached after `warmup_steps`.
    schedule : {"cosine", "plateau"}
        ``cosine`` decays to `final_fraction` of the peak over `max_steps`; ``plateau`` halves the
        rate after `patience` validations without improvement.
    max_steps : int
        Optimiser steps.
    batch_size : int
        Structures per step, on all processes together: each takes an equal share.
    validate_every : int
        Steps between validations; checkpoints are written then too.
    early_stopping : int, optional
        Validations without improvement after which training stops.
    ema_decay : float
        Decay per step of the exponential moving average of the weights; the average is what is
        validated and kept.
    gradient_clip : float
        Largest norm of the gradient.
    """

    learning_rate: Positive = 1e-3
    weight_decay: NonNegative = 0.0
    warmup_steps: int = Field(100, ge=0)
    schedule: Literal["cosine", "plateau"] = "cosine"
    final_fraction: Positive = 0.01
    patience: int = Field(5, ge=1)
    max_steps: int = Field(..., ge=1)
    batch_size: int = Field(1, ge=1)
    validate_every: int = Field(500, ge=1)
    early_stopping: int | None = Field(None, ge=1)
    ema_decay: Fraction = 0.999
    gradient_clip: Positive = 10.0


class TrainerSection(Section):
    """Processes that share a run, one per GPU (or, with ``device: cpu``, per CPU process).

    Attributes
    ----------
    devices : int
        Processes on each node.
    nodes : int
    graph_memory : float
        GiB of graphs that each process keeps; those beyond are made whenever they are drawn.
    """

    devices: int = Field(1, ge=1)
    nodes: int = Field(1, ge=1)
    graph_memory: NonNegative = 2.0

    @property
    def processes(self) -> int:
        """Number of all processes."""
        return self.devices * self.nodes


class RunConfig(Section):
    """What every training run has."""

    output: str
    seed: int = 0
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
    """A run of one training loop; what it starts from is up to the subclass."""

    method: ClassVar[str]
    trainer: TrainerSection = TrainerSection()

    @property
    def name(self) -> str:
        """Name of the potential."""
        raise NotImplementedError

    @property
    def replayed(self) -> ReplaySection | None:
        """Frames of the pretraining level that are mixed in."""
        return None

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

        return fresh_potential(self, frames)


class PretrainConfig(TrainingConfig):
    """``pretrain``: a run from fresh weights whose model is meant to be tuned."""

    method = "pretrain"


class TunedModelSection(Section):
    """Name of the tuned potential; its shape is that of the pretrained one.

    A shape may be stated all the same: the run is refused where it is another.
    """

    name: str = "potential"
    elements: list[str] | None = None
    n_features: int | None = None
    n_blocks: int | None = None
    cutoff: Positive | None = None
    n_basis: int | None = None
    basis: Literal["bessel", "gaussian"] | None = None
    envelope: Literal["cosine", "polynomial"] | None = None


class ReplaySection(Section):
    """Frames of the pretraining level that are mixed in, so that less of it is forgotten.

    Attributes
    ----------
    files : list of str
    level : str
        One that the pretrained model knows reference energies of.
    share : float
        Of the drawn frames.
    weight : float
        Of these frames in the loss.
    """

    files: list[str] = Field(min_length=1)
    level: str = Field(min_length=1)
    share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    weight: Positive = 1.0


class TuneSection(Section):
    """How the weights of a pretrained potential are tuned.

    Attributes
    ----------
    start : str, optional
        The pretrained model; ``--from`` overrides it.
    layer_decay : float
        Factor on the learning rate per step of depth away from the readout: 1 treats all layers
        alike, less keeps the early ones nearer to what they learned before.
    freeze : list of str
        Parts that stay as they are: ``embedding``, ``block0``, ``block1``, ..., ``readout``.
    readout_only : bool
        Freeze everything but the readout.
    replay : ReplaySection, optional
    """

    start: str | None = None
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    freeze: list[str] = Field(default_factory=list)
    readout_only: bool = False
    replay: ReplaySection | None = None


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

    def starting_from(self, model: str | os.PathLike[str]) -> Self:
        """The same run from another pretrained model."""
        return self.model_copy(
            update={"tune": self.tune.model_copy(update={"start": os.fspath(model)})}
        )

    def initial_state(self, frames: Sequence[Atoms]) -> InitialState:
        """Pretrained weights; see :func:`training.fit.initial.pretrained_potential`."""
        from training.fit.initial import pretrained_potential

        return pretrained_potential(self, frames)
