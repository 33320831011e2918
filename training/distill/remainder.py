"""The force that a student leaves to its teacher: how large it is, and how fast it changes.

Multiple time stepping integrates the student with the short step and the remainder, teacher minus
student, with the long one. It is stable where the remainder changes slowly: what oscillates faster
than half the inverse of the outer step is sampled too coarsely, and close to it the integrator
resonates (Schlick, Mandziuk, Skeel, Srinivas, J. Comput. Phys. 140, 1 (1998)).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet

from tpainn_calc.base.arrays import Array
from tpainn_calc.calculator import TPaiNNCalculator

#: fs; an OH stretch takes nine of them.
TIMESTEP = 0.5
#: Share of the run before it that equilibrates.
EQUILIBRATION = 0.1
#: cm⁻¹ of one oscillation per fs.
WAVENUMBER = 33356.41
#: cm⁻¹; above it are the bending and the stretching of water's bonds.
INTRAMOLECULAR = 1200.0


@dataclass(frozen=True)
class Remainder:
    """Spectra of the teacher's forces and of those that the student leaves, along the same run.

    Attributes
    ----------
    wavenumber : ndarray (n,)
        cm⁻¹.
    teacher, left : ndarray (n,)
        Power per wavenumber, (eV/Å)² cm: they integrate to the mean square of a force component.
    """

    wavenumber: Array
    teacher: Array
    left: Array

    def rms(self, above: float = 0.0) -> tuple[float, float]:
        """Teacher's force and the remainder at wavenumbers from `above` (cm⁻¹) on, rms in eV/Å."""
        chosen = self.wavenumber >= above
        step = self.wavenumber[1] - self.wavenumber[0]
        whole, left = (
            float(np.sqrt(power[chosen].sum() * step)) for power in (self.teacher, self.left)
        )
        return whole, left

    def describe(self) -> str:
        """Two lines for the terminal."""
        lines = []
        for name, above in (("all", 0.0), (f"above {INTRAMOLECULAR:.0f} cm⁻¹", INTRAMOLECULAR)):
            whole, left = self.rms(above)
            lines.append(
                f"forces left to the teacher, {name}: {1e3 * left:.1f} of {1e3 * whole:.1f} meV/Å "
                f"rms ({100 * left / whole:.1f} %)"
            )
        return "\n".join(lines)


def measure_remainder(
    teacher: str | os.PathLike[str],
    student: str | os.PathLike[str],
    atoms: Atoms,
    temperature: float,
    length: float = 2000.0,
    seed: int = 0,
) -> Remainder:
    """Run the teacher at constant energy and compare the student's forces with its own.

    Parameters
    ----------
    teacher, student : path or str
        Model files, or names of shipped potentials.
    atoms : ase.Atoms
        Where the run starts.
    temperature : float
        K, of the equilibration before it.
    length : float
        fs; 2000 resolve 17 cm⁻¹.
    seed : int

    Returns
    -------
    Remainder
    """
    atoms = atoms.copy()
    atoms.calc = TPaiNNCalculator(teacher)
    watcher = TPaiNNCalculator(student)
    rng = np.random.default_rng(seed)
    spread = np.sqrt(units.kB * temperature * atoms.get_masses())[:, None]
    atoms.set_momenta(spread * rng.normal(size=(len(atoms), 3)))
    bath = Langevin(
        atoms,
        TIMESTEP * units.fs,
        temperature_K=temperature,
        friction=0.05 / units.fs,
        fixcm=False,
        rng=rng,
    )
    bath.run(round(EQUILIBRATION * length / TIMESTEP))
    whole, left = [], []

    def look() -> None:
        forces = atoms.get_forces()
        whole.append(forces)
        left.append(forces - watcher.get_property("forces", atoms))

    dynamics = VelocityVerlet(atoms, TIMESTEP * units.fs)
    dynamics.attach(look)
    dynamics.run(round(length / TIMESTEP))
    wavenumber, power = force_spectrum(np.array(whole), TIMESTEP)
    return Remainder(wavenumber, power, force_spectrum(np.array(left), TIMESTEP)[1])


def force_spectrum(forces: Array, timestep: float) -> tuple[Array, Array]:
    """Power spectrum of forces along a trajectory, mean over atoms and components.

    Parameters
    ----------
    forces : ndarray (steps, atoms, 3)
        eV/Å.
    timestep : float
        fs.

    Returns
    -------
    wavenumber : ndarray (steps // 2 + 1,)
        cm⁻¹.
    power : ndarray (steps // 2 + 1,)
        (eV/Å)² cm; it integrates to the mean square of a component.
    """
    from scipy.signal import periodogram

    frequency, power = periodogram(
        forces.reshape(len(forces), -1), fs=1.0 / timestep, window="hann", detrend=False, axis=0
    )
    return frequency * WAVENUMBER, power.mean(axis=1) / WAVENUMBER
