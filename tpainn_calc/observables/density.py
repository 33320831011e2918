"""Mass density of a trajectory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import ase.units
import numpy as np

from tpainn_calc.base.arrays import Array
from tpainn_calc.observables.block_average import block_average
from tpainn_calc.observables.trajectory import cell_vectors, frame_range

if TYPE_CHECKING:
    import MDAnalysis

__all__ = ["Density", "density"]


@dataclass(frozen=True)
class Density:
    """Mass density.

    Attributes
    ----------
    value, error : float
        Mean and its standard error.
    unit : str
        g/cm³.
    series : (T,) array
        Density of every frame.
    converged : bool
        Whether the error reached its plateau, see `BlockAverage`.
    """

    value: float
    error: float
    unit: str
    series: Array
    converged: bool


def density(
    universe: MDAnalysis.Universe, start: int = 0, stop: int | None = None, step: int = 1
) -> Density:
    """Mass density of a periodic trajectory.

    Parameters
    ----------
    universe : MDAnalysis.Universe
        Periodic in three directions, with masses in u.
    start, stop, step : int
        Frames, as in a slice.

    Returns
    -------
    Density
        In g/cm³.

    Raises
    ------
    DataError
        No frames in the range, or a frame without a periodic cell.
    """
    frames = frame_range(universe, start, stop, step)
    to_grams_per_cm3 = 1e24 / ase.units.mol  # u/Å³ -> g/cm³
    mass = float(universe.atoms.masses.sum())
    cells = cell_vectors(universe, frames)
    series = to_grams_per_cm3 * mass / np.abs(np.linalg.det(cells))
    average = block_average(series)
    return Density(average.mean, average.error, "g/cm³", series, average.converged)
