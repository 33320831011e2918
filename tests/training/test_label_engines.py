"""Every engine says what its code says: energies, forces, stress, and what it could not do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.units import Bohr, Hartree, create_units

from training.labels.checks import energy_outliers, problem_of
from training.labels.engines.attempts import label_by_attempts
from training.labels.engines.config import LabelConfig
from training.labels.engines.contract import Engine, EngineCrashed, Label, LabelFailed
from training.labels.engines.factory import make_engine

needs_cp2k = pytest.mark.skipif(
    shutil.which("cp2k_shell.psmp") is None, reason="needs CP2K (apt-get install cp2k cp2k-data)"
)


def make(**settings: Any) -> Engine:
    return make_engine(LabelConfig.model_validate({"engine": settings}).engine)


def water(cell: float | None = None) -> Atoms:
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=1)
    if cell is not None:
        atoms.set_cell([cell, cell + 0.1, cell + 0.2])
        atoms.pbc = True
    return atoms


class TestTBLite:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("tblite")

    @pytest.mark.parametrize("method", ["GFN1-xTB", "GFN2-xTB"])
    @pytest.mark.parametrize("cell", [None, 4.0])
    def test_label_is_what_the_library_says(self, method, cell):
        from tblite.interface import Calculator

        atoms = water(cell)
        label = make(kind="tblite", method=method).label(atoms)
        lattice = (
            {} if cell is None else {"lattice": atoms.cell.array / Bohr, "periodic": atoms.pbc}
        )
        calculator = Calculator(method, atoms.numbers, atoms.positions / Bohr, **lattice)
        calculator.set("verbosity", 0)
        said = calculator.singlepoint()
        results = label.atoms.calc.results
        assert results["energy"] == pytest.approx(said["energy"] * Hartree, abs=1e-7)
        forces = -said["gradient"] * Hartree / Bohr
        np.testing.assert_allclose(results["forces"], forces, atol=1e-7)
        assert ("stress" in results) == (cell is not None)
        assert label.level == f"{method} (tblite)"

    def test_units_and_signs_by_finite_differences(self):
        engine, atoms, h = make(kind="tblite", accuracy=0.01), water(4.0), 2e-3
        results = engine.label(atoms).atoms.calc.results

        def energy(strain: np.ndarray, shift: np.ndarray) -> float:
            moved = atoms.copy()
            moved.positions += shift
            moved.set_cell(moved.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            return engine.label(moved).atoms.get_potential_energy()

        zero = np.zeros((3, 3))
        for atom, axis in ((0, 0), (1, 2)):
            shift = np.zeros((3, 3))
            shift[atom, axis] = h
            slope = (energy(zero, shift) - energy(zero, -shift)) / (2 * h)
            assert results["forces"][atom, axis] == pytest.approx(-slope, abs=2e-4)
        # tension is positive, in eV/Å³, in the order xx yy zz yz xz xy
        for place, (i, k) in ((0, (0, 0)), (2, (2, 2)), (3, (1, 2)), (5, (0, 1))):
            strain = np.zeros((3, 3))
            strain[i, k] = strain[k, i] = h if i == k else h / 2
            slope = (energy(strain, zero) - energy(-strain, zero)) / (2 * h)
            assert results["stress"][place] == pytest.approx(slope / atoms.get_volume(), abs=2e-5)

    def test_label_does_not_depend_on_the_one_before(self):
        engine = make(kind="tblite")
        first = engine.label(water()).atoms.get_potential_energy()
        engine.label(molecule("CH4"))
        assert engine.label(water()).atoms.get_potential_energy() == first

    def test_failing_scf_is_tried_again_and_noted(self):
        wanted = make(kind="tblite").label(water())
        label = make(kind="tblite", max_iterations=2).label(water())
        assert label.notes["fallback"] == "damping 0.2, 1000 steps"
        energy = wanted.atoms.get_potential_energy()
        assert label.atoms.get_potential_energy() == pytest.approx(energy, abs=1e-4)

    def test_scf_that_never_converges_fails(self, monkeypatch):
        from training.labels.engines import tblite

        monkeypatch.setattr(tblite, "FALLBACKS", [("3 steps", {"max_iterations": 3})])
        with pytest.raises(LabelFailed, match=r"2 steps: .*; 3 steps: "):
            make(kind="tblite", max_iterations=2).label(water())


class TestPySCF:
    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("pyscf")

    def test_label_is_what_the_library_says(self):
        from pyscf import dft, gto

        atoms = water()
        label = make(kind="pyscf", basis="sto-3g", grid=1).label(atoms)
        mol = gto.M(
            atom=[
                (s, tuple(x)) for s, x in zip(atoms.symbols, atoms.positions / Bohr, strict=True)
            ],
            unit="Bohr",
            basis="sto-3g",
            verbose=0,
        )
        field = dft.RKS(mol, xc="b3lyp")
        field.grids.level = 1
        field.conv_tol = 1e-9
        energy = field.kernel()
        gradient = field.nuc_grad_method().kernel()
        assert label.atoms.get_potential_energy() == pytest.approx(energy * Hartree, abs=1e-7)
        np.testing.assert_allclose(label.atoms.get_forces(), -gradient * Hartree / Bohr, atol=1e-6)
        assert label.level == "B3LYP/sto-3g grid 1 (PySCF)"

    def test_basis_of_qm9_mixes_cartesian_d_and_pure_f(self):
        from training.labels.engines.pyscf import mixed_functions

        field = make(kind="pyscf").mean_field(molecule("CO"))  # type: ignore[attr-defined]
        # per atom: 3 s, 2 p, two Cartesian d (6 each), one f: 10 Cartesian or 7 pure functions
        assert mixed_functions(field.mol).shape == (2 * (3 + 6 + 12 + 10), 2 * (3 + 6 + 12 + 7))
        overlap = field.get_ovlp()
        x = field.check_linear_dependency(overlap)
        np.testing.assert_allclose(x.T @ overlap @ x, np.eye(56), atol=1e-10)

    def test_gradient_in_the_mixed_basis_is_the_slope_of_the_energy(self):
        engine, h = make(kind="pyscf", grid=1), 2e-3
        atoms = molecule("OH")  # one heavy atom with f functions, one odd electron
        force = engine.label(atoms).atoms.get_forces()[1, 2]
        energies = []
        for step in (h, -h):
            moved = atoms.copy()
            moved.positions[1, 2] += step
            energies.append(engine.label(moved).atoms.get_potential_energy())
        assert force == pytest.approx(-(energies[0] - energies[1]) / (2 * h), abs=5e-3)

    def test_second_order_scf_is_the_fallback(self):
        wanted = make(kind="pyscf", basis="sto-3g", grid=1).label(water())
        label = make(kind="pyscf", basis="sto-3g", grid=1, max_cycle=2).label(water())
        assert label.notes["fallback"] == "second-order SCF"
        energy = wanted.atoms.get_potential_energy()
        assert label.atoms.get_potential_energy() == pytest.approx(energy, abs=1e-6)

    def test_what_it_does_not_label(self):
        with pytest.raises(LabelFailed, match="periodic"):
            make(kind="pyscf").label(water(5.0))
        with pytest.raises(LabelFailed, match="contains S"):
            make(kind="pyscf").label(molecule("SH2"))


#: A test of the plumbing: no settings for water.
SMALL: dict[str, Any] = {"kind": "cp2k", "cutoff": 120.0, "basis": "DZVP-GTH"}


@needs_cp2k
class TestCP2K:
    def test_network_label_is_what_cp2k_prints(self, tmp_path):
        from training.labels.engines.cp2k_input import nnp_input

        atoms, other = water(5.0), water(5.5)
        other.positions += 0.1
        engine = make(kind="cp2k-nnp")
        first = engine.label(other)
        label = engine.label(atoms)
        again = engine.label(other)  # the process stays, and remembers nothing
        engine.close()
        assert again.atoms.get_potential_energy() == first.atoms.get_potential_energy()
        sections = nnp_input().strip().splitlines()[1:-1]
        check_against_print(label, tmp_path, ["METHOD NNP", *sections])
        assert "not DFT" in label.level

    def test_dft_label_is_what_cp2k_prints(self, tmp_path):
        from training.labels.engines.config import CP2KConfig
        from training.labels.engines.cp2k_input import dft_input

        atoms = water(4.5)
        engine = make(**SMALL)
        label = engine.label(atoms)
        engine.close()
        net = label.notes["net_force"]
        assert net > 1e-3  # a coarse grid
        np.testing.assert_allclose(label.atoms.get_forces().sum(axis=0), 0, atol=1e-10)
        text = dft_input(CP2KConfig(**SMALL), "diagonalization")
        lines = text.strip().splitlines()[1:-1]
        at = lines.index("&DFT") + 1
        files = ["BASIS_SET_FILE_NAME GTH_BASIS_SETS", "POTENTIAL_FILE_NAME GTH_POTENTIALS"]
        lines[at:at] = files
        lines.insert(lines.index("&MGRID") + 1, "CUTOFF 120")
        kinds = [f"&KIND {s}\nBASIS_SET DZVP-GTH\nPOTENTIAL GTH-PBE\n&END KIND" for s in ("O", "H")]
        check_against_print(label, tmp_path, ["METHOD QUICKSTEP", *lines], kinds)
        assert label.level == "revPBE-D3(0) DZVP-GTH 120/60 Ry (CP2K)"

    def test_basis_may_be_named_for_each_element(self):
        names = {"H": "DZVP-GTH-q1", "O": "DZVP-GTH-q6"}  # aliases of SMALL's
        named, plain = make(**SMALL | {"basis": names}), make(**SMALL)
        labels = [engine.label(water(4.5)) for engine in (named, plain)]
        assert "&KIND O\nBASIS_SET DZVP-GTH-q6\n&END KIND" in named.describe()["input"]
        named.close(), plain.close()
        assert labels[0].level == labels[1].level == "revPBE-D3(0) DZVP-GTH 120/60 Ry (CP2K)"
        energies = [label.atoms.get_potential_energy() for label in labels]
        assert energies[0] == pytest.approx(energies[1], abs=1e-6)
        mixed = make(**SMALL | {"basis": {"H": "SZV-GTH", "O": "DZVP-GTH-q6"}})
        assert mixed.level == "revPBE-D3(0) H:SZV-GTH,O:DZVP-GTH 120/60 Ry (CP2K)"

    def test_pseudopotential_is_part_of_the_level(self):
        engines = [make(**SMALL), make(**SMALL, pseudopotential="GTH-BLYP")]
        labels = [engine.label(water(4.5)) for engine in engines]
        for engine in engines:
            engine.close()
        assert labels[1].level == "revPBE-D3(0) DZVP-GTH GTH-BLYP 120/60 Ry (CP2K)"
        energies = [label.atoms.get_potential_energy() for label in labels]
        assert abs(energies[1] - energies[0]) > 0.1

    @pytest.mark.parametrize("functional", ["BLYP-D3", "PBE-D3"])  # SCAN: minutes
    def test_functionals_are_known_to_cp2k(self, functional):
        engine = make(**SMALL, functional=functional)
        label = engine.label(water(4.5))
        engine.close()
        assert label.atoms.get_potential_energy() / Hartree == pytest.approx(-17.2, abs=0.1)

    def test_failing_scf_is_tried_again_and_noted(self):
        atoms = Atoms("H2", positions=[[1, 1, 1], [1.1, 1.2, 1.7]], cell=[4, 4, 4], pbc=True)
        engine, short = make(**SMALL), make(**SMALL, max_scf=2)
        wanted, label = engine.label(atoms), short.label(atoms)
        engine.close(), short.close()
        assert label.notes["fallback"] == "ot"
        energy = wanted.atoms.get_potential_energy()
        assert label.atoms.get_potential_energy() == pytest.approx(energy, abs=1e-4)
        np.testing.assert_allclose(label.atoms.get_forces(), wanted.atoms.get_forces(), atol=1e-3)

    def test_cp2k_that_stops_says_why(self):
        engine = make(**{**SMALL, "basis": "NO-SUCH-BASIS"})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ASE: the shell is gone
            with pytest.raises(EngineCrashed, match=r"CP2K: .*NO-SUCH-BASIS"):
                engine.label(water(4.5))
            engine.close()

    def test_what_the_network_does_not_label(self):
        engine = make(kind="cp2k-nnp")
        with pytest.raises(LabelFailed, match="not periodic"):
            engine.label(water())
        with pytest.raises(LabelFailed, match="contains C: the networks know water only"):
            engine.label(Atoms("CO", positions=[[0, 0, 0], [0, 0, 1.1]], cell=[5] * 3, pbc=True))


def check_against_print(
    label: Label, folder: Path, force_eval: list[str], kinds: list[str] | None = None
) -> None:
    """Run CP2K on an input of our own, and compare with what stands in its output."""
    atoms = label.atoms
    text = "\n".join(
        [
            "&GLOBAL\nPROJECT own\nRUN_TYPE ENERGY_FORCE\nPRINT_LEVEL LOW\n&END GLOBAL",
            "&FORCE_EVAL\nSTRESS_TENSOR ANALYTICAL",
            *force_eval,
            "&SUBSYS",
            *(kinds or []),
            f"&CELL\nABC {' '.join(map(repr, atoms.cell.lengths().tolist()))}\n&END CELL\n&COORD",
            *(f"{a.symbol} {a.x!r} {a.y!r} {a.z!r}" for a in atoms),
            "&END COORD\n&END SUBSYS",
            "&PRINT\n&FORCES ON\n&END FORCES\n&STRESS_TENSOR ON\n&END STRESS_TENSOR\n&END PRINT",
            "&END FORCE_EVAL",
        ]
    )
    text = re.sub(r"np\.float64\((.*?)\)", r"\1", text)
    (folder / "own.inp").write_text(text)
    command = ["cp2k.psmp", "-i", "own.inp", "-o", "own.out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # see ONE_THREAD of the engine
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    output = (folder / "own.out").read_text()
    (energy,) = re.findall(r"ENERGY\| Total FORCE_EVAL.*\s(-?\d+\.\d+)\s*$", output, re.M)
    results = atoms.calc.results
    unit = create_units("2006")  # CP2K's constants
    assert results["energy"] == pytest.approx(float(energy) * unit["Hartree"], rel=1e-9)
    rows = re.findall(r"^ +\d+ +\d+ +[A-Z][a-z]? +(\S+) +(\S+) +(\S+)$", output, re.M)
    forces = np.array(rows, dtype=float) * unit["Hartree"] / unit["Bohr"]
    forces -= forces.mean(axis=0)
    np.testing.assert_allclose(results["forces"], forces, atol=5e-5)  # two SCF runs
    block = output.split("Analytical stress tensor [GPa]")[1]
    rows = re.findall(r"STRESS\| +[xyz] +(\S+) +(\S+) +(\S+)$", block, re.M)[:3]
    tensor = -np.array(rows, dtype=float) * unit["GPa"]  # CP2K's sign is the opposite of ASE's
    voigt = tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    np.testing.assert_allclose(results["stress"], voigt, rtol=1e-5, atol=1e-9)


class TestChecks:
    @staticmethod
    def label(energy: float, forces: np.ndarray, converged: bool = True) -> Label:
        from tpainn_calc.base.frames import attach_results

        return Label(attach_results(molecule("H2O"), energy, forces), "level", converged, 0.0)

    def test_good_label(self):
        assert (
            problem_of(self.label(-1.0, np.array([[0, 0, 1.0], [0, 0, -1.0], [0, 0, 0]]))) is None
        )

    @pytest.mark.parametrize(
        ("energy", "force", "converged", "message"),
        [
            (np.nan, 0.0, True, "energy of the engine is not finite"),
            (-1.0, np.inf, True, "forces of the engine is not finite"),
            (-1.0, 900.0, True, "force of 900 eV/Å on an atom"),
            (-1.0, 1.0, True, "add up to 1.00 eV/Å"),
            (-1.0, 0.0, False, "not converged"),
        ],
    )
    def test_bad_labels(self, energy, force, converged, message):
        forces = np.zeros((3, 3))
        forces[0, 0] = force
        assert message in str(problem_of(self.label(energy, forces, converged)))

    def test_energy_of_another_zero_is_seen_among_mixed_compositions(self):
        rng = np.random.default_rng(0)
        frames = {}
        for name in ("H2O", "CH4", "NH3", "CO2", "CH3OH", "C2H6", "H2O2", "N2", "HCN", "C2H4"):
            atoms = molecule(name)
            energy = sum({1: -13.0, 6: -1030.0, 7: -1485.0, 8: -2042.0}[z] for z in atoms.numbers)
            energy -= rng.uniform(0.3, 0.7) * len(atoms)
            from tpainn_calc.base.frames import attach_results

            frames[name] = attach_results(atoms, energy, np.zeros((len(atoms), 3)))
        assert energy_outliers(frames) == {}
        frames["NH3"].calc.results["energy"] += 60.0
        assert list(energy_outliers(frames)) == ["NH3"]

    def test_a_code_that_never_converged_is_not_the_frames_fault(self):
        from ase.calculators.calculator import CalculationFailed, Calculator, SCFError

        class Failing(Calculator):
            implemented_properties = ("energy", "forces")

            def __init__(self, error: Exception) -> None:
                super().__init__()
                self.error = error

            def calculate(self, *arguments: Any) -> None:
                raise self.error

        stops = ("first", lambda: Failing(CalculationFailed("exit code 127")))
        diverges = ("fallback 1", lambda: Failing(SCFError("100 steps")))
        with pytest.raises(EngineCrashed, match="first: exit code 127"):
            label_by_attempts(molecule("H2O"), [stops], "level", stress=False)
        with pytest.raises(LabelFailed, match="first: exit code 127; fallback 1: 100 steps"):
            label_by_attempts(molecule("H2O"), [stops, diverges], "level", stress=False)

    def test_any_other_error_of_a_calculator_is_a_crash(self):
        from ase.calculators.calculator import Calculator

        class Broken(Calculator):
            implemented_properties = ("energy", "forces")

            def calculate(self, *arguments: Any) -> None:
                raise IndexError("line 17 of the output")

        with pytest.raises(EngineCrashed, match="IndexError: line 17 of the output"):
            label_by_attempts(molecule("H2O"), [("first", Broken)], "level", stress=False)
