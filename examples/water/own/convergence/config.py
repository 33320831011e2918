"""Settings, groups and frames of the study."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from tpainn_calc.base.schema import Section, load_config
from training.labels.engines.config import CP2KConfig

CONFIG = Path(__file__).with_name("convergence.yaml")


class Group(Section):
    """Settings that are compared with one of them.

    Attributes
    ----------
    title : str
    beside : str
        The setting that the others are compared with.
    settings : list of str
    """

    title: str
    beside: str
    settings: list[str] = Field(min_length=1)


class ConvergenceConfig(Section):
    """The whole study.

    Attributes
    ----------
    settings : dict name -> dict
        Keys of engine ``cp2k`` that differ from its defaults.
    groups : list of Group
    references : list of str
        Settings whose records another program writes (`plane_waves`).
    few : list of str
        Settings that are too dear for all frames.
    few_frames : list of str
        The frames that they have.
    """

    settings: dict[str, dict[str, Any]]
    groups: list[Group]
    references: list[str] = Field(default_factory=list)
    few: list[str] = Field(default_factory=list)
    few_frames: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _settings_are_there(self) -> Self:
        named = {n for group in self.groups for n in (group.beside, *group.settings)}
        for name in sorted(named | set(self.few)):
            if name not in (*self.settings, *self.references):
                raise ValueError(f"there is no setting {name!r}")
        for name in self.settings:
            self.engine(name)
        return self

    def engine(self, name: str) -> CP2KConfig:
        """Engine of a setting."""
        return CP2KConfig(kind="cp2k", **self.settings[name])

    def wants(self, name: str, frame: str) -> bool:
        """Whether this frame is labelled with this setting."""
        return name not in self.few or frame in self.few_frames


def load_study() -> ConvergenceConfig:
    """The study beside this file."""
    return load_config(CONFIG, ConvergenceConfig)
