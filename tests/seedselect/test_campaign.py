"""Campaigns through the command line: whole life, faults, locks, kills."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seedselect import SeedSelectError
from seedselect.campaign import (
    Campaign,
    PickSettings,
    begin,
    campaign_lock,
    choose_next,
    ingest,
)
from seedselect.campaign.dataset import CACHE_BLOCK
from seedselect.campaign.manifest import read_manifest
from seedselect.cli import main
from seedselect.frames.atoms import read_frames, to_frame, write_frames
from tpainn_calc.base.errors import BusyError
from tpainn_calc.base.frames import attach_results


@pytest.fixture
def source(tmp_path, make_frames):
    path = tmp_path / "classical.extxyz"
    write_frames(path, make_frames(60))
    return path


@pytest.fixture
def campaign(source, tmp_path, capsys):
    directory = tmp_path / "campaign"
    words = ["--n-estimators", 20, "--method", "atbagging"]
    assert run("pick", source, "-n", 8, "-o", directory, *words) == 0
    capsys.readouterr()
    return directory


def run(*words) -> int:
    """Run the command line; argparse's own exits count as codes."""
    try:
        return main([str(w) for w in words])
    except SystemExit as stop:
        return int(stop.code or 0)


def refuse(capsys, match: str, *words) -> None:
    """Expect exit code 2 and one line on stderr that holds `match`."""
    capsys.readouterr()
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert match in error
    assert error.count("\n") == 1
    assert "Traceback" not in error


def label(directory: Path, rows=None, shift: float = 0.0, named: bool = True) -> Path:
    """Pretend to be a DFT code: label some of the selected frames."""
    frames = read_frames(directory / "selected.extxyz")
    rng = np.random.default_rng(1)
    done = []
    for number in range(len(frames)) if rows is None else rows:
        frame = frames[number]
        info = {"frame_hash": frame.info["frame_hash"]} if named else {}
        done.append(
            replace(
                frame,
                energy=-60.0 + 0.01 * number + shift,
                forces=rng.normal(size=(len(frame), 3)),
                info=info,
            )
        )
    path = directory.parent / f"labels_{len(done)}_{shift}_{named}.extxyz"
    write_frames(path, done)
    return path


def test_pick_writes_what_it_promises(campaign, source):
    manifest = read_manifest(campaign)
    frames = read_frames(campaign / "selected.extxyz")
    assert len(frames) == len(manifest.entries) == 8
    pool = read_frames(source)
    for entry, frame in zip(manifest.entries, frames, strict=True):
        assert frame.info["frame_hash"] == entry.key == pool[entry.pool_row].key
        assert frame.key == entry.key
        assert frame.energy is None
        assert frame.forces is None
        assert 0 < entry.inclusion_probability <= 1
        assert entry.quality > 0
        assert entry.weight > 0
        assert entry.cost == 1
        assert entry.quality_kind == "information_gain"
    assert [entry.order for entry in manifest.entries] == list(range(8))
    assert manifest.rounds[0].seed == 0
    assert set(manifest.versions) >= {"numpy", "scipy", "scikit-learn", "tpainn", "python"}
    assert len(manifest.inputs["source"].sha256) == 64
    assert (campaign / "rounds" / "round_001.extxyz").is_file()


def test_same_seed_same_choice(source, tmp_path, campaign):
    for seed, same in ((0, True), (1, False)):
        other = tmp_path / f"other{seed}"
        words = ["--n-estimators", 20, "--seed", seed, "--method", "atbagging"]
        run("pick", source, "-n", 8, "-o", other, *words)
        keys = [e.key for e in read_manifest(other).entries]
        assert (keys == [e.key for e in read_manifest(campaign).entries]) is same


def test_labels_partially_in_any_order(campaign, capsys):
    assert run("ingest", campaign, label(campaign, [5, 2])) == 0
    assert "2 new labels" in capsys.readouterr().out
    assert run("ingest", campaign, label(campaign, [7, 2, 0])) == 0
    assert "2 new labels, 1 known before" in capsys.readouterr().out
    run("status", campaign)
    assert "4 done, 4 pending" in capsys.readouterr().out
    run("status", campaign, "--pending")
    assert len(capsys.readouterr().out.splitlines()) == 4
    run("status", campaign, "--json")
    assert len(json.loads(capsys.readouterr().out)["entries"]) == 8


