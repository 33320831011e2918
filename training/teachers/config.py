"""Configuration of ``tpainn-train teachers``."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from tpainn_calc.base.schema import Positive, Section, Seed
from training.labels.engines.config import EngineConfig, engine_of_name

PositiveInt = Annotated[int, Field(ge=1)]


class ReferenceSection(Section):
    """The frames that say what is right.

    Attributes
    ----------
    files : list of str
        Labelled frames: extended XYZ, HDF5, a folder of these, or QM9 as ``.npz``.
    level : str
        Level of theory of their labels; by default what the first frame of a file says.
    frames : int
        So many of them, drawn at random; 20 are enough for forces.
    seed : int
    """

    files: list[str] = Field(min_length=1)
    level: str = ""
    frames: Annotated[int, Field(ge=4)] = 20
    seed: Seed = 0


class TeachersConfig(Section):
    """A comparison of cheap levels of theory.

    Attributes
    ----------
    output : str
    data : ReferenceSection
    teachers : list of EngineConfig
        Engines, as under ``labels`` of a classical source; a name stands for one with its defaults.
    jobs : int
        Processes.
    time_limit : float, optional
        A label fails after so many seconds.
    """

    output: str
    data: ReferenceSection
    teachers: list[Annotated[EngineConfig, BeforeValidator(engine_of_name)]] = Field(min_length=1)
    jobs: PositiveInt = 1
    time_limit: Positive | None = None
