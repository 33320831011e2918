"""Pools over arrays, in memory and in files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seedselect.errors import SeedSelectError
from seedselect.pools.pool import Pool, regroup
from tpainn_calc.base.arrays import Array


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
