"""``tpainn``: look at a potential, evaluate it, export it, check it, observe a trajectory."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from tpainn_calc.base.command import command_parser, run_command
from tpainn_calc.commands import check, evaluate, examples, export, info, observe


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``tpainn``."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    return run_command(lambda: arguments.run(arguments), arguments.debug)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("tpainn", __doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (info, evaluate, export, check, observe, examples):
        command.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
