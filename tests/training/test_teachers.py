"""Teachers: a planted slope, offsets and noise come back; the nearest level is the one to take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT

from tpainn_calc.base.frames import attach_results, read_extxyz, write_extxyz
from tpainn_calc.base.schema import load_config
from tpainn_calc.base.tables import read_table
from training.cli import main
from training.teachers.compare import compare
from training.teachers.config import TeachersConfig
from training.teachers.run import choose

OFFSETS = {"H": 3.0, "C": -1030.0, "O": -2040.0}
SLOPE, NOISE, FORCE_SLOPE, FORCE_NOISE = 0.8, 0.004, 1.25, 0.05


def planted(n: int, seed: int, noise: float = NOISE) -> tuple[list[Atoms], list[Atoms]]:
    """Frames, with energies that are a slope times the teacher's, offsets and noise per atom."""
    rng = np.random.default_rng(seed)
    right, cheap = [], []
    for _ in range(n):
        symbols = rng.choice(list(OFFSETS), size=rng.integers(5, 15))
        atoms = Atoms(symbols, rng.normal(0, 3, (len(symbols), 3)), cell=[9] * 3, pbc=True)
        teacher = -400.0 * len(atoms) + rng.normal(0, 0.3) * len(atoms)
        energy = SLOPE * teacher + sum(OFFSETS[s] for s in symbols)
        energy += rng.normal(0, noise) * len(atoms)
        forces = rng.normal(0, 1, (len(atoms), 3))
        stress = rng.normal(0, 0.01, 6)
        right.append(
            attach_results(
                atoms.copy(),
                energy,
                FORCE_SLOPE * forces + rng.normal(0, FORCE_NOISE, forces.shape),
                stress,
            )
        )
        tension = np.array([0.002, 0.002, 0.002, 0, 0, 0])
        cheap.append(attach_results(atoms.copy(), teacher, forces, stress + tension))
    return right, cheap


def test_slope_offsets_and_noise_are_recovered() -> None:
    found = compare(*planted(200, seed=0))
    assert found.free is not None
    assert found.free.slope == pytest.approx(SLOPE, abs=4 * NOISE / 0.3 / np.sqrt(200))
    # the slope's error times the teacher's energy of an atom goes into the offsets of all elements
    differences = np.diff([OFFSETS[e] for e in found.free.elements])
    np.testing.assert_allclose(np.diff(found.free.offsets), differences, atol=0.02)
    half_normal = np.sqrt(2 / np.pi)
    assert found.free.error == pytest.approx(NOISE * half_normal, rel=0.25)
    assert found.fixed is not None
    # with slope 1 a fifth of the teacher's spread is left
    assert found.fixed.error == pytest.approx(0.2 * 0.3 * half_normal, rel=0.25)
    assert found.alone is not None
    assert found.alone.error == pytest.approx(SLOPE * 0.3 * half_normal, rel=0.25)
    assert found.forces["slope"] == pytest.approx(FORCE_SLOPE, abs=0.01)
    assert found.forces["calibrated"] == pytest.approx(FORCE_NOISE * half_normal, rel=0.05)
    assert found.forces["mae"] > 3 * found.forces["calibrated"]
    assert found.forces["correlation"] > 0.99
    # more tension is less pressure: 0.002 eV/Å³ are 0.32 GPa
    assert found.stress["pressure"] == pytest.approx(-0.002 * 160.2177, rel=1e-4)
    assert found.stress["mae"] == pytest.approx(0.001 * 160.2177, rel=1e-4)


def test_errors_are_those_of_frames_that_the_fit_has_not_seen() -> None:
    right, cheap = planted(10, seed=1)
    found = compare(right, cheap)
    assert found.fixed is not None
    left_out = []
    for k in range(10):
        rest = [n for n in range(10) if n != k]
        counts = np.array([[a.symbols.count(e) for e in sorted(OFFSETS)] for a in right])
        size = counts.sum(axis=1)
        energy = np.array([a.get_potential_energy() for a in right])
        y = (energy - [a.get_potential_energy() for a in cheap]) / size
        x = counts / size[:, None]
        solution = np.linalg.lstsq(x[rest], y[rest], rcond=None)[0]
        left_out.append(abs(y[k] - x[k] @ solution))
    assert found.fixed.error == pytest.approx(np.mean(left_out), rel=1e-6)
    few = compare(right[:4], cheap[:4])
    assert few.free is None  # four parameters for four frames


