"""Source and pool files as rows: frames with a descriptor, or tables."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seedselect.cache import save_arrays
from seedselect.descriptors import describe
from seedselect.errors import SeedSelectError
from seedselect.frame import Frame
from seedselect.pool import ArrayPool, NpyPool, Pool, ShardPool
from tpainn_calc.base.errors import did_you_mean
from tpainn_calc.base.files import replacing
from tpainn_calc.base.frames import FrameStore

Array = NDArray[np.float64]

#: Frames whose descriptors make one file of the cache: what a killed run loses at most.
CACHE_BLOCK = 256

FRAME_SUFFIXES = (".xyz", ".extxyz")
TABLE_SUFFIXES = (".csv", ".npz")
HDF5_SUFFIXES = (".h5", ".hdf5")


@dataclass
class Dataset:
    """Rows of one input file.

    Attributes
    ----------
    path : path
    kind : {"frames", "table"}
    pool : Pool
        Descriptors or feature columns.
    keys : list of str
        Name of every row: a hash of its content.
    targets : array (n, K) or None
        Labels, NaN where a row has none.
    sizes : array (n,)
        Atoms per frame; 1 for a table.
    columns : list of str
        Feature columns of a table.
    target_names : list of str
    """

    path: Path
    kind: str
    pool: Pool
    keys: list[str]
    targets: Array | None
    sizes: Array
    columns: list[str]
    target_names: list[str]

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.keys)


def kind_of(path: Path) -> str:
    """Return "frames" or "table" from a file's name (and an HDF5 file's content)."""
    suffixes = [s for s in path.suffixes if s != ".gz"]
    suffix = suffixes[-1].lower() if suffixes else ""
    if not path.is_file():
        raise SeedSelectError(f"{path}: no such file")
    if suffix in FRAME_SUFFIXES:
        return "frames"
    if suffix in TABLE_SUFFIXES:
        return "table"
    if suffix in HDF5_SUFFIXES:
        return "frames" if holds_frames(path) else "table"
    known = ", ".join((*FRAME_SUFFIXES, *TABLE_SUFFIXES, *HDF5_SUFFIXES))
    raise SeedSelectError(f"{path}: unknown kind of file; known endings are {known} (and .gz)")


def holds_frames(path: Path) -> bool:
    """Tell whether an HDF5 file holds frames (and not a table)."""
    try:
        with h5py.File(path, "r") as file:
            return "positions" in file
    except (OSError, RuntimeError) as error:
        raise SeedSelectError(f"{path}: cannot be read as HDF5 ({error})") from error


def iter_any_frames(path: Path) -> Iterator[Frame]:
    """Yield the frames of an extended-XYZ or HDF5 file."""
    from seedselect.io import iter_frames, to_frame

    if path.suffix.lower() in HDF5_SUFFIXES:
        return map(to_frame, FrameStore(path))
    return iter_frames(path)


def load_frames(path: Path, descriptor: Callable[[Frame], Array], cache: Path) -> Dataset:
    """Describe the frames of a file, block by block, resuming from `cache`.

    Parameters
    ----------
    path : path
    descriptor : callable
    cache : path
        A directory that belongs to this file and this descriptor.
    """
    cache.mkdir(parents=True, exist_ok=True)
    blocks = 0
    waiting: list[Frame] = []
    with tqdm(desc=f"describing {path.name}", unit="frame", disable=None) as bar:

        def flush() -> None:
            nonlocal blocks, waiting
            if not (cache / f"rows_{blocks:06d}.npz").is_file():
                _describe_block(waiting, descriptor, cache, blocks, blocks * CACHE_BLOCK, path)
            bar.update(len(waiting))
            blocks, waiting = blocks + 1, []

        for frame in iter_any_frames(path):
            waiting.append(frame)
            if len(waiting) == CACHE_BLOCK:
                flush()
        if waiting:
            flush()
    keys: list[str] = []
    tables: dict[str, list[Array]] = {"targets": [], "sizes": [], "composition": []}
    for number in range(blocks):
        with np.load(cache / f"rows_{number:06d}.npz", allow_pickle=False) as part:
            keys.extend(str(k) for k in part["keys"])
            for name, values in tables.items():
                values.append(part[name])
    pool = ShardPool([NpyPool(cache / f"X_{number:06d}.npy") for number in range(blocks)])
    raw, sizes = np.concatenate(tables["targets"]), np.concatenate(tables["sizes"])
    targets, names = frame_targets(raw, _pad(tables["composition"]))
    return Dataset(path, "frames", pool, keys, targets, sizes, [], names)


def _describe_block(
    frames: list[Frame],
    descriptor: Callable[[Frame], Array],
    cache: Path,
    number: int,
    start: int,
    path: Path,
) -> None:
    try:
        rows = describe(frames, descriptor)
    except SeedSelectError as error:
        raise SeedSelectError(
            f"{path}, frames {start}-{start + len(frames) - 1}: {error}"
        ) from error
    with replacing(cache / f"X_{number:06d}.npy") as temporary:
        np.save(temporary, rows)
    # The row file is written last: it says that the block is complete.
    save_arrays(
        cache / f"rows_{number:06d}.npz",
        {
            "keys": np.array([frame.key for frame in frames]),
            "targets": np.array([raw_targets(frame) for frame in frames]),
            "sizes": np.array([float(len(frame)) for frame in frames]),
            "composition": np.array([np.bincount(f.numbers, minlength=119) for f in frames]),
        },
    )


def _pad(parts: list[Array]) -> Array:
    return np.concatenate(parts).astype(float)


def raw_targets(frame: Frame) -> tuple[float, float]:
    """Return energy (eV) and rms force (eV/Angstrom) of a frame, NaN where unknown."""
    energy = np.nan if frame.energy is None else frame.energy
    force = np.nan if frame.forces is None else float(np.sqrt((frame.forces**2).mean()))
    return energy, force


def frame_targets(raw: Array, composition: Array) -> tuple[Array | None, list[str]]:
    """Return targets that do not depend on composition: energy per atom beyond a fit, rms force.

    Parameters
    ----------
    raw : array (n, 2)
        Of `raw_targets`.
    composition : array (n, Z)
        Atoms of each element.

    Returns
    -------
    targets : array (n, K) or None
    names : list of str
    """
    columns, names = [], []
    energy, force = raw.T
    labelled = np.isfinite(energy)
    if labelled.any():
        used = composition[:, composition.any(axis=0)]
        fit, *_ = np.linalg.lstsq(used[labelled], energy[labelled], rcond=None)
        columns.append((energy - used @ fit) / used.sum(axis=1))
        names.append("energy")
    if np.isfinite(force).any():
        columns.append(force)
        names.append("forces")
    return (np.column_stack(columns) if columns else None), names


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
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as stored:
                arrays = {k: stored[k] for k in stored.files}
        else:
            with h5py.File(path, "r") as stored:
                arrays = {k: stored[k][:] for k in stored}
    except (OSError, ValueError) as error:
        raise SeedSelectError(f"{path}: cannot be read ({error})") from error
    if "X" not in arrays or arrays["X"].ndim != 2:
        raise SeedSelectError(f"{path}: needs a two-dimensional array 'X'; it holds {list(arrays)}")
    X = np.asarray(arrays["X"], dtype=float)
    y = arrays.get("y")
    targets = None if y is None else np.asarray(y, dtype=float).reshape(len(X), -1)
    names = [f"y{k}" for k in range(0 if targets is None else targets.shape[1])]
    return _table(path, X, targets, [f"x{k}" for k in range(X.shape[1])], names)


def _load_csv(path: Path, target_names: list[str], drop: set[str]) -> Dataset:
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise SeedSelectError(f"{path}: cannot be read ({error})") from error
    rows = list(csv.reader(io.StringIO(text)))
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
    keys = [row_key(row) for row in X]
    return Dataset(path, "table", ArrayPool(X), keys, targets, np.ones(len(X)), columns, names)


def row_key(row: Array) -> str:
    """Return the name of a table row: a hash of its features."""
    return hashlib.sha256(np.ascontiguousarray(row + 0.0, dtype="<f8").tobytes()).hexdigest()[:24]


def frames_at(path: Path, rows: Iterable[int]) -> dict[int, Frame]:
    """Return frames of a file by row."""
    wanted = set(rows)
    found: dict[int, Frame] = {}
    for number, frame in enumerate(iter_any_frames(path)):
        if number in wanted:
            found[number] = frame
            if len(found) == len(wanted):
                break
    return found


def load_any(
    path: Path,
    make_descriptor: Callable[[], Any],
    cache: Path,
    target_names: Sequence[str],
    drop: Iterable[str],
) -> Dataset:
    """Return the rows of a file of either kind."""
    if kind_of(path) == "frames":
        return load_frames(path, make_descriptor(), cache)
    return load_table(path, target_names, drop)
