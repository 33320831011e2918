"""Sections of the configuration of a training run."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Literal, get_type_hints

from pydantic import Field, create_model

from tpainn_calc.base.schema import Fraction, NonNegative, PathText, Positive, Section
from tpainn_calc.hyperparameters import Hyperparameters

#: Steps and the like; what is more cannot be counted in a lifetime.
MOST = 10**9
Count = Annotated[int, Field(ge=1, le=MOST)]
#: Beyond this the weights overflow in one step.
Rate = Annotated[float, Field(gt=0, le=1e30)]
#: Structures of a step: more than any machine holds the gradients of is a mistake.
MAX_BATCH = 10_000


_HINTS = get_type_hints(Hyperparameters, include_extras=True)
_DEFAULTS = {f.name: (_HINTS[f.name], f.default) for f in fields(Hyperparameters)}
_DEFAULTS.pop("elements")
#: Hyperparameters that fix the shape of a potential.
SHAPE = ("elements", *_DEFAULTS)

#: Of a potential, and of its file.
Name = Annotated[str, Field(pattern=r"^[^/\x00]+$", max_length=200)]

if TYPE_CHECKING:  # the fields below are those of Hyperparameters, whose list they share

    class _Shape(Section): ...

    class _AnyShape(Section): ...

else:
    _Shape = create_model("_Shape", __base__=Section, **_DEFAULTS)
    _AnyShape = create_model(
        "_AnyShape", __base__=Section, **{k: (t | None, None) for k, (t, _) in _DEFAULTS.items()}
    )


class ModelSection(_Shape):
    """Shape of the network: :class:`tpainn_calc.hyperparameters.Hyperparameters`, and its name.

    Attributes
    ----------
    name : str
        Of the potential, and of its file.
    elements : list of str, optional
        Chemical symbols; those of the training frames by default.
    dtype : {"float32", "float64"}
        Type of the network's numbers; geometry and sums are float64 always.
    """

    name: Name = "potential"
    elements: list[str] | None = None
    dtype: Literal["float32", "float64"] = "float32"


class LossSection(Section):
    """Weights of the terms, each per atom or per component, in units of `scale`.

    Attributes
    ----------
    kind : {"huber", "mse"}
        ``huber`` is quadratic below `delta` and linear above, robust against the few frames with
        large forces; ``mse`` is quadratic throughout.
    delta : float
        Where ``huber`` becomes linear, eV/Å and eV/atom.
    energy : float
        Weight of the energy per atom, eV.
    forces : float
        Weight of the force components, eV/Å; 0: frames need no forces.
    stress : float
        Weight of the virial per atom, eV; frames without a stress take no part in it.
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
    weight_decay : float
        Decay of the weights towards zero, per step and unit of the learning rate (AdamW).
    warmup_steps : int
        Steps over which the learning rate rises from zero.
    schedule : {"cosine", "plateau"}
        ``cosine`` decays to `final_fraction` of the peak over `max_steps`; ``plateau`` halves the
        rate after `patience` validations without improvement.
    final_fraction : float
        Learning rate at the end of ``cosine``, as a fraction of its peak.
    patience : int
        Validations without improvement after which ``plateau`` halves the rate.
    max_steps : int
        Optimiser steps.
    batch_size : int
        Structures per step, on all processes together: each takes an equal share.
    validate_every : int
        Steps between validations; checkpoints are written then too.
    early_stopping : int, optional
        Validations without improvement after which training stops.
    ema_decay : float
        Decay per step of the exponential moving average of the weights, which is what is
        validated and kept; 0 for none. It warms up as (1 + step) / (10 + step).
    gradient_clip : float
        Largest norm of the gradient.
    """

    learning_rate: Rate = 1e-3
    weight_decay: NonNegative = 0.0
    warmup_steps: int = Field(100, ge=0, le=MOST)
    schedule: Literal["cosine", "plateau"] = "cosine"
    final_fraction: Positive = 0.01
    patience: Count = 5
    max_steps: Count
    batch_size: int = Field(1, ge=1, le=MAX_BATCH)
    validate_every: Count = 500
    early_stopping: Count | None = None
    ema_decay: Fraction = 0.999
    gradient_clip: Positive = 10.0


class TrainerSection(Section):
    """Processes that share a run, one per GPU (or, with ``device: cpu``, per CPU process).

    Attributes
    ----------
    devices : int
        Processes on each node.
    nodes : int
        Machines.
    graph_memory : float
        GiB of graphs that each process keeps; those beyond are made whenever they are drawn.
    """

    devices: int = Field(1, ge=1, le=1000)
    nodes: int = Field(1, ge=1, le=100_000)
    graph_memory: Annotated[float, Field(ge=0, le=1e6)] = 2.0

    @property
    def processes(self) -> int:
        """Number of all processes."""
        return self.devices * self.nodes


class TunedModelSection(_AnyShape):
    """Name of the tuned potential; its shape is that of the pretrained one.

    A shape may be stated all the same: the run is refused where it is another.

    Attributes
    ----------
    name : str
        Of the potential, and of its file.
    elements : list of str, optional
        Chemical symbols, in any order.
    """

    name: Name = "potential"
    elements: list[str] | None = None


class ReplaySection(Section):
    """Frames of the pretraining level that are mixed in, so that less of it is forgotten.

    Attributes
    ----------
    files : list of str
        As in ``data``.
    level : str
        One that the pretrained model knows reference energies of.
    share : float
        Of the drawn frames.
    weight : float
        Of these frames in the loss.
    """

    files: list[PathText] = Field(min_length=1)
    level: str = Field(min_length=1)
    share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    weight: Positive = 1.0


class TuneSection(Section):
    """Tuning of the weights of a pretrained potential.

    Attributes
    ----------
    start : str, optional
        The pretrained model; ``--from`` overrides it.
    layer_decay : float
        Factor on the learning rate per step of depth away from the readout: 1 treats all layers
        alike, less keeps the early ones nearer to what they learned before.
    anchor : float
        Decay of the weights towards those of the pretrained model, per step and unit of the
        learning rate: what few frames do not ask for stays as it was learnt; 0 for none.
    freeze : list of str
        Parts that stay as they are: ``embedding``, ``block0``, ``block1``, ..., ``readout``.
    readout_only : bool
        Freeze everything but the readout.
    replay : ReplaySection, optional
    """

    start: PathText | None = None
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    anchor: NonNegative = 0.0
    freeze: list[str] = Field(default_factory=list)
    readout_only: bool = False
    replay: ReplaySection | None = None
