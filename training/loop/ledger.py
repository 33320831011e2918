"""Markers of finished stages, written when their results are on disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tpainn_calc.base.errors import DataError
from tpainn_calc.base.frames import checksum
from tpainn_calc.base.locks import Lock
from tpainn_calc.base.records import read_record, write_record


@dataclass(frozen=True)
class Done:
    """Outputs of a stage.

    Attributes
    ----------
    outputs : sequence of Path
        Files that later stages read.
    results : dict
        Plain values for the report.
    """

    outputs: Sequence[Path]
    results: dict[str, Any] = field(default_factory=dict)


class Ledger:
    """Markers of the stages of a loop.

    A marker holds the checksums of what a stage read and wrote, so that a stage is not repeated,
    and not taken for done where one of them was changed.

    Parameters
    ----------
    root : Path
        Folder of the loop.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(
        self, name: str, inputs: Sequence[Path], work: Callable[[], Done]
    ) -> tuple[dict[str, Any], bool]:
        """Do a stage unless it is done; every stage can be begun again after a kill.

        Parameters
        ----------
        name : str
            Path of the marker in the folder, without ``.done.json``.
        inputs : sequence of Path
        work : callable

        Returns
        -------
        record : dict
            ``results``, ``seconds``, ``inputs``, ``outputs``.
        fresh : bool
            Whether it was done now.

        Raises
        ------
        DataError
            If it was done with other inputs, or its outputs are gone or changed.
        """
        marker = self.marker(name)
        found = self.read(name)
        if found is not None:
            self._compare(marker, "read", found["inputs"], inputs)
            self._compare(
                marker, "wrote", found["outputs"], [self.root / p for p in found["outputs"]]
            )
            return found, False
        began = time.monotonic()
        done = work()
        record = {
            "inputs": self._sums(inputs),
            "outputs": self._sums(done.outputs),
            # since this process began the stage: time before a kill is not counted
            "seconds": round(time.monotonic() - began, 2),
            "results": done.results,
        }
        write_record(marker, record)
        return record, True

    def read(self, name: str) -> dict[str, Any] | None:
        """The record of a stage that is done."""
        marker = self.marker(name)
        if not marker.is_file():
            return None
        cure = "remove it, and the stage is done again"
        record = read_record(marker, cure)
        try:
            return {k: record[k] for k in ("inputs", "outputs", "seconds", "results")}
        except KeyError:
            raise DataError(f"{marker} is damaged; {cure}") from None

    def marker(self, name: str) -> Path:
        """Path of a marker."""
        return self.root / f"{name}.done.json"

    def _sums(self, paths: Sequence[Path]) -> dict[str, str]:
        return {os.path.relpath(path, self.root): checksum(path) for path in paths}

    def _compare(
        self, marker: Path, verb: str, found: dict[str, str], paths: Sequence[Path]
    ) -> None:
        for path in paths:
            name = os.path.relpath(path, self.root)
            if not path.exists():
                what = "is gone"
            elif found.get(name) != checksum(path):
                what = "has changed"
            else:
                continue
            raise DataError(
                f"{path} {what} since {marker.name.split('.')[0]!r} of {marker.parent} {verb} it; "
                "put it back, or begin a new folder"
            )


def loop_lock(folder: Path) -> Lock:
    """One process at a time in the folder of a loop."""
    busy = f"{folder}: process {{holder}} runs this loop; wait for it to end"
    return Lock(folder / ".lock", busy)