def test_frames_are_recognised_without_their_hash(campaign, capsys):
    assert run("ingest", campaign, label(campaign, [3, 1], named=False)) == 0
    assert "2 new labels" in capsys.readouterr().out


def test_next_avoids_done_pending_and_failed(campaign, capsys):
    run("ingest", campaign, label(campaign, [0, 1, 2]))
    failed = read_manifest(campaign).entries[5].key
    run("ingest", campaign, "--failed", failed)
    capsys.readouterr()
    assert run("next", campaign, "-n", 6) == 0
    assert "14 of 60 frames chosen in 2 round(s); 3 done, 10 pending, 1 failed" in (
        capsys.readouterr().out
    )
    manifest = read_manifest(campaign)
    keys = [e.key for e in manifest.entries]
    assert len(set(keys)) == 14
    assert manifest.rounds[1].n_labelled == 3
    assert manifest.rounds[1].n_pending == 4
    assert len(read_frames(campaign / "selected.extxyz")) == 6
    assert len(read_frames(campaign / "rounds" / "round_001.extxyz")) == 8


def test_enough_labels_judge_the_pool(source, tmp_path):
    directory = tmp_path / "big"
    run("pick", source, "-n", 24, "-o", directory, "--n-estimators", 20)
    run("ingest", directory, label(directory, range(21)))
    assert run("next", directory, "-n", 4) == 0
    kinds = [e.quality_kind for e in read_manifest(directory).entries if e.round == 2]
    assert kinds == ["label_spread"] * 4


def test_report(campaign, capsys):
    run("ingest", campaign, label(campaign, [0, 1]))
    run("next", campaign, "-n", 4)
    capsys.readouterr()
    assert run("report", campaign) == 0
    assert "nats expected per label" in capsys.readouterr().out
    numbers = json.loads((campaign / "report.json").read_text())
    assert set(numbers["coverage"]) == {
        "one typical row", "all chosen", "labelled", "before the last round",
    }  # fmt: skip
    assert numbers["coverage"]["all chosen"]["mean"] < numbers["coverage"]["labelled"]["mean"]
    assert numbers["rows"]["done"] == 2
    assert (campaign / "report.png").read_bytes().startswith(b"\x89PNG")


def test_duplicates_are_dropped_first(tmp_path, make_frames):
    frames = make_frames(30)
    nearly = [replace(f, positions=f.positions + 2e-4) for f in frames[:10]]
    path = tmp_path / "twice.extxyz"
    write_frames(path, frames + frames[:15] + nearly)
    run("pick", path, "-n", 5, "-o", tmp_path / "c", "--n-estimators", 10)
    assert read_manifest(tmp_path / "c").duplicates_dropped == 25


def test_separate_pool_costs_and_budget(source, tmp_path, make_frames, capsys):
    pool = tmp_path / "pool.extxyz"
    write_frames(pool, [replace(f, energy=None, forces=None) for f in make_frames(40, seed=5)])
    directory = tmp_path / "c"
    words = ["pick", source, "--pool", pool, "-o", directory, "--n-estimators", 20]
    words += ["--sampler", "map", "--cost", "atoms3", "--budget", 4 * 18**3]
    assert run(*words) == 0
    manifest = read_manifest(directory)
    assert len(manifest.entries) == 4
    assert {e.quality_kind for e in manifest.entries} == {"calibrated_spread"}
    assert {e.cost for e in manifest.entries} == {18.0**3}
    assert run("report", directory) == 0


def test_diversity_needs_no_labels(tmp_path, make_frames, capsys):
    path = tmp_path / "bare.extxyz"
    write_frames(path, [replace(f, energy=None, forces=None) for f in make_frames(30)])
    words = ["pick", path, "-n", 5, "-o", tmp_path / "c", "--method", "atbagging"]
    refuse(capsys, "--quality diversity", *words)
    assert run("pick", path, "-n", 5, "-o", tmp_path / "c", "--quality", "diversity") == 0
    assert run("next", tmp_path / "c", "-n", 5) == 0


def write_hdf5(path: Path, frames) -> None:
    """One file in the layout of version 0.1's `seedselect.hdf5frames`."""
    import h5py

    with h5py.File(path, "w") as file:
        file["offset"] = np.concatenate([[0], np.cumsum([len(f) for f in frames])])
        for name in ("numbers", "positions", "forces"):
            file[name] = np.concatenate([getattr(f, name) for f in frames])
        for name in ("cell", "pbc", "energy"):
            file[name] = np.array([getattr(f, name) for f in frames])


