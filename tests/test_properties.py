"""Properties of water from runs in parts: ``python -m examples.water.properties``."""

import shutil
import sys

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from examples.water import bonds
from examples.water.own.molecule import main as relax_molecule
from examples.water.properties import __main__ as command
from examples.water.properties import runs
from examples.water.properties.results import Property, without_walls
from tpainn_calc.base.errors import ConfigError, DataError
from tpainn_calc.base.frames import read_extxyz, write_extxyz
from tpainn_calc.base.tables import read_table
from tpainn_calc.manifest import find_model, read_manifest
from tpainn_calc.observables import yeh_hummer_correction

ARGUMENTS = ["--fast", "water-fast", "--temperatures", "300", "--waters"]


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["properties", *words])
    return command.main()


def test_parts_are_kept_and_prolonged(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "PART", 0.2)
    folder = tmp_path / "runs"
    words = ["water-fast", *ARGUMENTS, "-o", str(folder)]
    assert run(monkeypatch, *words, "--ps", "0.4") == 0
    (home,) = folder.glob("64-300K-*")
    first = (home / "parts" / "000" / "dump").read_bytes()
    assert run(monkeypatch, *words, "--ps", "0.8") == 0
    assert (home / "parts" / "000" / "dump").read_bytes() == first
    run_ = runs.Run(64, 300.0, 0.8, pressure=1.0, outer=4.0, inner=1.0, hydrogen=3.0)
    monkeypatch.setattr(runs, "START", 0.5)
    universe, start = runs.read(run_, folder)
    # 4 parts of 5 frames, and the one at the beginning; none twice
    steps = [frame.time for frame in universe.trajectory]
    np.testing.assert_allclose(np.diff(steps), 0.04, rtol=1e-6)
    assert len(steps) == 21
    assert start == 10
    table = {row["quantity"]: row for row in read_table(folder / "properties.csv")}
    assert table["density"]["ps"] == pytest.approx(0.64)
    assert (folder / "properties.png").stat().st_size > 10_000


