"""Labelled frames in HDF5: a folder that grows shard by shard and streams, or a single file.

Every shard is written in one piece and then renamed into place, so a killed run leaves only whole
shards. Reading keeps shards in memory as far as a limit allows, so a set may be larger than memory.

Layout of a file: ``first_atom`` (frames + 1), ``numbers`` (atoms), ``positions`` (atoms, 3), and
optionally ``cell`` (frames, 3, 3), ``pbc`` (frames, 3), ``energy`` (frames), ``forces`` (atoms, 3),
``stress`` (frames, 6; Voigt), ``info`` (frames; JSON); eV and Å. NaN stands for a missing label.
"""

from __future__ import annotations

import io
import json
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms

from tpainn_calc.base.errors import DataError
from tpainn_calc.base.files import finished_files, write_atomically
from tpainn_calc.base.frames.results import attach_results, results_of
from tpainn_calc.base.frames.sequence import FrameSequence

SUFFIX = ".h5"
SUFFIXES = (SUFFIX, ".hdf5")
#: Columns that every file has; ``offset`` is an older name of ``first_atom``.
FIRST_ATOM, OFFSET = "first_atom", "offset"
OPEN_SHARDS = 64

#: What h5py and NumPy raise at damaged files.
UNREADABLE = (OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError)

MEMORY = 2**30
"""Bytes of shards that a store keeps in memory: some 20 million atoms."""


def write_shard(
    folder: Path, key: str, frames: Sequence[Atoms], rejected: Sequence[str] = ()
) -> Path:
    """Add a shard to a store, atomically; an older one of that key is replaced.

    Parameters
    ----------
    folder : Path
    key : str
        Name of the shard: a valid file name.
    frames : sequence of ase.Atoms
        With energy, forces and stress as far as they have them. Plain numbers and strings in
        ``info`` are kept.
    rejected : sequence of str
        One line per frame that was left out.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        first = np.concatenate([[0], np.cumsum([len(a) for a in frames])]).astype(np.int64)
        file.attrs["rejected"] = json.dumps(list(rejected))
        file.create_dataset(FIRST_ATOM, data=first)
        if frames:
            _write_arrays(file, frames, int(first[-1]))
    path = folder / f"{key}{SUFFIX}"
    write_atomically(path, buffer.getvalue())
    return path


def _write_arrays(file: h5py.File, frames: Sequence[Atoms], n_atoms: int) -> None:
    results = [results_of(a) for a in frames]
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
    file.create_dataset("energy", data=[float(r.get("energy", np.nan)) for r in results])
    file.create_dataset("stress", data=np.array(stress))
    file.create_dataset("cell", data=np.array([np.asarray(a.cell) for a in frames]))
    file.create_dataset("pbc", data=np.array([a.pbc for a in frames]))
    info = [json.dumps({k: v for k, v in a.info.items() if _plain(v)}) for a in frames]
    file.create_dataset("info", data=info, dtype=h5py.string_dtype())


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float | bool)


Columns = Mapping[str, Any]
"""Arrays of a shard, in memory or in the file."""


class FrameStore(FrameSequence):
    """Frames of a store.

    Shards are read as a whole and kept while there is room. Of the others single frames are read
    from disk, but passes in order hold the shard that they are in.

    Parameters
    ----------
    path : path
        A file, or a folder that holds shards, ``*.h5``; they count in the order of their names.
    memory : int
        Bytes of shards to keep.

    Raises
    ------
    DataError
        If there is no shard, or one cannot be read.
    """

    def __init__(self, path: str | os.PathLike[str], memory: int = MEMORY) -> None:
        path = Path(path)
        self.shards = finished_files(path, f"*{SUFFIX}") if path.is_dir() else [path]
        if not all(shard.is_file() for shard in self.shards) or not self.shards:
            raise DataError(f"{path} holds no {SUFFIX} shards")
        self.rejected: list[str] = []
        self.memory = memory
        self._sizes: list[int] = []
        counts = []
        for shard in self.shards:
            try:
                with h5py.File(shard, "r") as file:
                    counts.append(_count(file))
                    self.rejected += json.loads(file.attrs.get("rejected", "[]"))
                    self._sizes.append(sum(column.nbytes for column in file.values()))
            except UNREADABLE as error:
                raise DataError(f"{shard} is not a readable shard of frames: {error}") from None
        self._ends = list(accumulate(counts))
        self._open: OrderedDict[int, h5py.File] = OrderedDict()
        self._kept: dict[int, Columns] = {}
        self._room = self.memory
        self._last = -1  # shard of the last frame that came out of none of the kept ones
        self._passing: Columns | None = None  # its arrays, if it was asked for twice in a row

    def __len__(self) -> int:
        return self._ends[-1]

    def read(self, index: int) -> Atoms:
        """Frame by number."""
        shard = bisect_right(self._ends, index)
        k = index - (self._ends[shard - 1] if shard else 0)
        try:
            return _frame(self._columns(shard), k)
        except UNREADABLE as error:
            raise DataError(f"{self.shards[shard]}: frame {k} cannot be read: {error}") from None

    def __getstate__(self) -> dict[str, Any]:
        # file handles stay in their process, and arrays are read again
        unread = {"_open": OrderedDict(), "_kept": {}, "_room": self.memory}
        return {**self.__dict__, **unread, "_last": -1, "_passing": None}

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


def _count(file: h5py.File) -> int:
    """Number of frames, where every column has the length that it should have."""
    first = file[FIRST_ATOM if FIRST_ATOM in file else OFFSET][()]
    n_frames = len(first) - 1
    if n_frames < 0 or first[0] != 0 or (np.diff(first) < 0).any():
        raise ValueError(f"{FIRST_ATOM} does not count atoms")
    if n_frames == 0:
        return 0
    n_atoms = int(first[-1])
    shapes = {
        "numbers": (n_atoms,),
        "positions": (n_atoms, 3),
        "forces": (n_atoms, 3),
        "energy": (n_frames,),
        "stress": (n_frames, 6),
        "cell": (n_frames, 3, 3),
        "pbc": (n_frames, 3),
        "info": (n_frames,),
    }
    for name, shape in shapes.items():
        if name in file and file[name].shape != shape:
            raise ValueError(f"{name} has shape {file[name].shape}, not {shape}")
        if name not in file and name in ("numbers", "positions"):
            raise KeyError(f"no data set {name!r}")
    return n_frames


def _frame(columns: Columns, k: int) -> Atoms:
    begin, end = columns[FIRST_ATOM if FIRST_ATOM in columns else OFFSET][k : k + 2]
    cell = columns["cell"][k] if "cell" in columns else np.zeros((3, 3))
    atoms = Atoms(
        columns["numbers"][begin:end],
        positions=columns["positions"][begin:end],
        cell=cell,
        pbc=columns["pbc"][k] if "pbc" in columns else np.abs(cell).sum(axis=1) > 0,
    )
    if "info" in columns:
        atoms.info.update(json.loads(columns["info"][k]))
    labels: dict[str, Any] = {
        "energy": columns["energy"][k] if "energy" in columns else np.nan,
        "forces": columns["forces"][begin:end] if "forces" in columns else np.nan,
        "stress": columns["stress"][k] if "stress" in columns else np.nan,
    }
    return attach_results(atoms, **{name: x for name, x in labels.items() if not np.isnan(x).all()})
