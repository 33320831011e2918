"""Paths as they stand in configurations."""

from __future__ import annotations

import os
from pathlib import Path

from tpainn_calc.base.errors import ConfigError


def expand_path(name: str, base: Path) -> Path:
    """Path of a data file: ``${TPAINN_DATA}`` and ``~`` expanded, relative to `base`.

    Without the environment variable, ``${TPAINN_DATA}`` is ``../shared/data`` beside the
    repository.

    Raises
    ------
    ConfigError
        If ``${TPAINN_DATA}`` is needed and there is no such folder.
    """
    if "${TPAINN_DATA}" in name:
        beside = Path(__file__).resolve().parents[2] / "shared" / "data"
        folder = Path(os.environ.get("TPAINN_DATA", beside))
        if not folder.is_dir():
            raise ConfigError(
                f"{name}: the reference data are not here; set TPAINN_DATA to their folder"
            )
        name = name.replace("${TPAINN_DATA}", str(folder))
    path = Path(name).expanduser()
    return path if path.is_absolute() else base / path
