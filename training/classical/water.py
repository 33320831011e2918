"""Liquid water with a flexible simple-point-charge model, sampled and labelled by OpenMM."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from typing import Any, Literal

import numpy as np
from ase import Atoms, units
from ase.neighborlist import neighbor_list

from tpainn_calc.errors import ConfigError, DataError
from training.classical.source import Rejected, Task, labelled
from training.classical.water_model import (
    WATER_MODELS,
    WaterModel,
    make_system,
    water_lattice,
    whole_molecules,
)

KJ_PER_MOL = units.kJ / units.mol  # eV
FORCE = KJ_PER_MOL / units.nm  # eV/Å per kJ/mol/nm
LARGEST_CUTOFF = 9.0  # Å
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


class WaterCalculator:
    """Energy, forces and stress of flexible water by OpenMM.

    Parameters
    ----------
    model : WaterModel
    n_molecules : int
    box : float or None
        Edge of the cubic box in Å that the Ewald grids are made for; None for vacuum.
    platform : str
        ``CPU`` (single precision, one thread, fast) or ``Reference`` (double precision).
    integrator : openmm.Integrator, optional
        For dynamics.
    barostat : openmm.MonteCarloBarostat, optional
    """

    def __init__(
        self,
        model: WaterModel,
        n_molecules: int,
        box: float | None,
        platform: Literal["CPU", "Reference"] = "CPU",
        integrator: Any = None,
        barostat: Any = None,
    ) -> None:
        import openmm

        cutoff = LARGEST_CUTOFF if box is None else min(LARGEST_CUTOFF, 0.45 * box)
        _, system = make_system(model, n_molecules, box, cutoff)
        self._model = model
        self._cutoff = cutoff
        self._cell: np.ndarray | None = None
        if barostat is not None:
            system.addForce(barostat)
        # one thread and ordered sums: the same numbers every time
        options = {"Threads": "1", "DeterministicForces": "true"} if platform == "CPU" else {}
        self.context = openmm.Context(
            system,
            integrator or openmm.VerletIntegrator(0.001),
            openmm.Platform.getPlatformByName(platform),
            options,
        )
        self._nonbonded = next(
            f for f in system.getForces() if isinstance(f, openmm.NonbondedForce)
        )

    def set_structure(self, positions: np.ndarray, cell: np.ndarray | None) -> None:
        """Whole molecules, Å; `cell` (3, 3) lower triangular, or None in vacuum."""
        self._cell = cell
        self._positions = np.asarray(positions)
        if cell is not None:
            self.context.setPeriodicBoxVectors(*(np.asarray(cell) / 10))
        self.context.setPositions(np.asarray(positions) / 10)

    def structure(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions (atoms, 3) and cell (3, 3) in Å."""
        from openmm import unit

        state = self.context.getState(positions=True)
        positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
        cell = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.angstrom)
        return np.array(positions), np.array(cell)

    def energy(self) -> float:
        """Potential energy in eV of the structure that was set."""
        if self._cell is None:
            return self._raw_energy()
        volume = abs(np.linalg.det(self._cell))
        energy = self._raw_energy()
        return energy + self._pairs() * self._jump + self._repulsion_tail() / volume

    def _raw_energy(self) -> float:
        from openmm import unit

        energy = self.context.getState(energy=True).getPotentialEnergy()
        return float(energy.value_in_unit(unit.kilojoule_per_mole)) * KJ_PER_MOL

    @cached_property
    def _jump(self) -> float:
        # V(cut-off) of the real-space Lennard-Jones term. Only after a first energy: before it
        # OpenMM's CPU platform reads an uninitialised flag here, and at times throws std::bad_cast.
        alpha = self._nonbonded.getLJPMEParametersInContext(self.context)[0]
        return real_space_lennard_jones(self._model, self._cutoff, alpha / 10)

    def _pairs(self) -> int:
        # OpenMM shifts the Lennard-Jones term to zero at the cut-off; the shift is taken back for
        # as many pairs of oxygens as are within it.
        oxygens = Atoms("O" * (len(self._positions) // 3), self._positions[::3])
        oxygens.set_cell(self._cell)
        oxygens.pbc = True
        return len(neighbor_list("i", oxygens, self._cutoff)) // 2

    def _repulsion_tail(self) -> float:
        # Ewald sums the r^-6 term, not the r^-12 term: beyond the cut-off, where g = 1, it is
        # N²/(2V) ∫ 4 ε (σ/r)^12 4π r² dr; in eV Å³
        m, n = self._model, len(self._positions) // 3
        sigma = 10 * m.sigma
        tail = n**2 * 8 * np.pi * m.epsilon * sigma**12 / (9 * self._cutoff**9)
        return float(tail) * KJ_PER_MOL

    def forces(self) -> np.ndarray:
        """Forces (atoms, 3) in eV/Å."""
        from openmm import unit

        forces = self.context.getState(forces=True).getForces(asNumpy=True)
        per_nm = unit.kilojoule_per_mole / unit.nanometer
        return np.array(forces.value_in_unit(per_nm)) * FORCE

    def stress(self, positions: np.ndarray, cell: np.ndarray, step: float = 1e-5) -> np.ndarray:
        """Stress (6,) in eV/Å³ by central differences of strained cells.

        OpenMM computes no virial. Atoms move with the cell, so this is the *atomic* stress.
        Needs the double precision of the ``Reference`` platform.

        Parameters
        ----------
        positions : ndarray (atoms, 3)
            Whole molecules, Å.
        cell : ndarray (3, 3)
            Lower triangular.
        step : float
            Strain.
        """
        volume = abs(np.linalg.det(cell))
        result = np.zeros(6)
        for k, (i, j) in enumerate(VOIGT):
            energies = []
            for sign in (1, -1):
                strain = np.eye(3)
                # x' = x + e x_j: keeps the cell lower triangular, as OpenMM wants it; the
                # rotation that this differs by from a symmetric strain costs no energy
                strain[j, i] += sign * step
                self.set_structure(positions @ strain, cell @ strain)
                energies.append(self._raw_energy())
            result[k] = (energies[0] - energies[1]) / (2 * step * volume)
        self.set_structure(positions, cell)
        result[:3] -= self._repulsion_tail() / volume**2
        return result


def real_space_lennard_jones(model: WaterModel, r: float, alpha: float) -> float:
    """Repulsion and the real-space part of Ewald-summed dispersion of two oxygens, eV.

    Parameters
    ----------
    model : WaterModel
    r : float
        Distance, Å.
    alpha : float
        Ewald parameter of the dispersion, 1/Å.
    """
    sixth, a = (10 * model.sigma / r) ** 6, (alpha * r) ** 2
    screening = np.exp(-a) * (1 + a + a**2 / 2)
    return float(4 * model.epsilon * (sixth**2 - sixth * screening)) * KJ_PER_MOL


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

    def tasks(self) -> Sequence[Task]:
        """One per state point."""
        points = product(self.n_molecules, self.temperatures, self.densities, self.pressures or [0])
        tasks = []
        for index, (n, temperature, density, pressure) in enumerate(points):
            key = f"n{n}-T{temperature:g}-rho{density:g}"
            key += f"-p{pressure:g}" if self.pressures else ""
            options = {"n": n, "temperature": temperature, "density": density}
            options |= {"pressure": pressure} if self.pressures else {}
            tasks.append(Task(key, index, options))
        return tasks

    def frames(self, task: Task, seed: int) -> Iterator[Atoms | Rejected]:
        """Minimise a random lattice, equilibrate, then take decorrelated frames."""
        import openmm

        o = task.options
        rng = np.random.default_rng((seed, task.index))
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
        for k in range(self.frames_per_point):
            try:
                integrator.step(max(1, round(1e3 * self.spacing / self.timestep)))
            except openmm.OpenMMException as error:
                yield Rejected(f"{task.key}, frame {k}: the run stopped: {error}")
                return
            positions, cell = dynamics.structure()
            precise.set_structure(positions, cell)
            energy, forces = precise.energy(), precise.forces()
            stress = precise.stress(positions, cell) if self.stress else None
            atoms = Atoms(start.symbols, positions=positions, cell=cell, pbc=True)
            atoms = labelled(atoms, energy, forces, stress)
            atoms.info.update(state_point=task.key, temperature=o["temperature"])
            yield atoms


def label_water(atoms: Atoms, model: str = "q-spcfw", stress: bool = False) -> Atoms:
    """Energy, forces and, if asked for, stress of a water structure, in double precision.

    Parameters
    ----------
    atoms : ase.Atoms
        Ordered O, H, H; in a cubic or lower triangular box, or in vacuum; may be wrapped.
    model : str
    stress : bool

    Raises
    ------
    ConfigError
        If there is no such model.
    DataError
        If the atoms are not water in that order.
    """
    if model not in WATER_MODELS:
        raise ConfigError(f"no water model {model!r}; there are {', '.join(WATER_MODELS)}")
    positions = whole_molecules(atoms)
    periodic = bool(atoms.pbc.all())
    if not periodic and atoms.pbc.any():
        raise DataError("water must be periodic in three directions or in none")
    cell = np.asarray(atoms.cell) if periodic else None
    box = float(atoms.cell.lengths().min()) if periodic else None
    calculator = WaterCalculator(WATER_MODELS[model], len(atoms) // 3, box, "Reference")
    calculator.set_structure(positions, cell)
    energy, forces = calculator.energy(), calculator.forces()
    strain = calculator.stress(positions, cell) if stress and cell is not None else None
    return labelled(
        Atoms(atoms.symbols, positions, cell=cell, pbc=periodic), energy, forces, strain
    )


def _openmm_seed(rng: np.random.Generator) -> int:
    return int(rng.integers(1, 2**31 - 1))  # zero means "choose one yourself"
