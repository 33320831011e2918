"""Figures of a benchmark."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.active_learning.config import BenchmarkConfig
from benchmarks.active_learning.methods import METHODS
from benchmarks.active_learning.statistics import compare, curve_areas
from tpainn_calc.base.files import replacing

#: Methods of the curve figure: the designs, the ablation, and the strongest simple rival.
CURVE_METHODS = (
    "random", "diversity", "score", "shuffled", "atbagging", "facility", "design", "v_optimal",
    "design_permuted",
)  # fmt: skip

#: Width of an entry of the legend, inches.
ENTRY = 2.6


def save(figure: Figure, path: Path) -> None:
    """Write a figure atomically."""
    FigureCanvasAgg(figure)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)


def draw_figures(rows: list[dict[str, Any]], config: BenchmarkConfig, results: Path) -> None:
    """Write learning curves of seeds and of active learning, and areas against random.

    Files: ``curves.png``, ``loopN.png`` for every seed size of the loop, ``ratios.png``.
    """
    _draw_curves(rows, config, "seed", results / "curves.png")
    for size in config.loop_seeds:
        _draw_curves(rows, config, f"loop{size}", results / f"loop{size}.png")
    if "random" in config.methods:
        _draw_ratios(rows, config, results / "ratios.png")


def _draw_curves(
    rows: list[dict[str, Any]], config: BenchmarkConfig, protocol: str, path: Path
) -> None:
    shown = [m for m in CURVE_METHODS if m in config.methods]
    tasks, learners = config.tasks, list(config.learners)
    width = max(2.3 * len(tasks), 4.6)
    columns = min(3, max(1, int(width / ENTRY)))
    legend = 0.2 * -(-len(shown) // columns)
    figure = Figure(figsize=(width, 2.4 * len(learners) + legend), layout="constrained")
    axes = figure.subplots(len(learners), len(tasks), squeeze=False)
    values: dict[tuple, list[float]] = defaultdict(list)
    for row in rows:
        if row["protocol"] == protocol:
            values[row["learner"], row["task"], row["method"], row["n"]].append(row["rmse"])
    every = sorted({row["n"] for row in rows if row["protocol"] == protocol})
    for i, learner in enumerate(learners):
        for j, task in enumerate(tasks):
            axis = axes[i][j]
            for method in shown:
                sizes = [n for n in every if (learner, task, method, n) in values]
                curves = [values[learner, task, method, n] for n in sizes]
                mean = [np.mean(c) for c in curves]
                error = [np.std(c) / np.sqrt(len(c)) for c in curves]
                bold = method in ("atbagging", "design")
                axis.errorbar(
                    sizes, mean, error, lw=2.0 if bold else 1.0, ms=3, marker="o",
                    label=METHODS[method].label,
                )  # fmt: skip
            axis.set_xscale("log")
            axis.set_xticks(every, [str(n) for n in every])
            axis.minorticks_off()
            if i == 0:
                axis.set_title(task)
            if i == len(learners) - 1:
                axis.set_xlabel("labels")
            if j == 0:
                axis.set_ylabel(f"{learner.replace('_', ' ')}\ntest error / deviation")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    save(figure, path)


def _draw_ratios(rows: list[dict[str, Any]], config: BenchmarkConfig, path: Path) -> None:
    comparison = compare(curve_areas(rows))
    methods = [m for m in config.methods if m != "random"]
    columns = [(p, t) for p in sorted({r["protocol"] for r in comparison}) for t in config.tasks]
    learners = list(config.learners)
    figure = Figure(figsize=(0.62 * len(columns) * len(learners) + 3, 0.3 * len(methods) + 2),
                    layout="constrained")  # fmt: skip
    axes = figure.subplots(1, len(learners), squeeze=False, sharey=True)[0]
    image = None
    for axis, learner in zip(axes, learners, strict=True):
        table = np.full((len(methods), len(columns)), np.nan)
        for row in comparison:
            if row["learner"] == learner:
                place = methods.index(row["method"]), columns.index((row["protocol"], row["task"]))
                table[place] = 100 * (row["ratio"] - 1)
                if row["verdict"] != "tie":
                    axis.text(
                        *place[::-1], f"{table[place]:+.0f}", ha="center", va="center", size=7
                    )
        image = axis.imshow(table, cmap="RdBu_r", vmin=-25, vmax=25, aspect="auto")
        axis.set_xticks(
            range(len(columns)), [f"{p}: {t}" for p, t in columns], rotation=60, ha="right", size=7
        )
        axis.set_yticks(range(len(methods)), [METHODS[m].label for m in methods], size=8)
        axis.set_title(learner.replace("_", " "))
    if image is not None:
        figure.colorbar(
            image, ax=axes, label="area against random / %\n(numbers: 95 % interval excludes 0)"
        )
    save(figure, path)
