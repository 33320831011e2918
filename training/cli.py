"""``tpainn-train``: train, and evaluate, potentials."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from tpainn_calc.errors import run_cli


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of ``tpainn-train``."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return run_cli(lambda: arguments.run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("tpainn-train", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    scratch = commands.add_parser("scratch", help="train a potential from scratch")
    scratch.add_argument("config", type=Path, help="YAML file, see docs/training.md")
    scratch.add_argument("--resume", action="store_true", help="continue an interrupted run")
    scratch.add_argument("--quiet", action="store_true", help="no progress bar")
    scratch.set_defaults(run=_scratch)

    evaluation = commands.add_parser("evaluate", help="errors of a model on labelled frames")
    evaluation.add_argument("model", help="model file or name of a shipped potential")
    evaluation.add_argument("data", type=Path, help="extended XYZ with energy and forces")
    evaluation.add_argument("-o", "--output", type=Path, help="folder for the report and figure")
    evaluation.add_argument("--split", type=Path, help="split.json of a run: its test frames only")
    evaluation.set_defaults(run=_evaluate)
    return parser


def _scratch(arguments: argparse.Namespace) -> int:
    from training.config import TrainingConfig, load_config
    from training.fit import fit

    config = load_config(arguments.config, TrainingConfig)
    path = fit(config, Path.cwd(), resume=arguments.resume, progress=not arguments.quiet)
    print(path)
    return 0


def _evaluate(arguments: argparse.Namespace) -> int:
    from tpainn_calc.modelfile import load_model
    from training.dataset import read_frames
    from training.evaluate import evaluate
    from training.split import test_frames

    potential, manifest = load_model(arguments.model)
    frames, _ = read_frames(arguments.data)
    if arguments.split:
        frames = test_frames(arguments.split, frames)
    report = evaluate(potential, frames, title=f"{manifest.name} on {arguments.data.name}")
    print(report.describe())
    if arguments.output:
        report.save(arguments.output)
        print(arguments.output / "parity.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
