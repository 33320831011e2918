"""Paths as they stand in configurations."""

from __future__ import annotations

import os
from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path

from tpainn_calc.base.errors import ConfigError, DataError


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


def expand_files(names: Sequence[str], base: Path) -> dict[str, Path]:
    """Data files and folders of a list, under names that tell them apart.

    Parameters
    ----------
    names : sequence of str
        As for :func:`expand_path`, or patterns; what matches a pattern comes in order of names.
    base : Path
        Folder that relative paths refer to.

    Returns
    -------
    dict of str to Path
        The name of a file, with as many folders before it as make it unique.

    Raises
    ------
    DataError
        If nothing matches a pattern, or a file is listed twice.
    """
    paths: list[Path] = []
    for name in names:
        path = expand_path(name, base)
        if path.exists() or not has_magic(str(path)):
            paths.append(path)
            continue
        found = sorted(glob(str(path), recursive=True))
        if not found:
            raise DataError(f"no data file matches {name}")
        paths += map(Path, found)
    for k, path in enumerate(paths):
        if path in paths[:k]:
            raise DataError(f"{path} is listed twice: every frame would count double")
    return dict(zip(_short_names(paths), paths, strict=True))


def _short_names(paths: Sequence[Path]) -> list[str]:
    short = ["/".join(path.parts[-1:]) for path in paths]
    for depth in range(2, max((len(path.parts) for path in paths), default=1) + 1):
        short = [
            "/".join(path.parts[-depth:]) if short.count(name) > 1 else name
            for name, path in zip(list(short), paths, strict=True)
        ]
    return short
