from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import ase.io
import numpy as np
import pytest
import safetensors.torch
import torch
from ase import Atoms

from tpainn_calc import Hyperparameters, Potential, TPaiNNCalculator, __version__, save_model
from tpainn_calc.cli import main
from tpainn_calc.commands import check
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


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["info"], ["info", "water"], ["examples"]]
)
def test_starts_without_torch(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom tpainn_calc.cli import main\n"
        f"try:\n    code = main({arguments})\nexcept SystemExit as end:\n    code = end.code\n"
        "heavy = ('torch', 'scipy', 'matplotlib', 'ase.calculators')\n"
        "print([name for name in heavy if name in sys.modules])\nsys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_version_and_debug(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == f"tpainn {__version__}"
    assert main(["--debug", "info", str(tmp_path / "absent")]) == 2
    error = capsys.readouterr().err
    assert "Traceback" in error
    assert error.splitlines()[-1].startswith("error: no model file")


def test_info_of_a_sealed_file(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", model]) == 0
    assert "as it was written (sha256)" in capsys.readouterr().out
    assert main(["info", "water"]) == 0
    printed = capsys.readouterr().out
    assert "; 2 H around O within 1.24 Å" in printed
    assert "revPBE-D3" in printed


def test_info_of_an_older_file(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", str(damaged("none", model, tmp_path / "old.safetensors"))]) == 0
    assert "without checksum; golden values reproduced" in capsys.readouterr().out


def test_evaluate_does_not_keep_the_level_of_other_labels(
    model: str, structure: Path, tmp_path: Path
) -> None:
    atoms = ase.io.read(structure)
    atoms.info["level"] = "q-SPC/Fw"
    ase.io.write(tmp_path / "classical.extxyz", atoms)
    output = tmp_path / "out.extxyz"
    assert main(["evaluate", model, str(tmp_path / "classical.extxyz"), "-o", str(output)]) == 0
    assert ase.io.read(output).info["level"] == "random weights"


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
    assert written.info["level"] == "random weights"
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


def test_check_asks_other_programs(
    model: str, structure: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An entry point is found by its group, gets model and structure, and its exit code counts."""
    found = [EntryPoint("Sum", "operator:concat", check.GROUP)]

    def entry_points(group: str) -> list[EntryPoint]:
        assert group == "tpainn.checks"
        return found

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    assert main(["check", model, str(structure)]) == 1  # a text is not exit code 0
    assert "Sum:" in capsys.readouterr().out
    assert main(["check", model]) == 0
    assert "Sum: skipped, give a structure" in capsys.readouterr().out
    found.clear()
    assert main(["check", model]) == 0
    assert "LAMMPS: skipped, no plugin is installed" in capsys.readouterr().out


def test_export_never_shadows_a_shipped_potential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("water", "water.safetensors"):
        assert main(["export", "water", name]) == 2
        error = capsys.readouterr().err.strip()
        assert error.endswith("must end in .pt: tpainn export water water.pt")
    assert list(tmp_path.iterdir()) == []


def test_examples_are_listed_and_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["examples"]) == 0
    listed = capsys.readouterr().out.split()
    assert {"lammps/in.npt", "lammps/water.data", "water/scratch.yaml"} <= set(listed)
    assert main(["examples", str(tmp_path / "here")]) == 0
    copied = [str(p.relative_to(tmp_path / "here")) for p in (tmp_path / "here").rglob("*.*")]
    assert set(copied) == set(listed)
    capsys.readouterr()
    assert main(["examples", str(tmp_path / "here")]) == 2
    assert "exists already: choose another folder" in capsys.readouterr().err


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
    for name in ("density", "g_OO", "msd"):
        assert (output / f"{name}.png").is_file()
        assert "<svg" in (output / f"{name}.svg").read_text()
    header, *rows = (output / "g_OO.csv").read_text().splitlines()
    assert header == "r,g,error"
    assert len(rows) == 150


def flight(path: Path, n_frames: int = 100) -> Path:
    """Atoms that fly straight on, as at the beginning of every trajectory."""
    rng = np.random.default_rng(0)
    start, velocity = rng.uniform(0, 10, (96, 3)), rng.normal(0, 0.02, (96, 3))
    frames = [
        Atoms("OHH" * 32, positions=start + k * velocity, cell=[10.0] * 3, pbc=True)
        for k in range(n_frames)
    ]
    ase.io.write(path, frames)
    return path


def test_observe_gives_no_diffusion_of_free_flight(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = flight(tmp_path / "flight.extxyz")
    command = ["observe", str(path), "--interval", "10", "-o", str(tmp_path / "out")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "diffusion of O: no number, the mean squared displacement of O grows as t^2.0" in printed
    assert "density 0.957" in printed
    assert not (tmp_path / "out" / "msd.png").exists()
    assert main([*command, "--fit-range", "0.05", "0.12"]) == 0
    printed = capsys.readouterr().out
    assert "fitted from 0.05 to 0.12 ps, where the MSD grows as t^2.0" in printed
    assert main([*command, "--fit-range", "5", "9"]) == 2
    assert "fit_range (5, 9) ps must hold" in capsys.readouterr().err


@pytest.mark.parametrize(
    "lattice",
    ["0 0 0 0 0 0 0 0 0", "5 0 0 10 0 0 0 0 5", "nan 0 0 0 5 0 0 0 5", "1e200 0 0 0 5 0 0 0 5"],
)
@pytest.mark.parametrize("command", ["observe", "evaluate"])
def test_odd_lattices_are_one_line(
    model: str, command: str, lattice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = f'1\nLattice="{lattice}" Properties=species:S:1:pos:R:3 pbc="T T T"\nO 0 0 0\n'
    path = tmp_path / "odd.extxyz"
    path.write_text(frame * 60)
    more = [model] if command == "evaluate" else []
    assert main([command, *more, str(path)]) == 2
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert error.startswith("error: ")
    assert "--debug" not in error  # what no one expected


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("energy=nan", "frame 1: its label energy is not finite"),
        ("energy=T", "frame 1: its label energy=True is not a number"),
        ("energy=abc", "frame 1: its label energy='abc' is not a number"),
        ('stress="1 2 3"', "frame 1"),
    ],
)
def test_evaluate_refuses_labels_that_are_none(
    model: str, label: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = 'Lattice="6 0 0 0 6 0 0 0 6" Properties=species:S:1:pos:R:3 pbc="T T T"'
    text = "".join(f"2\n{frame} {x}\nO 0 0 0\nH 0 0 1\n" for x in ("energy=1.0", label))
    path = tmp_path / "labelled.extxyz"
    path.write_text(text)
    assert main(["evaluate", model, str(path)]) == 2
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert message in error
    assert str(path) in error


def test_evaluate_refuses_what_no_structure_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    potential = Potential(Hyperparameters(("O", "H"), n_features=16, n_blocks=2, cutoff=4.0))
    potential.scale.fill_(1e20)
    save_model(tmp_path / "steep.safetensors", potential)
    path = tmp_path / "oh.xyz"
    ase.io.write(path, Atoms("OH", positions=[[0, 0, 0], [0, 0, 0.5]]), format="extxyz")
    assert main(["evaluate", str(tmp_path / "steep.safetensors"), str(path)]) == 2
    assert "frame 0: energy " in (error := capsys.readouterr().err)
    assert "no structure has these" in error


def test_evaluate_warns_outside_the_training_range(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "oh.xyz"
    ase.io.write(path, Atoms("OH", positions=[[0, 0, 0], [0, 0, 0.97]]), format="extxyz")
    assert main(["evaluate", "water", str(path)]) == 0
    assert any("atom 0 (O) has 1 H" in r.getMessage() for r in caplog.records)
    assert main(["evaluate", "water", str(path), "--range", "stop"]) == 2
    assert f"{path}, frame 0: atom" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["empty.xyz", "empty.extxyz", "empty.traj", "empty.data"])
def test_evaluate_refuses_an_empty_file(
    model: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    path.write_text("")
    assert main(["evaluate", model, str(path)]) == 2
    (error,) = capsys.readouterr().err.strip().splitlines()
    assert str(path) in error


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
        (["info", "wa\0ter"], "no model file"),
        (["evaluate", "MODEL", "a\0.xyz"], "no structure file"),
        (["check", "MODEL", "a\0.xyz"], "no structure file"),
        (["observe", "a\0.dump"], "does not exist"),
        (["observe", "README", "--skip", "nan"], "--skip is the fraction"),
        (["export", "MODEL", "a\0.pt"], "a path cannot hold a NUL character"),
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
