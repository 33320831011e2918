"""Self-diffusion from the mean squared displacement, with the finite-size correction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import ase.units
import numpy as np
from numpy.typing import NDArray

from tpainn_calc.base.arrays import Array
from tpainn_calc.base.errors import ConfigError, DataError
from tpainn_calc.observables.block_average import checked_blocks, mean_and_error
from tpainn_calc.observables.trajectory import (
    as_slice,
    frame_range,
    reading_errors,
    select_element,
)

if TYPE_CHECKING:
    import MDAnalysis

__all__ = ["Diffusion", "diffusion", "yeh_hummer_correction"]

YEH_HUMMER_XI = 2.837297
"""Madelung-like constant of a cubic lattice in the Yeh–Hummer correction."""

# how far from 1 the power of time may be that the MSD grows with
_EXPONENT_TOLERANCE = 0.2
_STILL = 1e-6  # Å², what rounding makes of atoms that stand still
_MAX_FRAMES_PER_BLOCK = 1000  # the MSD costs the square of this; neighbouring frames add little


@dataclass(frozen=True)
class Diffusion:
    """Self-diffusion coefficient.

    Attributes
    ----------
    value, error : float
        D, with the finite-size correction if one was asked for, and the standard error of the
        fitted part (that of the viscosity is not in it).
    unit : str
        Å²/ps; 1 Å²/ps = 10⁻⁸ m²/s = 10⁻⁴ cm²/s.
    time, msd, msd_error : (L,) arrays
        Lag times in ps, mean squared displacement in Å² and its standard error.
    fit_range : (float, float)
        First and last lag time of the linear fit in ps.
    exponent : float
        Power of the time with which the MSD grows there: 1 in diffusion, 2 in free flight; NaN
        where nothing moves.
    correction : float
        What Yeh and Hummer's formula added, in Å²/ps; 0 if it was not asked for.
    n_blocks : int
        Number of blocks the error was taken from.
    """

    value: float
    error: float
    unit: str
    time: Array
    msd: Array
    msd_error: Array
    fit_range: tuple[float, float]
    exponent: float
    correction: float
    n_blocks: int


def diffusion(
    universe: MDAnalysis.Universe,
    element: str = "O",
    fit_range: tuple[float, float] | None = None,
    *,
    temperature: float | None = None,
    viscosity: float | None = None,
    n_blocks: int = 5,
    remove_drift: bool = True,
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
) -> Diffusion:
    """Self-diffusion coefficient from the Einstein relation, MSD(t) = 6 D t + constant.

    The trajectory is cut into blocks; the mean squared displacement of each is computed by
    `MDAnalysis.analysis.msd.EinsteinMSD` over all time origins in the block, and a line is fitted.
    D is the mean over blocks. Blocks of more than 1000 frames are thinned evenly.

    Wrapped coordinates are unwrapped as fractional coordinates and then scaled by the mean cell,
    so that fluctuations of a barostat neither move atoms nor accumulate (compare von Bülow et
    al., J. Chem. Phys. 153, 021101 (2020)).

    Parameters
    ----------
    universe : MDAnalysis.Universe
        With elements, masses, and frames evenly spaced in time (ps). Wrapped, unwrapped or
        without a cell.
    element : str
        Element whose atoms are followed; oxygen stands for the water molecule.
    fit_range : (float, float), optional
        First and last lag time of the linear fit in ps; by default 20 % and 50 % of a block, which
        is refused where diffusion has not set in there: where the MSD does not grow in proportion
        to time, but as its square in free flight, or hardly at all in a cage. A range that is
        given is taken as it is; `Diffusion.exponent` says how the MSD grows there.
    temperature, viscosity : float, optional
        In K and mPa·s. Where both are given, the correction for a finite cubic cell is added, see
        `yeh_hummer_correction`.
    n_blocks : int
        Number of blocks, at least 5.
    remove_drift : bool
        Subtract the displacement of the centre of mass of all atoms.
    start, stop, step : int
        Frames, as in a slice.

    Returns
    -------
    Diffusion
        In Å²/ps.

    Raises
    ------
    ConfigError
        Options out of range, or only one of `temperature` and `viscosity`.
    DataError
        Unknown or uneven times, too few frames, frames too far apart to be unwrapped, an element
        that is not there, a trajectory that is too short for diffusion to set in, or a cell that
        is not cubic where the correction was asked for.
    """
    if (temperature is None) != (viscosity is None):
        raise ConfigError("the finite-size correction needs both temperature and viscosity")
    frames = frame_range(universe, start, stop, step)
    selected = select_element(universe, element)
    interval = _frame_interval(universe, frames)
    length = len(frames) // checked_blocks(n_blocks)
    thin = -(-length // _MAX_FRAMES_PER_BLOCK)
    lags = np.arange(length // thin, dtype=np.float64) * (interval * thin)
    if len(lags) < 10:
        raise DataError(
            f"{len(frames)} frames in {n_blocks} blocks are too few for a diffusion coefficient: "
            f"at least {10 * n_blocks} are needed"
        )
    low, high = (0.2 * lags[-1], 0.5 * lags[-1]) if fit_range is None else fit_range
    inside = (lags >= low * (1 - 1e-9)) & (lags <= high * (1 + 1e-9))
    if not (low >= 0 and high <= lags[-1] * (1 + 1e-9) and np.count_nonzero(inside) >= 3):
        raise ConfigError(
            f"fit_range ({low:g}, {high:g}) ps must hold at least three lag times between 0 and "
            f"{lags[-1]:g} ps, the length of a block, which are {lags[1]:g} ps apart"
        )
    unwrapped, mean_cell = _unwrapped(universe, frames, selected.indices, remove_drift)
    correction = 0.0
    if temperature is not None and viscosity is not None:
        correction = yeh_hummer_correction(temperature, viscosity, _cubic_length(mean_cell))
    # Equilibration is at the beginning: frames that do not fill a block are dropped there.
    blocks = unwrapped[len(frames) - length * n_blocks :].reshape(n_blocks, length, -1, 3)
    msds = np.array([_msd(block[::thin][: len(lags)]) for block in blocks])
    exponent, exponent_error = _growth(lags[inside], msds[:, inside])
    if fit_range is None and abs(exponent - 1) > _EXPONENT_TOLERANCE + 2 * exponent_error:
        raise DataError(
            f"the mean squared displacement of {element} grows as t^{exponent:.1f} from "
            f"{lags[inside][0]:.3g} to {lags[inside][-1]:.3g} ps, not in proportion to t: the "
            f"{n_blocks} blocks of {lags[-1]:.3g} ps are too short for diffusion to set in; run "
            "longer (tens of ps for water), or choose the range of the fit"
        )
    slopes = np.polyfit(lags[inside], msds[:, inside].T, deg=1)[0]
    value, error = mean_and_error(slopes / 6.0)
    msd, msd_error = mean_and_error(msds)
    return Diffusion(
        float(value) + correction,
        float(error),
        "Å²/ps",
        lags,
        msd,
        msd_error,
        (float(lags[inside][0]), float(lags[inside][-1])),
        exponent,
        correction,
        n_blocks,
    )


def yeh_hummer_correction(temperature: float, viscosity: float, box_length: float) -> float:
    """Finite-size correction of a diffusion coefficient in a cubic periodic cell.

    D(∞) = D(L) + ξ k T / (6 π η L) with ξ = 2.837297: Yeh and Hummer, J. Phys. Chem. B 108,
    15873 (2004), equation 12.

    Parameters
    ----------
    temperature : float
        In K.
    viscosity : float
        Shear viscosity in mPa·s (0.85 for water at 300 K); that of the model, strictly, not of
        the experiment.
    box_length : float
        Edge of the cell in Å.

    Returns
    -------
    float
        What is to be added to D, in Å²/ps.

    Raises
    ------
    ConfigError
        If an argument is not a positive number.
    """
    for name, value in (
        ("temperature", temperature),
        ("viscosity", viscosity),
        ("box_length", box_length),
    ):
        if not (np.isfinite(value) and value > 0):
            raise ConfigError(f"{name} must be a positive number, got {value}")
    kt = ase.units._k * temperature  # J
    metres2_per_second = YEH_HUMMER_XI * kt / (6 * np.pi * viscosity * 1e-3 * box_length * 1e-10)
    return float(metres2_per_second * 1e8)


def _growth(lags: Array, msds: Array) -> tuple[float, float]:
    """Power of time with which the MSD of the blocks grows, and its standard error."""
    moving = lags > 0
    if moving.sum() < 2 or msds[:, moving].min() < _STILL:
        return np.nan, np.nan
    powers = np.polyfit(np.log(lags[moving]), np.log(msds[:, moving].T), deg=1)[0]
    value, error = mean_and_error(powers)
    return float(value), float(error)


def _frame_interval(universe: MDAnalysis.Universe, frames: range) -> float:
    """Time in ps between two frames of the range."""
    with reading_errors():
        times = np.array([ts.time for ts in universe.trajectory[as_slice(frames)]])
    gaps = np.diff(times)
    if len(gaps) and np.isnan(gaps).any():
        raise DataError(
            "the time between frames is not known or not even: give load_trajectory "
            "frame_interval_fs, or timestep_fs for a LAMMPS dump with evenly spaced frames"
        )
    if not len(gaps) or gaps[0] <= 0 or not np.allclose(gaps, gaps[0], rtol=1e-4):
        raise DataError("the frames are not evenly spaced in time, or there is only one")
    return float(gaps.mean())


def _unwrapped(
    universe: MDAnalysis.Universe, frames: range, indices: NDArray[np.intp], remove_drift: bool
) -> tuple[Array, Array | None]:
    """Continuous positions (T, n, 3) of some atoms in Å, and the mean cell."""
    weights = universe.atoms.masses / universe.atoms.masses.sum()
    out = np.empty((len(frames), len(indices), 3))
    cells: list[Array] = []
    position = last = np.empty((0, 3))
    squares = np.zeros(3)
    with reading_errors():
        for k, ts in enumerate(universe.trajectory[as_slice(frames)]):
            x = ts.positions.astype(np.float64)
            cell = ts.triclinic_dimensions
            if cell is not None:
                cells.append(np.asarray(cell, dtype=np.float64))
                x = x @ np.linalg.inv(cells[-1])
            if len(cells) not in (0, k + 1):
                raise DataError(f"frame {frames[k]} has no periodic cell while others have one")
            if k == 0:
                position = x
            else:
                move = x - last
                if cells:
                    move -= np.round(move)
                    squares += np.mean(move**2, axis=0)
                if remove_drift:
                    move -= weights @ move
                position = position + move
            last = x
            out[k] = position[indices]
    if not cells:
        return out, None
    # Four standard deviations of a step must fit into half a cell, or jumps look like steps.
    rms = np.sqrt(squares / max(len(frames) - 1, 1))
    if rms.max() > 0.125:
        raise DataError(
            f"frames are too far apart to be unwrapped: atoms move {rms.max():.2f} cell lengths "
            "from one to the next (rms); store frames more often"
        )
    mean_cell = np.mean(cells, axis=0)
    return out @ mean_cell, mean_cell


def _cubic_length(cell: Array | None) -> float:
    if cell is None:
        raise DataError("the finite-size correction needs a periodic cell")
    length = float(np.abs(np.linalg.det(cell)) ** (1 / 3))
    if not np.allclose(cell, length * np.eye(3), atol=0.02 * length):
        raise DataError(
            "the finite-size correction holds for cubic cells only: leave out temperature and "
            "viscosity"
        )
    return length


def _msd(positions: Array) -> Array:
    """Mean squared displacement (L,) in Å² at lags 0 ... L-1 of positions (L, n, 3)."""
    import MDAnalysis
    from MDAnalysis.analysis.msd import EinsteinMSD
    from MDAnalysis.coordinates.memory import MemoryReader

    universe = MDAnalysis.Universe.empty(positions.shape[1])
    # Displacements from the start of the block lose nothing in MDAnalysis' float32.
    universe.load_new((positions - positions[0]).astype(np.float32), format=MemoryReader, dt=1.0)
    # fft=True would need tidynamics, which MDAnalysis does not install.
    analysis = EinsteinMSD(universe, fft=False).run()
    return np.array(analysis.results.timeseries, dtype=np.float64)
