"""Distillation: frames of the teacher, a student that names it, and the forces that are left."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest

from tpainn_calc import TPaiNNCalculator
from tpainn_calc.base.errors import ConfigError, DataError
from tpainn_calc.base.frames import checksum, read_extxyz
from tpainn_calc.base.records import read_record
from tpainn_calc.base.schema import check_config, load_config
from tpainn_calc.base.tables import read_table
from tpainn_calc.modelfile import find_model, read_manifest
from training.distill.config import DistillConfig
from training.distill.distill import distill
from training.distill.remainder import WAVENUMBER, Remainder, force_spectrum

START = Path(__file__).parents[2] / "examples" / "water" / "distill_start.extxyz"
CONFIG = {
    "output": "out",
    "teacher": "water",
    "sampling": {
        "structures": "start.extxyz",
        "temperatures": [300, 400],
        "frames": 10,
        "spacing": 0.002,
        "equilibration": 0.005,
    },
    "remainder": 0.02,
    "model": {"n_features": 8, "n_basis": 6, "cutoff": 3.0},
    "optimizer": {"max_steps": 20, "validate_every": 10, "warmup_steps": 2, "ema_decay": 0.5},
}


def config(**changes):
    return check_config({**CONFIG, **changes}, DistillConfig, "here")


def test_a_student_names_its_teacher_and_is_judged(tmp_path):
    ase.io.write(tmp_path / "start.extxyz", read_extxyz(START)[1])
    model = distill(config(), tmp_path, progress=False)
    manifest = read_manifest(model)
    assert manifest.training["method"] == "distill"
    assert str(tmp_path) not in manifest.model_dump_json()  # this machine's folders
    assert manifest.training["start"]["name"] == "water"
    assert manifest.training["start"]["sha256"] == checksum(find_model("water"))
    teacher = read_manifest("water")
    assert manifest.hyperparameters["elements"] == teacher.hyperparameters["elements"]
    assert manifest.level_of_theory == f"{teacher.level_of_theory}, as learnt by water"
    displaced = read_extxyz(tmp_path / "out" / "displaced.extxyz")
    assert displaced[0].info["level"] == manifest.level_of_theory
    split = read_record(tmp_path / "out" / "student" / "split.json")["sets"]
    held_out = {source for part in ("validation", "test") for source, _ in split[part]}
    assert not any("displaced" in source for source in held_out)
    assert sum("displaced" in source for source, _ in split["train"]) == len(displaced) > 0
    # those of the run: displaced atoms do not count
    assert min(manifest.shortest_distances.values()) > 0.8
    (before, after) = (displaced[0].get_forces(), displaced[0].copy())
    after.calc = TPaiNNCalculator("water", range="off")
    np.testing.assert_allclose(after.get_forces(), before, atol=1e-4)  # the teacher's labels
    rows = read_table(tmp_path / "out" / "remainder.csv")
    assert all(row["teacher_eV2_cm_per_A2"] > 0 for row in rows)
    assert (tmp_path / "out" / "remainder.png").stat().st_size > 10_000
    written = tmp_path / "out" / "config.yaml"
    assert load_config(written, DistillConfig) == config()
    assert "n_blocks: 1" in written.read_text()  # a default
    kept = written.read_bytes()
    assert "forces left to the teacher" in (tmp_path / "out" / "log.txt").read_text()
    # again: nothing is repeated, and the student stays what it is
    before = model.stat().st_mtime_ns
    assert distill(config(), tmp_path, progress=False) == model
    assert model.stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match=r"another config.model.cutoff \(3.0, now 3.5\)"):
        distill(config(model={**CONFIG["model"], "cutoff": 3.5}), tmp_path, progress=False)
    assert written.read_bytes() == kept


def test_structures_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="no file"):
        distill(config(), tmp_path, progress=False)
    (tmp_path / "start.extxyz").write_text("nothing\n")
    with pytest.raises(DataError, match="no file of structures"):
        distill(config(), tmp_path, progress=False)


def test_elements_are_those_of_the_teacher():
    with pytest.raises(ConfigError, match="leave it out"):
        config(model={"elements": ["O"]})


def test_the_spectrum_integrates_to_the_mean_square_and_peaks_where_it_should():
    time = np.arange(4000) * 0.5
    period = 10.0  # fs
    forces = np.zeros((4000, 2, 3))
    forces[:, 0, 1] = 3.0 * np.sin(2 * np.pi * time / period)
    wavenumber, power = force_spectrum(forces, 0.5)
    assert wavenumber[power.argmax()] == pytest.approx(WAVENUMBER / period, rel=1e-3)
    step = wavenumber[1] - wavenumber[0]
    assert power.sum() * step == pytest.approx((forces**2).mean(), rel=1e-3)
    remainder = Remainder(wavenumber, power, 0.25 * power)
    whole, left = remainder.rms()
    assert left == pytest.approx(0.5 * whole)
    assert remainder.rms(above=3400)[0] < 1e-3 * whole
    assert "50.0 %" in remainder.describe()
