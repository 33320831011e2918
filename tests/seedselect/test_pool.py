"""Pools: every way of storing rows gives the same rows and the same selection."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from seedselect import ATBagging, NpyPool, SeedSelectError, ShardPool, as_pool
from seedselect.pools.pool import BLOCK_ROWS, regroup

N = BLOCK_ROWS + 977


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(0).normal(size=(N, 4))


@pytest.fixture(scope="module")
def fitted(rows):
    y = rows[:200, 0] * rows[:200, 1]
    return ATBagging(n_estimators=12, random_state=3).fit(rows[:200], y)


@pytest.fixture
def stored(rows, tmp_path):
    """The same rows in every form a pool may take."""
    np.save(tmp_path / "all.npy", rows)
    shards = tmp_path / "shards"
    shards.mkdir()
    for i, (a, b) in enumerate([(0, 10), (10, 3000), (3000, 4500), (4500, N)]):
        np.save(shards / f"part_{i:03d}.npy", rows[a:b])
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file.create_dataset("X", data=rows, chunks=(333, 4))
    return {
        "array": rows,
        "memmap": np.load(tmp_path / "all.npy", mmap_mode="r", allow_pickle=False),
        "npy": str(tmp_path / "all.npy"),
        "shards": shards,
        "list": [tmp_path / "all.npy"],
        "hdf5": tmp_path / "all.h5",
        "parts": ShardPool([as_pool(rows[:1]), as_pool(rows[1:4096]), as_pool(rows[4096:])]),
    }


FORMS = ["memmap", "npy", "shards", "list", "hdf5", "parts"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [7, 1000, 10**6])
def test_same_rows(form, size, stored, rows):
    if size == 7 and form == "hdf5":
        pytest.skip("700 small HDF5 reads prove nothing more")
    pool = as_pool(stored[form])
    assert (pool.n, pool.n_features) == rows.shape
    blocks = list(pool.blocks(size))
    assert all(len(block) == size for block in blocks[:-1])
    np.testing.assert_array_equal(np.concatenate(blocks), rows)
    wanted = np.array([N - 1, 3, 3000, 3, 10])
    np.testing.assert_array_equal(pool.take(wanted), rows[wanted])


@pytest.mark.parametrize("sampler", ["kdpp", "map"])
def test_same_selection_bit_for_bit(sampler, stored, fitted):
    fitted.set_params(sampler=sampler)
    reference = fitted.select(8, pool=stored["array"], labeled=[5])
    for form in FORMS:
        selection = fitted.select(8, pool=stored[form], labeled=[5])
        np.testing.assert_array_equal(selection.ordered, reference.ordered)
        np.testing.assert_array_equal(selection.quality, reference.quality)
        np.testing.assert_array_equal(
            selection.inclusion_probability, reference.inclusion_probability
        )


@pytest.mark.parametrize("chunks", [(N, 4), (500, 2), (4096, 4)])
def test_dask_gives_the_same_bits(chunks, rows, fitted):
    dask_array = pytest.importorskip("dask.array", reason="needs the extra tpainn[dask]")
    fitted.set_params(sampler="kdpp")
    reference = fitted.select(8, pool=rows)
    pool = dask_array.from_array(rows, chunks=chunks)
    selection = fitted.select(8, pool=pool)
    np.testing.assert_array_equal(selection.ordered, reference.ordered)
    np.testing.assert_array_equal(selection.inclusion_probability, reference.inclusion_probability)
    wrapped = as_pool(pool)
    np.testing.assert_array_equal(np.concatenate(list(wrapped.blocks(1000))), rows)


def test_regroup():
    parts = [np.ones((n, 1)) * n for n in (1, 5, 2, 9)]
    assert [len(block) for block in regroup(parts, 4)] == [4, 4, 4, 4, 1]
    np.testing.assert_array_equal(np.concatenate(list(regroup(parts, 4))), np.concatenate(parts))


def test_nan_in_a_later_block_is_located(rows, fitted):
    bad = rows.copy()
    bad[4500, 2] = np.nan
    with pytest.raises(SeedSelectError, match=r"NaN at row 4500, column 2"):
        fitted.select(5, pool=bad)


def test_bad_files(tmp_path):
    with pytest.raises(SeedSelectError, match="no such file"):
        NpyPool(tmp_path / "missing.npy")
    (tmp_path / "text.npy").write_text("hello, this is no array at all")
    with pytest.raises(SeedSelectError, match="not a readable"):
        NpyPool(tmp_path / "text.npy")
    np.save(tmp_path / "flat.npy", np.arange(5))
    with pytest.raises(SeedSelectError, match="two-dimensional"):
        NpyPool(tmp_path / "flat.npy")
    np.save(tmp_path / "cut.npy", np.zeros((100, 3)))
    whole = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-50])
    with pytest.raises(SeedSelectError, match="truncated"):
        NpyPool(tmp_path / "cut.npy")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["Y"] = np.zeros((2, 2))
    with pytest.raises(SeedSelectError, match="it holds: Y"):
        as_pool(tmp_path / "x.h5")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SeedSelectError, match=r"no \.npy shards"):
        as_pool(tmp_path / "empty")
    with pytest.raises(SeedSelectError, match="a pool is read from"):
        as_pool("pool.txt")
    with pytest.raises(SeedSelectError, match="two dimensions"):
        as_pool(np.arange(4.0))


def test_shards_must_agree():
    with pytest.raises(SeedSelectError, match=r"\[2, 3\]"):
        ShardPool([as_pool(np.zeros((2, 2))), as_pool(np.zeros((2, 3)))])
