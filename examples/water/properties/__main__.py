"""Density, structure and diffusion of liquid water from molecular dynamics in LAMMPS.

``python -m examples.water.properties [MODEL] [--fast STUDENT]`` runs 64 waters at 1 bar at several
temperatures (outer step 4 fs with hydrogens of 3 u, which change no average; docs/mts.md), then at
constant volume and 300 K in boxes of 64 and 216 waters for the diffusion coefficient (outer step
2 fs), at the density that the first runs found. Without a student (``--fast none``) steps are 1 and
0.5 fs. It writes ``properties.csv`` and ``.png`` beside the runs. It can be interrupted: 5 ps are
lost at most; ``--ps`` prolongs finished runs.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from examples.water.own.molecule import MOLECULE
from examples.water.properties.figures import draw
from examples.water.properties.results import (
    Property,
    at_constant_pressure,
    of_diffusion,
    vaporisation,
    without_walls,
)
from examples.water.properties.runs import Run, finish, runs_folder
from tpainn_calc.base.command import command_parser, run_command
from tpainn_calc.base.errors import ConfigError
from tpainn_calc.base.frames import read_extxyz
from tpainn_calc.base.tables import write_table
from tpainn_calc.manifest import read_manifest
from tpainn_calc.observables import Rdf

ROOM = 300.0


def main() -> int:
    """Entry point."""
    parser = command_parser("properties", __doc__)
    parser.add_argument("model", nargs="?", default="water", help="model file or shipped name")
    parser.add_argument("--fast", default="water-fast", help="its student, or none")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[270, 285, 300, 335, 370],
                        metavar="K")  # fmt: skip
    parser.add_argument("--ps", type=float, default=200.0, help="of every run at 1 bar")
    parser.add_argument("--waters", type=int, nargs="*", default=[64, 216], help="for diffusion")
    parser.add_argument("--diffusion-ps", type=float, default=200.0, help="of those runs")
    parser.add_argument("--seed", type=int, default=1, help="of the velocities")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/water-properties"))
    arguments = parser.parse_args()
    return run_command(lambda: properties(arguments))


def properties(arguments: argparse.Namespace) -> None:
    """Run what is not there yet, and write the table and the figure."""
    if ROOM not in arguments.temperatures:
        raise ConfigError(f"--temperatures must hold {ROOM:g} K, at which diffusion is measured")
    folder: Path = arguments.output
    student = None if arguments.fast == "none" else arguments.fast
    with runs_folder(folder, arguments.model, student):
        heavy = {"outer": 4.0 if student else 1.0, "inner": 1.0, "hydrogen": 3.0}
        rows, curves, density = _at_constant_pressure(arguments, heavy, folder)
        found, msds = [], {}
        for waters in arguments.waters:
            run = Run(
                waters,
                ROOM,
                arguments.diffusion_ps,
                density=density,
                outer=2.0 if student else 0.5,
                seed=arguments.seed,
            )
            finish([run], folder)
            row, msds[waters], length = of_diffusion(run, folder)
            found.append((row, length))
        rows += [row for row, _ in found]
        rows += without_walls(found) if len(found) > 1 else []
        write_table(folder / "properties.csv", [asdict(row) for row in rows])
        draw(rows, curves, msds, folder / "properties")
    for row in rows:
        print(describe(row))
    print(f"see {folder / 'properties.png'}")


def _at_constant_pressure(
    arguments: argparse.Namespace, heavy: dict[str, float], folder: Path
) -> tuple[list[Property], dict[str, Rdf], float]:
    """Properties at all temperatures; g(r) and density at 300 K."""
    runs = [
        Run(64, t, arguments.ps, pressure=1.0, seed=arguments.seed, **heavy)
        for t in arguments.temperatures
    ]
    finish(runs, folder)
    found = {run.temperature: at_constant_pressure(run, folder) for run in runs}
    rows = [row for more, _ in found.values() for row in more]
    rows += _vaporisation(arguments.model, runs, folder)
    at_room, curves = found[ROOM]
    return rows, curves, round(at_room[0].value, 3)


def _vaporisation(model: str, runs: list[Run], folder: Path) -> list[Property]:
    """At 300 K, where the energy of the molecule is known at the level of the potential."""
    molecule = read_extxyz(MOLECULE)[0]
    if molecule.info["level"] != read_manifest(model).level_of_theory:
        return []
    energy = molecule.get_potential_energy()
    return [vaporisation(run, folder, energy) for run in runs if run.temperature == ROOM]


def describe(row: Property) -> str:
    """Line for the terminal."""
    where = f"{row.temperature:g} K, {row.waters or 'infinitely many'} waters"
    measured = f"; experiment {row.experiment:.4g}" if row.experiment is not None else ""
    return f"{row.quantity}, {where}: {row.value:.4g} ± {row.error:.2g} {row.unit}{measured}"


if __name__ == "__main__":
    raise SystemExit(main())
