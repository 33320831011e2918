"""Draw the committed figures anew from the tables beside them: ``python -m examples.redraw``."""

from __future__ import annotations

from pathlib import Path

from examples.water.own import compare
from tpainn_calc.base.tables import read_table
from training.study import curve_figures
from training.teachers import figures as teachers_figures

EXAMPLES = Path(__file__).parent
CURVES = ("water/study", "water/own", "water/potential/study", "qm9/study")
TEACHERS = ("water/study", "qm9/study")


def main() -> None:
    """Entry point."""
    for name in CURVES:
        curve_figures.draw(EXAMPLES / name)
    for name in TEACHERS:
        table = EXAMPLES / name / "teachers.csv"
        teachers_figures.draw(read_table(table), table.with_suffix(".png"))
    compare.draw(EXAMPLES / "water" / "own" / "compare.csv")


if __name__ == "__main__":
    main()
