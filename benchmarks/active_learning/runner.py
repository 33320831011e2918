"""Run a benchmark; every repetition of a task is a file, so that a killed run goes on."""

from __future__ import annotations

import csv
import hashlib
import json
import time
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.active_learning.config import BenchmarkConfig
from benchmarks.active_learning.curves import Point, Repetition
from benchmarks.active_learning.task import Task
from benchmarks.active_learning.tasks import TASKS
from tpainn_calc.base.files import write_atomically

#: Settings that change the rows; the others only add or drop files.
ROW_SETTINGS = (
    "methods", "seed_sizes", "loop_seeds", "rounds", "learners", "pool_size", "test_size",
    "n_estimators", "n_features", "learner_trees", "random_draws", "base_seed",
)  # fmt: skip

HEADER = [field.name for field in fields(Point)]


def settings_key(config: BenchmarkConfig) -> str:
    """Return a hash of the settings that change the rows."""
    values = {name: getattr(config, name) for name in ROW_SETTINGS}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def write_rows(path: Path, header: list[str], rows: list[Any]) -> None:
    """Write a CSV file atomically; numbers with six significant digits."""
    lines = [",".join(header)]
    for row in rows:
        lines.append(",".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in row))
    write_atomically(path, "\n".join(lines) + "\n")


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def run_benchmark(
    config: BenchmarkConfig, output: Path, max_seconds: float | None = None
) -> list[dict[str, Any]]:
    """Compute what is missing and return all rows.

    Parameters
    ----------
    config : BenchmarkConfig
    output : path
        Rows go to ``output/rows-<settings>/<task>-<repetition>.csv``.
    max_seconds : float, optional
        Stop between two repetitions after this time (one is always done); a later call goes on.

    Returns
    -------
    list of dict with the fields of `Point`, ``task`` and ``repetition``
    """
    folder = output / f"rows-{settings_key(config)}"
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(r, name) for r in range(config.repetitions) for name in config.tasks]
    missing = [job for job in jobs if not _row_file(folder, job).is_file()]
    loaded: dict[str, Task] = {}
    begin = time.monotonic()
    for count, job in enumerate(tqdm(missing, desc="benchmark", unit="repetition", disable=None)):
        if count and max_seconds is not None and time.monotonic() - begin > max_seconds:
            break
        number, name = job
        if name not in loaded:
            loaded[name] = TASKS[name]()
        points = list(Repetition(loaded[name], number, config).points())
        write_rows(_row_file(folder, job), HEADER, [astuple(point) for point in points])
    rows: list[dict[str, Any]] = []
    for job in jobs:
        path = _row_file(folder, job)
        if not path.is_file():
            continue
        for row in read_rows(path):
            rows.append(
                row
                | {
                    "repetition": job[0],
                    "task": job[1],
                    "draw": int(row["draw"]),
                    "n": int(row["n"]),
                    "rmse": float(row["rmse"]),
                }
            )
    return rows


def _row_file(folder: Path, job: tuple[int, str]) -> Path:
    return folder / f"{job[1]}-{job[0]:03d}.csv"
