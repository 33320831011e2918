"""``tpainn observe``: density, radial distribution function and diffusion of a trajectory."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tpainn_calc.base.errors import ConfigError, DataError

if TYPE_CHECKING:
    import MDAnalysis

    from tpainn_calc.commands import Commands


def add_parser(commands: Commands) -> None:
    """Arguments of the command."""
    parser = commands.add_parser("observe", help="density, RDF and diffusion of a trajectory")
    parser.add_argument("trajectory", type=Path, help="ASE trajectory, extended XYZ, LAMMPS dump")
    parser.add_argument("--topology", type=Path, help="for formats without names")
    parser.add_argument("--timestep", type=float, metavar="FS", help="MD step, for LAMMPS dumps")
    parser.add_argument("--interval", type=float, metavar="FS", help="between frames, otherwise")
    parser.add_argument("--elements", nargs="+", help="of LAMMPS types 1, 2, ...")
    parser.add_argument("--pair", nargs=2, default=["O", "O"], metavar=("A", "B"), help="for RDF")
    parser.add_argument("--skip", type=float, default=0.2, help="fraction to discard first")
    parser.add_argument(
        "--fit-range",
        type=float,
        nargs=2,
        metavar=("FROM", "TO"),
        help="lag times in ps where the MSD is linear (default: 20 to 50 %% of a fifth of the run, "
        "if diffusion has set in there)",
    )
    parser.add_argument("--temperature", type=float, help="K, for the finite-size correction")
    parser.add_argument("--viscosity", type=float, help="mPa·s, for the finite-size correction")
    parser.add_argument("-o", "--output", type=Path, default=Path("observables"))
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the observables and write figures (PNG and SVG) and tables."""
    from tpainn_calc import observables

    if not 0 <= arguments.skip < 1:  # also not if it is NaN
        raise ConfigError(f"--skip is the fraction to discard, 0 to 1, not {arguments.skip}")
    universe = observables.load_trajectory(
        arguments.trajectory,
        arguments.topology,
        timestep_fs=arguments.timestep,
        frame_interval_fs=arguments.interval,
        elements=arguments.elements,
    )
    start = int(arguments.skip * universe.trajectory.n_frames)
    _density(universe, start, arguments.output)
    _rdf(universe, start, arguments.pair, arguments.output)
    _diffusion(universe, start, arguments)
    print(f"figures and tables in {arguments.output}")
    return 0


def _density(universe: MDAnalysis.Universe, start: int, output: Path) -> None:
    from tpainn_calc.base.figures import save_figure
    from tpainn_calc.observables import density, plot_density

    rho = density(universe, start=start)
    print(f"density {rho.value:.4f} ± {rho.error:.4f} {rho.unit}")
    save_figure(plot_density(rho), output / "density")


def _rdf(universe: MDAnalysis.Universe, start: int, pair: list[str], output: Path) -> None:
    from tpainn_calc.base.figures import save_figure
    from tpainn_calc.base.tables import write_table
    from tpainn_calc.observables import GOO_XRAY_295K, plot_rdf, rdf

    a, b = pair
    g = rdf(universe, a, b, start=start)
    print(f"g_{a}{b}: highest peak {g.value:.3f} ± {g.error:.3f} at {g.peak_r:.2f} Å")
    reference = GOO_XRAY_295K if (a, b) == ("O", "O") else None
    save_figure(plot_rdf(g, reference), output / f"g_{a}{b}")
    rows = zip(g.r.tolist(), g.g.tolist(), g.g_error.tolist(), strict=True)
    write_table(
        output / f"g_{a}{b}.csv", [dict(zip(("r", "g", "error"), row, strict=True)) for row in rows]
    )


def _diffusion(universe: MDAnalysis.Universe, start: int, arguments: argparse.Namespace) -> None:
    import numpy as np

    from tpainn_calc.base.figures import save_figure
    from tpainn_calc.observables import diffusion, plot_msd

    element = arguments.pair[0]
    if not np.isfinite(universe.trajectory.dt) or universe.trajectory.n_frames - start < 50:
        print("diffusion: skipped, it needs the time between frames and 50 frames or more")
        return
    try:
        d = diffusion(
            universe,
            element,
            tuple(arguments.fit_range) if arguments.fit_range else None,
            temperature=arguments.temperature,
            viscosity=arguments.viscosity,
            start=start,
        )
    except DataError as error:  # the other observables stand
        print(f"diffusion of {element}: no number, {error}")
        return
    low, high = d.fit_range
    print(
        f"diffusion of {element} {d.value:.4f} ± {d.error:.4f} {d.unit} "
        f"(fitted from {low:.3g} to {high:.3g} ps, where the MSD grows as t^{d.exponent:.2f})"
    )
    save_figure(plot_msd(d), arguments.output / "msd")
