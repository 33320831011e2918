"""The figure of a comparison of teachers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tpainn_calc.base.files import replacing

LEFT, RIGHT, BASE = "#2a6fbb", "#9cc3e8", "#c8442b"
#: Titles, and the columns of the bars and of the line without a teacher.
PANELS = (
    (
        "energy error / (meV/atom)",
        (
            ("energy_slope_1_meV_per_atom", "slope 1"),
            ("energy_free_slope_meV_per_atom", "free slope"),
        ),
        "energy_no_teacher_meV_per_atom",
    ),
    (
        "force error / (meV/Å)",
        (("forces_mae_meV_per_A", "as it is"), ("forces_calibrated_meV_per_A", "calibrated")),
        "forces_mean_meV_per_A",
    ),
    ("stress error / MPa", (("stress_mae_MPa", "as it is"),), None),
)


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw errors of all teachers, and what they leave to be learnt over their cost."""
    from matplotlib.figure import Figure

    judged = [row for row in rows if "score" in row]
    panels = [p for p in PANELS if any(key in row for row in judged for key, _ in p[1])]
    if not judged or not panels:
        path.unlink(missing_ok=True)
        return
    height = 1.6 + 0.45 * len(judged)
    figure = Figure(figsize=(3.2 * (len(panels) + 1) + 1.5, height), layout="constrained")
    axes = figure.subplots(1, len(panels) + 1)
    names = [f"{row['teacher']}  {k}" for k, row in enumerate(judged, 1)]
    places = np.arange(len(judged))
    for number, (axis, (title, bars, line)) in enumerate(zip(axes, panels, strict=False)):
        for k, (key, label) in enumerate(bars):
            thickness = 0.8 / len(bars)
            values = [row.get(key, np.nan) for row in judged]
            axis.barh(
                places + (k - (len(bars) - 1) / 2) * thickness,
                values,
                thickness,
                color=(LEFT, RIGHT)[k],
                label=label,
            )
        alone = [row[line] for row in judged if line in row] if line else []
        if alone:
            axis.axvline(float(np.mean(alone)), color=BASE, lw=1.2, label="no teacher")
        axis.set_yticks(places, names if number == 0 else [""] * len(names))
        axis.invert_yaxis()
        axis.set_xlabel(title)
        axis.spines[["top", "right"]].set_visible(False)
        if len(bars) > 1 or alone:
            axis.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    _draw_cost(axes[-1], judged)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _draw_cost(axis: Any, judged: list[dict[str, Any]]) -> None:
    from matplotlib.ticker import NullFormatter

    for number, row in enumerate(judged, 1):
        taken = bool(row.get("take"))
        axis.plot(
            row["ms_per_label"], row["score"], "o", color=LEFT, ms=9 if taken else 6,
            mfc=LEFT if taken else "white",
        )  # fmt: skip
        axis.annotate(
            str(number),
            (row["ms_per_label"], row["score"]),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            fontsize=9,
        )
    axis.axhline(1.0, color=BASE, lw=1.2)
    axis.set_xscale("log")
    axis.xaxis.set_minor_formatter(NullFormatter())
    low, high = axis.get_xlim()
    axis.set_xlim(low / 2, high * 2)
    axis.set_ylim(0, max(1.1, 1.1 * max(row["score"] for row in judged)))
    axis.set_xlabel("time per label / ms")
    axis.set_ylabel("left to be learnt")
    axis.spines[["top", "right"]].set_visible(False)
