"""``CAMPAIGN/labels``: one file per label or failure, and the lock of who writes them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ase import Atoms

from tpainn_calc.base.errors import DataError
from tpainn_calc.base.files import finished_files, write_atomically
from tpainn_calc.base.frames import read_extxyz, to_extxyz
from tpainn_calc.base.locks import Lock
from tpainn_calc.base.records import read_record, write_record
from training.labels.engines.contract import Label

FAILED = ".failed.json"
CURE = "put it back, or remove it"


class LabelFolder:
    """Labels and failures of the frames of a campaign.

    ``KEY.extxyz`` is a label, ``KEY.failed.json`` a frame without one and the reason,
    ``engine.json`` who made them; ``config.yaml`` the engine's settings with all defaults. Every
    file but ``log.txt`` is written in one piece: a killed run loses the frames that were being
    computed, and nothing else.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def keys(self) -> set[str]:
        """Frames that have a label."""
        return {path.stem for path in finished_files(self.path, "*.extxyz")}

    def failures(self) -> dict[str, str]:
        """Frames that failed, and why."""
        found = {}
        for path in sorted(self.path.glob(f"*{FAILED}")):
            found[path.name.removesuffix(FAILED)] = _entry(path, "reason")
        return found

    def label_path(self, key: str) -> Path:
        """File of a label."""
        return self.path / f"{key}.extxyz"

    def read(self, keys: Iterable[str]) -> dict[str, Atoms]:
        """Labelled frames."""
        return {key: read_extxyz(self.label_path(key))[0] for key in keys}

    def write(self, key: str, label: Label) -> None:
        """Keep a label."""
        atoms = label.atoms
        notes = {f"label_{name}": value for name, value in label.notes.items()}
        atoms.info.update({"level": label.level, "label_seconds": round(label.seconds, 3), **notes})
        write_atomically(self.label_path(key), to_extxyz([atoms]))
        self._failure_path(key).unlink(missing_ok=True)

    def write_failure(self, key: str, reason: str, level: str) -> None:
        """Keep the reason why a frame has no label; a label that it had is set aside."""
        content = {"frame_hash": key, "level": level, "reason": reason}
        write_record(self._failure_path(key), content)
        if self.label_path(key).is_file():
            os.replace(self.label_path(key), self.path / f"{key}.rejected")

    def _failure_path(self, key: str) -> Path:
        return self.path / f"{key}{FAILED}"

    def forget_failure(self, key: str) -> None:
        """Let a failed frame be tried again."""
        self._failure_path(key).unlink(missing_ok=True)

    def record(self, level: str, description: dict[str, Any]) -> None:
        """Say who labels here; a campaign has one level of theory, from its first label on.

        Raises
        ------
        DataError
            If labels of another level are here.
        """
        path = self.path / "engine.json"
        if path.is_file():
            found = _entry(path, "level")
            if found == level:
                return
            if self.keys():
                raise DataError(
                    f"{self.path}: labels of level {found!r} are here, and the engine gives "
                    f"{level!r}; use one level per campaign"
                )
        write_record(path, {"level": level, "engine": description})


def _entry(path: Path, key: str) -> str:
    record = read_record(path, CURE)
    if key not in record:
        raise DataError(f"{path} is damaged; {CURE}")
    return str(record[key])


@contextmanager
def label_lock(folder: Path, share: tuple[int, int] | None = None) -> Iterator[None]:
    """Hold the right to label a campaign: one run alone, or an array, each member its share.

    Parameters
    ----------
    folder : Path
        The campaign's ``labels``.
    share : (int, int), optional
        Number of this member and of all members.

    Raises
    ------
    BusyError
        On entry, if another process holds it.
    """
    busy = (
        f"{folder.parent}: process {{holder}} is labelling this campaign; wait for it to end, or "
        "give each worker its share (--share)"
    )
    with ExitStack() as held:
        held.enter_context(Lock(folder / ".lock", busy, shared=share is not None))
        if share is not None:
            held.enter_context(Lock(folder / ".lock-{}-of-{}".format(*share), busy))
        yield
