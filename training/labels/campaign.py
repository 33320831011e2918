"""A seedselect campaign as seen from outside: its files, and its command for all that it decides.

`training` does not import `seedselect`: the two meet at the campaign's files and the command, which
runs in this process, since starting another one takes longer than what is asked of it.
"""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from ase import Atoms

from tpainn_calc.base.errors import DataError
from tpainn_calc.base.frames import read_extxyz

#: How long another seedselect command on the campaign is waited for, s.
PATIENCE = 120.0


@dataclass(frozen=True)
class Entry:
    """A chosen frame.

    Attributes
    ----------
    key : str
        Its ``frame_hash``.
    round, order : int
    """

    key: str
    round: int
    order: int


class Campaign:
    """A campaign of frames.

    Parameters
    ----------
    directory : path

    Attributes
    ----------
    entries : list of Entry
        Chosen frames, round by round in labelling order.
    states : dict key -> {"pending", "done", "failed"}

    Raises
    ------
    DataError
        If there is none, or it is one of table rows.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        if not (directory / "manifest.json").is_file():
            raise DataError(f"{directory}: no campaign here; start one by 'seedselect pick'")
        entries = json.loads(self._seedselect("status", "--json"))["entries"]
        self.entries = [Entry(e["key"], e["round"], e["order"]) for e in entries]
        self.states = {e["key"]: str(e["state"]) for e in entries}
        if not sorted(directory.glob("rounds/round_*.extxyz")):
            raise DataError(f"{directory}: a campaign of table rows; an engine labels frames")

    def frames(self, keys: Iterable[str]) -> dict[str, Atoms]:
        """Frames by key, without labels, in labelling order.

        Raises
        ------
        DataError
            If a round's file is missing or damaged, or lacks a frame.
        """
        wanted = set(keys)
        found: dict[str, Atoms] = {}
        for path in sorted(self.directory.glob("rounds/round_*.extxyz")):
            for atoms in read_extxyz(path):
                key = str(atoms.info.get("frame_hash", ""))
                if key in wanted:
                    found[key] = atoms
        missing = wanted - set(found)
        if missing:
            raise DataError(
                f"{self.directory / 'rounds'}: frame {min(missing)} of the campaign is in none of "
                "the rounds' files; put the files back"
            )
        return found

    def ingest(self, labels: Path, new: Sequence[str], failed: Sequence[str]) -> None:
        """Hand labels and failures to the campaign.

        Parameters
        ----------
        labels : Path
            Extended XYZ of the frames `new`; not read where there are none.
        new, failed : sequence of str
            Keys.
        """
        options = [str(labels)] if new else []
        self._seedselect("ingest", *options, *(["--failed", *failed] if failed else []))
        self.states |= dict.fromkeys(failed, "failed") | dict.fromkeys(new, "done")

    def _seedselect(self, command: str, *options: str) -> str:
        return run_seedselect(command, str(self.directory), *options)


def run_seedselect(*words: str) -> str:
    """Run a seedselect command and return what it prints.

    While another process works on the campaign it is tried again, for `PATIENCE`.

    Raises
    ------
    DataError
        With the line that the command ends with.
    """
    (command,) = entry_points(group="console_scripts", name="seedselect")
    main = command.load()
    deadline = time.monotonic() + PATIENCE
    while True:
        printed, complaints = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complaints):
            try:
                code = main(list(words))
            except SystemExit as stop:  # of its parser
                code = stop.code
        if code == 0:
            return printed.getvalue()
        if code == 130:
            raise KeyboardInterrupt
        last = (complaints.getvalue().strip().splitlines() or [f"exit code {code}"])[-1]
        if "is working on this campaign" not in last or time.monotonic() > deadline:
            raise DataError(last)
        time.sleep(1.0)
