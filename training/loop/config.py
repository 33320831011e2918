"""Configuration of ``tpainn-train loop``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tpainn_calc.base.schema import NonNegative, Positive, Section, Seed
from training.classical.config import SampledFrames
from training.fit.sections import LossSection, ModelSection, OptimizerSection, TuneSection
from training.labels.engines.config import EngineConfig

PositiveInt = Annotated[int, Field(ge=1)]


class PickStage(Section):
    """Number of frames that are picked, and the way.

    Attributes
    ----------
    first, next : int
        In round 0, from the classical pool; in every later one, from the MD of the round before.
    quality : {"deviation", "seedselect"}
        What makes a frame of the MD worth a label: the committee's largest force deviation in it,
        or what seedselect makes of the labels so far. Diversity counts in both.
    settings : dict
        Options of ``seedselect pick``, such as ``{n_features: 256, pooling: sum}``.
    """

    first: PositiveInt
    next: PositiveInt
    quality: Literal["deviation", "seedselect"] = "deviation"
    settings: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _leaves_the_rest_to_the_loop(self) -> Self:
        for key in ("n", "seed", "targets", "drop", "budget"):
            if key in self.settings:
                raise ValueError(f"pick.settings.{key}: the loop sets it itself; leave it out")
        return self


class LabelStage(Section):
    """The engine that labels, and its place.

    Attributes
    ----------
    engine : EngineConfig
    jobs : int
        Processes.
    where : {"here", "elsewhere"}
        ``elsewhere``: the loop waits for ``tpainn-train label`` on another machine.
    time_limit : float, optional
        A frame fails after so many seconds.
    """

    engine: EngineConfig
    jobs: PositiveInt = 1
    where: Literal["here", "elsewhere"] = "here"
    time_limit: Positive | None = None


class TestStage(Section):
    """Frames that give the error of every round; they never train, pick or stop anything.

    Attributes
    ----------
    frames : int, optional
        So many of the classical pool, drawn at random, taken out of it and labelled.
    files : list of str
        Or labelled frames that are there already.
    """

    __test__ = False  # not one of pytest's

    frames: PositiveInt | None = None
    files: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.frames is None) == (not self.files):
            raise ValueError("test: give either 'frames' (how many) or 'files' (labelled ones)")
        return self


class PretrainStage(Section):
    """Fresh weights on the classical pool, as in ``tpainn-train pretrain``."""

    validation: Annotated[float, Field(gt=0, lt=1)] = 0.05
    block: PositiveInt = 1
    model: ModelSection = ModelSection()
    loss: LossSection = LossSection()
    optimizer: OptimizerSection


class AutotuneStage(Section):
    """The committee on all labels of a round, as in ``tpainn-train autotune``.

    Every round starts from the pretrained weights. `validation` is the part of the labels that
    a member does not train on; each member leaves out another one.
    """

    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    loss: LossSection = LossSection()
    optimizer: OptimizerSection
    tune: TuneSection = TuneSection()

    @model_validator(mode="after")
    def _starts_from_the_loops_own(self) -> Self:
        if self.tune.start is not None:
            raise ValueError("autotune.tune.start: the loop starts from its own pretrained model")
        return self


class CommitteeStage(Section):
    """Members, which differ by seed, by the labels they leave out and by their first weights.

    Attributes
    ----------
    size : int
    pretrain : {"each", "once"}
        ``once``: all start from one pretrained model; cheaper, but the
        deviation of such a committee is far below its error.
    """

    size: Annotated[int, Field(ge=2)] = 3
    pretrain: Literal["each", "once"] = "each"


class MDStage(Section):
    """Molecular dynamics with the committee's mean, from labelled frames drawn at random.

    Attributes
    ----------
    engine : {"auto", "lammps", "ase"}
        ``auto``: LAMMPS for frames that are periodic in three directions, else ASE.
    trajectories : int
        Per round.
    temperatures : list of float
        K; trajectory after trajectory takes the next one.
    pressure : float, optional
        bar; constant pressure instead of constant volume (LAMMPS).
    steps : int
    timestep : float
        fs.
    every : int
        Steps between frames, each of which is a candidate.
    ceiling : float
        eV/Å: where the largest force deviation of a frame exceeds it, the trajectory ends.
        Frames beyond are no candidates.
    ranks : int
        MPI ranks of LAMMPS.
    where : {"here", "elsewhere"}
        ``elsewhere``: the loop writes LAMMPS inputs and waits until they were run.
    """

    engine: Literal["auto", "lammps", "ase"] = "auto"
    trajectories: PositiveInt = 4
    temperatures: list[Positive] = Field([300.0], min_length=1)
    pressure: float | None = None
    steps: PositiveInt = 2000
    timestep: Positive = 0.5
    every: PositiveInt = 20
    ceiling: Positive = 3.0
    ranks: PositiveInt = 1
    where: Literal["here", "elsewhere"] = "here"

    @model_validator(mode="after")
    def _frames_come(self) -> Self:
        if self.steps < self.every:
            raise ValueError(f"md: no frame in {self.steps} steps with one every {self.every}")
        if self.engine == "ase" and (self.pressure is not None or self.where == "elsewhere"):
            raise ValueError("md: 'pressure' and 'where: elsewhere' need engine lammps")
        return self


class StopStage(Section):
    """Criteria that end the loop; the first that is met counts.

    Attributes
    ----------
    rounds : int
        At most so many.
    labels : int, optional
        Budget: no round is begun that could exceed it. Test frames do not count.
    deviation : float, optional
        eV/Å: the mean, over the frames of a round's MD, of the largest force deviation is below,
        and no trajectory was ended by the ceiling.
    """

    rounds: PositiveInt = 10
    labels: PositiveInt | None = None
    deviation: NonNegative | None = None


class LoopConfig(Section):
    """The whole loop.

    ``stop`` may change when a loop is continued, and so may what only says where and on how many
    processes it runs; everything else belongs to the folder.
    """

    output: str
    name: str = "potential"
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    classical: SampledFrames
    test: TestStage
    pick: PickStage
    label: LabelStage
    pretrain: PretrainStage
    autotune: AutotuneStage
    committee: CommitteeStage = CommitteeStage()
    md: MDStage = MDStage()
    stop: StopStage = StopStage()

    @model_validator(mode="after")
    def _budget_pays_for_the_first_round(self) -> Self:
        if self.stop.labels is not None and self.stop.labels < self.pick.first:
            raise ValueError(
                f"stop.labels: {self.stop.labels} do not pay for the first round "
                f"(pick.first: {self.pick.first})"
            )
        return self


#: What may differ between calls on one folder.
FREE: dict[str, Any] = {
    "output": True,
    "device": True,
    "stop": True,
    "classical": {"workers", "time_limit"},
    "pick": {"next"},
    "label": {"jobs", "where", "time_limit"},
    "md": {"ranks", "where", "ceiling"},
}
