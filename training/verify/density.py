"""The density error that an error of the pressure implies."""

from __future__ import annotations

from dataclasses import dataclass

import ase.units
import numpy as np

from tpainn_calc.base.arrays import Array
from tpainn_calc.observables.block_average import block_average

#: A volume that fluctuates by less than this part of itself was held constant.
CONSTANT = 1e-8


@dataclass(frozen=True)
class Compressibility:
    """Isothermal compressibility.

    Attributes
    ----------
    value, error : float
        1/GPa.
    """

    value: float
    error: float


@dataclass(frozen=True)
class DensityError:
    """Density of a model minus that of the level of theory it was trained on.

    Attributes
    ----------
    density : float
        Of the model's run, g/cm³.
    value, error : float
        g/cm³.
    """

    density: float
    value: float
    error: float


def compressibility(volumes: Array, temperature: float) -> Compressibility | None:
    """Compressibility from the fluctuations of the volume at constant pressure.

    κ = (⟨V²⟩ − ⟨V⟩²) / (k_B T ⟨V⟩); the error is that of the mean squared fluctuation, by blocking.

    Parameters
    ----------
    volumes : ndarray (frames,)
        Å³, at equal intervals.
    temperature : float
        K.

    Returns
    -------
    Compressibility or None
        None for a run at constant volume.
    """
    mean = volumes.mean()
    squares = (volumes - mean) ** 2
    if squares.mean() < (CONSTANT * mean) ** 2:
        return None
    average = block_average(squares)
    per_gpa = ase.units.GPa / (ase.units.kB * temperature * mean)
    return Compressibility(average.mean * per_gpa, average.error * per_gpa)


def density_error(
    density: float, pressure: tuple[float, float], compressible: Compressibility
) -> DensityError:
    """Density error that a pressure error implies, to first order.

    At the model's density the level of theory has another pressure, lower by Δp; its density at the
    model's pressure is therefore higher by ρ κ Δp.

    Parameters
    ----------
    density : float
        Of the model's run, g/cm³.
    pressure : (float, float)
        Δp, model minus level of theory on the same frames, and its standard error; GPa.
    compressible : Compressibility
    """
    difference, error = pressure
    kappa = compressible.value
    spread = density * np.hypot(kappa * error, compressible.error * difference)
    return DensityError(density, -density * kappa * difference, float(spread))
