"""Energy conservation: what holds on every trajectory, on any machine.

A trajectory is chaotic: rounding makes another one of it on another processor, and its drift is a
random number. The drift in eV/atom/ns is for ``python -m benchmarks.conservation``. Here stand
the reasons why there is none: forces are the gradient of the energy, the integrator reverses in
time and is of second order, and the shadow energy sees a friction.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.conservation import (
    FORCE_TO_ACCELERATION,
    ORDER,
    central_weights,
    fit_drift,
    prepare,
    shadow_energy,
)
from benchmarks.water import water_box
from lammps_plugin.single_point import run_input
from tpainn_calc.modelfile import load_model, shipped_models

needs_water = pytest.mark.skipif(
    "water" not in shipped_models(), reason="no potential 'water' is shipped"
)

HEAD = """
units metal
atom_style atomic
read_data {data}
pair_style tpainn range off
pair_coeff * * {model} H O
neigh_modify every 1 delay 0 check yes
thermo 1
thermo_style custom step pe etotal
thermo_modify norm no format float %.17g
fix 1 all nve
"""
DUMP = """
dump 1 all custom 1 dump id x y z vx vy vz fx fy fz
dump_modify 1 sort id format float %.17g
"""
TURN_BACK = """
variable vx atom -vx
variable vy atom -vy
variable vz atom -vz
velocity all set v_vx v_vy v_vz
"""


@dataclass(frozen=True)
class Trajectory:
    """Every step of a run: Å, Å/ps, eV/Å, eV."""

    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    forces: NDArray[np.float64]
    potential: NDArray[np.float64]
    total: NDArray[np.float64]


@dataclass(frozen=True)
class Water:
    """27 waters under the shipped potential in float64, on their way at some 300 K."""

    folder: Path
    model: Path
    masses: NDArray[np.float64]
    edge: float

    def lammps(self, commands: str, data: str = "state") -> list[NDArray[np.float64]]:
        """Tables of thermodynamic output: step, potential and total energy."""
        (self.folder / "in").write_text(HEAD.format(data=data, model=self.model) + commands)
        tables: list[list[list[float]]] = []
        inside = False
        for line in run_input(self.folder / "in").splitlines():
            if line.split()[:1] == ["Step"]:
                inside = True
                tables.append([])
            elif line.startswith("Loop time"):
                inside = False
            elif inside:
                tables[-1].append([float(word) for word in line.split()])
        return [np.array(rows) for rows in tables]

    def run(
        self, steps: int, timestep: float = 0.0005, friction: float = 0.0, back: bool = False
    ) -> Trajectory:
        """Always from the same state; with `back`, all velocities are turned half-way."""
        commands = f"timestep {timestep}\nfix 2 all viscous {friction}\n{DUMP}run {steps}\n"
        tables = self.lammps(commands + (f"{TURN_BACK}run {steps}\n" if back else ""))
        # the last row of a run is the first of the next, and so is its frame, which is not dumped
        rows = np.concatenate([tables[0], *(table[1:] for table in tables[1:])])
        lines = (self.folder / "dump").read_text().splitlines()
        length = 9 + len(self.masses)
        frames = np.array(
            [
                [line.split() for line in lines[start + 9 : start + length]]
                for start in range(0, len(lines), length)
            ],
            dtype=float,
        )
        assert len(frames) == len(rows)
        return Trajectory(
            *(frames[:, :, 3 * k + 1 : 3 * k + 4] for k in range(3)), rows[:, 1], rows[:, 2]
        )

    def shadow(self, run: Trajectory, timestep: float) -> NDArray[np.float64]:
        """Shadow energies of all steps but ORDER / 2 at both ends, eV."""
        windows = [slice(i, i + ORDER + 1) for i in range(len(run.potential) - ORDER)]
        return np.array(
            [
                shadow_energy(
                    run.velocities[w], run.forces[w], run.potential[w], self.masses, timestep
                )
                for w in windows
            ]
        )


@pytest.fixture(scope="module")
def water(tmp_path_factory) -> Water:
    folder = tmp_path_factory.mktemp("water")
    atoms = water_box(3)
    data, model = prepare(folder, atoms, "water", "float64", "fused")
    masses = np.where(atoms.numbers == 8, 15.999, 1.008)
    water = Water(folder, model, masses, float(atoms.cell[0, 0]))
    water.lammps(
        "minimize 0 0.5 100 200\nvelocity all create 600 1 loop all\ntimestep 0.0005\n"
        "run 40\nwrite_data state nocoeff\n",
        data.name,
    )
    return water


@needs_water
def test_forces_are_the_gradient_along_a_trajectory(water):
    """Eighth-order differences of the energy along the velocities give F·v, at any time.

    Displacements are below 1e-3 Å: the fused kernel's tables have kinks in high derivatives.
    """
    run = water.run(40)
    frames, step, weights = range(0, 41, 10), 1e-5, central_weights(8)
    shifts = [step * k for k in (*range(-4, 0), *range(1, 5))]
    with (water.folder / "displaced").open("w") as dump:
        for number, (frame, shift) in enumerate((f, s) for f in frames for s in shifts):
            dump.write(f"ITEM: TIMESTEP\n{number}\nITEM: NUMBER OF ATOMS\n{len(water.masses)}\n")
            dump.write("ITEM: BOX BOUNDS pp pp pp\n" + f"0 {water.edge!r}\n" * 3)
            dump.write("ITEM: ATOMS id x y z\n")
            x = run.positions[frame] + shift * run.velocities[frame]
            dump.writelines(
                f"{i + 1} {a!r} {b!r} {c!r}\n" for i, (a, b, c) in enumerate(x.tolist())
            )
    (table,) = water.lammps("rerun displaced dump x y z\n")
    energies = table[:, 1].reshape(len(frames), 2, 4)
    slopes = (energies[:, 1] - energies[:, 0, ::-1]) @ weights / step
    power = [(run.forces[f] * run.velocities[f]).sum() for f in frames]
    assert np.abs(power).max() > 10
    np.testing.assert_allclose(slopes, -np.array(power), rtol=0, atol=2e-5)


@needs_water
@pytest.mark.parametrize("friction", [0.0, 1e-9])
def test_a_trajectory_turns_back(water, friction):
    """Velocity Verlet is reversible to rounding; a friction of 5e-4 eV/atom/ns is not."""
    run = water.run(80, friction=friction, back=True)
    velocities = np.abs(run.velocities[-1] + run.velocities[0]).max()
    moved = run.positions[-1] - run.positions[0]
    moved -= water.edge * np.round(moved / water.edge)
    print(f"{np.abs(moved).max():.1e} A, {velocities:.1e} A/ps")
    if friction:
        assert velocities > 1e-6
        assert np.abs(moved).max() > 1e-8
    else:
        assert velocities < 1e-8
        assert np.abs(moved).max() < 1e-10


@needs_water
def test_half_the_step_quarters_the_fluctuation(water):
    """Of the energy; the shadow energy, up to O(dt^12), is what is conserved."""
    total, shadow = [], []
    for timestep, steps in ((5e-4, 80), (2.5e-4, 160)):
        run = water.run(steps, timestep)
        total.append(run.total.std())
        shadow.append(water.shadow(run, timestep).std())
    print(total, shadow)
    assert total[0] / total[1] == pytest.approx(4, rel=0.1)
    assert np.less(shadow, 0.01 * np.array(total)).all()


@needs_water
def test_the_shipped_norm_has_no_cusp():
    """With 1e-8 the energy of water walks by 3e-7 eV/atom within 0.1 ps."""
    potential, _ = load_model("water")
    assert potential.hyperparameters.norm_epsilon >= 1e-3


@needs_water
def test_friction_is_the_loss_of_shadow_energy(water):
    """The shadow energy loses what the friction takes: the integral of γ Σ v² of the same run."""
    friction, timestep = 1e-6, 5e-4
    run = water.run(80, timestep, friction)
    shadow = water.shadow(run, timestep)
    power = friction * (run.velocities**2).sum((1, 2))
    work = timestep * np.trapezoid(power[ORDER // 2 : -ORDER // 2])
    assert shadow[0] - shadow[-1] == pytest.approx(work, rel=0.03)


@needs_water
def test_the_benchmark(tmp_path):
    """Three blocks of 0.1 ps with a friction that is a hundred times any drift of the model."""
    friction = 1e-5
    options = f"--side 3 --timestep 1 --steps 300 --friction {friction}".split()
    command = [sys.executable, "-m", "benchmarks.conservation", *options, "--output", tmp_path]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True, timeout=1800)
    assert (tmp_path / "conservation-float64.png").is_file()
    times, shadow, energies = np.loadtxt(
        tmp_path / "conservation-float64.csv", delimiter=",", skiprows=1
    ).T
    assert np.diff(times) == pytest.approx([0.1, 0.1])
    assert energies == pytest.approx(shadow, abs=1e-3)
    inverse_mass = (2 / 1.008 + 1 / 15.999) / 3
    at_300 = -1e3 * friction * 3 * 8.617e-5 * 300 * inverse_mass * FORCE_TO_ACCELERATION
    # 240 degrees of freedom: the temperature of a moment has a standard deviation of 27 K
    assert 0.5 < fit_drift(times, shadow).slope / at_300 < 2


@pytest.mark.parametrize("friction", [0.0, 1e-9, 1e-6])
def test_friction_of_a_harmonic_well(friction):
    """The shadow energy is exact: it loses the work of the friction and nothing else."""
    timestep, steps = 2.5e-4, 4000
    v, f, u = oscillator(timestep, steps, width=0, friction=friction)
    shadow = shadows(v, f, u, 12, timestep)
    work = timestep * np.trapezoid(friction * v**2)
    lost = (shadow[0] - shadow[-1]) * steps / (len(shadow) - 1)
    assert lost == pytest.approx(work, rel=0.01, abs=1e-14)


def oscillator(timestep, steps, width=2.0, stiffness=50.0, friction=0.0):
    """Velocity Verlet of a particle of 1 u in a Morse well; harmonic for width 0.

    The friction is that of the velocity in the middle of a step, as in LAMMPS' ``fix viscous``.
    """

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
        f -= friction * v
        v += 0.5 * timestep * FORCE_TO_ACCELERATION * f
    return np.array(rows).T


def shadows(v, f, u, order, timestep):
    """Shadow energies of the one particle, eV."""
    v, f = (np.pad(y[:, None], ((0, 0), (0, 2))).reshape(-1, 1, 3) for y in (v, f))
    windows = [slice(i, i + order + 1) for i in range(len(u) - order)]
    return np.array([shadow_energy(v[w], f[w], u[w], np.ones(1), timestep) for w in windows])


def fluctuation(order, timestep, **kinds):
    v, f, u = oscillator(timestep, round(0.1 / timestep), **kinds)
    return np.std(shadows(v, f, u, order, timestep))


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
