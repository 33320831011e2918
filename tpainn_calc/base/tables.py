"""Tables in CSV files."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tpainn_calc.base.errors import DataError
from tpainn_calc.base.files import write_atomically


def write_table(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file, atomically.

    Parameters
    ----------
    path : path
    rows : iterable of mapping
        Columns are the union of the rows' keys, in the order of appearance; floats are written
        with six digits.
    """
    rows = list(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    write_atomically(path, text.getvalue())


def read_table(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read a CSV file; numbers become floats, empty fields are left out.

    Raises
    ------
    DataError
        If there is no such file, or it is no table.
    """
    if not Path(path).is_file():
        raise DataError(f"no table {path}")
    try:
        with Path(path).open(newline="", encoding="utf-8") as handle:
            lines = list(csv.DictReader(handle, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a readable table: {error}") from None
    if any(None in line for line in lines):  # where DictReader puts what has no column
        raise DataError(f"{path}: a line has more fields than the header")
    return [{k: _number(v) for k, v in line.items() if v not in ("", None)} for line in lines]


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text
