"""Extended XYZ and HDF5 files: round trips, random access, faults."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from seedselect.campaign.input_files import InputFiles, holds_frames
from seedselect.frames.atoms import FramePool, iter_frames, read_frames, to_atoms, write_frames
from seedselect.frames.descriptors import LocalInvariants, describe
from tpainn_calc.base.errors import TPaiNNError
from tpainn_calc.base.frames import write_shard


@pytest.fixture
def file(tmp_path, make_frames):
    path = tmp_path / "water.extxyz"
    write_frames(path, make_frames(7))
    return path


def test_round_trip(file, make_frames):
    for read, made in zip(read_frames(file), make_frames(7), strict=True):
        assert read.key == made.key
        assert read.energy == pytest.approx(made.energy)
        np.testing.assert_allclose(read.forces, made.forces, atol=1e-7)
        np.testing.assert_array_equal(read.pbc, made.pbc)


def test_compressed_and_hdf5(file, tmp_path, make_frames):
    (tmp_path / "w.extxyz.gz").write_bytes(gzip.compress(file.read_bytes()))
    write_shard(tmp_path, "w", [to_atoms(frame) for frame in make_frames(7)])
    keys = [frame.key for frame in make_frames(7)]
    assert [f.key for f in iter_frames(tmp_path / "w.extxyz.gz")] == keys
    stored = list(InputFiles.of(tmp_path / "w.h5").frames())
    assert [f.key for f in stored] == keys
    assert stored[3].energy == make_frames(7)[3].energy
    np.testing.assert_array_equal(stored[3].forces, make_frames(7)[3].forces)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_frame_pool(suffix, file, tmp_path, make_frames):
    path = file
    if suffix:
        path = tmp_path / "w.extxyz.gz"
        path.write_bytes(gzip.compress(file.read_bytes()))
    descriptor = LocalInvariants([1, 8])
    pool = FramePool(path, descriptor)
    rows = describe(make_frames(7), descriptor)
    assert (pool.n, pool.n_features) == rows.shape
    blocks = list(pool.blocks(3))
    assert [len(b) for b in blocks] == [3, 3, 1]
    np.testing.assert_allclose(np.concatenate(blocks), rows, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(pool.take(np.array([5, 0])), rows[[5, 0]], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no frames"),
        ("hello\n", "instead of a count"),
        ("2\nProperties=species:S:1:pos:R:3\nH 0 0 0\n", "truncated in frame 0"),
        ("1\nProperties=species:S:1:pos:R:3\nH 0 zero 0\n", "frame 0 is not valid"),
        ("1\nProperties=species:S:1:pos:R:3\nQq 0 0 0\n", "frame 0 is not valid"),
    ],
)
def test_faulty_files(text, message, tmp_path):
    path = tmp_path / "bad.extxyz"
    path.write_text(text)
    with pytest.raises(TPaiNNError, match=message):
        read_frames(path)


def test_missing_and_cut_files(file, tmp_path):
    with pytest.raises(TPaiNNError, match="no data file"):
        read_frames(tmp_path / "missing.extxyz")
    cut = tmp_path / "cut.extxyz.gz"
    cut.write_bytes(gzip.compress(file.read_bytes())[:-200])
    with pytest.raises(TPaiNNError, match="broken after frame"):
        read_frames(cut)
    (tmp_path / "no.h5").write_text("not HDF5")
    with pytest.raises(TPaiNNError, match="HDF5"):
        holds_frames(tmp_path / "no.h5")


def test_writing_leaves_no_temporary_file(file):
    assert [p.name for p in file.parent.iterdir()] == ["water.extxyz"]
