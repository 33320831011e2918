"""Which loop a folder holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tpainn_calc.base.errors import ConfigError, DataError
from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.frames import checksum
from training.data.paths import expand_path
from training.loop.config import FREE, LoopConfig

#: Keys of classical sources that name a file.
NAMED = ("molecules", "structures", "exclude")


def check_record(root: Path, config: LoopConfig, base: Path, level: str) -> None:
    """Record the configuration in a new folder; refuse one of another configuration.

    Parameters
    ----------
    root : Path
        Folder of the loop.
    config : LoopConfig
    base : Path
        Folder that relative paths in it refer to.
    level : str
        Level of theory of the labels.

    Raises
    ------
    ConfigError
        With the first key that differs.
    """
    settings = config.model_dump(mode="json", exclude=FREE)
    read = [getattr(config.classical.source, k, None) for k in NAMED]
    paths = [expand_path(name, base) for name in (*read, *config.test.files) if name]
    record = {
        "config": settings,
        "files": {path.name: checksum(path) for path in paths},
        "level": level,
    }
    path = root / "loop.json"
    if path.is_file():
        try:
            found = dict(json.loads(path.read_text()))
        except ValueError:
            raise DataError(f"{path} is damaged; put it back, or begin a new folder") from None
        changed = _difference(found, json.loads(json.dumps(record)))
        if changed:
            raise ConfigError(
                f"{root} holds a loop with another {changed}; put it back, or choose "
                "another output folder"
            )
        return
    write_atomically(path, json.dumps(record, indent=1).encode())


def _difference(found: Any, now: Any, where: str = "") -> str:
    """Key of the first difference of two records, or nothing."""
    if isinstance(found, dict) and isinstance(now, dict):
        for key in [*now, *found]:
            inside = f"{where}.{key}" if where else str(key)
            if (key in found) != (key in now):
                return inside.removeprefix("config.")
            deeper = _difference(found[key], now[key], inside)
            if deeper:
                return deeper
        return ""
    return "" if found == now else f"{where.removeprefix('config.')} ({found!r}, now {now!r})"
