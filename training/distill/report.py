"""Figure and table of what a student leaves to its teacher."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tpainn_calc.base.files import replacing
from tpainn_calc.base.tables import write_table
from training.distill.remainder import WAVENUMBER, Remainder

#: fs; outer steps whose sampling limit is drawn.
OUTER_STEPS = (2.0, 3.0, 4.0, 6.0)
#: cm⁻¹; the spectra are averaged over windows of this width.
SMOOTHING = 50.0


def write_report(remainder: Remainder, folder: Path) -> None:
    """Write ``remainder.csv``, ``remainder.png`` and ``remainder.svg``.

    Parameters
    ----------
    remainder : Remainder
    folder : Path
    """
    wavenumber, teacher, left = (
        _windows(column, remainder.wavenumber)
        for column in (remainder.wavenumber, remainder.teacher, remainder.left)
    )
    rows = zip(wavenumber, teacher, left, strict=True)
    names = ("wavenumber_per_cm", "teacher_eV2_cm_per_A2", "left_eV2_cm_per_A2")
    write_table(
        folder / "remainder.csv",
        (dict(zip(names, map(float, row), strict=True)) for row in rows),
    )
    _draw(folder, wavenumber, teacher, left)


def _windows(column: np.ndarray, wavenumber: np.ndarray) -> np.ndarray:
    width = max(1, round(SMOOTHING / (wavenumber[1] - wavenumber[0])))
    n = len(column) // width
    return column[: n * width].reshape(n, width).mean(axis=1)


def _draw(folder: Path, wavenumber: np.ndarray, teacher: np.ndarray, left: np.ndarray) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.semilogy(wavenumber, teacher, color="0.6", label="teacher")
    axes.semilogy(wavenumber, left, color="C0", label="teacher − student")
    top = 4500.0
    for outer in OUTER_STEPS:
        limit = WAVENUMBER / (2 * outer)  # two evaluations per oscillation
        if limit < top:
            axes.axvline(limit, color="C3", lw=0.8, ls=":")
            axes.text(
                limit, 0.98, f" {outer:g} fs", color="C3", fontsize=8, va="top",
                transform=axes.get_xaxis_transform(),
            )  # fmt: skip
    shown = wavenumber < top
    axes.set(
        xlim=(0, top),
        ylim=(0.3 * left[shown].min(), 5 * teacher[shown].max()),
        xlabel="wavenumber / cm⁻¹",
        ylabel="power of a force component / ((eV/Å)² cm)",
        title="Forces along a trajectory; dotted: two outer steps per oscillation",
    )
    axes.title.set_fontsize(9)
    axes.legend(frameon=False, loc="lower left")
    for suffix in (".png", ".svg"):
        with replacing(folder / f"remainder{suffix}") as temporary:
            figure.savefig(temporary, dpi=150)
