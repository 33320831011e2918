from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import ase.calculators.calculator
import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_stress
from ase.filters import FrechetCellFilter
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS

from tpainn_calc import Hyperparameters, Potential, TPaiNNCalculator, save_model
from tpainn_calc.errors import ConfigError, ModelFileError, StructureError


def write_model(path: Path, seed: int, elements: tuple[str, ...] = ("O", "H")) -> Path:
    torch.manual_seed(seed)
    potential = Potential(Hyperparameters(elements, n_features=16, n_blocks=2, cutoff=4.0))
    potential.set_dtype(torch.float64)
    potential.reference_energies.copy_(torch.arange(1.0, len(elements) + 1, dtype=torch.float64))
    save_model(path, potential)
    return path


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [write_model(folder / f"m{k}.safetensors", k) for k in range(3)]


@pytest.fixture
def water() -> Atoms:
    rng = np.random.default_rng(0)
    atoms = Atoms("OHH" * 8, positions=rng.uniform(0, 6, (24, 3)), pbc=True)
    atoms.set_cell([[6.2, 0, 0], [1.0, 6.0, 0], [-0.5, 0.7, 6.4]])
    return atoms


def test_forces_and_stress_are_derivatives_of_the_energy(models: list[Path], water: Atoms) -> None:
    water.calc = TPaiNNCalculator(models[0])
    forces = water.get_forces()
    for atom, axis in ((0, 0), (7, 2)):
        energies = []
        for step in (1e-4, -1e-4):
            moved = water.copy()
            moved.calc = water.calc
            moved.positions[atom, axis] += step
            energies.append(moved.get_potential_energy())
        assert forces[atom, axis] == pytest.approx(-(energies[0] - energies[1]) / 2e-4, abs=1e-5)
    numerical = calculate_numerical_stress(water, eps=1e-5)
    np.testing.assert_allclose(water.get_stress(), numerical, atol=1e-7)


def test_sums_of_atomic_quantities(models: list[Path], water: Atoms) -> None:
    water.calc = TPaiNNCalculator(models[0])
    assert water.get_potential_energies().sum() == pytest.approx(water.get_potential_energy())
    np.testing.assert_allclose(water.get_stresses().sum(0), water.get_stress(), atol=1e-12)
    assert water.calc.results["free_energy"] == water.calc.results["energy"]