def test_the_advice() -> None:
    rows: list[dict[str, Any]] = [
        {"teacher": "far", "score": 0.9, "ms_per_label": 0.1},
        {"teacher": "near", "score": 0.20, "ms_per_label": 100.0},
        {"teacher": "as near", "score": 0.21, "ms_per_label": 5.0},
        {"teacher": "broken"},
    ]
    assert choose(rows) == "as near"
    assert choose(rows[:2]) == "near"
    assert choose([{"teacher": "worse than none", "score": 1.2, "ms_per_label": 1.0}]) is None


CONFIG = """\
output: out
data: {files: [frames.extxyz], level: EMT, frames: 8, seed: 3}
teachers:
  - {kind: ase, calculator: ase.calculators.morse.MorsePotential, level: Morse,
     arguments: {epsilon: 0.5, r0: 2.5, rho0: 4.0}}
  - {kind: ase, calculator: label_calculators.ScaledEMT, level: scaled EMT, arguments: {scale: 0.9}}
  - {kind: ase, calculator: label_calculators.FaultyEMT, level: broken,
     arguments: {how: bug, limit: -1000.0}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    frames = []
    for k in range(12):
        atoms = Atoms("Cu4", [[0, 0, 0], [2.5, 0, 0], [0, 2.5, 0], [0, 0, 2.5]])
        atoms.symbols[: k % 4] = "Ag"
        atoms.positions += rng.normal(0, 0.15, (4, 3))
        atoms.calc = EMT()
        atoms = attach_results(atoms, atoms.get_potential_energy(), atoms.get_forces())
        frames.append(atoms)
    write_extxyz(tmp_path / "frames.extxyz", frames)
    (tmp_path / "teachers.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return tmp_path


def test_the_command_compares_advises_and_resumes(folder: Path, capsys) -> None:
    assert main(["teachers", "--quiet", "teachers.yaml"]) == 0
    said = capsys.readouterr().out
    assert "take scaled EMT" in said
    rows = {row["teacher"]: row for row in read_table(folder / "out" / "teachers.csv")}
    assert list(rows) == ["Morse", "scaled EMT", "broken"]
    scaled = rows["scaled EMT"]
    assert float(scaled["energy_slope"]) == pytest.approx(1 / 0.9, rel=1e-3)
    assert float(scaled["forces_slope"]) == pytest.approx(1 / 0.9, rel=1e-5)
    assert float(scaled["forces_calibrated_meV_per_A"]) == pytest.approx(0, abs=1e-3)
    assert float(scaled["forces_correlation"]) == pytest.approx(1.0)
    assert rows["broken"]["labelled"] == 0
    assert "KeyError: 'surprise'" in rows["broken"]["remark"]
    assert [row["take"] for row in rows.values()] == [0, 1, 0]
    assert (folder / "out" / "teachers.png").stat().st_size > 0
    # labels are kept: one that is changed by hand is not computed again
    journal = folder / "out" / "labels" / "scaled_EMT.extxyz"
    labelled = read_extxyz(journal)
    assert len(labelled) == 8
    before = journal.read_bytes()
    assert main(["teachers", "--quiet", "teachers.yaml"]) == 0
    assert journal.read_bytes() == before
    config = folder / "out" / "config.yaml"
    assert load_config(config, TeachersConfig) == load_config(
        folder / "teachers.yaml", TeachersConfig
    )
    assert "take scaled EMT" in (folder / "out" / "log.txt").read_text()
    kept = config.read_bytes()
    (folder / "teachers.yaml").write_text(CONFIG.replace("seed: 3", "seed: 4"))
    assert main(["teachers", "--quiet", "teachers.yaml"]) == 2
    assert config.read_bytes() == kept
    assert "a comparison on other frames (seed (3, now 4))" in capsys.readouterr().err


def test_mistakes_are_one_line(folder: Path, capsys) -> None:
    for old, new, message in (
        ("frames: 8", "frames: 80", "80 are asked for, and there are 12"),
        ("level: EMT", "level: PBE", "another level"),
        ("label_calculators.ScaledEMT", "label_calculators.Scaled", "label_calculators.Scaled"),
    ):
        frames = ase.io.read("frames.extxyz", ":")
        for atoms in frames:
            atoms.info["level"] = "another level"
        if "PBE" in new:
            write_extxyz(folder / "frames.extxyz", frames)
        (folder / "teachers.yaml").write_text(CONFIG.replace(old, new))
        assert main(["teachers", "--quiet", "teachers.yaml"]) == 2
        assert message in capsys.readouterr().err
    assert not (folder / "out").exists()
