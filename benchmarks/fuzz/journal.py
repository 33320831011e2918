"""Results of single cases on the disk, so that a run that was cut off goes on where it was."""

from __future__ import annotations

import csv
from pathlib import Path

from tpainn_calc.base.tables import read_table


class Journal:
    """A table to which each case adds its line.

    Parameters
    ----------
    path : path
        CSV file with the columns ``name``, ``number`` and ``result``; created if need be.
    again : collection of str
        Results that do not count as done: the case is run again.
    """

    def __init__(self, path: Path, again: frozenset[str] = frozenset()) -> None:
        self._path = path
        self._results: dict[tuple[str, int], str] = {}
        if path.is_file():
            for row in read_table(path):
                self._results[str(row["name"]), int(row["number"])] = str(row["result"])
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("name,number,result\n", encoding="utf-8")
        self._results = {k: v for k, v in self._results.items() if v not in again}

    def get(self, name: str, number: int) -> str | None:
        """Result of a case; None where it is still to be run."""
        return self._results.get((name, number))

    def add(self, name: str, number: int, result: str) -> None:
        """Keep the result of a case."""
        self._results[name, number] = result
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow([name, number, result])
