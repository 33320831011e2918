"""Energy conservation of 64 waters with the shipped potential."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.conservation import fit_drift, shadow_energies
from lammps_plugin.single_point import write_data
from tpainn_calc.modelfile import shipped_models


@pytest.mark.skipif("water" not in shipped_models(), reason="no potential 'water' is shipped")
def test_water_does_not_drift(tmp_path, water_grid, export_shipped):
    """2,000 steps of 0.5 fs in float64: less than 1e-4 eV/atom/ns, within what 1 ps can tell.

    The long run is ``python -m benchmarks.conservation``.
    """
    write_data(tmp_path / "data", water_grid, ["H", "O"])
    times, shadow, energies = np.array(
        list(shadow_energies(tmp_path / "data", export_shipped("water"), 2000))
    ).T
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
