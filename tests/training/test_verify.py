"""A model against an engine on its own run: errors, pressure, and the density they mean."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule

from tpainn_calc import TPaiNNCalculator
from tpainn_calc.base.frames import read_extxyz, write_extxyz
from tpainn_calc.base.tables import read_table
from training.cli import main
from training.verify.density import Compressibility, compressibility, density_error


@pytest.fixture(scope="module")
def trajectory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of one water in a box that breathes, as of a run at constant pressure."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(40):
        atoms = molecule("H2O", cell=[4.2 + rng.normal(0, 0.05)] * 3, pbc=True)
        atoms.center()
        atoms.positions += rng.normal(0, 0.05, (3, 3))
        frames.append(atoms)
    path = tmp_path_factory.mktemp("run") / "run.extxyz"
    write_extxyz(path, frames)
    return path


@pytest.fixture
def model(pretrained: Path) -> Path:
    return pretrained / "pretrained" / "springs.safetensors"


def test_errors_are_those_of_model_and_engine(
    trajectory: Path, model: Path, tmp_path: Path, capsys
) -> None:
    pytest.importorskip("tblite")
    from tblite.ase import TBLite

    out = tmp_path / "out"
    words = ["verify", str(model), str(trajectory), "--engine", "tblite", "--frames", "4"]
    words += ["--skip", "0.1", "-o", str(out), "--quiet", "--temperature", "350"]
    assert main(words) == 0
    said = capsys.readouterr().out
    found = json.loads((out / "verify.json").read_text())
    rows = read_table(out / "verify.csv")
    assert [row["frame"] for row in rows] == [8, 17, 26, 35]  # the middles of four parts of 4..39

    frames = read_extxyz(trajectory)
    energies, forces, pressures = [], [], []
    for row in rows:
        both = []
        for calculator in (TPaiNNCalculator(model), TBLite(method="GFN2-xTB", verbosity=0)):
            atoms = frames[int(row["frame"])].copy()
            atoms.calc = calculator
            pressure = -np.mean(atoms.get_stress()[:3]) / units.GPa
            both.append((atoms.get_potential_energy() / 3, atoms.get_forces(), pressure))
        (e, f, p), (e0, f0, p0) = both
        energies.append(e - e0)
        forces.append(np.abs(f - f0).mean())
        pressures.append(p - p0)
        assert row["virial_pressure_engine_GPa"] == pytest.approx(p0, abs=1e-3)
        assert row["virial_pressure_model_GPa"] == pytest.approx(p, abs=1e-3)
    centred = np.array(energies) - np.mean(energies)
    assert found["energy_offset_meV_per_atom"] == pytest.approx(1e3 * np.mean(energies), rel=1e-5)
    assert found["energy_meV_per_atom_mae"] == pytest.approx(1e3 * np.abs(centred).mean(), rel=1e-3)
    assert found["forces_meV_per_A_mae"] == pytest.approx(1e3 * np.mean(forces), rel=1e-3)
    difference = 1e3 * np.mean(pressures)
    assert found["pressure_difference_MPa"] == pytest.approx(difference, rel=1e-3)
    error = 1e3 * np.std(pressures, ddof=1) / 2
    assert found["pressure_difference_error_MPa"] == pytest.approx(error, rel=1e-3)
    # density and compressibility of the run, written out
    volumes = np.array([a.get_volume() for a in frames[4:]])
    kappa = volumes.var() / (units.kB * 350 * volumes.mean()) * units.GPa
    assert found["compressibility_per_GPa"] == pytest.approx(kappa, rel=1e-4)
    density = np.mean(18.015 / 0.602214076 / volumes)
    assert found["density_g_per_cm3"] == pytest.approx(density, rel=1e-4)
    expected = -density * kappa * difference / 1e3
    assert found["density_error_g_per_cm3"] == pytest.approx(expected, rel=1e-3)
    assert f"{expected:+.4f}" in said
    assert (out / "verify.png").stat().st_size > 0


def test_labels_are_kept_and_the_folder_belongs_to_one_verification(
    trajectory: Path, model: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    log, engine = tmp_path / "log", tmp_path / "engine.yaml"
    engine.write_text(
        "engine: {kind: ase, calculator: label_calculators.LoggedEMT, level: EMT,"
        f" arguments: {{log: {log}}}}}\n"
    )
    out = tmp_path / "out"
    words = ["verify", str(model), str(trajectory), "--engine", str(engine), "-o", str(out)]
    assert main([*words, "--quiet", "--frames", "4"]) == 0
    assert len(log.read_text().split()) == 4
    content = (out / "labels.extxyz").read_bytes()
    # as a kill may leave it: two labels, and half of a third
    lines = content.splitlines(keepends=True)
    (out / "labels.extxyz").write_bytes(b"".join(lines[:13]))
    before = (out / "verify.csv").read_bytes()
    assert main([*words, "--quiet", "--frames", "4"]) == 0
    assert len(log.read_text().split()) == 6
    assert (out / "verify.csv").read_bytes() == before
    assert main([*words, "--quiet", "--frames", "5"]) == 2
    assert "another verification (frames" in capsys.readouterr().err


def test_a_planted_pressure_error_is_a_density_error() -> None:
    """Of an ideal elastic body: its density at another pressure is known."""
    kappa, volume, temperature = 0.45, 1000.0, 300.0
    rng = np.random.default_rng(1)
    width = np.sqrt(kappa * units.kB * temperature * volume / units.GPa)
    found = compressibility(volume + width * rng.normal(size=20_000), temperature)
    assert found is not None
    assert found.value == pytest.approx(kappa, rel=0.05)
    assert found.error == pytest.approx(kappa * np.sqrt(2 / 20_000), rel=0.5)
    # pressure too high by 0.02 GPa: the model's box is too large by kappa times that
    implied = density_error(0.99, (0.02, 0.001), Compressibility(kappa, 0.0))
    right = 0.99 / (1 - kappa * 0.02)
    assert implied.value == pytest.approx(0.99 - right, rel=0.02)
    assert implied.error == pytest.approx(0.99 * kappa * 0.001)
    assert compressibility(np.full(100, volume), temperature) is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--frames", "99"], "40 frames after the first 0, and 99 are asked for"),
        (["--frames", "2"], "--frames 2: out of range"),
        (["--skip", "1"], "--skip 1.0: out of range"),
        (["--engine", "tblit"], 'did you mean "tblite"?'),
        (["--elements", "O"], "elements is for LAMMPS dumps"),
    ],
)
def test_mistakes_are_one_line(trajectory, model, tmp_path, words, message, capsys) -> None:
    base = ["verify", str(model), str(trajectory), "--engine", "mmff94", "--quiet", "--skip", "0"]
    assert main([*base, "-o", str(tmp_path / "out"), *words]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()


def test_a_run_at_constant_volume_says_what_is_missing(model: Path, tmp_path: Path, capsys) -> None:
    rng = np.random.default_rng(2)
    atoms = Atoms("OHH", [[2, 2, 2], [2.96, 2, 2], [1.76, 2.93, 2]], cell=[4.0] * 3, pbc=True)
    frames = [atoms.copy() for _ in range(6)]
    for frame in frames:
        frame.positions += rng.normal(0, 0.02, (3, 3))
    write_extxyz(tmp_path / "nvt.extxyz", frames)
    engine = tmp_path / "e.yaml"
    engine.write_text("engine: {kind: ase, calculator: ase.calculators.emt.EMT, level: EMT}\n")
    words = ["verify", str(model), str(tmp_path / "nvt.extxyz"), "--engine", str(engine)]
    words += ["--frames", "3", "--quiet", "--skip", "0", "-o", str(tmp_path / "out")]
    assert main(words) == 0
    assert "constant volume: give --compressibility" in capsys.readouterr().out
    assert main([*words, "--compressibility", "0.45"]) == 0
    found = json.loads((tmp_path / "out" / "verify.json").read_text())
    expected = -found["density_g_per_cm3"] * 0.45 * found["pressure_difference_MPa"] / 1e3
    assert found["density_error_g_per_cm3"] == pytest.approx(expected, rel=1e-9)
