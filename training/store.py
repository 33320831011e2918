"""A folder of labelled frames in HDF5: grows shard by shard, and streams.

Every shard is written in one piece and then renamed into place, so a killed run leaves only whole
shards; frames are read one by one when they are asked for, so a set may be larger than memory.
"""

from __future__ import annotations

import io
import json
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
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


class FrameStore(Sequence[Atoms]):
    """Frames of a store, read from disk one at a time.

    Parameters
    ----------
    folder : Path
        Holds shards, ``*.h5``; they count in the order of their names.

    Raises
    ------
    DataError
        If there is no shard, or one cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shards = sorted(folder.glob(f"*{SUFFIX}"))
        if not self.shards:
            raise DataError(f"{folder} holds no {SUFFIX} shards")
        self.rejected: list[str] = []
        counts = []
        for path in self.shards:
            try:
                with h5py.File(path, "r") as file:
                    counts.append(len(file["first_atom"]) - 1)
                    self.rejected += json.loads(file.attrs["rejected"])
            except (OSError, KeyError, ValueError) as error:
                raise DataError(f"{path} is not a readable shard of frames: {error}") from None
        self._ends = list(accumulate(counts))
        self._open: OrderedDict[int, h5py.File] = OrderedDict()

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
        return {**self.__dict__, "_open": OrderedDict()}  # file handles stay in their process

    def _read(self, shard: int, k: int) -> Atoms:
        file = self._file(shard)
        begin, end = file["first_atom"][k : k + 2]
        atoms = Atoms(
            file["numbers"][begin:end],
            positions=file["positions"][begin:end],
            cell=file["cell"][k],
            pbc=file["pbc"][k],
        )
        atoms.info.update(json.loads(file["info"].asstr()[k]))
        results: dict[str, Any] = {"energy": float(file["energy"][k])}
        for name, values in (("forces", file["forces"][begin:end]), ("stress", file["stress"][k])):
            if not np.isnan(values).all():
                results[name] = values
        atoms.calc = SinglePointCalculator(atoms, **results)
        return atoms

    def _file(self, shard: int) -> h5py.File:
        if shard not in self._open:
            if len(self._open) >= OPEN_SHARDS:
                self._open.popitem(last=False)[1].close()
            self._open[shard] = h5py.File(self.shards[shard], "r")
        self._open.move_to_end(shard)
        return self._open[shard]
