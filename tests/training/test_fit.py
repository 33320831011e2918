"""A whole run on a tiny network: learns, stops, resumes, refuses."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from tpainn_calc.base.errors import DataError
from tpainn_calc.base.schema import load_config
from tpainn_calc.errors import ConfigError
from tpainn_calc.modelfile import load_model
from training.data.batches import FrameDataset, collate
from training.data.frames import read_frames
from training.fit import fit
from training.fit.checkpoint import read_checkpoint
from training.fit.config import TrainingConfig
from training.fit.evaluation import evaluate
from training.fit.loss import loss_terms
from training.fit.sections import LossSection

WORDS = ["scratch", "--quiet", "config.yaml"]


def run_fit(config_file: Path, resume: bool = False) -> Path:
    config = load_config(config_file, TrainingConfig)
    return fit(config, config_file.parent, resume=resume, progress=False)


def test_run_learns_and_leaves_everything_behind(config_file: Path, frames: list[Atoms]) -> None:
    text = config_file.read_text().replace("max_steps: 60", "max_steps: 300")
    config_file.write_text(text.replace("validate_every: 20", "validate_every: 100"))
    path = run_fit(config_file)
    folder = path.parent
    for name in ("metrics.csv", "split.json", "evaluation.json", "parity.png", "rejected.txt"):
        assert (folder / name).is_file(), name
    metrics = np.genfromtxt(folder / "metrics.csv", delimiter=",", names=True)
    assert metrics["step"].tolist() == [100, 200, 300]
    typical = np.mean([np.abs(a.get_forces()).mean() for a in frames])
    assert metrics["val_forces_mae"][-1] < 0.25 * typical
    potential, manifest = load_model(path)
    assert manifest.training["n_train"] + manifest.training["n_test"] <= len(frames)
    assert manifest.errors["set"] == "test"
    assert set(manifest.shortest_distances) == {"H-O", "H-H"}
    assert set(manifest.coordination) == {"H", "O"}
    assert manifest.coordination["O"]["H"].most >= manifest.coordination["O"]["H"].fewest
    assert potential.elements == ("H", "O")


def test_resume_after_a_kill_gives_the_same_weights(config_file: Path) -> None:
    """Killed at step 30 of 60, between the first checkpoint and the second."""
    text = config_file.read_text()
    undisturbed = run_fit(config_file)
    expected, _ = load_model(undisturbed)
    config_file.write_text(text.replace("output: run", "output: killed"))
    folder = config_file.parent / "killed"
    driver = [sys.executable, Path(__file__).with_name("killed_training.py"), "30"]
    killed = subprocess.run([*driver, *WORDS], cwd=config_file.parent, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    assert not (folder / "springs.safetensors").is_file()
    command = [sys.executable, "-m", "training.cli", *WORDS, "--resume"]
    subprocess.run(command, cwd=config_file.parent, check=True)
    got, _ = load_model(folder / "springs.safetensors")
    for name, weight in expected.state_dict().items():
        assert torch.equal(weight, got.state_dict()[name]), name


def test_a_second_run_does_not_overwrite_the_first(config_file: Path) -> None:
    run_fit(config_file)
    with pytest.raises(ConfigError, match="already holds a run; add --resume"):
        run_fit(config_file)
    text = config_file.read_text()
    config_file.write_text(text.replace("test: 0.1", "test: 0.2"))
    with pytest.raises(ConfigError, match="records another data split"):
        run_fit(config_file, resume=True)


def test_elements_that_the_model_lacks_are_refused(config_file: Path, data_file: Path) -> None:
    text = config_file.read_text().replace("name: springs,", "name: springs, elements: [O],")
    config_file.write_text(text)
    config = load_config(config_file, TrainingConfig)
    with pytest.raises(ConfigError, match=r"model\.elements lacks H"):
        config.initial_state(read_frames(data_file, "springs")[0])


def test_loss_is_zero_on_its_own_predictions(config_file: Path, data_file: Path) -> None:
    config = load_config(config_file, TrainingConfig)
    frames, _ = read_frames(data_file)
    potential = config.initial_state(frames).potential
    data = FrameDataset(frames, potential.elements, potential.cutoff)
    batch = collate([data[0], data[1]])
    report = evaluate(potential.eval(), frames[:2])
    for kind in ("mse", "huber"):
        loss = LossSection(kind=kind, energy=2.0, forces=3.0)
        prediction = _as_prediction(report.energy * 3, report.forces)
        exact = _with_labels(batch, report.energy * 3, report.forces)
        assert all(t.item() == 0 for t in loss_terms(prediction, exact, loss).values())
        off = _with_labels(batch, report.energy * 3 + 0.3, report.forces)
        terms = loss_terms(prediction, off, loss)
        # 0.1 eV/atom off: 2 * 0.1² or 2 * (0.1 - delta / 2)
        assert terms["energy"].item() == pytest.approx(0.02 if kind == "mse" else 2 * 0.09)
        assert terms["forces"].item() == 0


def _as_prediction(energy: np.ndarray, forces: np.ndarray):  # type: ignore[no-untyped-def]
    from tpainn_calc.potential import Prediction

    return Prediction(torch.tensor(energy), torch.zeros(6), torch.tensor(forces))


def _with_labels(batch, energy: np.ndarray, forces: np.ndarray):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    return replace(batch, energy=torch.tensor(energy), forces=torch.tensor(forces))


def test_a_damaged_checkpoint_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"w": torch.ones(3)}}, path)
    assert read_checkpoint(path)["state_dict"]["w"].tolist() == [1.0, 1.0, 1.0]
    whole = path.read_bytes()
    for damaged in (whole[:100], b"", whole.replace(b"state_dict", b"stAte_dict")):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"last\.ckpt is damaged"):
            read_checkpoint(path)
    path.write_bytes(whole)
    state = {"w": torch.ones(3)}
    assert read_checkpoint(path, state)["state_dict"].keys() == state.keys()
    for other in ({"v": torch.ones(3)}, {"w": torch.ones(4)}, {**state, "v": torch.ones(1)}, {}):
        with pytest.raises(DataError, match=r"last\.ckpt is damaged \([vw] is "):
            read_checkpoint(path, other)