def test_hdf5_frames(tmp_path, make_frames):
    write_hdf5(tmp_path / "w.h5", make_frames(30))
    assert run("pick", tmp_path / "w.h5", "-n", 4, "-o", tmp_path / "c", "--n-estimators", 10) == 0
    assert len(read_frames(tmp_path / "c" / "selected.extxyz")) == 4


def test_dry_run_writes_nothing(source, tmp_path, capsys):
    assert run("pick", source, "-n", 8, "-o", tmp_path / "no", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "GB" in out
    assert "min" in out
    assert not (tmp_path / "no").exists()


# -- tables ------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3))
    path = tmp_path / "table.csv"
    lines = ["a,b,c,name,cheap"]
    lines += [
        f"{r[0]!r},{r[1]!r},{r[2]!r},row{i},{r[0] * r[1]!r}" for i, r in enumerate(X.tolist())
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_table_campaign(table, tmp_path, capsys):
    c = tmp_path / "c"
    words = ["--target", "cheap", "--drop", "name", "--n-estimators", 20]
    assert run("pick", table, "-n", 6, "-o", c, *words) == 0
    with (c / "selected.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6
    assert set(rows[0]) == {"row_hash", "pool_row", "order", "round", "weight", "a", "b", "c"}
    labels = tmp_path / "labels.csv"
    lines = ["row_hash,cheap"] + [f"{r['row_hash']},{i}.5" for i, r in enumerate(rows[:3])]
    labels.write_text("\n".join([*lines, f"{rows[4]['row_hash']},"]) + "\n")
    assert run("ingest", c, labels) == 0
    assert "3 done, 3 pending" in capsys.readouterr().out
    assert run("next", c, "-n", 4) == 0
    assert run("report", c) == 0
    labels.write_text("row_hash,cheap\nffff,1.0\n")
    refuse(capsys, "was not chosen", "ingest", c, labels)
    labels.write_text(f"row_hash,cheap\n{rows[0]['row_hash']},99\n")
    refuse(capsys, "another label", "ingest", c, labels)
    assert run("ingest", c, labels, "--replace") == 0


def test_npz_and_hdf5_tables(tmp_path):
    import h5py

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 3)), rng.normal(size=50)
    np.savez(tmp_path / "t.npz", X=X, y=y)
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["X"], file["y"] = X, y
    chosen = []
    for name in ("t.npz", "t.h5"):
        directory = tmp_path / name.replace(".", "_")
        assert run("pick", tmp_path / name, "-n", 5, "-o", directory, "--n-estimators", 10) == 0
        chosen.append([e.key for e in read_manifest(directory).entries])
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--target", "cheap"], "'row0' is not a number"),
        (["--target", "cheep", "--drop", "name"], "no labels"),
        (["--target", "cheap", "--drop", "nam"], 'did you mean "name"'),
    ],
)
def test_faulty_table_options(words, match, table, tmp_path, capsys):
    refuse(capsys, match, "pick", table, "-n", 5, "-o", tmp_path / "c", *words)


# -- faults ------------------------------------------------------------------------------------


def subset(frame, order):
    """Some atoms of a frame, in an order."""
    return replace(
        frame,
        numbers=frame.numbers[order],
        positions=frame.positions[order],
        forces=None if frame.forces is None else frame.forces[order],
    )


def test_labels_that_are_refused(campaign, source, tmp_path, make_frames, capsys):
    before = label(campaign, [0])
    assert run("ingest", campaign, before) == 0
    stored = (campaign / "labels.extxyz").read_bytes()
    strange = tmp_path / "strange.extxyz"
    frames = read_frames(before)
    cases = {
        "no chosen frame has this geometry": make_frames(1, seed=99),
        "was not chosen in this campaign": [replace(frames[0], info={"frame_hash": "f" * 24})],
        "have moved": [replace(frames[0], positions=frames[0].positions * 1.05)],
        f"{len(frames[0]) - 1} atoms, but": [subset(frames[0], np.arange(len(frames[0]) - 1))],
        "in another order": [subset(frames[0], np.arange(len(frames[0]))[::-1])],
        "other elements": [replace(frames[0], numbers=frames[0].numbers + 1)],
        "neither energy nor forces": [replace(frames[0], energy=None, forces=None)],
        "not finite": [replace(frames[0], energy=float("nan"))],
        "another label": [replace(frames[0], energy=-1.0)],
    }  # fmt: skip
    for match, bad in cases.items():
        write_frames(strange, bad)
        refuse(capsys, match, "ingest", campaign, strange)
        assert (campaign / "labels.extxyz").read_bytes() == stored
    refuse(capsys, "not chosen", "ingest", campaign, "--failed", "xyz")
    refuse(capsys, "nothing to ingest", "ingest", campaign)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace('"pool_row": ', '"pool_row": 1', 1),
        lambda text: "[]",
        lambda text: text.replace('"schema_version": 1', '"schema_version": 99'),
    ],
)
def test_a_corrupted_manifest_is_refused_and_left_alone(damage, campaign, source, capsys):
    path = campaign / "manifest.json"
    path.write_text(damage(path.read_text()))
    broken = path.read_bytes()
    for words in (
        ["status", campaign],
        ["next", campaign, "-n", 3],
        ["ingest", campaign, source],
        ["report", campaign],
        ["pick", source, "-n", 3, "-o", campaign],
    ):
        capsys.readouterr()
        assert run(*words) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert path.read_bytes() == broken


