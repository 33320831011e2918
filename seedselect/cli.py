"""The command `seedselect`: pick | status | ingest | next | report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from seedselect.commands import ingest, next_round, pick, report, status
from tpainn_calc._version import __version__
from tpainn_calc.base.command import DEBUG, run_command
from tpainn_calc.base.errors import did_you_mean

COMMANDS = {
    "pick": pick,
    "status": status,
    "ingest": ingest,
    "next": next_round,
    "report": report,
}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line with the closest known word."""

    def error(self, message: str) -> NoReturn:
        """Print the message and leave with exit code 2."""
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def build_parser() -> Parser:
    """Return the parser of all subcommands."""
    parser = Parser(
        prog="seedselect",
        description="Choose which configurations deserve an expensive label.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"seedselect {__version__}")
    parser.add_argument(DEBUG, action="store_true", help="show where an error comes from")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        sub = commands.add_parser(
            name, help=module.HELP, description=module.HELP, allow_abbrev=False
        )
        module.add_arguments(sub)
        sub.set_defaults(run=module.run, options=sorted(sub._option_string_actions))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; return the exit code.

    0: done. 2: a mistake in the input, said in one line. 130: interrupted; the same command goes
    on where it stopped.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = build_parser()
    if words[:1] == ["benchmark"]:
        parser.error("the benchmark is now: python -m benchmarks.active_learning, in a clone")
    if words and not words[0].startswith("-") and words[0] not in COMMANDS:
        parser.error(f"unknown command {words[0]!r}{did_you_mean(words[0], COMMANDS)}")
    args, unknown = parser.parse_known_args(words)
    if unknown:
        parser.error(f"unknown option {unknown[0]!r}{did_you_mean(unknown[0], args.options)}")
    return run_command(lambda: print(args.run(args)), args.debug)


if __name__ == "__main__":
    raise SystemExit(main())
