"""The contract of a classical source: independent shards that yield labelled frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list


@dataclass(frozen=True)
class Shard:
    """An independent piece of work, such as one state point or a few molecules.

    Attributes
    ----------
    key : str
        Names the piece; letters, digits, ``.``, ``-`` and ``_`` only, since it becomes a file name.
    index : int
        Position among the shards; with the configuration's seed it fixes all random numbers.
    options : dict
        Whatever the source needs to do it.
    """

    key: str
    index: int
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rejected:
    """A frame, or a molecule, that gives no label.

    Attributes
    ----------
    reason : str
        One line.
    """

    reason: str


class Source(Protocol):
    """A source of classical frames.

    A source must be picklable, and :meth:`frames` must depend on the shard and the seed alone:
    then shards run in any order, on any process, and again after an interruption.
    """

    @property
    def level(self) -> str:
        """Level of theory of the labels: a training set holds one."""

    def describe(self) -> dict[str, Any]:
        """Engine, version, parameters and their source, as plain values."""

    def shards(self) -> Sequence[Shard]:
        """Pieces of work, in an order that does not change."""

    def frames(self, shard: Shard, seed: int) -> Iterator[Atoms | Rejected]:
        """Labelled frames: energy (eV), forces (eV/Å) and, when periodic, stress (eV/Å³)."""


@dataclass(frozen=True)
class Limits:
    """Bounds that a frame must keep to be worth training on.

    Attributes
    ----------
    max_force : float
        Largest force on an atom, eV/Å.
    min_distance : float
        Smallest distance between two atoms, Å.
    """

    max_force: float = 50.0
    min_distance: float = 0.5

    def problem(self, atoms: Atoms) -> str | None:
        """Reason why a frame is rejected, or None."""
        if not np.isfinite(atoms.positions).all():
            return "positions are not finite"
        energy = atoms.get_potential_energy()
        labels: list[Any] = [energy]
        labels += [atoms.calc.results[k] for k in ("forces", "stress") if k in atoms.calc.results]
        if not all(np.isfinite(x).all() for x in labels):
            return "energy, forces or stress are not finite"
        short = neighbor_list("d", atoms, self.min_distance)
        if len(short):
            return f"atoms {short.min():.3f} Å apart (min_distance {self.min_distance})"
        largest = 0.0
        if "forces" in atoms.calc.results:
            largest = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
        if largest > self.max_force:
            return f"force {largest:.1f} eV/Å exceeds max_force {self.max_force}"
        return None
