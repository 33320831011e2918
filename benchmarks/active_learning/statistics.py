"""Paired statistics of learning curves."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.active_learning.config import BenchmarkConfig
from benchmarks.active_learning.runner import write_rows
from benchmarks.active_learning.tasks import TASKS
from tpainn_calc.base.arrays import Array
from tpainn_calc.base.files import write_atomically

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
    references: list[str] = [m for m in config.methods if m in ("random", "diversity")]
    ratios: dict[str, list[dict[str, Any]]] = {r: compare(areas, r) for r in references}
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
        lines += _ranking(ratios["random"], config, held_out)
    write_atomically(results / "summary.md", _summary(rows, ratios, groups, config))
    write_rows(
        results / "tasks.csv",
        ["task", "kind", "note"],
        [(t, *(f'"{w}"' for w in _describe(t))) for t in config.tasks],
    )
    return lines


def _ranking(
    comparison: list[dict[str, Any]], config: BenchmarkConfig, held_out: list[str]
) -> list[str]:
    """Return the table for the terminal."""
    ranked = sorted(overall(comparison, config.tasks).items(), key=lambda item: item[1]["ratio"])
    lines = ["method                 AULC/random  win/tie/loss"]
    for method, row in ranked:
        score = f"{row['win']:3d}/{row['tie']}/{row['loss']}"
        lines.append(f"  {method:<20} {row['ratio']:10.3f}  {score}")
    choice = tuned_choice(comparison, config)
    far = overall(comparison, held_out).get(choice or "")
    if far is not None:
        lines.append(
            f"chosen on {', '.join(config.tuning_tasks)}: {choice}; held out: ratio "
            f"{far['ratio']:.3f}, {far['win']}/{far['tie']}/{far['loss']} win/tie/loss"
        )
    return lines


def _summary(
    rows: list[dict[str, Any]],
    ratios: dict[str, list[dict[str, Any]]],
    groups: dict[str, list[str]],
    config: BenchmarkConfig,
) -> str:
    """Return the results as Markdown, with the number of repetitions they rest on."""
    done = {t: len({r["repetition"] for r in rows if r["task"] == t}) for t in config.tasks}
    out = [
        "# Results",
        "",
        "Written by `python -m benchmarks.active_learning`. Repetitions: "
        + ", ".join(f"{task} {count}" for task, count in done.items())
        + f" (of {config.repetitions}).",
    ]
    for reference, comparison in ratios.items():
        tables = {name: overall(comparison, tasks) for name, tasks in groups.items() if tasks}
        if not any(tables.values()):
            continue
        out += [
            "",
            f"## Area under the learning curve against {reference}",
            "",
            "Geometric mean of paired ratios (below 1 is better); wins/ties/losses of the 95 % "
            "bootstrap intervals over task, protocol and learner.",
            "",
            "| method | " + " | ".join(f"{n} tasks" for n in tables) + " |",
            "|---|" + "---|" * len(tables),
        ]
        ranked = sorted(tables["all"], key=lambda m: tables["all"][m]["ratio"])
        for method in ranked:
            cells = [
                f"{t[method]['ratio']:.3f} ({t[method]['win']}/{t[method]['tie']}/"
                f"{t[method]['loss']})"
                if method in t
                else ""
                for t in tables.values()
            ]
            out.append(f"| {method} | " + " | ".join(cells) + " |")
    choice = tuned_choice(ratios.get("random", []), config)
    if choice is not None:
        out += [
            "",
            f"Best form of the score on the tuning tasks ({', '.join(config.tuning_tasks)}): "
            f"**{choice}**. The column of held-out tasks is its test.",
        ]
    return "\n".join(out) + "\n"


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
