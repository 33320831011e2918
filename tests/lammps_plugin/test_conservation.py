"""Energy conservation of 64 waters with the shipped potential."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.conservation import (
    FORCE_TO_ACCELERATION,
    central_weights,
    fit_drift,
    shadow_energy,
)
from tpainn_calc.modelfile import shipped_models

needs_water = pytest.mark.skipif(
    "water" not in shipped_models(), reason="no potential 'water' is shipped"
)


def water_run(folder, *options):
    """2,000 steps of 0.5 fs in float64, in a process of its own: times and energies.

    The pair style sets the number of torch's threads. The long run is
    ``python -m benchmarks.conservation``.
    """
    command = [sys.executable, "-m", "benchmarks.conservation", "--steps", "2000", *options]
    root = Path(__file__).parents[2]
    subprocess.run([*command, "--output", str(folder)], cwd=root, check=True, timeout=1800)
    table = np.loadtxt(folder / "conservation-float64.csv", delimiter=",", skiprows=1)
    assert len(table) == 10
    return table.T


@needs_water
def test_water_does_not_drift(tmp_path):
    """2,000 steps of 0.5 fs of 64 waters in float64: less than 1e-4 eV/atom/ns."""
    times, shadow, energies = water_run(tmp_path)
    assert (tmp_path / "conservation-float64.png").is_file()
    drift = fit_drift(times, shadow)
    print(f"drift {drift}")
    assert abs(drift.slope) < 1e-4
    assert drift.error < 5e-5
    # the shadow energy is what is conserved, not the energy
    assert shadow.std() < 0.02 * energies.std()
    # 0.1 ps apart: a norm with a cusp makes the energy walk by 3e-7 eV/atom
    assert np.diff(shadow).std() < 3e-8


@needs_water
def test_friction_is_seen(tmp_path):
    """Forces that take 5e-4 eV/atom/ns at 300 K: the same run measures it."""
    friction = 1e-9
    times, shadow, _ = water_run(tmp_path, "--friction", str(friction))
    drift = fit_drift(times, shadow)
    print(f"drift {drift}")
    inverse_mass = (2 / 1.008 + 1 / 15.999) / 3
    expected = -1e3 * friction * 3 * 8.617e-5 * 300 * inverse_mass * FORCE_TO_ACCELERATION
    assert drift.error < 5e-5
    assert drift.slope < -1e-4 - 3 * drift.error
    # 1 ps of 192 atoms is not at 300 K exactly
    assert drift.slope == pytest.approx(expected, rel=0.25)


def oscillator(timestep, steps, width=2.0, stiffness=50.0):
    """Velocity Verlet of a particle of 1 u in a Morse well; harmonic for width 0."""

    def energy_and_force(x):
        if width == 0:
            return 0.5 * stiffness * x**2, -stiffness * x
        e = np.exp(-width * x)
        return stiffness / (2 * width**2) * (1 - e) ** 2, -stiffness / width * e * (1 - e)

    x, v, rows = 0.05, 0.0, []
    u, f = energy_and_force(x)
    for _ in range(steps):
        rows.append((v, f, u))
        v += 0.5 * timestep * FORCE_TO_ACCELERATION * f
        x += timestep * v
        u, f = energy_and_force(x)
        v += 0.5 * timestep * FORCE_TO_ACCELERATION * f
    return np.array(rows).T


def fluctuation(order, timestep, **kinds):
    v, f, u = oscillator(timestep, round(0.1 / timestep), **kinds)
    shape = (-1, 1, 3)
    v, f = (np.pad(y[:, None], ((0, 0), (0, 2))).reshape(shape) for y in (v, f))
    mass = np.ones(1)
    windows = [slice(i, i + order + 1) for i in range(len(u) - order)]
    return np.std([shadow_energy(v[w], f[w], u[w], mass, timestep) for w in windows])


@pytest.mark.parametrize("order", [2, 4, 8, 12])
def test_order_of_the_shadow_energy(order):
    """It fluctuates as dt^order in a Morse well of the period of an OH stretch (0.009 ps)."""
    coarse, fine = fluctuation(order, 5e-4), fluctuation(order, 2.5e-4)
    assert np.log2(coarse / fine) == pytest.approx(order, rel=0.2)


@pytest.mark.parametrize("order", [2, 4, 8])
def test_shadow_energy_of_a_harmonic_well(order):
    """Every order is exact, at a time step of a ninth of the period too."""
    assert fluctuation(order, 1e-3, width=0) < 1e-14


def test_central_weights():
    assert central_weights(2) == pytest.approx([1 / 2])
    assert central_weights(4) == pytest.approx([2 / 3, -1 / 12])
    assert central_weights(8) == pytest.approx([4 / 5, -1 / 5, 4 / 105, -1 / 280])


def test_a_drift_is_seen():
    rng = np.random.default_rng(0)
    times = np.arange(200) * 0.1
    walk = np.cumsum(rng.normal(scale=1e-7, size=200))
    drift = fit_drift(times, walk + 1e-3 * 1e-3 * times)
    assert abs(drift.slope - 1e-3) < 3 * drift.error
    assert drift.slope > 4 * drift.error


def test_a_walk_is_no_drift():
    """The error covers the slopes of random walks about as often as it should."""
    rng = np.random.default_rng(1)
    times = np.arange(200) * 0.1
    drifts = [fit_drift(times, np.cumsum(rng.normal(scale=1e-7, size=200))) for _ in range(200)]
    inside = np.mean([abs(d.slope) < 2 * d.error for d in drifts])
    assert 0.85 < inside < 1.0
