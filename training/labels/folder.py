"""``CAMPAIGN/labels``: one file per label or failure, and the lock of who writes them."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from ase import Atoms

from tpainn_calc.base.errors import DataError
from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.frames import read_extxyz, to_extxyz
from training.labels.engines.contract import Label

FAILED = ".failed.json"


class LabelFolder:
    """What engines said about the frames of a campaign.

    ``KEY.extxyz`` is a label, ``KEY.failed.json`` a frame without one and the reason,
    ``engine.json`` who made them. Every file is written in one piece: a killed run loses the
    frames that were being computed, and nothing else.

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
        write_atomically(self._failure_path(key), json.dumps(content, indent=1).encode())
        if self.label_path(key).is_file():
            os.replace(self.label_path(key), self.path / f"{key}.rejected")

    def _failure_path(self, key: str) -> Path:
        return self.path / f"{key}{FAILED}"

    def forget_failure(self, key: str) -> None:
        """Let a failed frame be tried again."""
        self._failure_path(key).unlink(missing_ok=True)

    def record(self, level: str, description: dict[str, Any]) -> None:
        """Say who labels here; a campaign has one level of theory.

        Raises
        ------
        DataError
            If labels of another level are here.
        """
        path = self.path / "engine.json"
        if path.is_file():
            found = _entry(path, "level")
            if found != level:
                raise DataError(
                    f"{self.path}: labels of level {found!r} are here, and the engine gives "
                    f"{level!r}; use one level per campaign"
                )
            return
        write_atomically(
            path, json.dumps({"level": level, "engine": description}, indent=1).encode()
        )


def _entry(path: Path, key: str) -> str:
    try:
        return str(json.loads(path.read_text())[key])
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path} is damaged; put it back, or remove it") from None


class LabelLock:
    """Who may label a campaign: one run alone, or the members of an array, each its share.

    The kernel drops the lock when the process ends, however it ends.

    Parameters
    ----------
    folder : Path
    share : (int, int), optional
        Number of this member and of all members.

    Raises
    ------
    DataError
        On entry, if another process holds it.
    """

    def __init__(self, folder: Path, share: tuple[int, int] | None) -> None:
        self.folder = folder
        self.share = share
        self._held: list[int] = []

    def __enter__(self) -> LabelLock:
        self.folder.mkdir(parents=True, exist_ok=True)
        whole = fcntl.LOCK_EX if self.share is None else fcntl.LOCK_SH
        self._take(".lock", whole)
        if self.share is not None:
            self._take(".lock-{}-of-{}".format(*self.share), fcntl.LOCK_EX)
        return self

    def _take(self, name: str, how: int) -> None:
        descriptor = os.open(self.folder / name, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(descriptor, 32).decode().strip() or "unknown"
            os.close(descriptor)
            self._release()
            raise DataError(
                f"{self.folder.parent}: process {holder} is labelling this campaign; wait for it "
                "to end, or give each worker its share (--share)"
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        self._held.append(descriptor)

    def _release(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)
        self._held = []

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._release()
