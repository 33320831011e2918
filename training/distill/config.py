"""Configuration of ``tpainn-train distill``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from tpainn_calc.base.schema import Fraction, NonNegative, Positive, Section
from tpainn_calc.hyperparameters import BasisSize, Blocks, Cutoff, Features
from training.classical.config import LammpsSection
from training.data.config import DataSection
from training.fit.config import TrainingConfig
from training.fit.sections import LossSection, ModelSection, OptimizerSection

if TYPE_CHECKING:
    from ase import Atoms

    from training.fit.initial import InitialState


class SamplingSection(Section):
    """Configurations that the teacher visits, by Langevin dynamics in LAMMPS.

    Attributes
    ----------
    structures : str
        Where the runs start: any file that ASE reads, one run per structure and temperature.
        Structures of several densities teach the student the pressure.
    temperatures : list of float
        K. One well above that of the production run keeps the student safe there.
    frames : int
        Per run.
    spacing, equilibration : float
        Between frames, and before the first one; ps.
    timestep : float
        fs.
    displaced : float
        Of every second frame a copy is trained on in which this part of the atoms is moved: a
        student that has never seen a bond break, or atoms collide, may find that cheap.
    displacement : float
        Standard deviation of their displacements along each axis, Å.
    """

    structures: str
    temperatures: list[Positive] = Field([300.0, 450.0], min_length=1)
    frames: Annotated[int, Field(ge=1)] = 25
    spacing: Positive = 0.08
    equilibration: NonNegative = 0.5
    timestep: Annotated[float, Field(gt=0, le=1.0)] = 0.5
    displaced: Fraction = 0.05
    displacement: Positive = 0.3

    def source(self, input_file: str, data: Sequence[str], level: str) -> LammpsSection:
        """The same as a source of frames: an input that sets up the teacher, and its data files."""
        return LammpsSection(
            kind="lammps",
            input=input_file,
            data=list(data),
            level=level,
            temperatures=self.temperatures,
            frames=self.frames,
            spacing=self.spacing,
            equilibration=self.equilibration,
            timestep=self.timestep,
        )


class StudentSection(ModelSection):
    """Shape of the student.

    Its cost grows with the features, the blocks and the third power of the cut-off; what the
    student misses is left to the teacher, which is evaluated less often.
    """

    name: str = "fast"
    n_features: Features = 16
    n_blocks: Blocks = 1
    cutoff: Cutoff = 3.5
    n_basis: BasisSize = 12


class DistillConfig(Section):
    """A student of a teacher.

    Attributes
    ----------
    output : str
        Folder of the frames, the training run and the report.
    teacher : str
        Model file or name of a shipped potential.
    sampling : SamplingSection
    remainder : float
        Length of the teacher's run along which the student is judged, ps.
    """

    output: str
    teacher: str
    seed: int = Field(0, ge=0, lt=2**31)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    sampling: SamplingSection
    remainder: Positive = 2.0
    model: StudentSection = StudentSection()
    loss: LossSection = LossSection(delta=0.05, stress=1.0)
    optimizer: OptimizerSection = OptimizerSection(
        learning_rate=4e-3,
        final_fraction=0.005,
        max_steps=6000,
        validate_every=500,
        ema_decay=0.99,
    )

    @model_validator(mode="after")
    def _one_element_list(self) -> Self:
        if self.model.elements is not None:
            raise ValueError("model.elements: leave it out, a student knows what its teacher knows")
        return self

    def run(
        self, frames: str, walls: str, output: str, level: str, elements: Sequence[str]
    ) -> StudentConfig:
        """The training run on the teacher's frames, and on those with displaced atoms."""
        return StudentConfig(
            output=output,
            seed=self.seed,
            device=self.device,
            # frames of one run are neighbours; whole stretches of them are held out
            data=DataSection(
                files=[frames],
                training_files=[walls] if self.sampling.displaced else [],
                level=level,
                block=max(1, self.sampling.frames // 5),
                validation=0.1,
                test=0.1,
            ),
            model=self.model.model_copy(update={"elements": list(elements)}),
            loss=self.loss,
            optimizer=self.optimizer,
            teacher=self.teacher,
        )


class StudentConfig(TrainingConfig):
    """A run from fresh weights on frames that a teacher labelled; the model file names it."""

    method = "distill"
    teacher: str

    def initial_state(self, frames: Sequence[Atoms]) -> InitialState:
        """Fresh weights, and who the teacher is."""
        from training.fit.initial import describe_model

        state = super().initial_state(frames)
        return replace(state, source=describe_model(self.teacher))
