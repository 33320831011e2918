"""Ways to choose seeds, compared: learning curves, paired statistics and figures.

``python -m benchmarks.active_learning CONFIG.yaml -o runs/active_learning`` goes on where it was
stopped; set ``TPAINN_DATA`` to the data sets.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.active_learning.config import BenchmarkConfig
from tpainn_calc.base.command import run_command
from tpainn_calc.base.locks import Lock
from tpainn_calc.base.schema import load_config


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser("benchmarks.active_learning", description=__doc__)
    parser.add_argument("config", type=Path, help="YAML file; see examples/active_learning")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/active_learning"))
    parser.add_argument(
        "--results", type=Path, help="where tables and figures go (default: the output directory)"
    )
    parser.add_argument("--max-minutes", type=float, help="stop then; the same command goes on")
    parser.add_argument("--dry-run", action="store_true", help="say how much is left to compute")

    args = parser.parse_args(arguments)
    return run_command(lambda: print(run(args)))


def run(args: argparse.Namespace) -> str:
    """Compute what is missing; return what to print."""
    from benchmarks.active_learning.figures import draw_figures
    from benchmarks.active_learning.runner import run_benchmark
    from benchmarks.active_learning.statistics import write_tables

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
    busy = f"{args.output}: process {{holder}} is working on this benchmark; wait for it to end"
    with Lock(args.output / ".lock", busy):
        seconds = None if args.max_minutes is None else 60 * args.max_minutes
        rows = run_benchmark(config, args.output, seconds)
        results = args.results or args.output
        results.mkdir(parents=True, exist_ok=True)
        lines = write_tables(rows, config, results)
        draw_figures(rows, config, results)
    done = len({(row["task"], row["repetition"]) for row in rows})
    return "\n".join([f"{done} of {jobs} repetitions", *lines, f"wrote {results}"])


if __name__ == "__main__":
    raise SystemExit(main())
