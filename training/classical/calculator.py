"""Any ASE calculator as a source of frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculatorError, PropertyNotImplementedError

from tpainn_calc.base.errors import DataError
from tpainn_calc.base.frames import attach_results
from training.classical.config import CalculatorSection
from training.classical.contract import Rejected, Shard
from training.classical.dynamics import displaced, langevin
from training.data.paths import expand_path
from training.labels.engines.calculator import make_calculator


@dataclass(frozen=True)
class CalculatorSource:
    """Structures of a file, sampled and labelled by an ASE calculator.

    Attributes
    ----------
    calculator : str
        Dotted path of its class or factory.
    arguments : dict
        Keyword arguments.
    path : Path
        Structures, in any format that ASE reads.
    name : str
        Level of theory.
    frames_per_structure : int
    sampling : {"none", "displacement", "langevin"}
    temperature, spacing, timestep, displacement : float
        K, ps, fs, Å.
    per_shard : int
        Structures per shard.
    """

    calculator: str
    path: Path
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    frames_per_structure: int = 1
    sampling: Literal["none", "displacement", "langevin"] = "none"
    temperature: float = 500.0
    spacing: float = 0.1
    timestep: float = 0.5
    displacement: float = 0.05
    per_shard: int = 50

    @classmethod
    def from_section(cls, s: CalculatorSection, base: Path) -> CalculatorSource:
        """Source that a configuration describes."""
        return cls(
            s.calculator,
            expand_path(s.structures, base),
            s.level,
            s.arguments,
            s.frames,
            s.sampling,
            s.temperature,
            s.spacing,
            s.timestep,
            s.displacement,
            s.structures_per_shard,
        )

    @property
    def level(self) -> str:
        """Level of theory."""
        return self.name

    def describe(self) -> dict[str, Any]:
        """The calculator and its arguments."""
        return {"engine": f"ASE {ase.__version__}", "calculator": self.calculator}

    def shards(self) -> Sequence[Shard]:
        """Groups of structures."""
        self._make()  # a wrong path is said before anything runs
        n = len(self._structures())
        return [
            Shard(
                f"structures-{k:06d}",
                k,
                {"members": list(range(first, min(first + self.per_shard, n)))},
            )
            for k, first in enumerate(range(0, n, self.per_shard))
        ]

    def frames(self, shard: Shard, seed: int) -> Iterator[Atoms | Rejected]:
        """Geometries of the structures of a group."""
        calculator = self._make()
        structures = self._structures()
        for member in shard.options["members"]:
            rng = np.random.default_rng((seed, member))
            try:
                for geometry in self._geometries(structures[member], calculator, rng):
                    atoms = _label(structures[member], geometry, calculator)
                    atoms.info["structure"] = member
                    yield atoms
            except CalculatorError as error:
                yield Rejected(f"structure {member}: {' '.join(str(error).split())}")

    def _geometries(
        self, start: Atoms, calculator: Any, rng: np.random.Generator
    ) -> Iterator[np.ndarray]:
        if self.sampling == "none":
            return iter([start.positions])
        n = self.frames_per_structure
        if self.sampling == "displacement":
            return displaced(start.positions, self.displacement, n, rng)
        moving = start.copy()
        moving.calc = calculator

        def compute(positions: np.ndarray) -> tuple[float, np.ndarray]:
            moving.positions = positions
            forces = moving.get_forces()
            return moving.get_potential_energy(), forces

        return langevin(
            compute,
            start.positions,
            start.get_masses(),
            temperature=self.temperature,
            timestep=self.timestep,
            spacing=self.spacing,
            n_frames=n,
            rng=rng,
        )

    def _make(self) -> Any:
        return make_calculator(self.calculator, self.arguments, "source.calculator")

    def _structures(self) -> list[Atoms]:
        try:
            return list(ase.io.read(self.path, ":"))
        except Exception as error:  # ASE raises what its parsers happen to meet
            raise DataError(f"{self.path} is not readable: {error}") from None


def _label(start: Atoms, positions: np.ndarray, calculator: Any) -> Atoms:
    atoms = Atoms(start.symbols, positions=positions, cell=start.cell, pbc=start.pbc)
    atoms.calc = calculator
    forces = atoms.get_forces()
    energy = atoms.get_potential_energy()
    stress = None
    if atoms.pbc.all():
        try:
            stress = atoms.get_stress()
        except PropertyNotImplementedError:
            stress = None  # not every calculator has one: the frame goes without
    return attach_results(atoms, energy, forces, stress)
