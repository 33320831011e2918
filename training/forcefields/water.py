"""Liquid water evaluated by OpenMM: point charges (our parameters) and iAMOEBA (OpenMM's)."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from ase import Atoms, units
from ase.neighborlist import neighbor_list

from tpainn_calc.base.errors import ConfigError, DataError
from tpainn_calc.base.frames import attach_results
from training.forcefields.water_model import (
    VOLUME_AT_UNIT_DENSITY,
    WATER_MODELS,
    WaterModel,
    make_system,
    water_topology,
    whole_molecules,
)

KJ_PER_MOL = units.kJ / units.mol  # eV
FORCE = KJ_PER_MOL / units.nm  # eV/Å per kJ/mol/nm
LARGEST_CUTOFF = 9.0  # Å
# Pairs that cross the cut-off within a step of strain leave what Ewald sums neglect there in the
# difference: 60 bar each for 64 molecules at 1e-5, 0.6 at 1e-3, where the third derivative of the
# energy adds 1 bar.
STRAIN = 1e-3
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
        _set_structure(self.context, positions, cell)

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
            return self.raw_energy()
        volume = abs(np.linalg.det(self._cell))
        energy = self.raw_energy()
        return energy + self._pairs() * self._jump + self._repulsion_tail() / volume

    def raw_energy(self) -> float:
        """OpenMM's own energy in eV."""
        return _energy(self.context)

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
        return _forces(self.context)

    def stress(self, positions: np.ndarray, cell: np.ndarray, step: float = STRAIN) -> np.ndarray:
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
        result = strain_derivative(self, positions, cell, step)
        result[:3] -= self._repulsion_tail() / abs(np.linalg.det(cell)) ** 2
        return result


def strain_derivative(
    calculator: WaterCalculator | IAmoeba, positions: np.ndarray, cell: np.ndarray, step: float
) -> np.ndarray:
    """Derivative (6,) of OpenMM's own energy by strain, per volume, in eV/Å³.

    Parameters
    ----------
    calculator : WaterCalculator or IAmoeba
        In double precision; it is left with the structure as given.
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
            calculator.set_structure(positions @ strain, cell @ strain)
            energies.append(calculator.raw_energy())
        result[k] = (energies[0] - energies[1]) / (2 * step * volume)
    calculator.set_structure(positions, cell)
    return result


class IAmoeba:
    """Energy, forces and stress of water by iAMOEBA.

    A flexible force field with anharmonic bonds, atomic multipoles up to quadrupoles and direct
    polarization; its forces are far nearer to DFT's than those of point charges, and still cost
    10 ms for 64 molecules. OpenMM ships the parameters.

    Parameters
    ----------
    n_molecules : int
        Atoms are ordered O, H, H.
    box : float or None
        Edge of the box in Å that the cut-offs are made for; None for vacuum.

    References
    ----------
    Wang, Head-Gordon, Ponder, Ren, Chodera, Eastman, Martinez, Pande, J. Phys. Chem. B 117,
    9956 (2013).
    """

    level = "iAMOEBA"

    def __init__(self, n_molecules: int, box: float | None) -> None:
        import openmm
        from openmm.app import PME, ForceField, NoCutoff

        options: dict[str, Any] = {"nonbondedMethod": NoCutoff}
        if box is not None:
            cutoff = 0.1 * min(LARGEST_CUTOFF, 0.45 * box)
            options = {"nonbondedMethod": PME, "nonbondedCutoff": cutoff, "vdwCutoff": cutoff}
            options["ewaldErrorTolerance"] = 1e-5
        system = ForceField("iamoeba.xml").createSystem(
            water_topology(n_molecules, box),
            rigidWater=False,
            constraints=None,
            removeCMMotion=False,
            polarization="direct",
            **options,
        )
        self.context = openmm.Context(
            system,
            openmm.VerletIntegrator(0.001),
            openmm.Platform.getPlatformByName("Reference"),
        )

    def set_structure(self, positions: np.ndarray, cell: np.ndarray | None) -> None:
        """Whole molecules, Å; `cell` (3, 3) lower triangular, or None in vacuum."""
        _set_structure(self.context, positions, cell)

    def energy(self) -> float:
        """Potential energy in eV of the structure that was set."""
        return _energy(self.context)

    raw_energy = energy

    def forces(self) -> np.ndarray:
        """Forces (atoms, 3) in eV/Å."""
        return _forces(self.context)

    def stress(self, positions: np.ndarray, cell: np.ndarray, step: float = STRAIN) -> np.ndarray:
        """Stress (6,) in eV/Å³, see :func:`strain_derivative`."""
        return strain_derivative(self, positions, cell, step)


def _usual_box(n: int, box: float) -> float:
    """Box that the cut-offs of `n` molecules are made for: that of 1 g/cm³, if `box` allows it.

    Frames of one size then have the same cut-offs, and the same calculator, at all densities.
    """
    usual = float((n * VOLUME_AT_UNIT_DENSITY) ** (1 / 3))
    return usual if box > 0.91 * usual else box


@lru_cache(maxsize=4)
def iamoeba(n_molecules: int, box: float | None) -> IAmoeba:
    """Calculator that is made once: OpenMM integrates the dispersion tail for some 10 s."""
    return IAmoeba(n_molecules, box)


def _set_structure(context: Any, positions: np.ndarray, cell: np.ndarray | None) -> None:
    if cell is not None:
        context.setPeriodicBoxVectors(*(np.asarray(cell) / 10))
    context.setPositions(np.asarray(positions) / 10)


def _energy(context: Any) -> float:
    from openmm import unit

    energy = context.getState(energy=True).getPotentialEnergy()
    return float(energy.value_in_unit(unit.kilojoule_per_mole)) * KJ_PER_MOL


def _forces(context: Any) -> np.ndarray:
    from openmm import unit

    forces = context.getState(forces=True).getForces(asNumpy=True)
    return np.array(forces.value_in_unit(unit.kilojoule_per_mole / unit.nanometer)) * FORCE


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


def label_water(atoms: Atoms, model: str = "q-spcfw", stress: bool = False) -> Atoms:
    """Energy, forces and, if asked for, stress of a water structure, in double precision.

    Parameters
    ----------
    atoms : ase.Atoms
        Ordered O, H, H; in a cubic or lower triangular box, or in vacuum; may be wrapped.
    model : str
        ``q-spcfw``, ``spcfw`` or ``iamoeba``.
    stress : bool

    Raises
    ------
    ConfigError
        If there is no such model.
    DataError
        If the atoms are not water in that order.
    """
    if model not in (*WATER_MODELS, "iamoeba"):
        known = ", ".join((*WATER_MODELS, "iamoeba"))
        raise ConfigError(f"no water model {model!r}; there are {known}")
    positions = whole_molecules(atoms)
    periodic = bool(atoms.pbc.all())
    if not periodic and atoms.pbc.any():
        raise DataError("water must be periodic in three directions or in none")
    cell = np.asarray(atoms.cell) if periodic else None
    box = float(atoms.cell.lengths().min()) if periodic else None
    n = len(atoms) // 3
    calculator: WaterCalculator | IAmoeba
    if model == "iamoeba":
        calculator = iamoeba(n, None if box is None else _usual_box(n, box))
    else:
        calculator = WaterCalculator(WATER_MODELS[model], n, box, "Reference")
    calculator.set_structure(positions, cell)
    energy, forces = calculator.energy(), calculator.forces()
    strain = calculator.stress(positions, cell) if stress and cell is not None else None
    return attach_results(
        Atoms(atoms.symbols, positions, cell=cell, pbc=periodic), energy, forces, strain
    )
