"""`seedselect benchmark`: learning curves, paired statistics and figures."""

from __future__ import annotations

import argparse
from pathlib import Path

from seedselect.benchmark.config import BenchmarkConfig
from seedselect.benchmark.figures import draw_figures
from seedselect.benchmark.runner import run_benchmark
from seedselect.benchmark.statistics import write_tables
from seedselect.campaign import campaign_lock
from tpainn_calc.base.schema import load_config

HELP = "compare ways to choose seeds over data sets"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("config", type=Path, help="YAML file; see examples/active_learning")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/active_learning"))
    parser.add_argument(
        "--results", type=Path, help="where tables and figures go (default: the output directory)"
    )
    parser.add_argument("--max-minutes", type=float, help="stop then; the same command goes on")
    parser.add_argument("--dry-run", action="store_true", help="say how much is left to compute")


def run(args: argparse.Namespace) -> str:
    """Run the command; return what to print."""
    config = load_config(args.config, BenchmarkConfig)
    jobs = len(config.tasks) * config.repetitions
    if args.dry_run:
        curves = len(config.methods) - 1 + config.random_draws
        fits = (
            jobs * curves * (len(config.seed_sizes) + len(config.loop_seeds) * (config.rounds + 1))
        )
        return (
            f"dry run: {jobs} repetitions of {len(config.methods)} methods, {fits} forests to fit "
            f"(about {fits * 0.1 / 60:.0f} min), under 1 GB"
        )
    with campaign_lock(args.output):
        seconds = None if args.max_minutes is None else 60 * args.max_minutes
        rows = run_benchmark(config, args.output, seconds)
        results = args.results or args.output
        results.mkdir(parents=True, exist_ok=True)
        lines = write_tables(rows, config, results)
        draw_figures(rows, config, results)
    done = len({(row["task"], row["repetition"]) for row in rows})
    return "\n".join([f"{done} of {jobs} repetitions", *lines, f"wrote {results}"])
