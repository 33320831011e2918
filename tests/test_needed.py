"""Dynamics with the models of a learning curve: ``python -m examples.water.needed``."""

import shutil
import sys

import numpy as np
import pytest

from examples.water import needed
from examples.water.properties import runs
from examples.water.properties.runs import Run, runs_folder
from tpainn_calc.base.tables import read_table, write_table
from tpainn_calc.manifest import find_model
from training.study.config import Point


@pytest.fixture
def curve(tmp_path):
    """A curve of two points, both of which chose the shipped student."""
    rows = []
    for arm in ("scratch", "tpainn"):
        point = Point(arm, 10, 0, 1e-3)
        (tmp_path / point.key).mkdir()
        shutil.copyfile(find_model("water-fast"), tmp_path / point.key / "model.safetensors")
        row = {"arm": arm, "n_train": 10, "seed": 0, "learning_rate": 1e-3, "chosen": 1}
        errors = {"test_forces_meV_per_A_mae": 40.0, "test_pressure_MPa_mean_error": -3.0}
        rows += [{**row, **errors}, {**row, "learning_rate": 2e-3, "chosen": 0}]
    write_table(tmp_path / "curve.csv", rows)
    return tmp_path


def test_every_chosen_model_is_run_beside_the_reference(curve, monkeypatch, capsys):
    words = ["needed", str(curve), "--reference", "water-fast", "--ps", "0.8"]
    monkeypatch.setattr(sys, "argv", words)
    assert needed.main() == 0
    table = read_table(curve / "density.csv")
    assert [row["arm"] for row in table] == ["reference", "scratch", "tpainn"]
    # one model, one seed, one start: one trajectory
    assert len({row["density"] for row in table}) == 1
    assert {row["broken"] for row in table} == {0}
    assert {row["ps"] for row in table} == {0.8}
    assert (
        "tpainn, N = 10: off by +0.000 g/cm³; 0 of 1 broke or boiled away"
        in capsys.readouterr().out
    )
    assert (curve / "needed.png").stat().st_size > 10_000


def test_whole_parts_are_run_and_their_length_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "PART", 0.2)
    run = Run(32, 300.0, 0.5, 1.0, outer=1.0, inner=1.0, hydrogen=3.0)
    with runs_folder(tmp_path, "water-fast"):
        found = needed.outcome(run, tmp_path, "tpainn", 10, 0)
    assert found.held
    assert found.ps == pytest.approx(0.6)


def test_a_curve_without_stress_is_refused_before_any_run(curve, monkeypatch, capsys):
    rows = read_table(curve / "curve.csv")
    for row in rows:
        row.pop("test_pressure_MPa_mean_error", None)
    write_table(curve / "curve.csv", rows)
    monkeypatch.setattr(sys, "argv", ["needed", str(curve)])
    assert needed.main() == 2
    assert "curve.csv has no test_pressure_MPa_mean_error" in capsys.readouterr().err
    assert not (curve / "density").exists()


def test_a_run_that_breaks_is_an_answer(tmp_path):
    run = Run(32, 300.0, 5.0, 1.0, outer=20.0, inner=20.0)  # fs: no bond survives that
    with runs_folder(tmp_path, "water-fast"):
        found = needed.outcome(run, tmp_path, "scratch", 10, 0)
    assert (found.ps, found.held) == (0.0, False)
    assert np.isnan(found.density)


def test_models_that_broke_have_no_density():
    held = needed.Outcome("tpainn", 10, 0, 30.0, 0, 0.905, 0.01)
    broke = needed.Outcome("scratch", 10, 0, 5.0, -1, np.nan, np.nan)
    gas = needed.Outcome("scratch", 10, 1, 30.0, 0, 0.04, 0.02)
    reference = needed.Outcome("reference", 0, 0, 30.0, 0, 0.907, 0.01)
    assert list(needed.describe([reference, held, broke, gas])) == [
        "reference: 0.907 g/cm³",
        "scratch, N = 10: off by none g/cm³; 2 of 2 broke or boiled away",
        "tpainn, N = 10: off by -0.002 g/cm³; 0 of 1 broke or boiled away",
    ]