def test_gradients_are_computed_only_when_asked_for(
    models: list[Path], water: Atoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    original = torch.autograd.grad

    def counting(*args, **kwargs):  # type: ignore[no-untyped-def]
        calls.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", counting)
    water.calc = TPaiNNCalculator(models[0])
    calls.clear()  # loading checks the golden forces
    water.get_potential_energy()
    assert not calls
    assert "forces" not in water.calc.results
    water.get_forces()
    water.get_stress()  # comes with the forces
    assert len(calls) == 1


def test_skin_changes_nothing(models: list[Path], water: Atoms) -> None:
    with_skin, without = (TPaiNNCalculator(models[0], skin=s) for s in (1.0, 0.0))
    rng = np.random.default_rng(1)
    for _ in range(10):
        water.positions += rng.normal(0, 0.05, water.positions.shape)
        a, b = with_skin.get_forces(water), without.get_forces(water)
        np.testing.assert_allclose(a, b, atol=1e-9)
    assert with_skin._neighbors.rebuilds < without._neighbors.rebuilds


def test_changed_elements_are_noticed(models: list[Path], water: Atoms) -> None:
    water.calc = TPaiNNCalculator(models[0])
    before = water.get_potential_energy()
    water.symbols[0] = "H"
    fresh = TPaiNNCalculator(models[0])
    assert water.get_potential_energy() == pytest.approx(fresh.get_potential_energy(water))
    assert water.get_potential_energy() != pytest.approx(before)


def test_batch_equals_one_by_one(models: list[Path], water: Atoms) -> None:
    calculator = TPaiNNCalculator(models[0])
    other = water.copy()
    other.rattle(0.1, seed=1)
    results = calculator.batch([water, other, water[:9]], ["energy", "forces", "stress"])
    for atoms, result in zip([water, other, water[:9]], results, strict=True):
        atoms.calc = TPaiNNCalculator(models[0])
        assert result["energy"] == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(result["forces"], atoms.get_forces(), atol=1e-9)
        np.testing.assert_allclose(result["stress"], atoms.get_stress(), atol=1e-11)
    assert calculator.batch([]) == []


def test_committee_is_mean_and_sample_deviation(models: list[Path], water: Atoms) -> None:
    committee = TPaiNNCalculator(models)
    water.calc = committee
    forces = water.get_forces()
    single = [TPaiNNCalculator(m) for m in models]
    each = np.array([c.get_forces(water) for c in single])
    energies = np.array([c.get_potential_energy(water) for c in single])
    np.testing.assert_allclose(forces, each.mean(0), atol=1e-10)
    np.testing.assert_allclose(committee.results["forces_std"], each.std(0, ddof=1), atol=1e-10)
    assert committee.results["energy_std"] == pytest.approx(energies.std(ddof=1))
    assert committee.results["energy"] == pytest.approx(energies.mean())


def test_levels_of_theory_are_not_mixed(tmp_path: Path, water: Atoms) -> None:
    potential = Potential(Hyperparameters(("O", "H"), n_features=16, n_blocks=2, cutoff=4.0))
    paths = []
    for level in ("PBE", "PBE", "iAMOEBA", ""):
        paths.append(tmp_path / f"m{len(paths)}.safetensors")
        save_model(paths[-1], potential, level_of_theory=level)
    TPaiNNCalculator(paths[:2])
    with pytest.raises(ModelFileError, match=r"different levels of theory \(PBE, iAMOEBA\)"):
        TPaiNNCalculator(paths[:3])
    with pytest.raises(ModelFileError, match=r"\(PBE, unknown\).*mixed_levels=True"):
        TPaiNNCalculator([paths[0], paths[3]])
    water.calc = TPaiNNCalculator(paths, mixed_levels=True)
    assert water.get_potential_energy() is not None


def test_no_global_side_effects(models: list[Path], water: Atoms) -> None:
    properties = list(ase.calculators.calculator.Calculator.implemented_properties)
    before = torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed()
    water.calc = TPaiNNCalculator(models, dtype="float64")
    water.get_stress()
    assert before == (torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed())
    assert properties == ase.calculators.calculator.Calculator.implemented_properties


def test_runs_with_ase(models: list[Path], water: Atoms) -> None:
    water.calc = TPaiNNCalculator(models[0])
    BFGS(FrechetCellFilter(water), logfile=None).run(steps=2)
    # a short step: random positions are steep
    dynamics = VelocityVerlet(water, 0.02 * units.fs)
    start = water.get_total_energy()
    dynamics.run(20)
    assert water.get_total_energy() == pytest.approx(start, abs=1e-3)
    assert copy.deepcopy(water.calc).get_potential_energy(water) == pytest.approx(
        water.get_potential_energy()
    )


def test_only_what_matters_counts_as_a_change(models: list[Path], water: Atoms) -> None:
    calculator = TPaiNNCalculator(models[0])
    assert calculator.check_state(water) == ase.calculators.calculator.all_changes
    water.calc = calculator
    energy = water.get_potential_energy()
    assert calculator.check_state(water) == []
    water.set_initial_charges(np.ones(len(water)))
    assert calculator.check_state(water) == []
    water.positions[0, 0] += 1e-15 * abs(water.positions[0, 0]) + 1e-15
    assert calculator.check_state(water) == ["positions"]
    water.set_cell(water.cell * 1.01)
    water.pbc = [True, True, False]
    assert set(calculator.check_state(water)) == {"positions", "cell", "pbc"}
    assert water.get_potential_energy() != energy
    assert set(calculator.check_state(water[:3])) >= {"positions", "numbers"}


def test_unpickles_in_another_process(models: list[Path], water: Atoms, tmp_path: Path) -> None:
    water.calc = TPaiNNCalculator(models[:2])
    expected = water.get_potential_energy()
    stored = tmp_path / "atoms.pickle"
    calculator = water.calc
    water.calc = None
    stored.write_bytes(pickle.dumps((water, calculator)))
    code = (
        "import pickle, sys; atoms, calculator = pickle.load(open(sys.argv[1], 'rb')); "
        "atoms.rattle(1e-12); print(calculator.get_potential_energy(atoms))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(stored)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) == pytest.approx(expected, abs=1e-8)


def test_ase_writes_and_exports_results(models: list[Path], water: Atoms, tmp_path: Path) -> None:
    water.calc = TPaiNNCalculator(models)
    exported = water.calc.calculate_properties(water, ["energy", "forces", "stress"])
    assert exported["energy"] == water.calc.results["energy"]
    assert "energy_std" in water.calc.results
    for name in ("water.extxyz", "water.traj"):
        ase.io.write(tmp_path / name, water)
        again = ase.io.read(tmp_path / name)
        np.testing.assert_allclose(again.get_forces(), water.get_forces(), atol=1e-6)
        np.testing.assert_allclose(again.get_stress(), water.get_stress(), atol=1e-6)


def test_errors_of_a_batch_name_the_structure(models: list[Path], water: Atoms) -> None:
    broken = water.copy()
    broken.positions[3] = np.nan
    with pytest.raises(StructureError, match=r"^structure 2: atom 3 has a position"):
        TPaiNNCalculator(models[0]).batch([water, water, broken])


def test_batches_are_cut_to_size(
    models: list[Path], water: Atoms, monkeypatch: pytest.MonkeyPatch
) -> None:
    calculator = TPaiNNCalculator(models[0])
    frames = [water[: 3 * k] for k in (1, 5, 8, 2, 8, 1)]
    whole = calculator.batch(frames)
    limit = {True: 20, False: 20}  # two frames are larger
    monkeypatch.setattr("tpainn_calc.calculator._BATCH_ATOMS", limit)
    cut = calculator.batch(frames)
    assert [len(r["forces"]) for r in cut] == [len(a) for a in frames]
    for a, b in zip(whole, cut, strict=True):
        np.testing.assert_allclose(a["forces"], b["forces"], atol=1e-9)


def test_dtype_is_chosen_by_name_or_type(models: list[Path], water: Atoms) -> None:
    double = TPaiNNCalculator(models[0], dtype="float64").get_potential_energy(water)
    single = TPaiNNCalculator(models[0], dtype=torch.float32).get_potential_energy(water)
    assert single == pytest.approx(double, rel=1e-5)
    assert single != double


def test_wrong_input_is_one_clear_line(models: list[Path], water: Atoms, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"did you mean .float32"):
        TPaiNNCalculator(models[0], dtype="flaot32")
    with pytest.raises(ConfigError, match="not understood"):
        TPaiNNCalculator(models[0], device="gpuu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="sees no GPU"):
            TPaiNNCalculator(models[0], device="cuda")
    with pytest.raises(ConfigError, match="no model given"):
        TPaiNNCalculator([])
    with pytest.raises(ModelFileError, match="must share elements"):
        TPaiNNCalculator([models[0], write_model(tmp_path / "x.safetensors", 0, ("O", "C"))])
    calculator = TPaiNNCalculator(models[0])
    with pytest.raises(StructureError, match="element C"):
        calculator.get_potential_energy(molecule("CH4"))
    for change, message in (
        (lambda a: a.positions.__setitem__((0, 0), np.nan), "finite"),
        (lambda a: a.set_cell(np.zeros((3, 3))), "cell"),
        (lambda a: a.set_cell([[1, 0, 0], [2, 0, 0], [0, 0, 1]]), "cell"),
    ):
        broken = water.copy()
        change(broken)
        with pytest.raises(StructureError, match=message) as caught:
            calculator.get_potential_energy(broken)
        assert "\n" not in str(caught.value)
    with pytest.raises(PropertyNotImplementedError, match="periodic in three directions"):
        calculator.get_stress(molecule("H2O"))
    with pytest.raises(PropertyNotImplementedError, match="not among"):
        calculator.batch([water], ["charge"])
