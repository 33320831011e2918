"""Planted mistakes in labels are suspected, and sound labels are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from tpainn_calc.base.frames import attach_results, open_frames, results_of
from training.data.plausibility import FEWEST, doubts, doubts_beside

KCAL = 23.0605


def planted(frames: list[Atoms], energy: float, forces: float, stress: float = 1.0) -> list[Atoms]:
    """The same frames with labels times these factors."""
    made = []
    for atoms in frames:
        found = results_of(atoms)
        factors = {"energy": energy, "forces": forces, "stress": stress}
        scaled = {label: factors[label] * value for label, value in found.items()}
        made.append(attach_results(atoms.copy(), **scaled))
    return made


def spread(frames: list[Atoms]) -> list[Atoms]:
    """The molecules far from each other: the next in the list tells nothing of one."""
    rng = np.random.default_rng(4)
    found = []
    for atoms in frames:
        moved = atoms.copy()
        moved.positions += rng.uniform(-50, 50, 3)
        found.append(attach_results(moved, **results_of(atoms)))
    return found


@pytest.fixture(scope="module")
def crystals() -> list[Atoms]:
    rng = np.random.default_rng(5)
    found = []
    for edge in np.linspace(3.45, 3.75, 24):
        atoms = bulk("Cu", cubic=True, a=edge)
        atoms.positions += rng.normal(0, 0.05, (4, 3))
        atoms.calc = EMT()
        labels = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        found.append(attach_results(atoms.copy(), *labels))
    return found


def test_sound_labels_raise_no_doubt(frames: list[Atoms], crystals: list[Atoms]) -> None:
    assert doubts(frames) == []
    assert doubts(spread(frames)) == []
    assert doubts(crystals) == []
    assert doubts(frames[:1]) == []


@pytest.mark.parametrize(
    ("energy", "forces", "expected"),
    [
        (1, -1, "forces look like −F: the energy rises along them (correlation 0.98 over 59 pairs"),
        (KCAL, 1, "energies look like kcal/mol beside forces in eV/Å"),
        (1, KCAL, "forces look like kcal/mol/Å beside energies in eV"),
        (1 / 27.2114, 0.529177 / 27.2114, "labels look like Hartree and Hartree/Bohr"),
        (1 / 27.2114, 1, "energies look like Hartree beside forces in eV/Å"),
    ],
)
def test_work_tells_units_and_sign(
    frames: list[Atoms], energy: float, forces: float, expected: str
) -> None:
    assert doubts(planted(frames, energy, forces))[0].startswith(expected)


@pytest.mark.parametrize(
    ("energy", "forces", "expected"),
    [
        (1, -1, "forces look like −F: short bonds pull, in "),
        (KCAL, KCAL, "forces look like kcal/mol/Å: bonds to hydrogen have a force constant of "),
        (1, 0.529177 / 27.2114, "forces look like Hartree/Bohr: bonds to hydrogen"),
    ],
)
def test_bonds_tell_units_and_sign(
    frames: list[Atoms], energy: float, forces: float, expected: str
) -> None:
    found = doubts(planted(spread(frames), energy, forces))
    assert any(line.startswith(expected) for line in found), found


def test_pressure_tells_the_sign_of_the_stress(crystals: list[Atoms]) -> None:
    (line,) = doubts(planted(crystals, 1, 1, -1))
    assert "stress looks like that of the other sign" in line
    assert "over 24 frames" in line
    assert doubts(planted(crystals[: FEWEST - 1], 1, 1, -1)) == []


def test_a_model_tells_units_and_sign() -> None:
    rng = np.random.default_rng(6)
    said, noise = rng.normal(size=(2, 40, 3))
    label = 1.2 * said + 0.3 * noise
    none = np.zeros((0, 3, 3)), np.zeros((0, 3, 3))
    assert doubts_beside((label, said), none, "m") == []
    (line,) = doubts_beside((-label, said), none, "m")
    assert line.startswith("forces of the other sign, it seems (correlation -0.9")
    (line,) = doubts_beside((KCAL * label, said), none, "m")
    assert line.startswith("forces in kcal/mol/Å, it seems: 2")
    assert line.endswith("with m over 120 numbers)")
    # the pressure of two levels may differ in sign
    stress, other = rng.normal(size=(2, 12, 3, 3))
    other = 0.8 * stress + 0.2 * other
    pressure = 5 * np.eye(3)
    forces = label, said
    assert doubts_beside(forces, (other - pressure, stress + pressure), "m") == []
    (line,) = doubts_beside(forces, (-other, stress), "m")
    assert line.startswith("stress of the other sign, it seems")
    (line,) = doubts_beside(forces, (160.2 * other, stress), "m")
    assert line.startswith("stress in GPa, it seems")


def test_a_run_says_its_doubts_and_goes_on(
    config_file: Path, frames: list[Atoms], caplog: pytest.LogCaptureFixture
) -> None:
    import ase.io

    from tpainn_calc.base.schema import load_config
    from training.fit import fit
    from training.fit.config import TrainingConfig

    wrong = planted(frames, 1, -1)
    ase.io.write(config_file.parent / "data.extxyz", wrong, format="extxyz")
    assert fit(load_config(config_file, TrainingConfig), config_file.parent, progress=False)
    assert "please check: forces look like −F" in caplog.text


def test_labels_of_liquid_water_by_dft() -> None:
    """Frames of the repository, which are far from each other in time."""
    path = Path(__file__).parents[2] / "examples/water/data/water-revpbe-d3.extxyz.gz"
    frames = list(open_frames(path))[:20]
    assert doubts(frames) == []
    (line,) = doubts(planted(frames, 1, -1))
    assert line.startswith("forces look like −F: short bonds pull, in 20 of 20 frames")
    (line,) = doubts(planted(frames, KCAL, KCAL))
    assert line.startswith("forces look like kcal/mol/Å")
