"""Off-equilibrium geometries: Langevin dynamics and random displacements."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from ase import units

FRICTION = 0.01  # 1/fs


def langevin(
    compute: Callable[[np.ndarray], tuple[float, np.ndarray]],
    positions: np.ndarray,
    masses: np.ndarray,
    *,
    temperature: float,
    timestep: float,
    spacing: float,
    n_frames: int,
    rng: np.random.Generator,
) -> Iterator[np.ndarray]:
    """Langevin dynamics by the BAOAB splitting (Leimkuhler, Matthews, AMRX 2013, 34).

    Parameters
    ----------
    compute : callable
        Positions (atoms, 3) in Å to energy in eV and forces in eV/Å.
    positions : ndarray (atoms, 3)
        Where to start; nearest a minimum, it is left within the first `spacing`.
    masses : ndarray (atoms,)
        u.
    temperature : float
        K.
    timestep : float
        fs.
    spacing : float
        Between frames, ps.
    n_frames : int
    rng : numpy.random.Generator

    Yields
    ------
    ndarray (atoms, 3)
        Å.
    """
    dt = timestep * units.fs
    m = masses[:, None]
    thermal = np.sqrt(units.kB * temperature / m)
    x = positions.copy()
    v = thermal * rng.normal(size=x.shape)
    decay = np.exp(-FRICTION * timestep)
    noise = np.sqrt(1 - decay**2) * thermal
    _, forces = compute(x)
    for _ in range(n_frames):
        for _ in range(max(1, round(1e3 * spacing / timestep))):
            v = v + 0.5 * dt * forces / m
            x = x + 0.5 * dt * v
            v = decay * v + noise * rng.normal(size=x.shape)
            x = x + 0.5 * dt * v
            _, forces = compute(x)
            v = v + 0.5 * dt * forces / m
        yield x.copy()


def displaced(
    positions: np.ndarray, width: float, n_frames: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Gaussian displacements of all atoms.

    Parameters
    ----------
    positions : ndarray (atoms, 3)
        Å.
    width : float
        Standard deviation of every coordinate, Å.
    n_frames : int
    rng : numpy.random.Generator
    """
    for _ in range(n_frames):
        yield positions + rng.normal(0.0, width, positions.shape)
