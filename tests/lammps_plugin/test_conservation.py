"""Energy conservation of 64 waters with the shipped potential."""

from __future__ import annotations

import numpy as np
import pytest

from lammps_plugin.single_point import run_input, write_data
from tpainn_calc.modelfile import shipped_models

TIME_STEP = 0.0005  # ps
STEPS = 2000
# LAMMPS' own constant of "units metal": Å/ps² of one eV/Å/u
FORCE_TO_ACCELERATION = 1.0 / 1.0364269e-4

INPUT = """
units metal
atom_style atomic
read_data data
pair_style tpainn range off
pair_coeff * * {model} H O
minimize 0 0.05 100 200
reset_timestep 0
timestep {dt}
velocity all create 300 1 loop geom
fix bath all langevin 300 300 0.05 7
fix 1 all nve
run 200
unfix bath
reset_timestep 0
fix 2 all print 1 "$(etotal:%.17g)" file energies screen no
dump 1 all custom 1 trajectory mass vx vy vz fx fy fz
dump_modify 1 sort id format float %.12g
run {steps}
"""


def shadow_energies(folder, n_atoms: int) -> np.ndarray:
    """Energy that velocity Verlet conserves, per atom: H + dt²(v·U''·v/12 − F²/24m) + O(dt⁴).

    The energy itself fluctuates by 2e-5 eV/atom at 0.5 fs, hundreds of times the drift to be seen.
    """
    energies = np.loadtxt(folder / "energies")
    blocks = (folder / "trajectory").read_text().split("ITEM: TIMESTEP")[1:]
    frames = np.array(
        [
            np.array(block.split("\n", 9)[9].split(), dtype=float).reshape(n_atoms, 7)
            for block in blocks
        ]
    )
    mass, v, f = frames[0, :, 0], frames[:, :, 1:4], frames[:, :, 4:7]
    change = (f[2:] - f[:-2]) / (2 * TIME_STEP)
    squares = (f[1:-1] ** 2 / mass[:, None]).sum((1, 2)) * FORCE_TO_ACCELERATION
    correction = TIME_STEP**2 * (-(v[1:-1] * change).sum((1, 2)) / 12 - squares / 24)
    return (energies[1:-1] + correction) / n_atoms


@pytest.mark.skipif("water" not in shipped_models(), reason="no potential 'water' is shipped")
def test_water_does_not_drift(tmp_path, water_grid, export_shipped):
    """2,000 steps of 0.5 fs in float64: less than 1e-4 eV/atom/ns, within what 1 ps can tell."""
    atoms = water_grid
    write_data(tmp_path / "data", atoms, ["H", "O"])
    model = export_shipped("water")
    (tmp_path / "in").write_text(INPUT.format(model=model, dt=TIME_STEP, steps=STEPS))
    run_input(tmp_path / "in", timeout=1800)
    shadow = shadow_energies(tmp_path, len(atoms))
    # means over 0.1 ps: vibrations, and with them the O(dt⁴) rest, average out
    n = len(shadow) // 10
    means = shadow[: 10 * n].reshape(10, n).mean(1)
    time = np.arange(10) * n * TIME_STEP * 1e-3  # ns
    (slope, _), covariance = np.polyfit(time, means, 1, cov=True)
    error = np.sqrt(covariance[0, 0])
    print(f"drift {slope:.1e} ± {error:.1e} eV/atom/ns")
    assert abs(slope) < 1e-4 + 3 * error
    assert error < 1e-3
