"""Does the energy drift? NVE water in LAMMPS, and the drift of its shadow energy with an error.

``python -m benchmarks.conservation`` runs 100,000 steps of 0.5 fs of 64 waters with the shipped
potential in float64 and writes ``benchmarks/results/conservation-float64.csv`` and ``.png``;
``--dtype float32`` and ``--timestep`` vary it, and ``--friction`` adds a drift of known size.

The energy itself fluctuates by 3e-5 eV/atom at 0.5 fs, ten thousand times what a drift to be seen
adds in picoseconds, because velocity Verlet does not conserve it: it conserves a shadow energy,
which :func:`shadow_energy` takes from the trajectory. What is left shows where forces are not
smooth: a model with another ``norm_epsilon`` (:class:`tpainn_calc.painn.Update`), given by
``--model``, is an example.
"""

from __future__ import annotations

import argparse
import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from math import comb
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

import lammps_plugin  # noqa: F401  (makes LAMMPS' library loadable)

RESULTS = Path(__file__).parent / "results"
# LAMMPS' own constant of "units metal": Å/ps² of one eV/Å/u
FORCE_TO_ACCELERATION = 1.0 / 1.0364269e-4
# ps; vibrations, and with them what a shadow energy of finite order misses, average out over it
BLOCK = 0.1
# of the shadow energy, in the time step: 6 steps before and 6 after
ORDER = 12

SETUP = """
units metal
atom_style atomic
atom_modify map yes sort 0 0
read_data {data}
pair_style tpainn range off
pair_coeff * * {model} H O
neigh_modify every 1 delay 0 check yes
minimize 0 0.05 100 200
reset_timestep 0
timestep {timestep}
velocity all create {temperature} {seed} loop geom
fix bath all langevin {temperature} {temperature} 0.05 {seed}
fix 1 all nve
thermo 1
thermo_style custom step temp etotal
thermo_modify norm no
run {equilibration}
unfix bath
fix friction all viscous {friction}
reset_timestep 0
run 0
"""


@dataclass(frozen=True)
class Drift:
    """Slope of the shadow energy and its standard error, both in eV/atom/ns."""

    slope: float
    error: float

    def __str__(self) -> str:
        return f"{self.slope:.1e} ± {self.error:.1e} eV/atom/ns"


def central_weights(order: int) -> NDArray[np.float64]:
    """Weights c of the derivative Σₖ cₖ (y₊ₖ − y₋ₖ) / dt, k = 1 … order / 2."""
    m = order // 2
    k = range(1, m + 1)
    return np.array([-((-1) ** i) / i * comb(2 * m, m + i) / comb(2 * m, m) for i in k])


