"""What is done: a marker per stage, written when its results are on disk."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tpainn_calc.base.errors import DataError
from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.frames import checksum


@dataclass(frozen=True)
class Done:
    """What a stage leaves.

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
        write_atomically(marker, json.dumps(record, indent=1).encode())
        return record, True

    def read(self, name: str) -> dict[str, Any] | None:
        """The record of a stage that is done."""
        marker = self.marker(name)
        if not marker.is_file():
            return None
        try:
            record = dict(json.loads(marker.read_text()))
            return {k: record[k] for k in ("inputs", "outputs", "seconds", "results")}
        except (ValueError, KeyError, TypeError):
            raise DataError(
                f"{marker} is damaged; remove it, and the stage is done again"
            ) from None

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


class LoopLock:
    """One process at a time in a folder; the kernel drops the lock however the process ends.

    Raises
    ------
    DataError
        On entry, if another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> LoopLock:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise DataError(
                f"{self.folder}: another process runs this loop; wait for it to end"
            ) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._descriptor)
