"""Two processes take the steps of one: same weights, same errors, one set of files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from tpainn_calc.base.schema import load_config
from tpainn_calc.errors import ConfigError
from tpainn_calc.modelfile import load_model
from training.data.batches import FrameDataset
from training.data.sampler import StreamSampler
from training.fit import fit
from training.fit.config import AutotuneConfig, TrainingConfig
from training.fit.processes import is_main, validation_loader

TRAIN = [sys.executable, "-m", "training.cli"]
PATIENCE = 1200.0  # seconds, on a machine with other work

# 41 frames in batches of 4: shares of unequal numbers of atoms, a last batch that is not full,
# and fewer validation batches than processes
SCRATCH = """\
output: one
seed: 3
device: cpu
data: {files: [mixed.extxyz], level: springs, block: 1, validation: 0.08, test: 0.1}
model:
  {name: springs, n_features: 8, n_blocks: 2, cutoff: 3.0, n_basis: 6, dtype: float64}
loss: {energy: 1.0, forces: 1.0}
optimizer:
  learning_rate: 5.0e-3
  max_steps: 40
  batch_size: 4
  validate_every: 10
  warmup_steps: 5
  ema_decay: 0.9
  early_stopping: 50
"""


@pytest.fixture
def folder(tmp_path: Path, frames: list[Atoms], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds ``mixed.extxyz``: every third frame is two molecules."""
    mixed = []
    for k, frame in enumerate(frames[:41]):
        if k % 3:
            mixed.append(frame)
            continue
        other = frames[41 + k // 3]
        pair = frame + other
        pair.positions[3:] += 50.0
        pair.calc = SinglePointCalculator(
            pair,
            energy=frame.get_potential_energy() + other.get_potential_energy(),
            forces=np.concatenate([frame.get_forces(), other.get_forces()]),
        )
        mixed.append(pair)
    ase.io.write(tmp_path / "mixed.extxyz", mixed, format="extxyz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def two(text: str) -> Path:
    """The configuration for two processes."""
    Path("two.yaml").write_text(text.replace("output: one", "output: two") + TWO)
    return Path("two.yaml")


TWO = "trainer: {devices: 2}\n"


def assert_same_run(tolerance: float) -> None:
    """Compare the folders ``one`` and ``two``."""
    one, other = ({p.name for p in Path(k).iterdir()} for k in ("one", "two"))
    assert one == other
    (name,) = (k for k in one if k.endswith(".safetensors"))
    expected, manifest = load_model(Path("one") / name)
    got, manifest_two = load_model(Path("two") / name)
    assert manifest.training == manifest_two.training
    for key, weight in expected.state_dict().items():
        if key == "network.output.2.bias":
            continue  # isolated atoms are the zero: no gradient, only what Adam makes of rounding
        np.testing.assert_allclose(
            got.state_dict()[key].numpy(), weight.numpy(), rtol=tolerance, atol=tolerance
        )
    tables = [np.genfromtxt(f"{k}/metrics.csv", delimiter=",", names=True) for k in ("one", "two")]
    for column in tables[0].dtype.names:
        # an error is the difference of two larger numbers: their rounding is its own
        np.testing.assert_allclose(
            tables[1][column],
            tables[0][column],
            rtol=max(tolerance, 1e-6),
            atol=0.05 * tolerance,
            err_msg=column,
        )
    assert Path("one/split.json").read_text() == Path("two/split.json").read_text()


def test_two_processes_give_what_one_gives(folder: Path) -> None:
    Path("one.yaml").write_text(SCRATCH)
    fit(load_config("one.yaml", TrainingConfig), folder, progress=False)
    done = subprocess.run(
        [*TRAIN, "scratch", "--quiet", str(two(SCRATCH))],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    # Gloo of torch 2.9 tells about its connections there
    ours = [line for line in done.stdout.splitlines() if "connected peer ranks" not in line]
    assert ours == [str(folder / "two" / "springs.safetensors")]
    assert done.stderr.count("reference energies (eV)") == 1
    assert_same_run(1e-9)


def test_autotune_with_replay_on_two_processes(folder: Path, pretrained: Path) -> None:
    model = pretrained / "pretrained" / "springs.safetensors"
    text = (
        SCRATCH.split("model:")[0]
        + "optimizer: {max_steps: 20, batch_size: 4, validate_every: 10, warmup_steps: 2,"
        + " schedule: plateau}\n"
        + f"tune: {{start: {model}, layer_decay: 0.5, freeze: [embedding], replay: "
        + f"{{files: [{pretrained / 'cheap.extxyz'}], level: cheap, weight: 0.3}}}}\n"
    )
    Path("one.yaml").write_text(text)
    fit(load_config("one.yaml", AutotuneConfig), folder, progress=False)
    command = [*TRAIN, "autotune", "--quiet", str(two(text))]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    assert_same_run(2e-5)  # the pretrained network is float32


def test_killed_on_two_processes_resumed_on_one(folder: Path) -> None:
    """Killed at step 25 of 40, between the second checkpoint and the third."""
    Path("one.yaml").write_text(SCRATCH)
    fit(load_config("one.yaml", TrainingConfig), folder, progress=False)
    config = two(SCRATCH)
    driver = [sys.executable, Path(__file__).with_name("killed_training.py"), "25"]
    process = subprocess.Popen(
        [*driver, "scratch", "--quiet", config], start_new_session=True, stderr=subprocess.DEVNULL
    )
    assert process.wait(PATIENCE) == -signal.SIGKILL
    # its helper is in the same group, notices, and ends
    deadline = time.monotonic() + PATIENCE
    while _group_lives(process.pid):
        assert time.monotonic() < deadline, "a helper is left behind"
        time.sleep(0.1)
    assert (folder / "two" / "checkpoints" / "last.ckpt").is_file()
    assert not (folder / "two" / "springs.safetensors").is_file()
    config.write_text(config.read_text().removesuffix(TWO))
    fit(load_config(config, TrainingConfig), folder, resume=True, progress=False)
    assert_same_run(1e-9)


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_shares_make_up_the_batches_of_one_process() -> None:
    whole = list(StreamSampler(7, 24, 0, 5, 0.25))
    shares = [list(StreamSampler(7, 24, 0, 5, 0.25, rank, 3)) for rank in range(3)]
    assert [index for step in zip(*shares, strict=True) for index in step] == whole


def test_every_process_validates(frames: list[Atoms]) -> None:
    data = FrameDataset(frames[:6], ("O", "H"), 3.0)
    loaders = [list(validation_loader(data, 4, rank, 3)) for rank in range(3)]
    assert [len(batches) for batches in loaders] == [1, 1, 1]
    assert [int(b.weight.count_nonzero()) for (b,) in loaders] == [4, 2, 0]


def test_what_cannot_be_shared_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(two(SCRATCH.replace("batch_size: 4", "batch_size: 3")), TrainingConfig)
    with pytest.raises(ConfigError, match=r"batch_size \(3\) counts .* multiple of .* \(2, from"):
        fit(config, folder, progress=False)
    config = load_config(two(SCRATCH.replace("cpu", "cuda")), TrainingConfig)
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match=r"devices is 2, but this node has 1 GPU\(s\)"):
        fit(config, folder, progress=False)


def test_a_farm_of_single_runs_under_slurm_has_no_helpers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning.pytorch.utilities import rank_zero_only

    config = load_config(two(SCRATCH), TrainingConfig)
    monkeypatch.setattr(rank_zero_only, "rank", 3)
    assert not is_main(config)
    assert is_main(TrainingConfig(**{**config.model_dump(), "trainer": {}}))
