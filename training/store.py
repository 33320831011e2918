"""A folder of labelled frames in HDF5: grows shard by shard, and streams.

Every shard is written in one piece and then renamed into place, so a killed run leaves only whole
shards. Reading keeps shards in memory as far as a limit allows, so a set may be larger than memory.
"""

from __future__ import annotations

import io
import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, overload

import h5py
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from tpainn_calc.errors import DataError
from tpainn_calc.modelfile import write_atomically

SUFFIX = ".h5"
OPEN_SHARDS = 64

MEMORY = 2**30
"""Bytes of shards that a store keeps in memory: some 20 million atoms."""


def write_shard(folder: Path, key: str, frames: Sequence[Atoms], rejected: Sequence[str]) -> Path:
    """Add a shard to a store, atomically; an older one of that key is replaced.

    Parameters
    ----------
    folder : Path
    key : str
        Name of the shard: a valid file name.
    frames : sequence of ase.Atoms
        With energy and, as far as they have them, forces and stress. Plain numbers and strings
        in ``info`` are kept.
    rejected : sequence of str
        One line per frame that was left out.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        first = np.concatenate([[0], np.cumsum([len(a) for a in frames])]).astype(np.int64)
        file.attrs["rejected"] = json.dumps(list(rejected))
        file.create_dataset("first_atom", data=first)
        if frames:
            _write_arrays(file, frames, int(first[-1]))
    path = folder / f"{key}{SUFFIX}"
    write_atomically(path, buffer.getvalue())
    return path


def _write_arrays(file: h5py.File, frames: Sequence[Atoms], n_atoms: int) -> None:
    results = [a.calc.results for a in frames]
    forces = [
        np.asarray(r.get("forces", np.full((len(a), 3), np.nan)))
        for a, r in zip(frames, results, strict=True)
    ]
    stress = [np.asarray(r.get("stress", np.full(6, np.nan))) for r in results]
    columns = {
        "numbers": np.concatenate([a.numbers for a in frames]).astype(np.uint8),
        "positions": np.concatenate([a.positions for a in frames]),
        "forces": np.concatenate(forces),
    }
    for name, column in columns.items():
        chunk = (min(4096, n_atoms), *column.shape[1:])
        file.create_dataset(name, data=column, chunks=chunk, compression="lzf", shuffle=True)
    file.create_dataset("energy", data=np.array([r["energy"] for r in results], dtype=float))
    file.create_dataset("stress", data=np.array(stress))
    file.create_dataset("cell", data=np.array([np.asarray(a.cell) for a in frames]))
    file.create_dataset("pbc", data=np.array([a.pbc for a in frames]))
    info = [json.dumps({k: v for k, v in a.info.items() if _plain(v)}) for a in frames]
    file.create_dataset("info", data=info, dtype=h5py.string_dtype())


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)


Columns = Mapping[str, Any]
"""Arrays of a shard, in memory or in the file."""


class FrameStore(Sequence[Atoms]):
    """Frames of a store.

    Shards are read as a whole and kept while there is room. Of the others single frames are read
    from disk, but passes in order hold the shard that they are in.

    Parameters
    ----------
    folder : Path
        Holds shards, ``*.h5``; they count in the order of their names.
    memory : int
        Bytes of shards to keep.

    Raises
    ------
    DataError
        If there is no shard, or one cannot be read.
    """

    def __init__(self, folder: Path, memory: int = MEMORY) -> None:
        self.folder = folder
        self.shards = sorted(folder.glob(f"*{SUFFIX}"))
        if not self.shards:
            raise DataError(f"{folder} holds no {SUFFIX} shards")
        self.rejected: list[str] = []
        self.memory = memory
        self._sizes: list[int] = []
        counts = []
        for path in self.shards:
            try:
                with h5py.File(path, "r") as file:
                    counts.append(len(file["first_atom"]) - 1)
                    self.rejected += json.loads(file.attrs["rejected"])
                    self._sizes.append(sum(column.nbytes for column in file.values()))
            except (OSError, KeyError, ValueError) as error:
                raise DataError(f"{path} is not a readable shard of frames: {error}") from None
        self._ends = list(accumulate(counts))
        self._open: OrderedDict[int, h5py.File] = OrderedDict()
        self._kept: dict[int, Columns] = {}
        self._room = self.memory
        self._last = -1  # shard of the last frame that came out of none of the kept ones
        self._passing: Columns | None = None  # its arrays, if it was asked for twice in a row

    def __len__(self) -> int:
        return self._ends[-1]

    @overload
    def __getitem__(self, index: int) -> Atoms: ...
    @overload
    def __getitem__(self, index: slice) -> list[Atoms]: ...
    def __getitem__(self, index: int | slice) -> Atoms | list[Atoms]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard = bisect_right(self._ends, index)
        return self._read(shard, index - (self._ends[shard - 1] if shard else 0))

    def __iter__(self) -> Iterator[Atoms]:
        return (self[k] for k in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        # file handles stay in their process, and arrays are read again
        unread = {"_open": OrderedDict(), "_kept": {}, "_room": self.memory}
        return {**self.__dict__, **unread, "_last": -1, "_passing": None}

    def _read(self, shard: int, k: int) -> Atoms:
        columns = self._columns(shard)
        begin, end = columns["first_atom"][k : k + 2]
        atoms = Atoms(
            columns["numbers"][begin:end],
            positions=columns["positions"][begin:end],
            cell=columns["cell"][k],
            pbc=columns["pbc"][k],
        )
        atoms.info.update(json.loads(columns["info"][k]))
        results: dict[str, Any] = {"energy": float(columns["energy"][k])}
        labels = {"forces": columns["forces"][begin:end], "stress": columns["stress"][k]}
        results |= {name: x for name, x in labels.items() if not np.isnan(x).all()}
        atoms.calc = SinglePointCalculator(atoms, **results)
        return atoms

    def _columns(self, shard: int) -> Columns:
        if shard in self._kept:
            return self._kept[shard]
        if self._sizes[shard] <= self._room:
            self._room -= self._sizes[shard]
            self._kept[shard] = self._load(shard)
            return self._kept[shard]
        if shard != self._last:
            self._last, self._passing = shard, None
            return self._file(shard)
        if self._passing is None:
            self._passing = self._load(shard)
        return self._passing

    def _load(self, shard: int) -> Columns:
        with h5py.File(self.shards[shard], "r") as file:
            return {name: column[()] for name, column in file.items()}

    def _file(self, shard: int) -> h5py.File:
        if shard not in self._open:
            if len(self._open) >= OPEN_SHARDS:
                self._open.popitem(last=False)[1].close()
            self._open[shard] = h5py.File(self.shards[shard], "r")
        self._open.move_to_end(shard)
        return self._open[shard]
