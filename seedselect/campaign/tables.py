"""Tables of features and targets: CSV, npz and HDF5."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from seedselect.campaign.dataset import Dataset
from seedselect.campaign.input_files import InputFiles
from seedselect.errors import SeedSelectError
from seedselect.pools.arrays import ArrayPool
from seedselect.pools.pool import check_finite
from tpainn_calc.base.arrays import Array
from tpainn_calc.base.errors import did_you_mean, one_line

#: What NumPy and h5py raise at damaged files.
UNREADABLE = (
    OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, EOFError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def load_table(path: Path, target_names: Sequence[str], drop: Iterable[str] = ()) -> Dataset:
    """Read a CSV, npz (X, y) or HDF5 (X, y) table.

    Parameters
    ----------
    path : path
    target_names : sequence of str
        Target columns of a CSV; they may be absent from a pool.
    drop : iterable of str
        Columns of a CSV that are neither features nor targets.
    """
    if ".csv" in path.suffixes:
        return _load_csv(path, list(target_names), set(drop))
    arrays = _read_arrays(path)
    if "X" not in arrays or arrays["X"].ndim != 2 or not arrays["X"].size:
        raise SeedSelectError(f"{path}: needs a two-dimensional array 'X'; it holds {list(arrays)}")
    X, y = arrays["X"], arrays.get("y")
    if y is not None and (y.ndim not in (1, 2) or len(y) != len(X)):
        raise SeedSelectError(
            f"{path}: 'y' has shape {y.shape}, but 'X' has {len(X)} rows: give a label for each"
        )
    targets = None if y is None else y.reshape(len(X), -1)
    names = [f"y{k}" for k in range(0 if targets is None else targets.shape[1])]
    return _table(path, X, targets, [f"x{k}" for k in range(X.shape[1])], names)


def _read_arrays(path: Path) -> dict[str, Array]:
    """Return 'X' and 'y' of an npz or HDF5 file, as far as they are there, as floats."""
    try:
        if path.suffix == ".npz":
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                found = {k: stored[k] for k in ("X", "y") if k in stored.files}
        else:
            import h5py

            with h5py.File(path, "r") as stored:
                found = {k: stored[k][()] for k in ("X", "y") if k in stored}
        return {name: np.asarray(values, dtype=float) for name, values in found.items()}
    except UNREADABLE as error:
        raise SeedSelectError(f"{path}: cannot be read ({one_line(error)})") from error


def _load_csv(path: Path, target_names: list[str], drop: set[str]) -> Dataset:
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
        rows = list(csv.reader(io.StringIO(text)))
    except (OSError, EOFError, ValueError, zlib.error, csv.Error) as error:
        raise SeedSelectError(f"{path}: cannot be read ({one_line(error)})") from error
    if len(rows) < 2:
        raise SeedSelectError(f"{path}: needs a header line and at least one row")
    header = [name.strip() for name in rows[0]]
    for name in drop:
        if name not in header:
            raise SeedSelectError(f"{path}: no column {name!r} to drop{did_you_mean(name, header)}")
    columns = [c for c in header if c not in drop and c not in target_names]
    present = [c for c in target_names if c in header]
    values = np.full((len(rows) - 1, len(header)), np.nan)
    used = {*columns, *present}
    for number, row in enumerate(rows[1:]):
        if len(row) != len(header):
            raise SeedSelectError(
                f"{path}, line {number + 2}: {len(row)} fields, the header has {len(header)}"
            )
        for place, (name, word) in enumerate(zip(header, row, strict=True)):
            if name not in used or (name in present and not word.strip()):
                continue
            try:
                values[number, place] = float(word)
            except ValueError as error:
                raise SeedSelectError(
                    f"{path}, line {number + 2}, column {name!r}: {word!r} is not a number; encode "
                    f"it or leave the column out (--drop {name})"
                ) from error
    X = values[:, [header.index(c) for c in columns]]
    targets = values[:, [header.index(c) for c in present]] if present else None
    return _table(path, X, targets, columns, present)


def _table(
    path: Path, X: Array, targets: Array | None, columns: list[str], names: list[str]
) -> Dataset:
    if not len(X):
        raise SeedSelectError(f"{path}: holds no rows")
    check_finite(X, 0, str(path))
    keys = [row_key(row) for row in X]
    return Dataset(
        InputFiles((path,)), "table", ArrayPool(X), keys, targets, np.ones(len(X)), columns, names
    )


def row_key(row: Array) -> str:
    """Return the name of a table row: a hash of its features."""
    return hashlib.sha256(np.ascontiguousarray(row + 0.0, dtype="<f8").tobytes()).hexdigest()[:24]
