"""Extended XYZ: what is written is what is read, and damaged files are named with the frame."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from ase.build import molecule

from tpainn_calc.base.errors import DataError
from tpainn_calc.base.frames import (
    ExtXYZFile,
    attach_results,
    iter_extxyz,
    iter_frames,
    open_frames,
    read_extxyz,
    results_of,
    write_extxyz,
    write_shard,
)


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    made = []
    for k in range(5):
        atoms = molecule("H2O" if k % 2 else "CH4")
        atoms.info["place"] = k
        made.append(attach_results(atoms, -1.5 * k, rng.normal(size=(len(atoms), 3))))
    return made


def same(read, made):
    assert len(read) == len(made)
    for a, b in zip(read, made, strict=True):
        assert np.allclose(a.positions, b.positions, atol=1e-7)
        assert a.info["place"] == b.info["place"]
        for name, value in results_of(b).items():
            assert np.allclose(results_of(a)[name], value, atol=1e-7)


@pytest.mark.parametrize("name", ["a.extxyz", "a.extxyz.gz"])
def test_round_trip_in_order_and_at_random(tmp_path, frames, name):
    path = tmp_path / name
    write_extxyz(path, frames)
    same(read_extxyz(path), frames)
    same(open_frames(path), frames)
    stored = ExtXYZFile(path)
    same(stored.take([3, 0, 3]), [frames[3], frames[0], frames[3]])
    same([stored[-1]], [frames[-1]])
    same(stored[1:3], frames[1:3])
    same(list(stored), frames)


def test_one_hdf5_file_and_folders(tmp_path, frames):
    same(open_frames(write_shard(tmp_path / "h", "all", frames)), frames)
    same(open_frames(tmp_path / "h"), frames)
    write_extxyz(tmp_path / "x" / "a.extxyz", frames[:2])
    (tmp_path / "x" / "b.extxyz").touch()  # a task that gave nothing
    same(open_frames(tmp_path / "x"), frames[:2])


def test_frames_one_by_one_from_wherever_they_are(tmp_path, frames):
    write_shard(tmp_path / "h", "all", frames)
    for name in ("a", "b"):
        write_extxyz(tmp_path / "x" / f"{name}.extxyz", frames[:3] if name == "a" else frames[3:])
    for path in (tmp_path / "h", tmp_path / "h" / "all.h5", tmp_path / "x"):
        same(list(iter_frames(path)), frames)
    same(list(iter_frames(tmp_path / "x" / "a.extxyz")), frames[:3])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no frames"):
        iter_frames(tmp_path / "empty")


def test_a_free_energy_alone_is_the_energy(tmp_path, frames):
    atoms = frames[0]
    atoms.calc.results = {"free_energy": -7.5}
    write_extxyz(tmp_path / "a.extxyz", [atoms])
    assert results_of(read_extxyz(tmp_path / "a.extxyz")[0]) == {"energy": -7.5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no frames"),
        ("x\n\nH 0 0 0\n", "frame 0 starts with 'x'"),
        ("2\n\nH 0 0 0\n", "truncated in frame 0"),
        ("99999999999\n\nH 0 0 0\n", "promises 99999999999 atoms"),
        ("-3\n\nH 0 0 0\n", "promises -3 atoms"),
        ("1\nenergy=1\nH 0 0 0\n1\n\nH a b c\n", "frame 1 is not valid"),
    ],
)
def test_damaged_files(tmp_path, text, message):
    path = tmp_path / "a.extxyz"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        list(iter_extxyz(path))
    assert str(path) in str(caught.value)
    if "not valid" not in message:
        with pytest.raises(DataError, match=message):
            ExtXYZFile(path)


def test_columns_without_end_are_refused(tmp_path):
    path = tmp_path / "a.extxyz"
    path.write_text("1\nProperties=species:S:99999999999:pos:R:3\nH 0 0 0\n")
    with pytest.raises(DataError, match="frame 0 promises too many columns"):
        list(iter_extxyz(path))


def test_damaged_archives(tmp_path, frames):
    path = tmp_path / "a.extxyz.gz"
    write_extxyz(path, frames)
    data = path.read_bytes()
    assert gzip.decompress(data).startswith(b"5\n")
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"broken|truncated"):
        read_extxyz(path)
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match="broken"):
        read_extxyz(path)
    with pytest.raises(DataError, match="no data file"):
        read_extxyz(tmp_path / "absent.extxyz")
