"""Frames in HDF5 and QM9: what is written is what is read."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from tpainn_calc.base.frames import FrameStore, write_shard
from tpainn_calc.errors import DataError
from training.data.frames import read_frames
from training.data.qm9 import LEVEL, QM9Frames


def test_shards_hold_frames_as_they_were(tmp_path: Path, frames: list[Atoms]) -> None:
    frames[1].info["temperature"] = 300.0
    write_shard(tmp_path, "b", frames[3:5], ["b, frame 2: bad"])
    write_shard(tmp_path, "a", frames[:3], [])
    write_shard(tmp_path, "c", [], ["c, frame 0: worse"])
    store = FrameStore(tmp_path)
    assert len(store) == 5
    assert store.rejected == ["b, frame 2: bad", "c, frame 0: worse"]
    for got, want in zip(pickle.loads(pickle.dumps(store)), frames[:5], strict=True):
        assert np.array_equal(got.positions, want.positions)
        assert np.array_equal(got.get_forces(), want.get_forces())
        assert got.get_potential_energy() == want.get_potential_energy()
        assert "stress" not in got.calc.results
    assert store[1].info["temperature"] == 300.0
    found, rejected = read_frames(tmp_path)
    assert found[4].info["index"] == 4
    assert not rejected


@pytest.mark.parametrize("memory", [0, 1500, 2**20])
def test_frames_are_the_same_however_many_shards_fit_in_memory(
    tmp_path: Path, frames: list[Atoms], memory: int
) -> None:
    for k in range(5):
        write_shard(tmp_path, f"{k}", frames[4 * k : 4 * k + 4], [])
    store = FrameStore(tmp_path, memory)
    in_turn = [4 * (k % 5) + k // 5 for k in range(20)]  # every frame out of another shard
    for order in (in_turn, range(20), in_turn):
        for k in order:
            assert np.array_equal(store[k].positions, frames[k].positions)
            assert np.array_equal(store[k].get_forces(), frames[k].get_forces())
    store[0].positions[:] = 0.0  # the caller's copy
    assert np.array_equal(store[0].positions, frames[0].positions)


def test_damaged_shards_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"a\.h5 is not a readable shard"):
        FrameStore(tmp_path)
    with pytest.raises(DataError, match="holds no"):
        FrameStore(tmp_path / "absent")


def test_frames_too_close_are_rejected(tmp_path: Path, frames: list[Atoms]) -> None:
    write_shard(tmp_path, "a", frames, [])
    nearest = [float(a.get_all_distances()[np.triu_indices(3, 1)].min()) for a in frames]
    limit = float(np.median(nearest))
    kept, rejected = read_frames(tmp_path, min_distance=limit)
    assert len(kept) == sum(d >= limit for d in nearest)
    assert "Å apart" in rejected[0]


@pytest.mark.data
def test_qm9_energies_are_total_energies_in_ev() -> None:
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    path = Path(os.environ.get("TPAINN_DATA", beside)) / "qm9" / "qm9.npz"
    if not path.is_file():
        pytest.skip("needs the reference data")
    methane = QM9Frames(path)[0]
    assert methane.get_chemical_formula() == "CH4"
    assert methane.info == {"molecule": 1, "level": LEVEL}
    assert methane.get_potential_energy() == pytest.approx(-40.47893 * 27.211386, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("u0", lambda x: x[:-1]),
        ("offset", lambda x: x[:-1]),
        ("offset", lambda x: x[::-1]),
        ("pos", lambda x: x[:, :2]),
        ("pos", lambda x: x[:-1]),
        ("Z", lambda x: x[:-1]),
        ("Z", lambda x: x + 200),
        ("Z", lambda x: x.astype(str)),
        ("id", lambda x: x[:0]),
    ],
)
def test_archives_of_unequal_columns_are_refused(tmp_path: Path, name: str, change: Any) -> None:
    columns = {
        "id": np.array([1, 2]),
        "offset": np.array([0, 2, 5]),
        "Z": np.array([1, 1, 8, 1, 1]),
        "pos": np.arange(15.0).reshape(5, 3),
        "u0": np.array([-1.0, -76.0]),
    }
    np.savez(tmp_path / "good.npz", **columns)
    assert len(QM9Frames(tmp_path / "good.npz")) == 2
    np.savez(tmp_path / "bad.npz", **{**columns, name: change(columns[name])})
    with pytest.raises(DataError, match="is not an archive of QM9: "):
        QM9Frames(tmp_path / "bad.npz")


def test_a_flipped_bit_of_an_archive_is_one_line(tmp_path: Path) -> None:
    columns = {"id": [1], "offset": [0, 1], "Z": [1], "pos": [[0.0, 0, 0]], "u0": [-0.5]}
    np.savez(tmp_path / "good.npz", **{name: np.array(x) for name, x in columns.items()})
    good = (tmp_path / "good.npz").read_bytes()
    refused = 0
    for place in range(0, len(good), 3):
        for bit in (0, 5):
            flipped = bytes([good[place] ^ 1 << bit])
            (tmp_path / "bad.npz").write_bytes(good[:place] + flipped + good[place + 1 :])
            try:
                list(QM9Frames(tmp_path / "bad.npz"))
            except DataError as error:
                refused += 1
                assert "is not an archive of QM9: " in str(error)  # noqa: PT017
    assert refused > 100
