"""Rounds that choose from other frames than the first, and random draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seedselect.atbagging import ATBagging
from seedselect.campaign import Campaign
from seedselect.campaign.manifest import read_manifest
from seedselect.campaign.rounds import campaign_inputs, points
from seedselect.cli import main
from seedselect.frames.atoms import read_frames, write_frames
from seedselect.sampling.draws import draw_random


@pytest.fixture
def campaign(tmp_path, make_frames):
    write_frames(tmp_path / "classical.extxyz", make_frames(40))
    path = tmp_path / "campaign"
    run("pick", tmp_path / "classical.extxyz", "-n", 6, "-o", path, "--n-estimators", 20)
    return path


def run(*words) -> int:
    return main([str(w) for w in words])


def new_frames(path: Path, make_frames, n: int, worth=None) -> Path:
    """Frames of another trajectory, each with the worth of its label."""
    rng = np.random.default_rng(7)
    frames = [
        replace(
            f,
            positions=f.positions + rng.normal(0, 0.05, f.positions.shape),
            energy=None,
            forces=None,
            info={} if worth is None else {"worth": float(worth[k])},
        )
        for k, f in enumerate(make_frames(n))
    ]
    write_frames(path, frames)
    return path


def label_all(directory: Path) -> None:
    done = []
    for number, path in enumerate(sorted(directory.glob("rounds/*.extxyz"))):
        for k, frame in enumerate(read_frames(path)):
            forces = np.full((len(frame), 3), 0.1 * k)
            done.append(replace(frame, energy=-60.0 + 0.01 * k + number, forces=forces))
    write_frames(directory.parent / "labels.extxyz", done)
    assert run("ingest", directory, directory.parent / "labels.extxyz") == 0


def test_next_from_other_frames_is_conditioned_on_all_that_was_chosen(
    campaign, tmp_path, make_frames, capsys
):
    """A frame that is nearly a labelled one is left out; so is one that was chosen already."""
    label_all(campaign)
    chosen = read_frames(campaign / "selected.extxyz")
    fresh = read_frames(new_frames(tmp_path / "md.extxyz", make_frames, 30))
    near = [replace(f, positions=f.positions + 1e-3, info={}) for f in chosen]
    write_frames(tmp_path / "md.extxyz", [*fresh, *near, replace(chosen[0], info={})])
    assert run("next", campaign, "-n", 5, "--pool", tmp_path / "md.extxyz") == 0
    manifest = read_manifest(campaign)
    latest = [e for e in manifest.entries if e.round == 2]
    assert len(latest) == 5
    assert {e.pool for e in latest} == {"round_002"}
    assert max(e.pool_row for e in latest) < 30
    assert manifest.rounds[1].n_labelled == 6
    assert manifest.inputs["round_002"].rows == 37
    # the whole life goes on: labels, another round from the first pool, status, report
    label_all(campaign)
    assert run("next", campaign, "-n", 4) == 0
    manifest = read_manifest(campaign)
    assert manifest.rounds[2].n_labelled == 11
    rows = [e.pool_row for e in manifest.entries if not e.pool]
    assert len(rows) == len(set(rows)) == 10
    assert run("report", campaign) == 0
    capsys.readouterr()
    run("status", campaign)
    assert "15 of 77 frames" in capsys.readouterr().out


def test_conditioning_on_another_pool_is_that_of_descriptors(campaign, tmp_path, make_frames):
    pool = new_frames(tmp_path / "md.extxyz", make_frames, 20)
    assert run("next", campaign, "-n", 4, "--pool", pool) == 0
    state = Campaign.open(campaign)
    inputs = campaign_inputs(state)
    rows = points(state, state.manifest.entries, inputs)
    frames = state.chosen()
    for entry, row in zip(state.manifest.entries, rows, strict=True):
        np.testing.assert_allclose(row, inputs.descriptor(frames[entry.key]), atol=1e-9)


def test_twenty_labels_of_two_pools_judge_a_third(campaign, tmp_path, make_frames):
    pool = new_frames(tmp_path / "md.extxyz", make_frames, 40)
    run("next", campaign, "-n", 14, "--pool", pool)
    label_all(campaign)
    third = tmp_path / "third.extxyz"
    frames = read_frames(pool)
    write_frames(third, [replace(f, positions=1.01 * f.positions) for f in frames])
    assert run("next", campaign, "-n", 3, "--pool", third) == 0
    latest = [e for e in read_manifest(campaign).entries if e.round == 3]
    assert {e.quality_kind for e in latest} == {"label_spread"}


def test_given_worth_leads_the_choice(campaign, tmp_path, make_frames):
    worth = np.full(60, 1e-4)
    worth[[3, 17, 31, 44, 52]] = 1.0
    pool = new_frames(tmp_path / "md.extxyz", make_frames, 60, worth)
    assert run("next", campaign, "-n", 5, "--pool", pool, "--quality-key", "worth") == 0
    latest = [e for e in read_manifest(campaign).entries if e.round == 2]
    assert {e.pool_row for e in latest} == {3, 17, 31, 44, 52}
    assert {e.quality_kind for e in latest} == {"given"}


def test_a_round_that_is_there_is_not_chosen_twice(campaign, tmp_path, make_frames, capsys):
    pool = new_frames(tmp_path / "md.extxyz", make_frames, 20)
    for _ in range(2):
        assert run("next", campaign, "-n", 3, "--pool", pool, "--round", 2) == 0
    assert len(read_manifest(campaign).rounds) == 2
    assert "round 2 is there already" in capsys.readouterr().out
    assert run("next", campaign, "-n", 3, "--round", 4) == 2
    assert "has 2 rounds" in capsys.readouterr().err


@pytest.mark.parametrize("worth", [None, [np.nan], [-1.0]])
def test_a_worth_that_is_none_is_refused(campaign, tmp_path, make_frames, worth, capsys):
    pool = new_frames(tmp_path / "md.extxyz", make_frames, 1, worth)
    capsys.readouterr()
    assert run("next", campaign, "-n", 1, "--pool", pool, "--quality-key", "worth") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "md.extxyz, frame 0: worth=" in error
    assert run("next", campaign, "-n", 1, "--quality-key", "worth") == 2
    assert "--quality-key needs --pool" in capsys.readouterr().err


def test_random_draw_is_uniform_and_leaves_out_what_is_closed():
    rows = np.array([0, 1, 3, 4, 6])
    counts = np.zeros(7)
    for seed in range(4000):
        draw = draw_random(rows, 2, np.random.default_rng(seed))
        counts[draw.indices] += 1
        assert sorted(draw.order) == [0, 1]
    assert counts[2] == counts[5] == 0
    expected = 4000 * 2 / 5
    assert (abs(counts[rows] - expected) < 4.5 * np.sqrt(expected * 3 / 5)).all()
    np.testing.assert_allclose(draw.probability, 0.4)


def test_pick_at_random_does_not_depend_on_the_score(tmp_path, make_frames):
    write_frames(tmp_path / "classical.extxyz", make_frames(40))
    for name in ("a", "b"):
        words = ["pick", tmp_path / "classical.extxyz", "-n", 10, "-o", tmp_path / name]
        words += ["--sampler", "random", "--n-estimators", 8]
        assert run(*words, *(["--quality", "diversity"] if name == "b" else [])) == 0
    picked = [[e.key for e in read_manifest(tmp_path / n).entries] for n in ("a", "b")]
    assert picked[0] == picked[1]
    X = np.random.default_rng(0).normal(size=(30, 3))
    model = ATBagging(n_estimators=8, sampler="random", random_state=0).fit(X, X[:, 0])
    first, second = model.select(5), model.select(5, random_state=1)
    assert set(first.indices) != set(second.indices)
    rest = model.select(25, labeled=first.indices)
    assert not set(rest.indices) & set(first.indices)