def test_the_enthalpy_of_vaporisation_where_the_molecule_is_of_the_same_level(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(runs, "PART", 0.2)
    file = tmp_path / "molecule.extxyz"
    monkeypatch.setattr(command, "MOLECULE", file)
    molecule = read_extxyz(runs.QUICKSTART)[0][:3]
    molecule.calc = SinglePointCalculator(molecule, energy=-469.25)
    words = ["water-fast", *ARGUMENTS, "--ps", "0.4", "-o", str(tmp_path / "runs")]
    for level in ("another", read_manifest("water-fast").level_of_theory):
        molecule.info["level"] = level
        write_extxyz(file, [molecule])
        assert run(monkeypatch, *words) == 0
        printed = capsys.readouterr().out
        assert ("enthalpy of vaporisation" in printed) == (level != "another")
    state = runs.Run(64, 300.0, 0.4, pressure=1.0, outer=4.0, inner=1.0, hydrogen=3.0)
    energies = runs.potential_energies(state, tmp_path / "runs") / 64
    assert len(energies) == 11  # as many as frames
    table = read_table(tmp_path / "runs" / "properties.csv")
    (row,) = (row for row in table if row["quantity"] == "enthalpy of vaporisation")
    per_molecule = -469.25 - energies[2:].mean() + 2.5 * 300.0 * 8.617333e-5
    assert row["value"] == pytest.approx(96.48533 * per_molecule, rel=1e-5)


def test_a_molecule_is_relaxed_by_any_engine(monkeypatch, tmp_path):
    engine = tmp_path / "engine.yaml"
    engine.write_text("engine: {kind: ase, calculator: ase.calculators.emt.EMT, level: EMT}\n")
    words = ["molecule", "--engine", str(engine), "-o", str(tmp_path / "molecule.extxyz")]
    monkeypatch.setattr(sys, "argv", words)
    assert relax_molecule() == 0
    (relaxed,) = read_extxyz(tmp_path / "molecule.extxyz")
    assert relaxed.info["level"] == "EMT"
    assert np.abs(relaxed.get_forces()).max() < 0.05
    energy, relaxed.calc = relaxed.get_potential_energy(), EMT()
    images = energy - relaxed.get_potential_energy()
    assert images == pytest.approx(2 * np.pi / 3 * 14.39964 * 0.385**2 / 11.0**3, rel=1e-4)


def test_the_molecules_of_the_shipped_water_hold_together(monkeypatch, capsys):
    """No bond breaks for less than twenty times kT at 370 K, and no small step leads downhill."""
    costs = bonds.stretch("water", n_frames=3, per_frame=5)
    assert costs.shape == (15, len(bonds.LENGTHS))
    assert (costs[:, 1:4] > costs[:, :3]).all()  # up to 1.3 Å
    assert costs[:, 3:].min() > 0.64
    (atoms, *_) = read_extxyz(bonds.FRAMES)
    longer = bonds.stretched(atoms, 0, 1.4)
    distances = longer.get_distances(0, np.flatnonzero(atoms.numbers == 1), mic=True)
    assert np.isclose(distances, 1.4, atol=1e-9).sum() == 1
    assert (longer.positions != atoms.positions).any(axis=1).sum() == 1
    monkeypatch.setattr(sys, "argv", ["bonds", "water-fast"])
    assert bonds.main() == 0
    assert "smallest" in capsys.readouterr().out


def test_a_part_begins_where_the_one_before_ended(monkeypatch, tmp_path):
    monkeypatch.setattr(runs, "PART", 0.08)
    state = runs.Run(64, 300.0, 0.16, pressure=1.0, outer=2.0, inner=0.5)
    with runs.runs_folder(tmp_path, "water-fast", "water-fast"):
        assert list(runs.run_parts(state, tmp_path)) == [0, 1]
    parts = [tmp_path / state.name / "parts" / f"{k:03d}" / "dump" for k in (0, 1)]
    before, after = (p.read_text().split(runs.HEAD)[1:] for p in parts)
    assert before[-1] == after[0]


def test_runs_of_other_models_are_not_mixed(monkeypatch, tmp_path, capsys):
    with runs.runs_folder(tmp_path, "water-fast", "water-fast"):
        pass
    words = ["water", *ARGUMENTS, "--ps", "0.04", "-o", str(tmp_path)]
    assert run(monkeypatch, *words) == 2
    assert "runs of other models" in capsys.readouterr().err


def test_a_file_with_another_model_in_it_is_another_model(tmp_path):
    model = tmp_path / "model.safetensors"
    shutil.copyfile(find_model("water-fast"), model)
    for _ in range(2):
        with runs.runs_folder(tmp_path / "runs", str(model)):
            assert not (tmp_path / "runs" / "fast.pt").exists()
    shutil.copyfile(find_model("water"), model)
    changed = runs.runs_folder(tmp_path / "runs", str(model))
    with pytest.raises(ConfigError, match="runs of other models"), changed:
        pass


def test_the_length_is_that_of_the_parts(monkeypatch):
    monkeypatch.setattr(runs, "PART", 5.0)
    assert [runs.Run(64, 300.0, ps).parts for ps in (0.4, 5.0, 5.1, 7.0, 60.0)] == [1, 1, 2, 2, 12]


def test_room_temperature_is_needed(monkeypatch, tmp_path, capsys):
    assert run(monkeypatch, "--temperatures", "350", "-o", str(tmp_path / "runs")) == 2
    assert "must hold 300 K" in capsys.readouterr().err


def test_molecules_stay_rigid_in_another_box():
    atoms = read_extxyz(runs.QUICKSTART)[0]
    scaled = runs.scaled(atoms, 0.9)
    for k in range(0, len(atoms), 3):
        for h in (1, 2):
            assert scaled.get_distance(k, k + h, mic=True) == pytest.approx(
                atoms.get_distance(k, k + h, mic=True), abs=1e-12
            )
    grams = scaled.get_masses().sum() / 0.602214076
    assert grams / scaled.get_volume() == pytest.approx(0.9, rel=1e-3)


def test_the_limit_of_a_large_box_and_the_viscosity():
    limit, viscosity = 0.25, 0.8
    lengths = [12.5, 18.7, 25.0]
    found = []
    for length in lengths:
        value = limit - yeh_hummer_correction(300.0, viscosity, length)
        found.append((Property("diffusion", "Å²/ps", 300.0, 64, 100.0, value, 0.01), length))
    d, eta = without_walls(found)
    assert d.value == pytest.approx(limit, rel=1e-9)
    assert eta.value == pytest.approx(viscosity, rel=1e-9)
    # by hand: two unknowns, three values of equal error
    x = np.array([1 / length for length in lengths])
    assert d.error == pytest.approx(
        0.01 * np.sqrt((x**2).sum() / (3 * (x**2).sum() - x.sum() ** 2)), rel=1e-9
    )
    with pytest.raises(DataError, match="one size"):
        without_walls(found[:1])


def test_a_run_has_its_own_name():
    one = runs.Run(64, 300.0, 1.0, pressure=1.0)
    assert len({one.name, runs.Run(64, 300.0, 1.0).name, runs.Run(64, 310.0, 1.0, 1.0).name}) == 3
    with pytest.raises(ConfigError, match="whole number"):
        runs.Run(64, 300.0, 1.0, outer=2.0, inner=0.6).input(0)
