"""Energy conservation of 64 waters with the shipped potential."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.conservation import fit_drift
from tpainn_calc.modelfile import shipped_models


@pytest.mark.skipif("water" not in shipped_models(), reason="no potential 'water' is shipped")
def test_water_does_not_drift(tmp_path):
    """2,000 steps of 0.5 fs in float64: less than 1e-4 eV/atom/ns, within what 1 ps can tell.

    In a process of its own: the pair style sets the number of torch's threads. The long run is
    ``python -m benchmarks.conservation``.
    """
    command = [sys.executable, "-m", "benchmarks.conservation", "--steps", "2000"]
    root = Path(__file__).parents[2]
    subprocess.run([*command, "--output", str(tmp_path)], cwd=root, check=True, timeout=1800)
    table = np.loadtxt(tmp_path / "conservation-float64.csv", delimiter=",", skiprows=1)
    assert (tmp_path / "conservation-float64.png").is_file()
    times, shadow, energies = table.T
    assert len(times) == 10
    drift = fit_drift(times, shadow)
    print(f"drift {drift}")
    assert abs(drift.slope) < 1e-4 + 3 * drift.error
    assert drift.error < 5e-4
    # the shadow energy is what is conserved, not the energy
    assert shadow.std() < 0.2 * energies.std()
    # 0.1 ps apart: a norm with a cusp makes the energy walk by 3e-7 eV/atom
    assert np.diff(shadow).std() < 1.5e-7


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
