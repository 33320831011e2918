"""``tpainn-lammps``: build the plugin, look for what is wrong with it, run LAMMPS with it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tpainn_calc.base.command import command_parser, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if rest and options.function is not _run:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    return run_command(lambda: options.function(options), options.debug)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("tpainn-lammps", __doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    build = commands.add_parser("build", help="compile the plugin now and print where it is")
    build.set_defaults(function=_build)

    doctor = commands.add_parser("doctor", help="print versions and devices, check the plugin")
    doctor.set_defaults(function=_doctor)

    run = commands.add_parser(
        "run",
        help="run a LAMMPS input file with the plugin",
        epilog="Further arguments go to LAMMPS, for example: -var T 300 -log npt.log",
    )
    run.add_argument("input", type=Path, metavar="INPUT")
    run.add_argument("--ranks", type=int, default=1, metavar="N", help="MPI ranks (default 1)")
    run.set_defaults(function=_run)

    respa = commands.add_parser(
        "respa",
        help="give a LAMMPS input multiple time steps with a fast model",
        description="Writes the input again, or prints it: the fast model takes the inner steps.",
    )
    respa.add_argument("input", type=Path, metavar="INPUT", help="with pair_style tpainn")
    respa.add_argument("--fast", required=True, metavar="FAST.pt", help="see tpainn-train distill")
    respa.add_argument("--outer", type=float, default=2.0, metavar="FS", help="default 2")
    respa.add_argument("--inner", type=float, default=0.5, metavar="FS", help="default 0.5")
    respa.add_argument("-o", "--output", type=Path, metavar="FILE")
    respa.set_defaults(function=_respa)

    parity = commands.add_parser(
        "parity",
        help="compare ASE, the exported model and LAMMPS in every mode on a structure",
        description="Exit code 0 if all agree, 1 if not.",
    )
    parity.add_argument("model", metavar="MODEL", help="model file, shipped potential, or .pt")
    parity.add_argument("structure", metavar="STRUCTURE", help="any file that ASE reads")
    parity.add_argument("--float32", action="store_true", help="network in float32")
    parity.set_defaults(function=_parity)
    return parser


def _build(options: argparse.Namespace) -> int:
    from lammps_plugin.locate import find_plugin

    print(find_plugin())
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from lammps_plugin.doctor import examine

    return examine()


def _run(options: argparse.Namespace) -> int:
    from lammps_plugin.run import run_lammps

    return run_lammps(options.input, options.rest, options.ranks)


def _respa(options: argparse.Namespace) -> int:
    from lammps_plugin.respa import TimeSteps, rewrite_input
    from tpainn_calc.base.files import write_atomically

    steps = TimeSteps(options.outer, options.inner)
    text = rewrite_input(options.input.read_text(encoding="utf-8"), options.fast, steps)
    if options.output:
        write_atomically(options.output, text)
    else:
        print(text, end="")
    return 0


def _parity(options: argparse.Namespace) -> int:
    import torch

    from lammps_plugin.parity import report

    dtype = torch.float32 if options.float32 else torch.float64
    return report(options.model, options.structure, dtype)


if __name__ == "__main__":
    sys.exit(main())
