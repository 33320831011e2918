"""JSON records that say what a folder holds: written once, and compared ever after."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tpainn_calc.base.errors import ConfigError, DataError
from tpainn_calc.base.files import write_atomically


def read_record(path: str | os.PathLike[str], cure: str = "put it back") -> dict[str, Any]:
    """JSON object of a file.

    Parameters
    ----------
    path : path
    cure : str
        What to do about a damaged one.

    Raises
    ------
    DataError
        If it is damaged.
    """
    try:
        return dict(json.loads(Path(path).read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError):
        raise DataError(f"{path} is damaged; {cure}") from None


def write_record(path: str | os.PathLike[str], record: dict[str, Any]) -> None:
    """Write a JSON object, atomically."""
    write_atomically(path, json.dumps(record, indent=1) + "\n")


def record_once(
    path: str | os.PathLike[str], record: dict[str, Any], complaint: str, compare: bool = True
) -> None:
    """Write a record into a new folder, or hold it against the one that is there.

    Parameters
    ----------
    path : path
    record : dict
        What JSON can hold.
    complaint : str
        What to tell the user where the two differ; ``{key}`` stands for the first key that does,
        with both of its values.
    compare : bool
        Leave a record that is there as it is, and unread, if false.

    Raises
    ------
    ConfigError
        If the folder holds another record.
    DataError
        If its record is damaged.
    """
    if not Path(path).is_file():
        write_record(path, record)
    elif compare:
        found = read_record(path, "put it back, or choose another folder")
        key = first_difference(found, json.loads(json.dumps(record)))
        if key:
            raise ConfigError(complaint.replace("{key}", key))  # paths may hold braces too


def first_difference(found: Any, now: Any, where: str = "") -> str:
    """Key of the first difference of two records, with both values; empty if they are equal."""
    if isinstance(found, dict) and isinstance(now, dict):
        for key in [*now, *found]:
            inside = f"{where}.{key}" if where else str(key)
            if (key in found) != (key in now):
                return inside
            deeper = first_difference(found[key], now[key], inside)
            if deeper:
                return deeper
        return ""
    if found == now:
        return ""
    values = f"{found!r}, now {now!r}"
    return f"{where} ({values})" if len(values) < 200 else where