def shadow_energy(
    velocities: NDArray[np.float64],
    forces: NDArray[np.float64],
    energies: NDArray[np.float64],
    masses: NDArray[np.float64],
    timestep: float,
) -> float:
    """Energy that velocity Verlet conserves up to O(dt^order), from order + 1 consecutive steps.

    Parameters
    ----------
    velocities, forces : ndarray (order + 1, n, 3)
        Å/ps, eV/Å.
    energies : ndarray (order + 1,)
        Potential energies, eV.
    masses : ndarray (n,)
        u.
    timestep : float
        ps.

    Returns
    -------
    float
        Shadow energy of the step in the middle, eV.

    Notes
    -----
    With a further pair of variables (α, β), H = p²/2m + α² U(q/α) is homogeneous of degree two.
    Velocity Verlet keeps α = 1 and kicks β by −g dt/2 before and after each drift, g = 2U + q·F.
    By Baker, Campbell and Hausdorff its steps lie on the exact flow of a modified H', the sum of
    nested Poisson brackets of the two parts, but for a rest that is exponentially small in 1/dt.
    Brackets of functions of degree two are of degree two, so Euler's theorem gives

        H' = (p·∂H'/∂p + q·∂H'/∂q + ∂H'/∂α) / 2 = (p·q̇ − q·ṗ − β̇) / 2

    along the trajectory, and the derivatives are central differences of its points. As ṗ is a sum
    of forces with the weights of β̇, only displacements within the window enter. Skeel and Hardy,
    SIAM J. Sci. Comput. 23, 1172 (2001); Engle, Skeel, Drees, J. Comput. Phys. 206, 432 (2005).
    """
    middle = len(energies) // 2
    weights = central_weights(2 * middle) / timestep

    def derivative(y: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.tensordot(weights, y[middle + 1 :] - y[:middle][::-1], 1)

    def summed(increments: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate([np.zeros_like(increments[:1]), np.cumsum(increments, 0)])

    m = masses[:, None]
    middles = velocities + 0.5 * timestep * FORCE_TO_ACCELERATION * forces / m
    moved = summed(timestep * middles[:-1])
    moved -= moved[middle]
    # energies relative to the middle one: no digits are lost
    g = 2 * (energies - energies[middle]) + np.einsum("tni,tni->t", moved, forces)
    beta = summed(-0.5 * timestep * (g[1:] + g[:-1]))
    kinetic = (m * velocities[middle] * derivative(moved)).sum() / FORCE_TO_ACCELERATION
    return float(energies[middle] + 0.5 * (kinetic - derivative(beta)))


def shadow_energies(
    data: Path,
    model: Path,
    steps: int,
    timestep: float = 0.0005,
    equilibration: float = 0.2,
    temperature: float = 300.0,
    seed: int = 1,
    friction: float = 0.0,
) -> Iterator[tuple[float, float, float]]:
    """Run NVE after a short Langevin equilibration; yield means over `BLOCK` ps as they come.

    Parameters
    ----------
    data : path
        LAMMPS data file (types: H, O).
    model : path
        Exported potential.
    steps : int
        Time steps after the equilibration.
    timestep, equilibration : float
        ps.
    temperature : float
        K.
    seed : int
    friction : float
        Force over velocity, eV ps/Å²: takes 3 kT friction / m from an atom per ps.

    Yields
    ------
    time : float
        Middle of the block, ps.
    shadow, energy : float
        Mean shadow energy and mean energy, eV/atom.
    """
    from lammps import lammps

    lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
    try:
        lmp.commands_string(
            SETUP.format(
                data=data,
                model=model,
                timestep=timestep,
                temperature=temperature,
                seed=seed,
                equilibration=round(equilibration / timestep),
                friction=friction,
            )
        )
        n = lmp.get_natoms()
        masses = lmp.numpy.extract_atom("mass")[lmp.numpy.extract_atom("type")[:n]]

        def state() -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
            # migration off (one rank, no sorting), so the order of the atoms stays
            v = lmp.numpy.extract_atom("v")[:n].copy()
            f = lmp.numpy.extract_atom("f")[:n].copy()
            return v, f, lmp.get_thermo("pe")

        window = deque([state()], maxlen=ORDER + 1)
        per_block = max(round(BLOCK / timestep), 1)
        block = []
        # the window reaches over both ends
        for step in range(1, steps + ORDER + 1):
            lmp.command("run 1 pre no post no")
            window.append(state())
            if len(window) <= ORDER:
                continue
            v, f, potential = (np.array(list(values)) for values in zip(*window, strict=True))
            shadow = shadow_energy(v, f, potential, masses, timestep)
            middle = ORDER // 2
            kinetic = 0.5 * (masses[:, None] * v[middle] ** 2).sum() / FORCE_TO_ACCELERATION
            block.append((shadow / n, (potential[middle] + kinetic) / n))
            if len(block) == per_block:
                time = (step - middle - 0.5 * per_block) * timestep
                yield (time, *np.mean(block, axis=0))
                block = []
    finally:
        lmp.close()


def fit_drift(times: NDArray[np.float64], energies: NDArray[np.float64]) -> Drift:
    """Least-squares slope of block means; its error is that of a random walk.

    Parameters
    ----------
    times : ndarray (n,)
        ps, evenly spaced.
    energies : ndarray (n,)
        eV/atom.

    Notes
    -----
    Wherever forces are not smooth, the energy takes small random steps, and a walk shows a slope
    without any drift. The slope of a walk with diffusivity D fitted over T has the variance
    6 D / 5 T; D = Var(ΔE) / τ is taken from steps over a tenth of the run, which leaves bounded
    noise little weight.
    """
    t = np.asarray(times) * 1e-3
    slope = float(np.polyfit(t, energies, 1)[0])
    width = max(len(t) // 10, 1)
    means = energies[: len(t) // width * width].reshape(-1, width).mean(1)
    step = width * (t[1] - t[0])
    diffusivity = np.var(np.diff(means), ddof=1) / step
    return Drift(slope, float(np.sqrt(1.2 * diffusivity / (len(t) * (t[1] - t[0])))))


def report(path: Path, rows: list[tuple[float, float, float]]) -> None:
    """Print the drift of the blocks so far and write them."""
    table = np.array(rows)
    print(f"{table[-1, 0]:8.2f} ps  {fit_drift(table[:, 0], table[:, 1])}", flush=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["time_ps", "shadow_ev_per_atom", "energy_ev_per_atom"])
        writer.writerows([f"{t:.4f}", f"{s:.12f}", f"{e:.12f}"] for t, s, e in rows)


def draw(path: Path, rows: NDArray[np.float64], title: str) -> None:
    """Draw energy and shadow energy over time."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    time, shadow, energy = rows.T
    drift = fit_drift(time, shadow)
    figure, axis = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    axis.plot(time, 1e6 * (energy - energy.mean()), color="0.75", lw=0.8, label="energy")
    axis.plot(time, 1e6 * (shadow - shadow.mean()), color="C0", lw=1.2, label="shadow energy")
    line = drift.slope * 1e-3 * (time - time.mean())
    axis.plot(time, 1e6 * line, color="C3", lw=1.0, ls="--", label=f"drift {drift}")
    axis.set(xlabel="time / ps", ylabel="energy − mean / (µeV/atom)", title=title)
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def prepare(folder: Path, atoms: Atoms, model: str, dtype: str, kernel: str) -> tuple[Path, Path]:
    """Write the data file and the export of a shipped potential or model file."""
    import torch

    from lammps_plugin.single_point import write_data
    from tpainn_calc.export import export_model
    from tpainn_calc.modelfile import load_model, save_model

    write_data(folder / "data", atoms, ["H", "O"])
    # golden values anew: those of a float32 model are too coarse for a float64 export
    potential, _ = load_model(model, dtype=torch.float64, kernel="plain", check=False)
    save_model(folder / "model.safetensors", potential)
    export_model(
        folder / "model.safetensors",
        folder / "model.pt",
        dtype=getattr(torch, dtype),
        kernel=kernel,
    )
    return folder / "data", folder / "model.pt"


def main() -> None:
    """Run, print the drift as it becomes known, and write CSV and figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="water", help="model file or name of a shipped one")
    parser.add_argument("--dtype", default="float64", choices=["float32", "float64"])
    parser.add_argument("--kernel", default="fused", choices=["fused", "plain"])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--timestep", type=float, default=0.5, help="fs")
    parser.add_argument("--side", type=int, default=4, help="molecules along an edge of the box")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--friction", type=float, default=0.0, help="a drift put in on purpose, eV ps/Å²"
    )
    parser.add_argument("--name", help="of the results; conservation-DTYPE by default")
    parser.add_argument("--title", help="of the figure; size, time step and network by default")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder")
    parser.add_argument(
        "--redraw", action="store_true", help="the figure only, from the table of a run like this"
    )
    arguments = parser.parse_args()
    if arguments.steps < 3 * round(BLOCK / (1e-3 * arguments.timestep)):
        parser.error(f"--steps: a drift needs three blocks of {BLOCK} ps")
    table = arguments.output / f"{arguments.name or f'conservation-{arguments.dtype}'}.csv"
    if not arguments.redraw:
        run(arguments, table)
    rows = np.loadtxt(table, delimiter=",", skiprows=1)
    kind = f"{arguments.timestep} fs, {arguments.dtype}, {arguments.kernel}"
    title = arguments.title or f"{arguments.side**3} waters, NVE, {kind}"
    draw(table.with_suffix(".png"), rows, title)


def run(arguments: argparse.Namespace, table: Path) -> None:
    """Run the trajectory of the options into a table."""
    import tempfile

    from benchmarks.water import water_box

    table.parent.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        atoms = water_box(arguments.side)
        data, model = prepare(
            Path(folder), atoms, arguments.model, arguments.dtype, arguments.kernel
        )
        for row in shadow_energies(
            data,
            model,
            arguments.steps,
            1e-3 * arguments.timestep,
            seed=arguments.seed,
            friction=arguments.friction,
        ):
            rows.append(row)
            if len(rows) % 10 == 0:
                report(table, rows)
    report(table, rows)


if __name__ == "__main__":
    main()
