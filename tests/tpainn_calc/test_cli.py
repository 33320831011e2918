from __future__ import annotations

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
import safetensors.torch
import torch
from ase import Atoms

from tpainn_calc import Hyperparameters, Potential, TPaiNNCalculator, save_model
from tpainn_calc.cli import main
from tpainn_calc.export import export_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    hyperparameters = Hyperparameters(("O", "H"), n_features=16, n_blocks=2, cutoff=4.0)
    save_model(path, Potential(hyperparameters), level_of_theory="random weights")
    return str(path)


@pytest.fixture
def structure(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    atoms = Atoms("OHH" * 10, positions=rng.uniform(0, 8, (30, 3)), cell=[8.0] * 3, pbc=True)
    path = tmp_path / "box.extxyz"
    ase.io.write(path, atoms)
    return path


def test_info(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", model]) == 0
    printed = capsys.readouterr().out
    assert "random weights" in printed
    assert "F = 16, 2 blocks" in printed
    assert main(["info"]) == 0
    assert "shipped potentials" in capsys.readouterr().out


def test_evaluate_writes_what_the_calculator_gives(
    model: str, structure: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.extxyz"
    assert main(["evaluate", model, str(structure), "-o", str(output)]) == 0
    written = ase.io.read(output)
    atoms = ase.io.read(structure)
    atoms.calc = TPaiNNCalculator(model)
    np.testing.assert_allclose(written.get_forces(), atoms.get_forces(), atol=1e-5)
    np.testing.assert_allclose(written.get_stress(), atoms.get_stress(), atol=1e-7)
    capsys.readouterr()
    assert main(["evaluate", model, str(output)]) == 0  # labelled by itself: no error
    printed = capsys.readouterr().out
    assert "energy MAE 0.000 meV/atom" in printed
    assert "force MAE 0.00 meV/Å" in printed
    assert "stress MAE 0.000 meV/Å³" in printed


def test_export_and_check(
    model: str, structure: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", model, str(tmp_path / "m.pt"), "--dtype", "float64"]) == 0
    assert "elements O H, float64" in capsys.readouterr().out
    assert main(["check", model]) == 0
    printed = capsys.readouterr().out
    assert "all agree" in printed
    assert "exported" in printed


def test_observe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    frames = []
    positions = rng.uniform(0, 10, (96, 3))
    for _ in range(80):
        positions = positions + rng.normal(0, 0.1, positions.shape)
        frames.append(Atoms("OHH" * 32, positions=positions, cell=[10.0] * 3, pbc=True))
    path = tmp_path / "walk.extxyz"
    ase.io.write(path, frames)
    output = tmp_path / "out"
    assert main(["observe", str(path), "--interval", "10", "-o", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "density 0.957" in printed  # 32 waters in 1000 Å3
    assert "diffusion of O" in printed
    for name in ("density.png", "g_OO.png", "g_OO.csv", "msd.png"):
        assert (output / name).is_file()


def test_evaluate_names_the_bad_frame(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [Atoms("OH", positions=[[0, 0, 0], [0, 0, d]]) for d in (1.0, 1.1, np.nan)]
    path = tmp_path / "frames.extxyz"
    ase.io.write(path, frames)
    assert main(["evaluate", model, str(path)]) == 2
    error = capsys.readouterr().err.strip()
    assert f"{path}, frame 2: atom 1 has a position that is not finite" in error
    assert len(error.splitlines()) == 1


def damaged(kind: str, source: str, target: Path) -> Path:
    """A model file with something wrong."""
    data = Path(source).read_bytes()
    if kind == "truncated":
        target.write_bytes(data[: len(data) // 2])
    elif kind == "empty":
        target.write_bytes(b"")
    elif kind == "not safetensors":
        target.write_bytes(bytes(range(256)) * 40)
    elif kind == "exported":
        export_model(source, target, kernel="plain")
    elif kind == "foreign":
        target.write_bytes(safetensors.torch.save({"weight": torch.ones(3)}, {"format": "pt"}))
    else:
        with safetensors.safe_open(source, framework="pt") as file:
            manifest = json.loads(file.metadata()["tpainn"])
        if kind != "checksum":  # what older versions wrote has none: the other checks must hold
            del manifest["sha256"]
        tensors = safetensors.torch.load(data)
        if kind == "newer schema":
            manifest = {"schema_version": 99}
        elif kind == "golden values":
            manifest["golden"]["energy"] += 1.0
        elif kind == "golden forces":
            manifest["golden"]["forces"].pop()
        elif kind == "golden symbols":
            manifest["golden"]["symbols"][0] = "Xx"
        elif kind == "golden positions":
            manifest["golden"]["positions"] = [[0.0, 0.0, 0.0]] * 4
        elif kind == "hyperparameters":
            manifest["hyperparameters"]["n_features"] = 16.0
        elif kind == "checksum":
            manifest["level_of_theory"] = "another"
        elif kind == "weights":
            tensors["network.embedding.weight"][0] *= -1.0
        elif kind == "unknown entry":
            manifest["colour"] = "blue"
        target.write_bytes(safetensors.torch.save(tensors, {"tpainn": json.dumps(manifest)}))
    return target


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", "may be truncated"),
        ("empty", "may be truncated"),
        ("not safetensors", "not a readable model file"),
        ("foreign", "not of T-PaiNN"),
        ("newer schema", "schema 99, newer than"),
        ("golden values", "does not reproduce its golden values"),
        ("golden forces", "golden structure is damaged"),
        ("golden symbols", "golden structure is damaged"),
        ("golden positions", "golden structure is damaged"),
        ("hyperparameters", "n_features should be a valid integer"),
        ("exported", "perhaps an exported model"),
        ("weights", "does not reproduce its golden values"),
        ("unknown entry", "manifest entry 'colour'"),
        ("checksum", "sha256 differs"),
    ],
)
@pytest.mark.parametrize("command", ["info", "evaluate", "export", "check"])
def test_bad_model_files_exit_with_code_2(
    command: str,
    kind: str,
    message: str,
    model: str,
    structure: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = str(damaged(kind, model, tmp_path / "bad.safetensors"))
    output = tmp_path / "bad.pt"
    more = {"evaluate": [str(structure)], "export": [str(output)]}.get(command, [])
    assert main([command, path, *more]) == 2
    (error,) = [s for s in capsys.readouterr().err.splitlines() if "has no checksum" not in s]
    assert message in error
    assert "bad.safetensors" in error
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "watre"], "no model file 'watre'"),
        (["evaluate", "MODEL", "absent.xyz"], "no structure file absent.xyz"),
        (["evaluate", "MODEL", "README"], "not a structure that ASE can read"),
        (["observe", "absent.dump"], "does not exist"),
        (["export", "absent.safetensors", "x.pt"], "no model file"),
    ],
)
def test_mistakes_exit_with_code_2(
    model: str,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("README").write_text("not a structure\n")
    assert main([model if a == "MODEL" else a for a in arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
