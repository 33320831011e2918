"""The isolated molecule at the level of the set, for the enthalpy of vaporisation.

``python -m examples.water.own.molecule`` relaxes a water in a periodic box of its own with the
engine of ``converged.yaml``, takes the energy of its dipole among its images back, and writes
``molecule.extxyz`` beside this file. It takes minutes, and CP2K.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.singlepoint import SinglePointCalculator
from ase.optimize import BFGS

from tpainn_calc.base.command import command_parser, run_command
from tpainn_calc.base.frames import write_extxyz
from training.labels.engines.config import load_engine
from training.labels.engines.contract import Engine
from training.labels.engines.factory import make_engine

HERE = Path(__file__).parent
MOLECULE = HERE / "molecule.extxyz"
#: Å
BOX = 11.0
#: e Å, 1.85 D: what its images do is taken back, some 0.3 kJ/mol, so that a rough value is enough.
DIPOLE = 0.385


class EngineCalculator(Calculator):
    """A labelling engine as ASE's optimizers want it."""

    implemented_properties = ("energy", "forces")

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = None,
        system_changes: Any = all_changes,
    ) -> None:
        """Label the structure."""
        super().calculate(atoms, properties, system_changes)
        assert atoms is not None  # ASE always gives them
        label = self.engine.label(Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True))
        self.results = dict(label.atoms.calc.results)


def main() -> int:
    """Entry point."""
    parser = command_parser("molecule", __doc__)
    parser.add_argument("--engine", default=str(HERE / "converged.yaml"))
    parser.add_argument("--fmax", type=float, default=0.05, help="eV/Å, where relaxation ends")
    parser.add_argument("-o", "--output", type=Path, default=MOLECULE)
    arguments = parser.parse_args()

    def body() -> None:
        engine = make_engine(load_engine(arguments.engine))
        try:
            atoms = relaxed(engine, arguments.fmax)
        finally:
            engine.close()
        write_extxyz(arguments.output, [atoms])
        print(f"{atoms.get_potential_energy():.5f} eV: {arguments.output}")

    return run_command(body)


def relaxed(engine: Engine, fmax: float) -> Atoms:
    """A relaxed water molecule with its energy (eV) and level."""
    atoms = molecule("H2O", cell=[BOX] * 3, pbc=True)
    atoms.center()
    atoms.calc = EngineCalculator(engine)
    BFGS(atoms, logfile=None).run(fmax=fmax, steps=20)
    energy = atoms.get_potential_energy() + image_energy(DIPOLE, atoms.get_volume())
    result = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    result.calc = SinglePointCalculator(result, energy=energy, forces=atoms.get_forces())
    result.info["level"] = engine.level
    return result


def image_energy(dipole: float, volume: float) -> float:
    """Energy (eV) by which a dipole (e Å) in a cubic cell (Å³) is too low, 2 π μ² / (3 V).

    G. Makov, M. C. Payne, Phys. Rev. B 51, 4014 (1995), Eq. 15, for a neutral molecule.
    """
    coulomb = units.Hartree * units.Bohr
    return float(2 * np.pi / 3 * coulomb * dipole**2 / volume)


if __name__ == "__main__":
    raise SystemExit(main())
