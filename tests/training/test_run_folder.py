"""The folder of a run, and how runs end: the last step, Ctrl-C, a second run beside the first."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms

from tpainn_calc.base.locks import Lock
from tpainn_calc.base.schema import load_config
from tpainn_calc.errors import BusyError, ConfigError, DataError
from tpainn_calc.modelfile import load_model, read_manifest
from training.cli import main
from training.fit import fit, loggers, trainer
from training.fit.config import TrainingConfig
from training.run_folder import run_folder


def configured(config_file: Path, **optimizer: Any) -> TrainingConfig:
    config = load_config(config_file, TrainingConfig)
    changed = config.optimizer.model_copy(update=optimizer)
    return config.model_copy(update={"optimizer": changed})


@pytest.mark.parametrize(
    ("max_steps", "validated"), [(25, [20, 25]), (20, [20]), (7, [7])], ids=str
)
def test_the_last_step_is_validated_and_leaves_a_model(
    config_file: Path, max_steps: int, validated: list[int]
) -> None:
    path = fit(configured(config_file, max_steps=max_steps), config_file.parent, progress=False)
    metrics = np.genfromtxt(path.parent / "metrics.csv", delimiter=",", names=True)
    assert np.atleast_1d(metrics)["step"].tolist() == validated
    assert read_manifest(path).training["steps"] == max_steps


def test_a_run_cut_short_within_a_round_can_be_resumed(config_file: Path) -> None:
    folder = config_file.parent
    path = fit(configured(config_file, max_steps=25), folder, progress=False)
    first = load_model(path)[0].state_dict()
    path.unlink()  # as if it had been killed before it was written
    again = fit(configured(config_file, max_steps=25), folder, resume=True, progress=False)
    second = load_model(again)[0].state_dict()
    assert all(bool((second[name] == weight).all()) for name, weight in first.items())


def test_the_effective_configuration_makes_the_same_run(config_file: Path) -> None:
    config = load_config(config_file, TrainingConfig)
    folder = fit(config, config_file.parent, progress=False).parent
    written = load_config(folder / "config.yaml", TrainingConfig)
    assert written == config
    assert "gradient_clip: 10.0" in (folder / "config.yaml").read_text()  # a default
    log = (folder / "log.txt").read_text()
    assert "torch" in log
    assert "frames: 48 train, 6 validation, 6 test; 0 rejected" in log
    assert "reference energies (eV)" in log


def test_a_refused_run_leaves_the_configuration_of_the_other(config_file: Path) -> None:
    config = load_config(config_file, TrainingConfig)
    folder = fit(config, config_file.parent, progress=False).parent
    kept = (folder / "config.yaml").read_bytes()
    with pytest.raises(ConfigError, match="already holds a run"):
        fit(config.model_copy(update={"seed": 4}), config_file.parent, progress=False)
    assert (folder / "config.yaml").read_bytes() == kept


def test_a_run_inside_another_is_logged_by_both_and_told_once(
    config_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = load_config(config_file, TrainingConfig)
    log = logging.getLogger("training.test")
    outer, inner = tmp_path / "outer", tmp_path / "outer" / "inner"
    caplog.set_level(logging.INFO)
    with run_folder(outer, config):
        log.info("say first")
        with run_folder(inner, config):
            log.info("say second")
            log.debug("say details")
        log.info("say third")
    for folder, words in ((outer, "first second details third"), (inner, "second details")):
        said = re.findall("say (.*)", (folder / "log.txt").read_text())
        assert said == words.split()
    assert caplog.messages == ["say first", "say second", "say third"]


def test_ctrl_c_says_how_to_go_on(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(config_file.parent)
    command = ["scratch", "--quiet", config_file.name]
    step = 10

    class Interrupt(trainer.MetricsFile):
        def on_train_batch_start(self, trainer: Any, *arguments: Any) -> None:
            if trainer.global_step == step:
                raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "MetricsFile", Interrupt)
    assert main(command) == 130
    assert "interrupted before the first checkpoint" in capsys.readouterr().err
    step = 30
    assert main(command) == 130
    assert "the same command with --resume goes on" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(config_file.parent)
    assert main([*command, "--resume"]) == 0


def test_two_runs_in_one_folder_are_refused(config_file: Path) -> None:
    config = load_config(config_file, TrainingConfig)
    busy = pytest.raises(BusyError, match=r"run: another run \(process \d+\) writes to this folder")
    with Lock(config_file.parent / "run" / ".lock", "busy"), busy:
        fit(config, config_file.parent, progress=False)
    assert fit(config, config_file.parent, progress=False).is_file()


def test_a_loss_of_stress_without_stress_is_refused(config_file: Path) -> None:
    config_file.write_text(config_file.read_text() + "loss: {stress: 1.0}\n")
    with pytest.raises(DataError, match=r"loss\.stress is not zero, but no training frame has"):
        fit(load_config(config_file, TrainingConfig), config_file.parent, progress=False)


def test_the_average_warms_up(config_file: Path) -> None:
    from training.fit.callbacks import decay_at

    assert decay_at(0, 0.999) == pytest.approx(0.1)
    assert decay_at(90, 0.999) == pytest.approx(0.91)
    assert decay_at(10**6, 0.999) == 0.999
    assert decay_at(90, 0.5) == 0.5
    errors = {}
    for decay in (0.0, 0.999):
        config = configured(config_file, max_steps=200, validate_every=200, ema_decay=decay)
        run = config.model_copy(update={"output": f"run{decay}"})
        path = fit(run, config_file.parent, progress=False)
        errors[decay] = read_manifest(path).errors["forces_meV_per_A_mae"]
    # without the warm-up it remembers 0.999^200 = 82 % of the random weights
    assert errors[0.999] < 2 * errors[0.0]


def test_progress_goes_to_tensorboard(config_file: Path) -> None:
    pytest.importorskip("tensorboard")
    config = load_config(config_file, TrainingConfig).model_copy(update={"logger": "tensorboard"})
    folder = fit(config, config_file.parent, progress=False).parent
    assert list((folder / "tensorboard").glob("events.*"))


def test_a_logger_that_is_missing_is_named(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    config = load_config(config_file, TrainingConfig).model_copy(update={"logger": "wandb"})
    with pytest.raises(ConfigError, match=r"wandb is not installed; pip install 'tpainn\[wandb\]'"):
        fit(config, config_file.parent, progress=False)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed: 3", "seed: -1", "seed: Input should be greater than or equal to 0"),
        ("seed: 3", f"seed: {2**70}", "seed: Input should be less than"),
        ("batch_size: 4", "batch_size: 1000000", r"optimizer.batch_size: .* 10000"),
        ("cutoff: 3.0", "cutoff: 1.0e+4", r"model.cutoff: .* 50"),
        ("cutoff: 3.0", "cutoff: .inf", "model.cutoff"),
        ("n_features: 8", "n_features: 1000000000", "model.n_features"),
        ("n_features: 8", "n_features: 7", "model.n_features: .*multiple of 2"),
        ("n_basis: 6", "n_basis: 100000", "model.n_basis"),
        ("learning_rate: 5.0e-3", "learning_rate: .nan", "optimizer.learning_rate"),
        ("learning_rate: 5.0e-3", "learning_rate: 1.0e+300", "optimizer.learning_rate"),
        ("validate_every: 20", f"validate_every: {2**70}", "optimizer.validate_every"),
        ("seed: 3", "seed: 3\ntrainer: {graph_memory: 1.0e+300}", "trainer.graph_memory"),
        ("output: run", 'output: "a\\0b"', "output: .*NUL"),
        ("[data.extxyz]", '["a\\0b"]', "data.files.0: .*NUL"),
    ],
)
def test_values_out_of_bounds_are_refused_at_once(
    config_file: Path, old: str, new: str, message: str
) -> None:
    config_file.write_text(config_file.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_config(config_file, TrainingConfig)


def test_frames_without_a_sensible_cell_are_left_out(tmp_path: Path, frames: list[Atoms]) -> None:
    from training.data.frames import read_frames

    bad = []
    for cell, pbc in (([1e200] * 3, True), ([0.02, 9, 9], True), ([0, 9, 9], True)):
        atoms = frames[0].copy()
        atoms.calc = frames[0].calc
        atoms.set_cell(cell)
        atoms.set_pbc(pbc)
        bad.append(atoms)
    ase.io.write(tmp_path / "bad.extxyz", [frames[0], *bad], format="extxyz")
    kept, rejected = read_frames(tmp_path / "bad.extxyz")
    assert len(kept) == 1
    reasons = [line.split(": ", 1)[1] for line in rejected]
    assert reasons == [
        "a cell or positions of 1e+200 Å",
        "a periodic cell of 0.02 Å",
        "a periodic cell of 0 Å",
    ]
