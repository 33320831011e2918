"""Paired statistics of learning curves."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedselect.benchmark.config import BenchmarkConfig
from seedselect.benchmark.runner import write_rows
from seedselect.benchmark.tasks import TASKS

Array = NDArray[np.float64]

#: Draws of the bootstrap.
BOOTSTRAP = 4000


def aulc(sizes: Array, errors: Array) -> float:
    """Return the area under a learning curve over ln n, divided by its width: a mean error."""
    order = np.argsort(sizes)
    x, y = np.log(np.asarray(sizes, dtype=float)[order]), np.asarray(errors)[order]
    return float(np.trapezoid(y, x) / (x[-1] - x[0]))


def curve_areas(rows: list[dict[str, Any]]) -> dict[tuple, Array]:
    """Return (task, protocol, learner, method) -> areas by repetition.

    Random draws of one repetition are averaged.
    """
    curves: dict[tuple, dict[int, float]] = defaultdict(dict)
    for row in rows:
        key = (
            row["task"], row["protocol"], row["learner"], row["method"], row["repetition"],
            row["draw"],
        )  # fmt: skip
        curves[key][row["n"]] = row["rmse"]
    by_repetition: dict[tuple, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for (task, protocol, learner, method, repetition, _), curve in curves.items():
        area = aulc(np.array(list(curve)), np.array(list(curve.values())))
        by_repetition[task, protocol, learner, method][repetition].append(area)
    return {
        key: np.array([np.mean(values[r]) for r in sorted(values)])
        for key, values in by_repetition.items()
    }


def paired_ratio(method: Array, reference: Array, seed: int = 0) -> dict[str, float]:
    """Return the mean log-ratio of paired areas with a bootstrap interval.

    Parameters
    ----------
    method, reference : array (repetitions,)

    Returns
    -------
    dict with ``ratio`` (below 1 is better than the reference), ``low``, ``high`` (95 %),
    ``wins`` (share of repetitions)
    """
    log = np.log(method / reference)
    rng = np.random.default_rng(seed)
    means = log[rng.integers(len(log), size=(BOOTSTRAP, len(log)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {
        "ratio": float(np.exp(log.mean())),
        "low": float(np.exp(low)),
        "high": float(np.exp(high)),
        "wins": float((log < 0).mean()),
    }


def verdict(row: dict[str, float]) -> str:
    """Return "win", "loss" or "tie" from the interval."""
    return "win" if row["high"] < 1 else "loss" if row["low"] > 1 else "tie"


def compare(areas: dict[tuple, Array], reference: str = "random") -> list[dict[str, Any]]:
    """Return the paired ratio of every method to `reference`, per task, protocol and learner."""
    out = []
    for (task, protocol, learner, method), values in sorted(areas.items()):
        base = areas.get((task, protocol, learner, reference))
        if method == reference or base is None or len(base) != len(values):
            continue
        row = paired_ratio(values, base)
        out.append(
            {"task": task, "protocol": protocol, "learner": learner, "method": method}
            | row
            | {"verdict": verdict(row), "repetitions": len(values)}
        )
    return out


def overall(comparison: list[dict[str, Any]], tasks: list[str]) -> dict[str, dict[str, Any]]:
    """Return method -> geometric-mean ratio and counts of verdicts over some tasks."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in comparison:
        if row["task"] in tasks:
            groups[row["method"]].append(row)
    return {
        method: {
            "ratio": float(np.exp(np.mean([np.log(r["ratio"]) for r in rows]))),
            **{v: sum(r["verdict"] == v for r in rows) for v in ("win", "tie", "loss")},
        }
        for method, rows in groups.items()
    }


def tuned_choice(comparison: list[dict[str, Any]], config: BenchmarkConfig) -> str | None:
    """Return the form of the score with the best mean ratio on the tuning tasks alone."""
    tuned = overall(comparison, config.tuning_tasks)
    candidates = {m: tuned[m]["ratio"] for m in config.tuned_methods if m in tuned}
    return min(candidates, key=lambda m: candidates[m]) if candidates else None


def write_tables(rows: list[dict[str, Any]], config: BenchmarkConfig, results: Path) -> list[str]:
    """Write ``curves.csv``, ``areas.csv``, ``ratios.csv``, ``summary.csv``; return a summary."""
    _write_curves(rows, results)
    areas = curve_areas(rows)
    write_rows(
        results / "areas.csv",
        ["task", "protocol", "learner", "method", "repetition", "aulc"],
        [(*key, r, float(v)) for key, values in areas.items() for r, v in enumerate(values)],
    )
    references = [m for m in ("random", "diversity", "facility") if m in config.methods]
    ratios = {reference: compare(areas, reference) for reference in references}
    header = [
        "task",
        "protocol",
        "learner",
        "method",
        "reference",
        "ratio",
        "low",
        "high",
        "wins",
        "verdict",
        "repetitions",
    ]
    write_rows(
        results / "ratios.csv",
        header,
        [
            tuple((row | {"reference": reference})[k] for k in header)
            for reference, table in ratios.items()
            for row in table
        ],
    )
    held_out = [t for t in config.tasks if t not in config.tuning_tasks]
    groups = {"all": config.tasks, "tuning": config.tuning_tasks, "held out": held_out}
    table, lines = [], []
    for reference, comparison in ratios.items():
        for group, tasks in groups.items():
            for method, row in overall(comparison, tasks).items():
                table.append(
                    (reference, group, method, row["ratio"], row["win"], row["tie"], row["loss"])
                )
    write_rows(
        results / "summary.csv",
        ["reference", "tasks", "method", "ratio", "win", "tie", "loss"],
        sorted(table, key=lambda r: (r[0], r[1], r[3])),
    )
    if "random" in ratios:
        ranked = sorted(
            overall(ratios["random"], config.tasks).items(), key=lambda i: i[1]["ratio"]
        )
        lines.append("method                 AULC/random  win/tie/loss")
        lines += [
            f"  {m:<20} {r['ratio']:10.3f}  {r['win']:3d}/{r['tie']}/{r['loss']}" for m, r in ranked
        ]
        choice = tuned_choice(ratios["random"], config)
        if choice is not None:
            far = overall(ratios["random"], held_out)[choice]
            lines.append(
                f"chosen on {', '.join(config.tuning_tasks)}: {choice}; held out: ratio "
                f"{far['ratio']:.3f}, {far['win']}/{far['tie']}/{far['loss']} win/tie/loss"
            )
    write_rows(
        results / "tasks.csv",
        ["task", "kind", "note"],
        [(t, *(f'"{w}"' for w in _describe(t))) for t in config.tasks],
    )
    return lines


def _describe(name: str) -> tuple[str, str]:
    return "see note", " ".join((TASKS[name].__doc__ or "").split())


def _write_curves(rows: list[dict[str, Any]], results: Path) -> None:
    """Mean curves and their standard errors over repetitions."""
    groups: dict[tuple, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        key = (row["task"], row["protocol"], row["learner"], row["method"], row["n"])
        groups[key][row["repetition"]].append(row["rmse"])
    out = []
    for key, repetitions in groups.items():
        values = np.array([np.mean(v) for v in repetitions.values()])
        error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
        out.append((*key, float(values.mean()), error, len(values)))
    write_rows(
        results / "curves.csv",
        ["task", "protocol", "learner", "method", "n", "rmse", "standard_error", "repetitions"],
        out,
    )
