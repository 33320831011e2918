"""Pools of candidate rows, in memory or larger than memory.

Every computation streams a pool in blocks of exactly `BLOCK_ROWS` rows, whatever the size of the
file, shard or chunk behind it, so that one block, many blocks and Dask give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from seedselect.errors import SeedSelectError
from tpainn_calc.base.arrays import Array

Result = TypeVar("Result")

#: Rows per block of every streamed pass.
BLOCK_ROWS = 4096


@runtime_checkable
class Pool(Protocol):
    """What a pool must offer: its size, its rows in order, and any rows by index."""

    @property
    def n(self) -> int:
        """Number of rows."""

    @property
    def n_features(self) -> int:
        """Number of columns."""

    def blocks(self, size: int) -> Iterator[Array]:
        """Yield the rows in order, `size` at a time (the last block may be shorter)."""

    def take(self, indices: NDArray[np.intp]) -> Array:
        """Return the rows at `indices`, in that order."""


def map_blocks(pool: Pool, function: Callable[[int, Array], Result]) -> Iterator[Result]:
    """Yield function(start, block) over the pool in order; in parallel where the pool can."""
    parallel = getattr(pool, "map_blocks", None)
    if parallel is not None:
        yield from parallel(function)
        return
    start = 0
    for block in pool.blocks(BLOCK_ROWS):
        yield function(start, block)
        start += len(block)


#: Largest number of a row.
LARGEST = float(np.finfo(np.float32).max)


def regroup(blocks: Iterable[Array], size: int) -> Iterator[Array]:
    """Yield the same rows in blocks of exactly `size` (the last may be shorter)."""
    waiting: list[Array] = []
    count = 0
    for block in blocks:
        offset = 0
        while offset < len(block):
            part = block[offset : offset + size - count]
            waiting.append(np.asarray(part, dtype=float))
            count += len(part)
            offset += len(part)
            if count == size:
                yield waiting[0] if len(waiting) == 1 else np.concatenate(waiting)
                waiting, count = [], 0
    if count:
        yield waiting[0] if len(waiting) == 1 else np.concatenate(waiting)


def check_finite(block: Array, start: int, name: str) -> Array:
    """Return `block` or say where its first NaN, infinity or absurdly large number is.

    Forests compute in float32, so what float32 cannot hold is as good as infinite.
    """
    wrong = ~(np.abs(block) <= LARGEST)
    if wrong.any():
        row, column = (int(v[0]) for v in np.nonzero(wrong))
        value = block[row, column]
        kind = "NaN" if np.isnan(value) else f"{value:.4g}"
        raise SeedSelectError(
            f"{name} contains NaN or inf, or numbers beyond {LARGEST:.2g} ({kind} at row "
            f"{start + row}, column {column}): drop or impute the row before selecting"
        )
    return block


class ArrayPool:
    """A pool over anything that slices to rows: an array, a `numpy.memmap`, an HDF5 data set.

    Parameters
    ----------
    rows : array-like (n, d)
    """

    def __init__(self, rows: Any) -> None:
        if getattr(rows, "ndim", 0) != 2:
            raise SeedSelectError(
                f"a pool needs two dimensions (rows, columns), got shape {np.shape(rows)}"
            )
        self.rows = rows

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.rows.shape[0])

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return int(self.rows.shape[1])

    def blocks(self, size: int) -> Iterator[Array]:
        """Yield blocks of `size` rows."""
        for start in range(0, self.n, size):
            yield np.asarray(self.rows[start : start + size], dtype=float)

    def take(self, indices: NDArray[np.intp]) -> Array:
        """Return rows by index; unsorted and repeated indices are allowed."""
        if isinstance(self.rows, np.ndarray):
            return np.asarray(self.rows[indices], dtype=float)
        # HDF5 wants increasing indices.
        unique, inverse = np.unique(indices, return_inverse=True)
        return np.asarray(self.rows[unique], dtype=float)[inverse]


class ShardPool:
    """A pool over several pools one after the other (npy shards, HDF5 files).

    Parameters
    ----------
    parts : sequence of Pool
        All with the same number of columns.
    """

    def __init__(self, parts: Sequence[Pool]) -> None:
        if not parts:
            raise SeedSelectError("a pool of shards needs at least one shard")
        widths = sorted({part.n_features for part in parts})
        if len(widths) > 1:
            raise SeedSelectError(f"the shards differ in their number of columns: {widths}")
        self.parts = list(parts)
        self.starts = np.concatenate([[0], np.cumsum([part.n for part in parts])])

    @property
    def n(self) -> int:
        """Number of rows of all shards."""
        return int(self.starts[-1])

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self.parts[0].n_features

    def blocks(self, size: int) -> Iterator[Array]:
        """Yield blocks of `size` rows across shard borders."""
        return regroup((block for part in self.parts for block in part.blocks(size)), size)

    def take(self, indices: NDArray[np.intp]) -> Array:
        """Return rows by index."""
        indices = np.asarray(indices)
        out = np.empty((len(indices), self.n_features))
        owner = np.searchsorted(self.starts, indices, side="right") - 1
        for shard in np.unique(owner):
            mine = owner == shard
            out[mine] = self.parts[shard].take(indices[mine] - self.starts[shard])
        return out


class NpyPool:
    """A pool over one `.npy` file that is read, not mapped: resident memory stays at one block.

    Parameters
    ----------
    path : path
        A C-ordered two-dimensional float or integer array.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            with self.path.open("rb") as stream:
                version = np.lib.format.read_magic(stream)
                read = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                self.shape, fortran, self.dtype = read(stream)
                self.offset = stream.tell()
        except FileNotFoundError as error:
            raise SeedSelectError(f"{self.path}: no such file") from error
        except ValueError as error:
            raise SeedSelectError(f"{self.path} is not a readable .npy file: {error}") from error
        if len(self.shape) != 2 or fortran or self.dtype.kind not in "fiu":
            raise SeedSelectError(
                f"{self.path} holds shape {self.shape} of {self.dtype}: a pool needs a C-ordered "
                "two-dimensional numeric array; save np.ascontiguousarray(x)"
            )
        expected = self.offset + self.n * self._row_bytes
        if self.path.stat().st_size < expected:
            raise SeedSelectError(
                f"{self.path} is truncated: {self.path.stat().st_size} bytes of {expected}"
            )

    @property
    def _row_bytes(self) -> int:
        return int(self.shape[1]) * self.dtype.itemsize

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.shape[0])

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return int(self.shape[1])

    def _read(self, stream: Any, start: int, count: int) -> Array:
        stream.seek(self.offset + start * self._row_bytes)
        flat = np.fromfile(stream, dtype=self.dtype, count=count * self.shape[1])
        return flat.reshape(count, self.shape[1]).astype(float, copy=False)

    def blocks(self, size: int) -> Iterator[Array]:
        """Yield blocks of `size` rows."""
        with self.path.open("rb") as stream:
            for start in range(0, self.n, size):
                yield self._read(stream, start, min(size, self.n - start))

    def take(self, indices: NDArray[np.intp]) -> Array:
        """Return rows by index."""
        out = np.empty((len(indices), self.n_features))
        with self.path.open("rb") as stream:
            for position in np.argsort(indices, kind="stable"):
                out[position] = self._read(stream, int(indices[position]), 1)[0]
        return out


