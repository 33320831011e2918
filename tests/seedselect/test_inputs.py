"""Inputs of a pick: folders of shards, several files; and its refusals, in one line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seedselect.campaign.manifest import read_manifest
from seedselect.cli import main
from seedselect.frames.atoms import read_frames, to_atoms, write_frames
from tpainn_calc.base.frames import write_shard

FEW = ("--n-estimators", 8, "--n-features", 64)


def run(*words) -> int:
    try:
        return main([str(w) for w in words])
    except SystemExit as stop:
        return int(stop.code or 0)


def refuse(capsys, match: str, *words) -> None:
    """Expect exit code 2 and one line on stderr that holds `match`."""
    capsys.readouterr()
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert match in error, error
    assert error.count("\n") == 1
    assert "Traceback" not in error


def keys(directory: Path) -> list[str]:
    return [entry.key for entry in read_manifest(directory).entries]


def test_shards_several_files_and_one_file_are_the_same_frames(tmp_path, make_frames):
    frames = make_frames(30)
    write_frames(tmp_path / "all.extxyz", frames)
    write_frames(tmp_path / "a.extxyz", frames[:12])
    write_frames(tmp_path / "b.extxyz", frames[12:])
    shards = tmp_path / "pool"
    for number in range(3):  # what `tpainn-train classical` writes
        part = frames[10 * number : 10 * number + 10]
        write_shard(shards, f"task_{number:03d}", [to_atoms(frame) for frame in part])
    sources = {
        "one": [tmp_path / "all.extxyz"],
        "two": [tmp_path / "a.extxyz", tmp_path / "b.extxyz"],
        "shards": [shards],
    }
    for name, source in sources.items():
        assert run("pick", *source, "-n", 6, "-o", tmp_path / name, *FEW) == 0
    assert keys(tmp_path / "one") == keys(tmp_path / "two") == keys(tmp_path / "shards")
    # and the campaign goes on from them
    for name in ("two", "shards"):
        assert run("next", tmp_path / name, "-n", 4, "--dry-run") == 0
        assert run("next", tmp_path / name, "-n", 4) == 0
        assert len(read_frames(tmp_path / name / "selected.extxyz")) == 4
        assert run("report", tmp_path / name) == 0
    assert keys(tmp_path / "two") == keys(tmp_path / "shards")


def test_one_of_several_files_that_changed_is_noticed(tmp_path, make_frames, capsys):
    for name, seed in (("a", 0), ("b", 1)):
        write_frames(tmp_path / f"{name}.extxyz", make_frames(10, seed=seed))
    files = [tmp_path / "a.extxyz", tmp_path / "b.extxyz"]
    assert run("pick", *files, "-n", 3, "-o", tmp_path / "c", *FEW) == 0
    write_frames(files[1], make_frames(10, seed=2))
    refuse(capsys, "changed since the campaign began", "next", tmp_path / "c", "-n", 3)
    files[1].unlink()
    refuse(capsys, "b.extxyz: the source file of the campaign is missing", "next", tmp_path / "c",
           "-n", 3)  # fmt: skip


def test_two_tables_are_not_one(tmp_path, capsys):
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", X=np.eye(9), y=np.arange(9))
    words = ["pick", tmp_path / "a.npz", tmp_path / "b.npz", "-n", 3, "-o", tmp_path / "c"]
    refuse(capsys, "a table is one file", *words)


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_a_dry_run_refuses_what_the_real_one_refuses(dry, tmp_path, make_frames, capsys):
    frames = make_frames(20)
    source = tmp_path / "s.extxyz"
    write_frames(source, [*frames, frames[0]])
    bare = tmp_path / "bare.extxyz"
    write_frames(bare, [replace(f, energy=None, forces=None) for f in frames])
    half = tmp_path / "half.extxyz"
    write_frames(half, [*frames[:19], replace(frames[19], energy=None)])
    done = tmp_path / "done"
    assert run("pick", source, "-n", 3, "-o", done, *FEW) == 0
    out = ["-o", tmp_path / "no", *FEW, *dry]
    refuse(capsys, "n=21 exceeds the 20 rows", "pick", source, "-n", 21, "--dedup", 0, *out)
    refuse(capsys, "no such file", "pick", tmp_path / "nothing.extxyz", "-n", 3, *out)
    refuse(capsys, "No module", "pick", source, "-n", 3, "--descriptor", "no.such:thing", *out)
    refuse(capsys, "no labels", "pick", bare, "-n", 3, "--method", "atbagging", *out)
    refuse(capsys, "row 19 has no finite label", "pick", half, "-n", 3, *out)
    refuse(capsys, "already holds a campaign", "pick", source, "-n", 3, "-o", done, *FEW, *dry)
    budget = ["--sampler", "map", "--cost", "atoms", "--budget", 5]
    refuse(capsys, "does not pay for a single row", "pick", source, *budget, *out)
    refuse(capsys, "exceeds the 17 rows", "next", done, "-n", 18, *dry)
    refuse(capsys, "say how many", "next", done, *dry)
    refuse(capsys, "needs --pool", "next", done, "-n", 2, "--quality-key", "worth", *dry)
    refuse(capsys, "worth=None", "next", done, "-n", 2, "--quality-key", "worth", "--pool", bare,
           *dry)  # fmt: skip
    assert not (tmp_path / "no" / "manifest.json").exists()


CELLS = {
    "cell vectors that lie in one plane": "6 0 0 0 6 0 6 6 0",
    "the cell is not finite": "6 0 0 0 nan 0 0 0 6",
    "periodic along a cell vector of length 0": "6 0 0 0 6 0 0 0 0",
    "lengths above": "6 0 0 0 1e200 0 0 0 6",
}


@pytest.mark.parametrize("match", CELLS)
def test_a_cell_that_is_none(match, tmp_path, make_frames, capsys):
    path = tmp_path / "s.extxyz"
    write_frames(path, make_frames(6))
    lattice = "6.5 0.0 0.0 0.0 6.5 0.0 0.0 0.0 6.5"
    text = path.read_text()
    assert text.count(lattice) == 6
    first, rest = text.split(lattice, 1)
    path.write_text(f"{first}{lattice}{rest.replace(lattice, CELLS[match], 1)}")
    refuse(capsys, f"s.extxyz, frame 1: {match}", "pick", path, "-n", 2, "-o", tmp_path / "c", *FEW)


def test_a_tiny_cell_is_refused_before_its_images_fill_the_memory(tmp_path, make_frames, capsys):
    path = tmp_path / "s.extxyz"
    write_frames(path, [replace(f, cell=0.02 * np.eye(3)) for f in make_frames(2)])
    refuse(capsys, "too small for a cut-off", "pick", path, "-n", 1, "-o", tmp_path / "c", *FEW)


def test_tables_that_are_damaged(tmp_path, capsys):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    cases = {
        "'y' has shape (19,), but 'X' has 20 rows": {"X": X, "y": y[:19]},
        "contains NaN or inf": {"X": np.where(X > 1, np.nan, X), "y": y},
        "numbers beyond 3.4e+38 (1e+200": {"X": np.where(X > 1, 1e200, X), "y": y},
        "needs a two-dimensional array 'X'": {"X": y, "y": y},
    }
    for match, arrays in cases.items():
        np.savez(tmp_path / "t.npz", **arrays)
        refuse(capsys, match, "pick", tmp_path / "t.npz", "-n", 3, "-o", tmp_path / "c", *FEW)
    np.savez(tmp_path / "t.npz", X=X, y=y)
    content = (tmp_path / "t.npz").read_bytes()
    for damaged in (content[:200], b"PK\x03\x04" + bytes(100), content.replace(b"NUMPY", b"NVMPY")):
        (tmp_path / "t.npz").write_bytes(damaged)
        refuse(capsys, "t.npz: ", "pick", tmp_path / "t.npz", "-n", 3, "-o", tmp_path / "c", *FEW)


@pytest.mark.parametrize("kind", ["frames", "table"])
def test_damaged_hdf5(kind, tmp_path, make_frames, capsys):
    import h5py

    path = tmp_path / "w.h5"
    if kind == "frames":
        write_shard(tmp_path, "w", [to_atoms(f) for f in make_frames(12)])
    else:
        with h5py.File(path, "w") as file:
            file["X"], file["y"] = np.random.default_rng(0).normal(size=(40, 3)), np.arange(40.0)
    content = path.read_bytes()
    rng = np.random.default_rng(3)
    refused = 0
    for number in range(12):
        damaged = bytearray(content)
        if number < 4:
            damaged = damaged[: len(content) * (number + 1) // 5]
        else:
            for place in rng.choice(len(content), 40, replace=False):
                damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        capsys.readouterr()
        code = run("pick", path, "-n", 3, "-o", tmp_path / f"c{number}", *FEW)
        error = capsys.readouterr().err
        assert code in (0, 2)
        assert "Traceback" not in error
        if code == 2:
            refused += 1
            assert [line for line in error.splitlines() if line.startswith("error:")]
            assert "w.h5" in error, error
    assert refused >= 4


@pytest.mark.parametrize("seed", [-1, 2**70])
def test_seeds_that_are_none(seed, tmp_path, make_frames, capsys):
    write_frames(tmp_path / "s.extxyz", make_frames(6))
    words = ["pick", tmp_path / "s.extxyz", "-n", 2, "-o", tmp_path / "c", "--seed", seed]
    refuse(capsys, "--seed", *words)


def test_no_path_holds_nul(tmp_path, make_frames, capsys):
    write_frames(tmp_path / "s.extxyz", make_frames(6))
    source, out = tmp_path / "s.extxyz", tmp_path / "c"
    refuse(capsys, "NUL", "pick", "a\0b.extxyz", "-n", 2, "-o", out)
    refuse(capsys, "NUL", "pick", source, "--pool", "a\0b", "-n", 2, "-o", out)
    refuse(capsys, "NUL", "pick", source, "-n", 2, "-o", "a\0b")
    for command in (["status"], ["report"], ["next", "-n", 2], ["ingest", "--failed", "x"]):
        refuse(capsys, "NUL", command[0], "a\0b", *command[1:])


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(rounds=[]),
        lambda c: c.update(inputs={}),
        lambda c: c.update(kind="molecules"),
        lambda c: c["settings"].update(sampler="dpp"),
        lambda c: c["settings"].update(unknown=1),
        lambda c: c["entries"].append(c["entries"][0]),
        lambda c: c["entries"].pop(),
        lambda c: c["entries"][0].update(pool_row=10**9),
        lambda c: c["entries"][0].update(pool_row=-1),
        lambda c: c["entries"][0].update(pool="round_007"),
        lambda c: c["entries"][0].update(round=3),
        lambda c: c["entries"][0].update(quality="high"),
        lambda c: c["rounds"][0].update(n=10**9),
        lambda c: c["inputs"]["source"].update(path="a\0b"),
        lambda c: c["inputs"]["source"].update(rows="many"),
        lambda c: c.update(entries=None),
    ],
)
def test_a_manifest_that_contradicts_itself(change, tmp_path, make_frames, forged, capsys):
    write_frames(tmp_path / "s.extxyz", make_frames(8))
    assert run("pick", tmp_path / "s.extxyz", "-n", 3, "-o", tmp_path / "c", *FEW) == 0
    path = tmp_path / "c" / "manifest.json"
    forged(path, change)
    broken = path.read_bytes()
    for words in (["next", tmp_path / "c", "-n", 2], ["report", tmp_path / "c"]):
        refuse(capsys, "", *words)
    assert path.read_bytes() == broken


def test_an_entry_whose_pool_row_is_another_frame_is_noticed(tmp_path, make_frames, forged, capsys):
    write_frames(tmp_path / "s.extxyz", make_frames(8))
    assert run("pick", tmp_path / "s.extxyz", "-n", 3, "-o", tmp_path / "c", *FEW) == 0
    rows = {entry.pool_row for entry in read_manifest(tmp_path / "c").entries}
    other = min(set(range(8)) - rows)
    forged(tmp_path / "c" / "manifest.json", lambda c: c["entries"][0].update(pool_row=other))
    refuse(capsys, "is another frame", "next", tmp_path / "c", "-n", 2)
