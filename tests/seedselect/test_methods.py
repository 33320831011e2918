"""The method of a round, the reason that it gives, and the share of the labels in it."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest

from seedselect import ATBagging
from seedselect.campaign import Campaign, PickSettings, begin, choose_next, ingest
from seedselect.campaign.settings import method_of
from seedselect.cli import main
from seedselect.errors import SeedSelectError, SourceWarning
from seedselect.frames.atoms import read_frames, write_frames
from seedselect.scores.quality import equal_share, published_quality, shape_quality

FEW = {"n_estimators": 8, "n_features": 64}


def run(*words) -> int:
    return main([str(w) for w in words])


def labelled(directory, number: int = 1):
    frames = read_frames(directory / "rounds" / f"round_{number:03d}.extxyz")
    path = directory.parent / f"labels_{number}.extxyz"
    rng = np.random.default_rng(number)
    energies = -60.0 + rng.normal(size=len(frames))
    forces = [rng.normal(size=(len(f), 3)) for f in frames]
    done = zip(frames, energies, forces, strict=True)
    write_frames(path, [replace(f, energy=e, forces=x) for f, e, x in done])
    return path


@pytest.fixture
def source(tmp_path, make_frames):
    write_frames(tmp_path / "classical.extxyz", make_frames(60))
    return tmp_path / "classical.extxyz"


@pytest.mark.parametrize(
    ("given", "first", "later"),
    [
        ({}, "design", "atbagging"),
        ({"n_features": 64}, "design", "atbagging"),
        ({"method": "design"}, "design", "design"),
        ({"method": "atbagging"}, "atbagging", "atbagging"),
        ({"sampler": "map"}, "atbagging", "atbagging"),
        ({"sampler": "kdpp"}, "atbagging", "atbagging"),
        ({"quality": "diversity"}, "atbagging", "atbagging"),
        ({"temper": 0.0}, "atbagging", "atbagging"),
    ],
)
def test_the_method_that_is_meant(given, first, later):
    settings = PickSettings(n=5, **given)
    assert method_of(settings, first=True).name == first
    # a campaign that is read again knows all settings as given ones
    read = PickSettings.model_validate(settings.model_dump())
    assert method_of(read, first=False).name == later


def test_a_design_has_no_options_of_atbagging():
    with pytest.raises(SeedSelectError, match="--sampler is an option of ATBagging"):
        method_of(PickSettings(n=5, method="design", sampler="map"), first=True)


def test_the_default_is_a_design_and_says_so(source, tmp_path, capsys):
    assert run("pick", source, "-n", 8, "-o", tmp_path / "c") == 0
    out = capsys.readouterr().out
    assert "round 1 by expected-error design: the default for a first round" in out
    assert "% of the expected gain (rho2 0.30)" in out
    campaign = Campaign.open(tmp_path / "c")
    (record,) = campaign.manifest.rounds
    assert record.method == "expected-error design"
    assert 0 < record.label_share < 1
    assert {e.quality_kind for e in campaign.entries} == {"expected_error"}
    assert {e.inclusion_probability for e in campaign.entries} == {1.0}
    # the second round is ATBagging's, and knows the first
    ingest(tmp_path / "c", [labelled(tmp_path / "c")])
    assert run("next", tmp_path / "c", "-n", 6) == 0
    assert "round 2 by ATBagging: the default for later rounds" in capsys.readouterr().out
    assert len({e.key for e in Campaign.open(tmp_path / "c").entries}) == 14


def test_what_labels_do_not_say_is_said(tmp_path, make_frames, capsys):
    bare = tmp_path / "bare.extxyz"
    write_frames(bare, [replace(f, energy=None, forces=None) for f in make_frames(30)])
    assert run("pick", bare, "-n", 5, "-o", tmp_path / "c") == 0
    out = capsys.readouterr().out
    assert "round 1 by V-optimal design" in out
    assert "labels of the source played no part" in out
    assert run("next", tmp_path / "c", "-n", 5) == 0
    kinds = {e.quality_kind for e in Campaign.open(tmp_path / "c").entries if e.round == 2}
    assert kinds == {"diversity"}
    assert run("report", tmp_path / "c") == 0


def test_a_design_goes_on_as_a_design(source, tmp_path):
    directory = tmp_path / "c"
    begin(directory, source, PickSettings(n=6, method="design"))
    failed = Campaign.open(directory).entries[4].key
    frames = read_frames(labelled(directory))
    write_frames(tmp_path / "some.extxyz", [f for f in frames if f.info["frame_hash"] != failed])
    ingest(directory, [tmp_path / "some.extxyz"], failed=[failed])
    chosen = choose_next(directory, 7)
    assert chosen.n == 7
    entries = chosen.campaign.entries
    assert len({e.key for e in entries}) == 13
    record = chosen.campaign.manifest.rounds[-1]
    assert (record.method, record.n_labelled, record.n_pending) == ("expected-error design", 5, 0)
    assert record.rho2 == 0.3  # five labels tell too little


def test_two_designs_in_a_row_are_one(source, tmp_path):
    """Nothing is learnt between, so that the second round goes on where the first ended."""
    settings = PickSettings(n=12, method="design", seed=3)
    whole = begin(tmp_path / "whole", source, settings)
    begin(tmp_path / "parts", source, settings.model_copy(update={"n": 5}))
    parts = choose_next(tmp_path / "parts", 7).campaign
    assert [e.key for e in parts.entries] == [e.key for e in whole.entries]


def test_a_separate_pool_and_costs(source, tmp_path, make_frames):
    pool = tmp_path / "pool.extxyz"
    write_frames(pool, [replace(f, energy=None, forces=None) for f in make_frames(40, seed=5)])
    settings = PickSettings(cost="atoms3", budget=4 * 18**3)
    campaign = begin(tmp_path / "c", source, settings, pool=pool)
    assert len(campaign.entries) == 4
    assert {e.cost for e in campaign.entries} == {18.0**3}
    assert campaign.manifest.rounds[0].method == "expected-error design"


def test_the_report_says_what_labels_were_worth(source, tmp_path, capsys):
    directory = tmp_path / "c"
    begin(directory, source, PickSettings(n=12))
    by_key = {frame.key: frame for frame in read_frames(source)}
    done = []
    for frame in read_frames(directory / "selected.extxyz"):
        cheap = by_key[frame.info["frame_hash"]]
        done.append(replace(frame, energy=2 * cheap.energy, forces=cheap.forces))
    write_frames(tmp_path / "labels.extxyz", done)
    ingest(directory, [tmp_path / "labels.extxyz"])
    capsys.readouterr()
    assert run("report", directory) == 0
    assert "source and labels, energy: r = 1.00 over 12 rows" in capsys.readouterr().out
    labels = json.loads((directory / "report.json").read_text())["labels"]
    assert labels["pairs"] == 12
    assert labels["correlation"]["energy"] == pytest.approx(1.0)
    assert labels["rounds"][0]["method"] == "expected-error design"


def test_a_campaign_of_an_older_version_goes_on(source, tmp_path, forged):
    """Its manifest knows no method, no reason and no further files."""
    directory = tmp_path / "c"
    begin(directory, source, PickSettings(n=6, method="atbagging", temper=1.0, **FEW))

    def older(content) -> None:
        for name in ("method", "form", "floor"):
            content["settings"].pop(name)
        for name in ("method", "reason", "rho2", "label_share", "notes"):
            content["rounds"][0].pop(name)
        content["inputs"]["source"].pop("more")

    forged(directory / "manifest.json", older)
    assert run("status", directory) == 0
    assert choose_next(directory, 4).n == 4
    assert run("report", directory) == 0


# -- ATBagging stops hurting ---------------------------------------------------------------------


def test_rows_of_no_score_can_be_drawn():
    score = np.r_[np.zeros(90), np.linspace(0.1, 5, 10)]
    tempered, published = shape_quality(score, floor=0.3), published_quality(score)
    assert tempered[:90].min() >= 0.3
    assert published[:90].max() == 0
    assert published.max() == tempered.max() == 1
    np.testing.assert_allclose(published[90:], score[90:] / 5)
    assert published_quality(score + 7.0) == pytest.approx(published)
    assert (published_quality(np.ones(4)) == 1).all()
    for floor in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(SeedSelectError, match="floor="):
            shape_quality(score, floor=floor)


def test_half_of_the_source_is_zero():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    y = np.where(X[:, 0] > 0, X[:, 1] ** 2 + X[:, 2], 0.0)
    shares = {}
    for form in ("tempered", "published"):
        with pytest.warns(SourceWarning, match=r"5\d% of the source's labels are equal"):
            model = ATBagging(n_estimators=50, form=form, random_state=0).fit(X, y)
        drawn = [model.select(20, random_state=seed).indices for seed in range(20)]
        shares[form] = float(np.mean([(y[rows] == 0).mean() for rows in drawn]))
    # of the half that is zero, diversity alone draws 0.58; the published score 0.22
    assert shares["published"] < 0.3
    assert shares["tempered"] > 0.35


def test_labels_that_differ_warn_of_nothing(regression):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ATBagging(n_estimators=10, random_state=0).fit(*regression)
    assert equal_share(np.column_stack([np.r_[np.zeros(6), 1, 2, 3, 4], np.arange(10)])) == 0.6


def test_a_note_of_equal_labels(tmp_path, capsys):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    np.savez(tmp_path / "t.npz", X=X, y=np.maximum(X[:, 0], 0.0))
    words = ["pick", tmp_path / "t.npz", "-n", 5, "-o", tmp_path / "c", "--method", "atbagging"]
    assert run(*words, "--n-estimators", 20, "--dedup", 0) == 0
    captured = capsys.readouterr()
    assert "note: " in captured.out
    assert "of the source's labels are equal" in captured.out
    assert "Warning" not in captured.err