def test_inputs_that_changed_or_went(campaign, source, make_frames, capsys):
    text = source.read_bytes()
    write_frames(source, make_frames(60, seed=3))
    refuse(capsys, "changed since the campaign began", "next", campaign, "-n", 3)
    source.unlink()
    refuse(capsys, "missing", "next", campaign, "-n", 3)
    source.write_bytes(text)
    assert run("next", campaign, "-n", 3) == 0


def test_a_campaign_moves_with_its_inputs(campaign, source, tmp_path):
    new = tmp_path / "elsewhere"
    new.mkdir()
    campaign.rename(new / "campaign")
    source.rename(new / source.name)
    assert run("next", new / "campaign", "-n", 3) == 0


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["pick", "S", "-o", "O"], "say how many"),
        (["pick", "S", "-n", 61, "-o", "O"], "exceeds the 60 rows"),
        (["pick", "S", "-n", 0, "-o", "O"], "-n"),
        (["pick", "S", "-n", 5, "-o", "O", "--smapler", "map"], 'did you mean "--sampler"'),
        (["pick", "S", "-n", 5, "-o", "O", "--sampler", "mapp"], "'kdpp', 'map' or 'random'"),
        (["pick", "S", "-n", 5, "-o", "O", "--descriptor", "no.such:thing"], "No module"),
        (["pick", "S", "-n", 5, "-o", "O", "--descriptor", "mean"], "package.module:callable"),
        (["pick", "missing.extxyz", "-n", 5, "-o", "O"], "no such file"),
        (["pick", "S", "-n", 5, "-o", "O", "--pool", "missing.csv"], "no such file"),
        (["pik"], 'did you mean "pick"'),
        (["status", "nowhere"], "no manifest.json"),
        (["next", "nowhere"], "say how many"),
        (["next", "nowhere", "-n", -1], "at least one"),
    ],
)
def test_mistakes_get_one_line(words, match, source, tmp_path, capsys):
    place = {"S": source, "O": tmp_path / "out"}
    refuse(capsys, match, *[place.get(w, w) for w in words])


def test_yaml_settings_and_unknown_keys(source, tmp_path, capsys):
    config = tmp_path / "pick.yaml"
    config.write_text("n: 5\nn_estimators: 10\nsampler: map\n")
    assert run("pick", source, "-o", tmp_path / "c", "--config", config, "-n", 4) == 0
    manifest = read_manifest(tmp_path / "c")
    assert manifest.settings["sampler"] == "map"
    assert len(manifest.entries) == 4
    for text, match in {
        "samplr: map": 'did you mean "sampler"',
        "n: many": "n:",
        "- 1": "must hold a mapping",
        "n: [": "not valid YAML",
    }.items():
        config.write_text(text + "\n")
        refuse(capsys, match, "pick", source, "-o", tmp_path / "d", "--config", config)


def test_existing_campaign_is_not_overwritten(campaign, source, capsys):
    before = (campaign / "manifest.json").read_bytes()
    refuse(capsys, "already holds a campaign", "pick", source, "-n", 5, "-o", campaign)
    assert (campaign / "manifest.json").read_bytes() == before


