"""Liquid water with a flexible model, sampled and labelled by OpenMM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from ase import Atoms

from tpainn_calc.base.arrays import Array
from tpainn_calc.base.frames import DISTORTED, attach_results
from training.classical.config import WaterSection
from training.classical.contract import Rejected, Shard
from training.forcefields.water import WaterCalculator
from training.forcefields.water_model import (
    WATER_MODELS,
    WaterModel,
    water_lattice,
)

#: Å: lengths of a distorted molecule's bonds, and the deviation of its shift along each axis
BONDS, SHIFT = (0.75, 1.5), 0.3


@dataclass(frozen=True)
class WaterSource:
    """State points of liquid water: box sizes × temperatures × densities or pressures.

    Attributes
    ----------
    model : str
        ``q-spcfw`` or ``spcfw``.
    n_molecules : tuple of int
    temperatures : tuple of float
        K.
    densities : tuple of float
        g/cm³; for NPT where the runs start.
    pressures : tuple of float
        bar; empty for NVT.
    frames : int
        Per state point.
    spacing : float
        Between frames, ps.
    equilibration : float
        Before the first frame, ps.
    timestep : float
        fs.
    stress : bool
        Label the stress as well: 12 double-precision energies per frame.
    distorted : float
        Part of the molecules that :func:`distort` changes before a frame is labelled.
    """

    model: str
    n_molecules: tuple[int, ...]
    temperatures: tuple[float, ...]
    densities: tuple[float, ...]
    pressures: tuple[float, ...] = ()
    frames_per_point: int = 20
    spacing: float = 0.2
    equilibration: float = 2.0
    timestep: float = 0.5
    stress: bool = True
    distorted: float = 0.0

    @classmethod
    def from_section(cls, s: WaterSection) -> WaterSource:
        """Source that a configuration describes."""
        return cls(
            s.model,
            tuple(s.n_molecules),
            tuple(s.temperatures),
            tuple(s.densities),
            tuple(s.pressures),
            s.frames,
            s.spacing,
            s.equilibration,
            s.timestep,
            s.stress,
            s.distorted,
        )

    @cached_property
    def parameters(self) -> WaterModel:
        """The force field."""
        return WATER_MODELS[self.model]

    @property
    def level(self) -> str:
        """Level of theory."""
        return self.parameters.name

    def describe(self) -> dict[str, Any]:
        """Engine, parameters, and how frames are drawn."""
        import openmm

        return {
            "engine": f"OpenMM {openmm.version.version}",
            "electrostatics": "particle-mesh Ewald, dispersion too (LJPME), error tolerance 1e-5",
            "parameters": asdict(self.parameters),
            "thermostat": "Langevin, 1/ps",
            "stress": "central differences of strain, double precision" if self.stress else "none",
        }

    def shards(self) -> Sequence[Shard]:
        """One per state point."""
        points = product(self.n_molecules, self.temperatures, self.densities, self.pressures or [0])
        shards = []
        for index, (n, temperature, density, pressure) in enumerate(points):
            key = f"n{n}-T{temperature:g}-rho{density:g}"
            key += f"-p{pressure:g}" if self.pressures else ""
            options = {"n": n, "temperature": temperature, "density": density}
            options |= {"pressure": pressure} if self.pressures else {}
            shards.append(Shard(key, index, options))
        return shards

    def frames(self, shard: Shard, seed: int) -> Iterator[Atoms | Rejected]:
        """Minimise a random lattice, equilibrate, then take decorrelated frames."""
        import openmm

        o = shard.options
        rng = np.random.default_rng((seed, shard.index))
        start = water_lattice(o["n"], o["density"], rng)
        box = float(start.cell[0, 0])
        integrator = openmm.LangevinMiddleIntegrator(o["temperature"], 1.0, self.timestep * 1e-3)
        integrator.setRandomNumberSeed(_openmm_seed(rng))
        barostat = None
        if "pressure" in o:
            barostat = openmm.MonteCarloBarostat(o["pressure"], o["temperature"])
            barostat.setRandomNumberSeed(_openmm_seed(rng))
        dynamics = WaterCalculator(
            self.parameters, o["n"], box, integrator=integrator, barostat=barostat
        )
        dynamics.set_structure(start.positions, np.asarray(start.cell))
        openmm.LocalEnergyMinimizer.minimize(dynamics.context, 10.0, 500)
        dynamics.context.setVelocitiesToTemperature(o["temperature"], _openmm_seed(rng))
        # labels in double precision: the dynamics' energies are 0.1 meV/atom off
        precise = WaterCalculator(self.parameters, o["n"], box, "Reference")
        integrator.step(max(1, round(1e3 * self.equilibration / self.timestep)))
        walls = np.random.default_rng((seed, shard.index, 1))
        for k in range(self.frames_per_point):
            try:
                integrator.step(max(1, round(1e3 * self.spacing / self.timestep)))
            except openmm.OpenMMException as error:
                yield Rejected(f"{shard.key}, frame {k}: the run stopped: {error}")
                return
            positions, cell = dynamics.structure()
            if self.distorted:
                positions = distort(positions, self.distorted, walls)
            precise.set_structure(positions, cell)
            energy, forces = precise.energy(), precise.forces()
            stress = precise.stress(positions, cell) if self.stress else None
            atoms = Atoms(start.symbols, positions=positions, cell=cell, pbc=True)
            atoms = attach_results(atoms, energy, forces, stress)
            atoms.info.update(state_point=shard.key, temperature=o["temperature"])
            if self.distorted:
                atoms.info[DISTORTED] = True
            yield atoms


def distort(positions: Array, part: float, rng: np.random.Generator) -> Array:
    """Deform and move some molecules: bonds of :data:`BONDS`, shifts of :data:`SHIFT`.

    Parameters
    ----------
    positions : ndarray (atoms, 3)
        O, H, H of every molecule in one piece, Å.
    part : float
        Probability of each molecule.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray (atoms, 3)
    """
    molecules = positions.reshape(-1, 3, 3).copy()
    for k in np.flatnonzero(rng.random(len(molecules)) < part):
        oxygen, *hydrogens = molecules[k].copy()
        for h, bond in enumerate(hydrogens, start=1):
            arm = bond - oxygen
            molecules[k, h] = oxygen + arm * rng.uniform(*BONDS) / np.linalg.norm(arm)
        molecules[k] += rng.normal(0, SHIFT, 3)
    return molecules.reshape(-1, 3)


def _openmm_seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1, 2**31 - 1))  # zero means "choose one yourself"
