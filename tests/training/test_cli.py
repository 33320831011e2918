from __future__ import annotations

import json
from pathlib import Path

import pytest

from training.cli import main


@pytest.fixture
def model(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(config_file.parent)
    assert main(["scratch", "--quiet", str(config_file)]) == 0
    return config_file.parent / "run" / "springs.safetensors"


def test_scratch_then_evaluate(
    model: Path, data_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    split = model.parent / "split.json"
    arguments = ["evaluate", str(model), str(data_file), "--split", str(split)]
    assert main([*arguments, "-o", str(tmp_path / "report")]) == 0
    printed = capsys.readouterr().out
    assert "energy_meV_per_atom" in printed
    assert "forces_H_meV_per_A" in printed
    # the same test set and model as at the end of training: the same errors
    first = json.loads((model.parent / "evaluation.json").read_text())
    second = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    assert first["n_frames"] == second["n_frames"]
    assert second["forces_meV_per_A_mae"] == pytest.approx(first["forces_meV_per_A_mae"], rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scratch", "absent.yaml"], "cannot read absent.yaml"),
        (["evaluate", "watr", "data.extxyz"], "no model file"),
    ],
)
def test_mistakes_exit_with_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
