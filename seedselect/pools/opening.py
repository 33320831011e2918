"""Whatever holds candidate rows, as a pool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seedselect.errors import SeedSelectError
from seedselect.pools.arrays import ArrayPool, Hdf5Pool, NpyPool, ShardPool
from seedselect.pools.dask_pool import DaskPool
from seedselect.pools.pool import Pool


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
