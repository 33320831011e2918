"""Source and pool as rows of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from seedselect.campaign.input_files import InputFiles
from seedselect.errors import SeedSelectError
from seedselect.frames.descriptors import describe
from seedselect.frames.frame import Frame
from seedselect.frames.targets import frame_targets, raw_targets
from seedselect.pools.arrays import NpyPool, ShardPool
from seedselect.pools.pool import Pool
from tpainn_calc.base.arrays import Array
from tpainn_calc.base.files import replacing

#: Frames whose descriptors make one file of the cache: what a killed run loses at most.
CACHE_BLOCK = 256


@dataclass
class Dataset:
    """Rows of an input.

    Attributes
    ----------
    files : InputFiles
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

    files: InputFiles
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


def load_frames(files: InputFiles, descriptor: Callable[[Frame], Array], cache: Path) -> Dataset:
    """Describe frames, block by block, resuming from `cache`.

    Parameters
    ----------
    files : InputFiles
    descriptor : callable
    cache : path
        A directory that belongs to these files and this descriptor.
    """
    cache.mkdir(parents=True, exist_ok=True)
    blocks = 0
    waiting: list[Frame] = []
    with tqdm(desc=f"describing {files.paths[0].name}", unit="frame", disable=None) as bar:

        def flush() -> None:
            nonlocal blocks, waiting
            if not (cache / f"rows_{blocks:06d}.npz").is_file():
                _describe_block(waiting, descriptor, cache, blocks, blocks * CACHE_BLOCK, files)
            bar.update(len(waiting))
            blocks, waiting = blocks + 1, []

        for frame in files.frames():
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
    targets, names = frame_targets(raw, np.concatenate(tables["composition"]).astype(float))
    return Dataset(files, "frames", pool, keys, targets, sizes, [], names)


def _describe_block(
    frames: list[Frame],
    descriptor: Callable[[Frame], Array],
    cache: Path,
    number: int,
    start: int,
    files: InputFiles,
) -> None:
    try:
        rows = describe(frames, descriptor)
    except SeedSelectError as error:
        raise SeedSelectError(
            f"{files}, frames {start}-{start + len(frames) - 1}: {error}"
        ) from error
    with replacing(cache / f"X_{number:06d}.npy") as temporary:
        np.save(temporary, rows)
    # The row file is written last: it says that the block is complete.
    with replacing(cache / f"rows_{number:06d}.npz") as temporary:
        np.savez_compressed(
            temporary,
            keys=np.array([frame.key for frame in frames]),
            targets=np.array([raw_targets(frame) for frame in frames]),
            sizes=np.array([float(len(frame)) for frame in frames]),
            composition=np.array([np.bincount(f.numbers, minlength=119) for f in frames]),
        )


def frames_at(files: InputFiles, rows: Iterable[int]) -> dict[int, Frame]:
    """Return frames by row."""
    wanted = set(rows)
    found: dict[int, Frame] = {}
    for number, frame in enumerate(files.frames()):
        if number in wanted:
            found[number] = frame
            if len(found) == len(wanted):
                break
    return found