class Hdf5Pool(ArrayPool):
    """A pool over one two-dimensional data set of an HDF5 file.

    Parameters
    ----------
    path : path
    dataset : str, default "X"
    """

    def __init__(self, path: str | Path, dataset: str = "X") -> None:
        import h5py

        try:
            self.file = h5py.File(path, "r")
        except OSError as error:
            raise SeedSelectError(f"{path} cannot be read as HDF5: {error}") from error
        if dataset not in self.file:
            names = ", ".join(sorted(self.file))
            self.file.close()
            raise SeedSelectError(f"{path} has no data set {dataset!r}; it holds: {names}")
        super().__init__(self.file[dataset])

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class DaskPool:
    """A pool over a two-dimensional `dask.array` (extra ``tpainn[dask]``).

    Blocks are computed on the workers of the current Dask scheduler, a few at a time; results
    come back in order.

    Parameters
    ----------
    array : dask.array.Array (n, d)
    in_flight : int, default 8
        Blocks computed at once; bounds the memory.
    """

    def __init__(self, array: Any, in_flight: int = 8) -> None:
        if array.ndim != 2 or np.isnan(array.shape[0]):
            raise SeedSelectError(
                "a Dask pool needs two dimensions of known size: call compute_chunk_sizes() first"
            )
        self.array = array.rechunk((BLOCK_ROWS, -1))
        self.in_flight = in_flight

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.array.shape[0])

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return int(self.array.shape[1])

    def map_blocks(self, function: Callable[[int, Array], Result]) -> Iterator[Result]:
        """Yield function(start, block) in order, computed on the workers."""
        import dask

        def run(start: int, block: Any) -> Result:
            return function(start, np.asarray(block, dtype=float))

        call = dask.delayed(run, pure=False)
        parts = self.array.to_delayed()[:, 0]
        for first in range(0, len(parts), self.in_flight):
            some = range(first, min(first + self.in_flight, len(parts)))
            yield from dask.compute(*[call(i * BLOCK_ROWS, parts[i]) for i in some])

    def blocks(self, size: int) -> Iterator[Array]:
        """Yield blocks of `size` rows."""
        return regroup(self.map_blocks(lambda _, block: block), size)

    def take(self, indices: NDArray[np.intp]) -> Array:
        """Return rows by index."""
        unique, inverse = np.unique(indices, return_inverse=True)
        return np.asarray(self.array[unique].compute(), dtype=float)[inverse]


