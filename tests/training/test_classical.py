"""Classical sets: rejected frames are listed, interrupted runs end identically."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import ase.build
import ase.io
import numpy as np
import pytest
from ase import Atoms

from tpainn_calc.base.frames import attach_results
from tpainn_calc.base.schema import load_config
from tpainn_calc.errors import ConfigError, DataError
from training.classical import generate as module
from training.classical.config import ClassicalConfig
from training.classical.contract import Limits
from training.classical.generate import generate
from training.cli import main
from training.data.frames import read_frames

CONFIG = """\
output: emt
seed: 5
source:
  kind: calculator
  calculator: ase.calculators.emt.EMT
  structures: copper.extxyz
  level: EMT
  sampling: langevin
  frames: 3
  spacing: 0.02
  structures_per_shard: 1
"""


@pytest.fixture
def config(tmp_path: Path) -> ClassicalConfig:
    copper = ase.build.bulk("Cu", cubic=True).repeat((2, 1, 1))
    ase.io.write(tmp_path / "copper.extxyz", [copper, copper, copper])
    (tmp_path / "classical.yaml").write_text(CONFIG)
    return load_config(tmp_path / "classical.yaml", ClassicalConfig)


def contents(folder: Path) -> dict[str, bytes]:
    """Files of a folder but those that name it, or the time."""
    paths = (p for p in folder.iterdir() if p.name not in ("config.yaml", "log.txt"))
    return {p.name: p.read_bytes() for p in paths}


def test_the_effective_configuration_and_the_log_are_kept(
    config: ClassicalConfig, tmp_path: Path
) -> None:
    folder = generate(config, tmp_path, progress=False)
    assert load_config(folder / "config.yaml", ClassicalConfig) == config
    assert "min_distance: 0.5" in (folder / "config.yaml").read_text()  # a default
    kept = (folder / "config.yaml").read_bytes()
    with pytest.raises(ConfigError, match="frames of another configuration"):
        generate(config.model_copy(update={"seed": 6}), tmp_path, progress=False)
    assert (folder / "config.yaml").read_bytes() == kept
    log = (folder / "log.txt").read_text()
    assert "torch" in log
    assert "9 frames in" in log


@pytest.mark.parametrize("form", ["hdf5", "extxyz"])
def test_interrupted_run_ends_with_the_same_files(
    config: ClassicalConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    config = config.model_copy(update={"format": form})
    expected = contents(generate(config, tmp_path, progress=False))
    again = config.model_copy(update={"output": "again"})
    run = module._run_job
    calls = 0

    def kill(job: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return run(job)

    monkeypatch.setattr(module, "_run_job", kill)
    with pytest.raises(KeyboardInterrupt):
        generate(again, tmp_path, progress=False)
    folder = generate(again, tmp_path, progress=False)
    assert calls == 4  # three shards, one of them twice
    assert contents(folder) == expected

    frames, rejected = read_frames(folder, level="EMT")
    assert len(frames) == 9
    assert not rejected
    assert {k for a in frames for k in a.calc.results} == {"energy", "forces", "stress"}
    with pytest.raises(ConfigError, match="frames of another configuration"):
        generate(again.model_copy(update={"seed": 6}), tmp_path, progress=False)


def test_processes_give_what_one_gives(config: ClassicalConfig, tmp_path: Path) -> None:
    expected = contents(generate(config, tmp_path, progress=False))
    two = config.model_copy(update={"output": "two", "workers": 2})
    assert contents(generate(two, tmp_path, progress=False)) == expected


def test_rejected_frames_are_counted_and_listed(
    config: ClassicalConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    strict = config.model_copy(update={"min_distance": 3.0})
    folder = generate(strict, tmp_path, progress=False)
    lines = (folder / "rejected.txt").read_text().splitlines()
    assert len(lines) == 9
    assert "Å apart (min_distance 3.0)" in lines[0]
    assert "9 frames rejected" in caplog.text
    assert json.loads((folder / "source.json").read_text())["level"] == "EMT"


def test_every_kind_of_bad_frame_is_found() -> None:
    limits = Limits(max_force=10.0, min_distance=0.6)

    def frame(distance: float = 1.0, energy: float = 0.0, force: float = 0.0) -> Atoms:
        atoms = Atoms("OH", positions=[[0, 0, 0], [0, 0, distance]])
        return attach_results(atoms, energy, np.full((2, 3), force))

    assert limits.problem(frame()) is None
    assert "0.500 Å apart" in str(limits.problem(frame(distance=0.5)))
    assert "exceeds max_force" in str(limits.problem(frame(force=20.0)))
    assert "not finite" in str(limits.problem(frame(force=np.nan)))
    assert "not finite" in str(limits.problem(frame(energy=np.inf)))
    assert "not finite" in str(limits.problem(frame(distance=np.nan)))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("emt.EMT", "emt.EMTT", "source.calculator"),
        ("sampling: langevin", "sampling: lagevin", "sampling"),
        ("spacing:", "spcing:", "did you mean"),
        ("kind: calculator", "kind: calculatr", "source"),
    ],
)
def test_mistakes_are_one_line(
    config: ClassicalConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    old: str,
    new: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "classical.yaml").write_text(CONFIG.replace(old, new))
    assert main(["classical", "--quiet", "classical.yaml"]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1


def test_a_process_that_is_killed_is_one_line_and_no_hang(
    config: ClassicalConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    source = config.source.model_copy(
        update={
            "calculator": "label_calculators.FaultyEMT",
            "arguments": {"how": "segfault", "limit": -1e9},
        }
    )
    fatal = config.model_copy(update={"source": source, "workers": 2})
    with pytest.raises(DataError, match="was killed, perhaps for want of memory"):
        generate(fatal, tmp_path, progress=False)


@pytest.mark.parametrize(("kind", "library"), [("water", "openmm"), ("molecules", "rdkit")])
def test_a_missing_extra_is_one_line(
    kind: str, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = {"water": "{kind: water}", "molecules": "{kind: molecules, molecules: qm9.npz}"}[kind]
    (tmp_path / "c.yaml").write_text(f"output: out\nsource: {source}\n")
    config = load_config(tmp_path / "c.yaml", ClassicalConfig)
    find = importlib.util.find_spec
    hidden = lambda name: None if name == library else find(name)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    line = rf"source {kind} needs {library}: pip install 'tpainn\[classical\]'"
    with pytest.raises(ConfigError, match=line):
        generate(config, tmp_path, progress=False)
    assert not (tmp_path / "out").exists()
