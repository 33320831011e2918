"""Properties from finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import MDAnalysis
import numpy as np
from ase import units

from examples.water.properties import experiment
from examples.water.properties.runs import FRAME, START, Run, potential_energies, read
from tpainn_calc.base.errors import DataError
from tpainn_calc.observables import (
    GOO_XRAY_295K,
    Diffusion,
    Rdf,
    block_average,
    density,
    diffusion,
    rdf,
)
from tpainn_calc.observables.diffusion import yeh_hummer_correction
from tpainn_calc.observables.trajectory import cell_vectors
from training.verify.density import compressibility

PAIRS = (("O", "O"), ("O", "H"), ("H", "H"))


@dataclass(frozen=True)
class Property:
    """A row of the table.

    Attributes
    ----------
    quantity : str
    unit : str
    temperature : float
        K.
    waters : int
        0: extrapolated to infinitely many.
    ps : float
        Length of the run, its start not counted.
    value, error : float
    experiment : float, optional
    """

    quantity: str
    unit: str
    temperature: float
    waters: int
    ps: float
    value: float
    error: float
    experiment: float | None = None


def at_constant_pressure(run: Run, folder: Path) -> tuple[list[Property], dict[str, Rdf]]:
    """Density, compressibility and g(r) of a run.

    Raises
    ------
    DataError
        If it is too short.
    """
    universe, first = read(run, folder)
    rho = density(universe, start=first)
    frames = range(first, len(universe.trajectory))
    volumes = np.abs(np.linalg.det(cell_vectors(universe, frames)))
    kappa = compressibility(volumes, run.temperature)
    state = _state(run, universe, first)
    measured = experiment.DENSITY.get(round(run.temperature))
    rows = [Property("density", "g/cm³", *state, rho.value, rho.error, measured)]
    if kappa is not None:
        at_300 = experiment.COMPRESSIBILITY if run.temperature == 300 else None
        rows.append(Property("compressibility", "1/GPa", *state, kappa.value, kappa.error, at_300))
    curves = {a + b: rdf(universe, a, b, start=first) for a, b in PAIRS}
    if run.temperature == 300:
        g = curves["OO"]
        rows.append(Property("first peak of g_OO", "1", *state, g.value, g.error,
                             max(GOO_XRAY_295K.g)))  # fmt: skip
    return rows, curves


def vaporisation(run: Run, folder: Path, molecule: float) -> Property:
    """Enthalpy of vaporisation of classical nuclei, kJ/mol.

    E(molecule) + 3/2 kT − ⟨E(liquid)⟩/N + kT: the gas is ideal, its three vibrations are harmonic,
    the liquid's volume is left out, and kinetic energies are the same in both.

    Parameters
    ----------
    run : Run
        At constant pressure.
    folder : Path
    molecule : float
        Energy (eV) of the relaxed molecule at the potential's level of theory.
    """
    energies = potential_energies(run, folder) / run.waters
    start = round(START * len(energies))
    liquid = block_average(energies[start:])
    value = molecule + 2.5 * units.kB * run.temperature - liquid.mean
    per_mole = units.mol / units.kJ
    measured = experiment.VAPORISATION if run.temperature == 300 else None
    state = (run.temperature, run.waters, (len(energies) - start) * FRAME)
    return Property("enthalpy of vaporisation", "kJ/mol", *state, value * per_mole,
                    liquid.error * per_mole, measured)  # fmt: skip


def of_diffusion(run: Run, folder: Path) -> tuple[Property, Diffusion, float]:
    """Diffusion coefficient in a box of constant volume, and the box's length (Å).

    Raises
    ------
    DataError
        If the run is too short for diffusion to set in.
    """
    universe, first = read(run, folder)
    d = diffusion(universe, "O", start=first)
    length = float(np.cbrt(np.abs(np.linalg.det(cell_vectors(universe, range(1))))[0]))
    state = _state(run, universe, first)
    return Property("diffusion", "Å²/ps", *state, d.value, d.error), d, length


def _state(run: Run, universe: MDAnalysis.Universe, first: int) -> tuple[float, int, float]:
    """Temperature, waters, and the ps that count: whole parts are run, whatever was asked for."""
    return run.temperature, run.waters, (len(universe.trajectory) - 1 - first) * FRAME


def without_walls(found: Sequence[tuple[Property, float]]) -> list[Property]:
    """Diffusion of an infinite box and viscosity, from two or more boxes.

    D(L) = D − ξ k T / (6 π η L): Yeh and Hummer, J. Phys. Chem. B 108, 15873 (2004).

    Parameters
    ----------
    found : sequence of (Property, float)
        Diffusion coefficients at one temperature, and the boxes' lengths (Å).

    Raises
    ------
    DataError
        If all boxes have one size.
    """
    x = np.array([1 / length for _, length in found])
    y = np.array([p.value for p, _ in found])
    sigma = np.array([p.error for p, _ in found])
    if len(set(x)) < 2:
        raise DataError("one size of box says nothing of the others")
    design = np.stack([np.ones_like(x), x], axis=1) / sigma[:, None]
    covariance = np.linalg.inv(design.T @ design)
    limit, slope = covariance @ design.T @ (y / sigma)
    limit_error, slope_error = np.sqrt(np.diag(covariance))
    temperature, ps = found[0][0].temperature, min(p.ps for p, _ in found)
    viscosity = -yeh_hummer_correction(temperature, 1.0, 1.0) / slope  # mPa·s
    viscosity_error = abs(viscosity * slope_error / slope)
    state = (temperature, 0, ps)
    return [
        Property("diffusion", "Å²/ps", *state, limit, limit_error, experiment.DIFFUSION),
        Property("viscosity", "mPa·s", *state, viscosity, viscosity_error, experiment.VISCOSITY),
    ]