def as_pool(source: Any) -> Pool:
    """Return a pool over `source`.

    Accepted: a `Pool`; an array, memory map or HDF5 data set; a `dask.array`; the path of a
    `.npy`, `.h5`/`.hdf5` file or of a directory of `.npy` shards; a list of such paths.
    """
    if isinstance(source, Pool):
        return source
    if isinstance(source, str | Path):
        return _from_path(Path(source))
    if isinstance(source, list | tuple) and source and isinstance(source[0], str | Path):
        return ShardPool([_from_path(Path(item)) for item in source])
    if type(source).__module__.startswith("dask."):
        return DaskPool(source)
    if type(source).__module__.startswith("h5py"):
        return ArrayPool(source)
    return ArrayPool(source if isinstance(source, np.ndarray) else np.asarray(source, dtype=float))


def pool_like(source: Any, n_features: int) -> Pool:
    """Return a pool over `source`, which must have rows, and as many columns as the source set."""
    rows = as_pool(source)
    if rows.n_features != n_features:
        raise SeedSelectError(
            f"the pool has {rows.n_features} columns but the source {n_features}: use the same "
            "descriptor for both"
        )
    if rows.n == 0:
        raise SeedSelectError("the pool is empty: nothing to select from")
    return rows


def _from_path(path: Path) -> Pool:
    if path.is_dir():
        shards = sorted(path.glob("*.npy"))
        if not shards:
            raise SeedSelectError(f"{path}: no .npy shards in this directory")
        return ShardPool([NpyPool(shard) for shard in shards])
    if path.suffix == ".npy":
        return NpyPool(path)
    if path.suffix in (".h5", ".hdf5"):
        return Hdf5Pool(path)
    raise SeedSelectError(f"{path}: a pool is read from .npy, .h5, .hdf5 or a directory of .npy")
