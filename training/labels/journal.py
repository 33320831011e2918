"""Labels of a list of frames, kept one by one as an engine makes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ase import Atoms
from tqdm import tqdm

from tpainn_calc.base.errors import DataError
from tpainn_calc.base.frames import read_extxyz, to_extxyz
from training.labels.breakdowns import settle
from training.labels.engines.config import AnyEngine
from training.labels.engines.contract import Label
from training.labels.processes import label_on_processes

#: Info keys of a frame in a journal.
NUMBER, REASON, SECONDS = "journal_number", "journal_reason", "label_seconds"


class Journal:
    """Labels of some frames as they come, in any order, appended to one file.

    Parameters
    ----------
    path : Path
        Extended XYZ; a last frame that a killed run has left half is cut off.

    Attributes
    ----------
    known : set of int
        Numbers of the frames that it holds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known = set(self.read())

    def _whole_frames(self) -> list[Atoms]:
        if not self.path.is_file():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = 0
        while whole < len(lines):
            count = lines[whole].strip()
            end = whole + int(count) + 2 if count.isdigit() else len(lines) + 1
            if end > len(lines) or not lines[end - 1].endswith("\n"):
                break
            whole = end
        if whole < len(lines):
            with self.path.open("r+", encoding="utf-8") as stream:
                stream.truncate(len("".join(lines[:whole]).encode()))
        return read_extxyz(self.path) if whole else []

    def write(self, number: int, result: Label | str) -> None:
        """Keep what an engine said about a frame."""
        if isinstance(result, Label):
            atoms = result.atoms
            atoms.info.update({"level": result.level, SECONDS: round(result.seconds, 5)})
        else:
            atoms = Atoms("H", positions=[[0.0, 0.0, 0.0]])  # no label: a place for the reason
            atoms.info[REASON] = f"x{result.encode().hex()}"  # no quotes, and no number
        atoms.info[NUMBER] = number
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.path.open("ab") as stream:
                stream.write(to_extxyz([atoms]))
        except OSError as error:  # a full disk is not named by Python
            raise OSError(error.errno, error.strerror, str(self.path)) from None

    def read(self) -> dict[int, Atoms | str]:
        """Labelled frames, and the reasons of those without a label, by number.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        found: dict[int, Atoms | str] = {}
        for atoms in self._whole_frames():
            try:
                number = int(atoms.info.pop(NUMBER))
                reason = atoms.info.pop(REASON, None)
                found[number] = atoms if reason is None else bytes.fromhex(reason[1:]).decode()
            except (KeyError, ValueError, TypeError):
                raise DataError(
                    f"{self.path} is damaged; remove it, and its labels are computed again"
                ) from None
        return found

    def remove(self) -> None:
        """Forget it, once its content is elsewhere."""
        self.path.unlink(missing_ok=True)


def label_frames(
    path: Path,
    frames: Sequence[Atoms],
    engine: AnyEngine,
    jobs: int = 1,
    progress: bool = True,
    time_limit: float | None = None,
) -> list[Atoms | str]:
    """Label frames, in parallel; those that are in the journal already are not computed again.

    Parameters
    ----------
    path : Path
        Of the journal.
    frames : sequence of ase.Atoms
    engine : AnyEngine
    jobs : int
        Processes.
    progress : bool
    time_limit : float, optional
        A frame fails after so many seconds.

    Returns
    -------
    list of ase.Atoms or str
        Labelled frames, with their ``level`` and ``label_seconds``, and the reasons of those
        without a label, in the order of `frames`.

    Raises
    ------
    LabelError
        If the engine does not work.
    """
    journal = Journal(path)
    todo = [k for k in range(len(frames)) if k not in journal.known]
    if todo:
        pairs = ((str(k), frames[k]) for k in todo)
        outcomes = settle(label_on_processes(min(jobs, len(todo)), engine, pairs, time_limit))
        with tqdm(total=len(todo), disable=not progress, desc=path.stem, unit="label") as bar:
            for key, result in outcomes:
                journal.write(int(key), result)
                bar.update()
    said = journal.read()
    return [said[k] for k in range(len(frames))]
