"""The contract of a labelling engine: a structure in; energy, forces, stress and level out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from ase import Atoms


@dataclass(frozen=True)
class Label:
    """A labelled structure.

    Attributes
    ----------
    atoms : ase.Atoms
        With a `SinglePointCalculator` that holds energy (eV), forces (eV/Å) and, where the
        structure is periodic and the engine has one, stress (eV/Å³, Voigt, tension positive).
    level : str
        Level of theory.
    converged : bool
    seconds : float
        Wall time, failed attempts included.
    notes : dict
        Plain values about this label: which fallback it took, ``net_force`` before it was
        removed (eV/Å), ...
    """

    atoms: Atoms
    level: str
    converged: bool
    seconds: float
    notes: Mapping[str, str | float] = field(default_factory=dict)


class LabelFailed(Exception):
    """The engine ran but gives no usable label of this structure, such as an SCF that fails."""


class EngineCrashed(Exception):
    """The engine broke down; the structure may or may not be the reason."""


class Engine(Protocol):
    """Labels structures, one after the other, in the process that made it."""

    @property
    def level(self) -> str:
        """Level of theory: every setting that changes the labels."""

    def describe(self) -> dict[str, Any]:
        """Engine, version and settings, as plain values."""

    def label(self, atoms: Atoms) -> Label:
        """Label a structure.

        Raises
        ------
        LabelFailed
            No label of this structure, with the reason in one line.
        EngineCrashed
            The engine broke down.
        """

    def close(self) -> None:
        """End what the engine keeps running."""
