"""How many DFT frames does the density of water need? Dynamics with the models of a curve.

``python -m examples.water.needed CURVE [--reference MODEL]`` runs 32 waters at 300 K and 1 bar in
LAMMPS with every model that ``tpainn-train curve`` chose (steps of 1 fs with hydrogens of 3 u,
which change no average), and with a potential that knows the density, seed by seed. Runs that break
or boil away are part of the answer. It writes ``density.csv`` and ``needed.png`` into the curve's
folder, and can be interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tqdm import tqdm

from examples.water.own.campaign import broken_molecules
from examples.water.properties.runs import Run, read, run_parts, runs_folder
from lammps_plugin.run import LammpsError
from tpainn_calc.base.command import command_parser, run_command
from tpainn_calc.base.errors import DataError
from tpainn_calc.base.figures import save_figure
from tpainn_calc.base.tables import read_table, write_table
from tpainn_calc.observables import density
from tpainn_calc.observables.trajectory import structures
from training.study.config import Point
from training.study.curve_figures import LABELS, colours, plain_ticks

REFERENCE = "reference"
#: Columns of ``curve.csv``.
FORCES, PRESSURE = "test_forces_meV_per_A_mae", "test_pressure_MPa_mean_error"
#: g/cm³: what is thinner is no liquid.
VAPOUR = 0.5
#: g/cm³: what a potential may be off.
AIM = 0.01


@dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes
    ----------
    arm : str
        That of the curve, or ``reference``.
    n_train : int
        DFT frames; 0 for the reference.
    seed : int
    ps : float
        How long it ran.
    broken : int
        Molecules of the last frame that are no water any more; -1 where LAMMPS gave up.
    density, error : float
        g/cm³, after the start; NaN where there is none.
    """

    arm: str
    n_train: int
    seed: int
    ps: float
    broken: int
    density: float
    error: float

    @property
    def held(self) -> bool:
        """True if there was liquid water to the end."""
        return self.broken == 0 and self.density > VAPOUR


def main() -> int:
    """Entry point."""
    parser = command_parser("needed", __doc__)
    parser.add_argument("curve", type=Path, help="folder of tpainn-train curve")
    parser.add_argument("--reference", default="water", help="model file or shipped name")
    parser.add_argument("--ps", type=float, default=30.0, help="of every run, its start included")
    arguments = parser.parse_args()
    return run_command(lambda: needed(arguments))


def needed(arguments: argparse.Namespace) -> None:
    """Run what is not there yet, and write the table and the figure."""
    curve: Path = arguments.curve
    chosen = [row for row in read_table(curve / "curve.csv") if row["chosen"]]
    for column in (FORCES, PRESSURE):  # before hours of dynamics
        if any(column not in row for row in chosen):
            raise DataError(f"{curve / 'curve.csv'} has no {column}: test on forces and stress")
    seeds = sorted({int(row["seed"]) for row in chosen})
    models = [(REFERENCE, 0, seed, arguments.reference) for seed in seeds]
    for row in chosen:
        point = Point.of(row)
        model = str(curve / point.key / "model.safetensors")
        models.append((point.arm, point.n_train, point.seed, model))
    outcomes = []
    for arm, n, seed, model in tqdm(models, unit="run"):
        run = Run(32, 300.0, arguments.ps, 1.0, 0.9, 1.0, 1.0, hydrogen=3.0, seed=1 + seed)
        folder = curve / "density" / (f"{arm}-n{n}-seed{seed}" if n else f"{arm}-seed{seed}")
        with runs_folder(folder, model):
            outcomes.append(outcome(run, folder, arm, n, seed))
    write_table(curve / "density.csv", [asdict(row) for row in outcomes])
    for line in describe(outcomes):
        print(line)
    draw(outcomes, chosen, curve / "needed")
    print(f"see {curve / 'needed.png'}")


def outcome(run: Run, folder: Path, arm: str, n_train: int, seed: int) -> Outcome:
    """Run it to its end, or until it breaks."""
    ps = 0.0
    try:
        for part in run_parts(run, folder):
            ps = (part + 1) * run.part
    except LammpsError:
        return Outcome(arm, n_train, seed, ps, -1, np.nan, np.nan)
    universe, first = read(run, folder)
    rho = density(universe, start=first)
    (last,) = structures(universe, [len(universe.trajectory) - 1])
    return Outcome(arm, n_train, seed, ps, broken_molecules(last), rho.value, rho.error)


def describe(outcomes: list[Outcome]) -> Iterator[str]:
    """Lines for the terminal: every arm and size against the reference."""
    rho = reference_density(outcomes)
    yield f"reference: {rho:.3f} g/cm³"
    for arm, n in sorted({(o.arm, o.n_train) for o in outcomes if o.arm != REFERENCE}):
        runs = [o for o in outcomes if (o.arm, o.n_train) == (arm, n)]
        differences = ", ".join(f"{o.density - rho:+.3f}" for o in runs if o.held) or "none"
        lost = sum(not o.held for o in runs)
        fate = f"{lost} of {len(runs)} broke or boiled away"
        yield f"{arm}, N = {n}: off by {differences} g/cm³; {fate}"


def reference_density(outcomes: list[Outcome]) -> float:
    """Mean of the reference's runs, g/cm³."""
    return float(np.mean([o.density for o in outcomes if o.arm == REFERENCE]))


def draw(outcomes: list[Outcome], chosen: list[dict], path: Path) -> None:
    """Errors of forces and pressure on the test block, and of the density in dynamics."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    forces, pressure, densities = figure.subplots(1, 3)
    colour = colours(row["arm"] for row in chosen)
    for axes, column, label in (
        (forces, FORCES, "force MAE / (meV/Å)"),
        (pressure, PRESSURE, "|mean error of the pressure| / MPa"),
    ):
        for arm in colour:
            points = [(r["n_train"], abs(r[column])) for r in chosen if r["arm"] == arm]
            _points(axes, points, colour[arm], LABELS.get(arm, arm))
        axes.set(ylabel=label, yscale="log")
    rho = reference_density(outcomes)
    for arm in colour:
        held = [o for o in outcomes if o.arm == arm and o.held]
        _points(densities, [(o.n_train, o.density - rho) for o in held], colour[arm])
    densities.axhspan(-AIM, AIM, color="0.9", zorder=0)
    for o in (o for o in outcomes if not o.held):
        densities.plot(o.n_train, 0.02, "x", color=colour[o.arm],
                       transform=densities.get_xaxis_transform())  # fmt: skip
    densities.set(ylabel="error of the density / (g/cm³)", title="×: broke or boiled away")
    sizes = sorted({int(row["n_train"]) for row in chosen})
    for axes in (forces, pressure, densities):
        axes.set(xlabel="DFT training frames", xscale="log")
    for axes in (forces, pressure):
        plain_ticks(axes, sizes)
    densities.set_xticks(sizes, [str(n) for n in sizes])
    densities.minorticks_off()
    forces.legend(frameon=False)
    save_figure(figure, path, (".png",))


def _points(
    axes: Axes, points: list[tuple[float, float]], colour: str, label: str | None = None
) -> None:
    """Every seed a point, and a line through the means."""
    if not points:
        return
    axes.plot(*zip(*points, strict=True), "o", ms=4, color=colour, alpha=0.6)
    sizes = sorted({n for n, _ in points})
    means = [np.mean([y for m, y in points if m == n]) for n in sizes]
    axes.plot(sizes, means, color=colour, label=label)


if __name__ == "__main__":
    raise SystemExit(main())