def test_two_processes_on_one_campaign(campaign, capsys):
    script = (
        "import sys, time\nfrom seedselect.campaign import campaign_lock\n"
        "with campaign_lock(sys.argv[1]):\n    print('locked', flush=True)\n    time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(campaign)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        refuse(capsys, f"process {holder.pid} is working", "next", campaign, "-n", 3)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    # The kernel freed the lock of the killed process.
    assert run("next", campaign, "-n", 3) == 0


KILLED = """
import os, signal, sys
replace = os.replace

def dying(source, target):
    replace(source, target)
    if str(target).endswith("rows_000000.npz"):
        os.kill(os.getpid(), signal.SIGKILL)

os.replace = dying
from seedselect.cli import main
main(sys.argv[1:])
"""


def test_kill_minus_nine_and_resume(tmp_path, make_frames):
    """A pick that is killed when it has described a first block of frames goes on there."""
    source = tmp_path / "long.extxyz"
    write_frames(source, make_frames(CACHE_BLOCK + 20))
    words = ["pick", str(source), "-n", "5", "-o", str(tmp_path / "c"), "--n-estimators", "10"]
    killed = subprocess.run([sys.executable, "-c", KILLED, *words], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "c" / "manifest.json").exists()
    (first,) = (tmp_path / "c" / ".cache").glob("*/rows_*.npz")
    stamp = first.stat().st_mtime_ns
    assert run(*words) == 0
    assert first.stat().st_mtime_ns == stamp
    assert first.with_name("rows_000001.npz").is_file()
    # The same choice as without the kill.
    run("pick", source, "-n", 5, "-o", tmp_path / "d", "--n-estimators", 10)
    keys = [[e.key for e in read_manifest(tmp_path / name).entries] for name in ("c", "d")]
    assert keys[0] == keys[1]


# -- in Python -----------------------------------------------------------------------------------


def test_the_steps_in_python(source, tmp_path):
    directory = tmp_path / "c"
    campaign = begin(directory, source, PickSettings(n=6, n_estimators=10))
    keys = [entry.key for entry in campaign.entries]
    assert set(campaign.states().values()) == {"pending"}
    frames = Campaign.open(directory).frames(keys[:3])
    assert list(frames) == keys[:3]
    for number, (key, atoms) in enumerate(frames.items()):
        assert to_frame(atoms).key == key
        assert atoms.calc is None
        attach_results(atoms, energy=-60.0 - number, forces=np.zeros((len(atoms), 3)))
    taken = ingest(directory, frames=frames.values(), failed=[keys[5]])
    assert (taken.new, taken.known) == (3, 0)
    states = taken.campaign.states()
    assert [states[key] for key in keys] == ["done"] * 3 + ["pending"] * 2 + ["failed"]
    chosen = choose_next(directory, 4, number=2)
    assert chosen.n == 4
    assert choose_next(directory, 4, number=2).n == 0
    assert len(Campaign.open(directory).entries) == 10
    with pytest.raises(SeedSelectError, match="not chosen in this campaign"):
        ingest(directory, failed=["xyz"])
    for number in (3, 4):  # the beginning of a key is enough, where it is unique
        start = next(
            n for n in range(1, 25) if sum(k.startswith(keys[number][:n]) for k in keys) == 1
        )
        ingest(directory, failed=[keys[number][:start] + ("..." if number == 3 else "")])
        assert Campaign.open(directory).states()[keys[number]] == "failed"
    with pytest.raises(SeedSelectError, match=r"--failed \.\.\.: not chosen"):
        ingest(directory, failed=["..."])
    with pytest.raises(SeedSelectError, match="in none of the rounds' files"):
        campaign.frames(["abc"])
    with pytest.raises(SeedSelectError, match="no manifest"):
        Campaign.open(tmp_path)


def test_a_busy_campaign_is_a_busy_error(campaign, make_frames):
    with campaign_lock(campaign):
        with pytest.raises(BusyError, match=f"process {os.getpid()} is working"):
            choose_next(campaign, 2)
        with pytest.raises(BusyError):
            ingest(campaign, failed=["abc"], patience=0.1)


def test_free_energy_alone_is_an_energy(campaign, tmp_path):
    text = label(campaign, [0]).read_text()
    assert " energy=" in text
    path = tmp_path / "free.extxyz"
    path.write_text(text.replace(" energy=", " free_energy="))
    assert ingest(campaign, [path]).new == 1
    (stored,) = read_frames(campaign / "labels.extxyz")
    assert stored.energy == pytest.approx(-60.0)


def test_help_names_every_command(capsys):
    assert run("--help") == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("pick", "status", "ingest", "next", "report"))
    assert run("benchmark", "x.yaml") == 2
    assert "python -m benchmarks.active_learning" in capsys.readouterr().err
