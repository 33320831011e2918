"""Record of the loop that a folder holds."""

from __future__ import annotations

from pathlib import Path

from tpainn_calc.base.frames import checksum
from tpainn_calc.base.records import record_once
from training.data.paths import expand_path
from training.loop.config import FREE, LoopConfig


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
    paths = [expand_path(n, base) for n in (*config.classical.source.files, *config.test.files)]
    record = {
        **settings,
        "files": {path.name: checksum(path) for path in paths},
        "level": level,
    }
    record_once(
        root / "loop.json",
        record,
        f"{root} holds a loop with another {{key}}; put it back, or choose another output folder",
    )
