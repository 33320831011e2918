"""Figures of a learning curve: errors over the number of frames, their ratio, convergence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"scratch": "#c8442b", "tpainn": "#2a6fbb"}
#: Of arms with names of their own, in order.
MORE_COLOURS = ("#3a8f5c", "#8a5aa8", "#c8922b", "#4a4a4a")
LABELS = {"scratch": "scratch", "tpainn": "T-PaiNN"}
QUANTITIES = {
    "test_energy_meV_per_atom_mae": "energy MAE / (meV/atom)",
    "test_forces_meV_per_A_mae": "force MAE / (meV/Å)",
    "test_stress_MPa_mae": "stress MAE / MPa",
}


def summarise(rows: list[dict[str, Any]], quantity: str) -> dict[str, dict[int, np.ndarray]]:
    """Errors by arm and number of frames, one per seed, of the chosen learning rates.

    Parameters
    ----------
    rows : list of dict
        Of ``curve.csv``.
    quantity : str
        A column of it.
    """
    found: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        if row["chosen"] and quantity in row:
            cell = found.setdefault(str(row["arm"]), {}).setdefault(int(row["n_train"]), [])
            cell.append(float(row[quantity]))
    return {
        arm: {n: np.array(values) for n, values in sorted(cells.items())}
        for arm, cells in found.items()
    }


def colours(arms: Iterable[str]) -> dict[str, str]:
    """Colour of every arm."""
    others = cycle(MORE_COLOURS)
    found = dict.fromkeys(arms)
    return {arm: COLOURS[arm] if arm in COLOURS else next(others) for arm in found}


def draw(folder: Path) -> None:
    """Draw ``curve.png`` and ``convergence.png`` from the tables in a folder.

    Parameters
    ----------
    folder : Path
        Holds ``curve.csv`` and, for the second figure, ``metrics.csv``.
    """
    from tpainn_calc.base.tables import read_table

    rows = read_table(folder / "curve.csv")
    _draw_curve(rows, folder / "curve.png")
    metrics = folder / "metrics.csv"
    if metrics.is_file():
        _draw_convergence(read_table(metrics), folder / "convergence.png")


def plain_ticks(axis: Axes, sizes: Sequence[int]) -> None:
    """Label the sizes, and round errors, where logarithmic axes would write powers of ten.

    Parameters
    ----------
    axis : matplotlib.axes.Axes
        With both scales logarithmic.
    sizes : sequence of int
        Numbers of frames.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter

    axis.set_xticks(sizes, [str(n) for n in sizes])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 5, 7), numticks=12))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def _draw_curve(rows: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    summaries = {q: summarise(rows, q) for q in QUANTITIES}
    summaries = {q: s for q, s in summaries.items() if s}
    figure = Figure(figsize=(4.6 * len(summaries), 6.4), layout="constrained")
    axes = figure.subplots(2, len(summaries), squeeze=False, sharex=True, height_ratios=(2, 1))
    colour = colours(row["arm"] for row in rows)
    for (quantity, summary), upper, lower in zip(summaries.items(), *axes, strict=True):
        sizes = sorted(set().union(*summary.values()))
        upper.set(xscale="log", xlim=(sizes[0] / 1.3, sizes[-1] * 1.3))  # of one size, too
        for arm, cells in summary.items():
            n = np.array(list(cells))
            mean = np.array([v.mean() for v in cells.values()])
            low = mean - np.array([v.min() for v in cells.values()])
            high = np.array([v.max() for v in cells.values()]) - mean
            bars = {"yerr": [low, high], "capsize": 3, "marker": "o", "color": colour[arm]}
            upper.errorbar(n, mean, label=LABELS.get(arm, arm), **bars)
        upper.set_yscale("log")
        upper.set_ylabel(QUANTITIES[quantity])
        plain_ticks(upper, sizes)
        upper.legend(title="mean, smallest, largest")
        scratch = summary.pop("scratch", {})
        for arm, cells in summary.items():
            both = sorted(set(scratch) & set(cells))
            ratios = [scratch[n].mean() / cells[n].mean() for n in both]
            lower.plot(both, ratios, "o-", color=colour[arm])
        lower.axhline(1.0, color="0.7", lw=1)
        lower.set_ylabel("scratch / tuned")
        lower.set_xlabel("DFT training frames")
    figure.savefig(path, dpi=130)


def _draw_convergence(rows: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    column = "val_forces_mae"
    if not any(np.isfinite(row.get(column, np.nan)) for row in rows):
        column = "val_energy_mae"
    sizes = sorted({int(row["n_train"]) for row in rows})
    figure = Figure(figsize=(3.4 * len(sizes), 3.6), layout="constrained")
    axes = figure.subplots(1, len(sizes), squeeze=False, sharey=True)[0]
    colour_of = colours(row["arm"] for row in rows)
    for axis, n in zip(axes, sizes, strict=True):
        for arm, colour in colour_of.items():
            runs: dict[float, list[tuple[float, float]]] = {}
            for row in rows:
                if row["arm"] == arm and row["n_train"] == n:
                    runs.setdefault(row["seed"], []).append((row["step"], 1e3 * row[column]))
            for number, points in enumerate(runs.values()):
                x, y = zip(*sorted(points), strict=True)
                label = LABELS.get(arm, arm) if number == 0 else None
                axis.plot(x, y, color=colour, lw=1.2, label=label)
        axis.set_yscale("log")
        axis.set_title(f"N = {n}")
        axis.set_xlabel("training steps")
    unit = "force MAE / (meV/Å)" if "forces" in column else "energy MAE / (meV/atom)"
    axes[0].set_ylabel(f"validation {unit}")
    axes[0].legend()
    figure.savefig(path, dpi=130)
