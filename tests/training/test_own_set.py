"""Our own set of water: ice, sampling, the campaign in the repository, and its label level."""

import sys

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import Bohr, Hartree

from examples.water.own import campaign, test_block
from examples.water.own.convergence import __main__ as command
from examples.water.own.convergence import dimer, plane_waves
from examples.water.own.convergence.config import load_study
from examples.water.own.convergence.report import (
    MPA,
    collect,
    draw,
    report,
    summary,
    within_molecules,
)
from examples.water.own.ice import ice_ih
from examples.water.own.sample import HERE, SamplingConfig, density_of, points_of
from seedselect.campaign import Campaign
from tpainn_calc.base.errors import ConfigError
from tpainn_calc.base.frames import DISTORTED, read_extxyz, write_extxyz
from tpainn_calc.base.records import read_record, write_record
from tpainn_calc.base.schema import check_config, load_config
from training.forcefields.water_model import water_lattice
from training.labels.engines.contract import Label
from training.labels.folder import LabelFolder


class TestIce:
    @pytest.mark.parametrize("seed", [0, 1])
    def test_ice_rules(self, seed):
        atoms = ice_ih((2, 1, 1), np.random.default_rng(seed))
        assert 0.91 < density_of(atoms) < 0.94
        oxygen = atoms.numbers == 8
        to_hydrogen = atoms.get_all_distances(mic=True)[oxygen][:, ~oxygen]
        assert (np.sort(to_hydrogen, axis=1)[:, 1] < 1.0).all()  # two of its own
        donated = np.sort(to_hydrogen, axis=1)[:, 2:4]
        np.testing.assert_allclose(donated, 2.76 - 0.985, atol=1e-6)  # and two of its neighbours
        bonds = [
            atoms.get_distances(k, [k + 1, k + 2], mic=True, vector=True)
            for k in range(0, len(atoms), 3)
        ]
        np.testing.assert_allclose(np.sum(bonds, axis=(0, 1)), 0, atol=1e-6)  # no dipole

    def test_hydrogens_are_in_disorder(self):
        one, other = (ice_ih((2, 1, 1), np.random.default_rng(k)) for k in (0, 1))
        np.testing.assert_allclose(one.positions[::3], other.positions[::3])
        assert np.abs(one.positions - other.positions).max() > 0.5


class TestMolecularPressure:
    def test_forces_within_molecules_are_all_it_leaves_out(self):
        rng = np.random.default_rng(0)
        atoms = water_lattice(8, 1.0, rng)
        stretch = np.zeros((8, 3, 3))
        bonds = atoms.positions.reshape(8, 3, 3)[:, 1] - atoms.positions.reshape(8, 3, 3)[:, 0]
        stretch[:, 1], stretch[:, 0] = bonds, -bonds  # 1 eV/Å² times the bond
        atoms.wrap()  # molecules in pieces
        found = within_molecules(atoms, stretch.reshape(-1, 3))
        assert found == pytest.approx((bonds**2).sum() / (3 * atoms.get_volume()))

    def test_forces_on_whole_molecules_count(self):
        rng = np.random.default_rng(0)
        atoms = water_lattice(8, 1.0, rng)
        forces = np.repeat(rng.normal(size=(8, 3)), 3, axis=0) * atoms.get_masses()[:, None]
        assert within_molecules(atoms, forces) == pytest.approx(0, abs=1e-12)


LIQUID = {f"liquid-{k}": water_lattice(8, 1.0, np.random.default_rng(k)) for k in range(2)}


class TestConvergence:
    """The study, with records in place of CP2K."""

    study = check_config(
        {
            "settings": {"small": {}, "large": {"cutoff": 1200}, "dear": {"cutoff": 2000}},
            "groups": [{"title": "grid", "beside": "large", "settings": ["small", "dear"]}],
            "few": ["dear"],
            "few_frames": ["liquid-0"],
        },
        type(load_study()),
        "study.yaml",
    )

    def write(self, folder, setting, frame, pressure, force):
        n = len(LIQUID[frame])
        record = {"level": setting, "energy": 0.001 * n * force, "net_force": 0.1}
        record |= {"forces": np.full((n, 3), force).tolist(), "cpu_seconds": 10.0}
        record["stress"] = [-pressure * MPA] * 3 + [0.0] * 3
        path = folder / setting / f"{frame}.json"
        path.parent.mkdir(exist_ok=True)
        write_record(path, record)

    def test_table_says_what_a_level_does_to_the_density(self, tmp_path):
        for frame, extra in (("liquid-0", 5.0), ("liquid-1", 15.0)):
            self.write(tmp_path, "large", frame, 100.0, 1.0)
            self.write(tmp_path, "small", frame, 100.0 + extra, 1.003)
        failed = {"level": "dear", "error": "CP2K: not positive definite", "cpu_seconds": 3.0}
        (tmp_path / "dear").mkdir()
        write_record(tmp_path / "dear" / "liquid-0.json", failed)
        rows = collect(self.study, LIQUID, tmp_path)
        beside, small, dear = summary(rows)
        assert (beside["pressure_MPa"], beside["forces_rms_meV_per_A"]) == (0.0, 0.0)
        assert small["frames"] == 2
        # a force on all atoms alike moves whole molecules' centres: nothing within them but the
        # difference between centre of mass and of atoms
        within = [within_molecules(a, np.full((24, 3), 0.003)) / MPA for a in LIQUID.values()]
        assert small["atomic_pressure_MPa"] == pytest.approx(10.0)
        assert small["pressure_MPa"] == pytest.approx(10.0 - np.mean(within))
        assert small["density_percent"] == pytest.approx(-0.045 * small["pressure_MPa"])
        assert small["forces_rms_meV_per_A"] == pytest.approx(3.0)
        assert small["energy_meV_per_atom"] == pytest.approx(0.003)
        assert (dear["frames"], dear["failed"]) == (0, 1)
        assert "| dear | failed |" in report(rows)
        draw(rows, tmp_path / "figure.png")
        assert (tmp_path / "figure.png").stat().st_size > 10_000

    def test_dear_settings_have_few_frames(self):
        assert self.study.wants("small", "liquid-1")
        assert not self.study.wants("dear", "liquid-1")
        assert self.study.wants("dear", "liquid-0")

    def test_what_the_repository_holds_is_not_computed_again(self, tmp_path, monkeypatch):
        monkeypatch.setattr(command, "RECORDS", tmp_path / "kept" / "records.json.gz")
        (tmp_path / "kept").mkdir()
        self.write(tmp_path, "small", "liquid-1", 1.0, 2.0)
        for name in ("convergence.csv", "convergence.png"):
            (tmp_path / name).write_text("")
        command.pack(self.study, LIQUID, tmp_path)
        command.unpack(tmp_path / "elsewhere")
        one, other = (
            read_record(folder / "small" / "liquid-1.json")
            for folder in (tmp_path, tmp_path / "elsewhere")
        )
        assert one == other


def test_study_names_only_settings_that_there_are():
    study = load_study()
    for group in study.groups:
        assert group.beside in study.settings
    with pytest.raises(ConfigError, match="there is no setting 'b'"):
        check_config(
            {"settings": {"a": {}}, "groups": [{"title": "t", "beside": "b", "settings": ["a"]}]},
            type(study),
            "study.yaml",
        )


class TestDimer:
    def test_a_hydrogen_lies_between_the_oxygens(self):
        symbols, positions = zip(*dimer.dimer(2.8), strict=True)
        atoms = Atoms(symbols, positions)
        assert [atoms.get_distance(i, i + k) for i in (0, 3) for k in (1, 2)] == pytest.approx(
            [0.985] * 4
        )
        assert atoms.get_angle(1, 0, 2) == pytest.approx(105.5)
        assert atoms.get_angle(4, 3, 5) == pytest.approx(105.5)
        assert atoms.get_distance(0, 3) == pytest.approx(2.8)
        assert atoms.get_angle(0, 1, 3) == pytest.approx(180.0)

    def test_basis_sets_of_cp2k_are_read(self, tmp_path):
        pytest.importorskip("pyscf")
        text = "H SMALL-GTH-q1 SMALL-GTH\n 1\n 1 0 1 2 1 1\n 3.0 0.5 0.25\n 0.3 0.5 0.75\n#\n"
        (tmp_path / "SETS").write_text("#comment\nO OTHER\n 0\n" + text)
        shells = dimer.basis_of(tmp_path, "SETS", "H", "SMALL-GTH")
        assert [shell[0] for shell in shells] == [0, 1]
        assert [row[0] for row in shells[1][1:]] == [3.0, 0.3]
        with pytest.raises(ConfigError, match="no basis set LARGE for H"):
            dimer.basis_of(tmp_path, "SETS", "H", "LARGE")


def test_sampling_covers_what_the_potential_is_for():
    config = load_config(HERE / "sampling.yaml", SamplingConfig)
    points = list(points_of(config, seed=0))
    assert len({point.key for point in points}) == len(points)
    groups = {point.group.name for point in points}
    assert groups == {"liquid", "hot", "ice", "slab"}
    for point in points:
        assert point.start.get_chemical_formula() == "H64O32"
        stage = point.stage(config)
        assert stage.steps // stage.every > point.group.frames  # some are left out
        if point.group.name == "slab":
            assert density_of(point.start) < 0.6
            height = point.start.positions[:, 2]
            assert height.max() - height.min() < point.start.cell[2, 2] - 6  # a vacuum


@pytest.mark.parametrize(
    ("waters", "name", "formula", "number"),
    [("32", "test", "H64O32", campaign.TEST), ("64", "size", "H128O64", campaign.SIZE)],
)
def test_the_test_block_is_drawn_from_a_run(tmp_path, monkeypatch, waters, name, formula, number):
    monkeypatch.setattr(test_block, "HERE", tmp_path)
    words = ["test_block", "water-fast", "--ps", "0.4", "--frames", "3", "-o", str(tmp_path / "r")]
    monkeypatch.setattr(sys, "argv", [*words, "--waters", waters])
    assert test_block.main() == 0
    frames = read_extxyz(tmp_path / f"{name}.extxyz.gz")
    assert [atoms.get_chemical_formula() for atoms in frames] == [formula] * 3
    assert len({atoms.get_volume() for atoms in frames}) == 3  # constant pressure
    assert {atoms.info["round"] for atoms in frames} == {number}


class TestCampaign:
    @pytest.fixture
    def place(self, tmp_path, monkeypatch):
        frames = [water_lattice(4, 1.0, np.random.default_rng(k)) for k in range(3)]
        for k, atoms in enumerate(frames):
            atoms.info |= {"group": "liquid", "state_point": f"p{k}", "temperature": 300.0}
        write_extxyz(tmp_path / "round-0.extxyz.gz", frames)
        monkeypatch.setattr(campaign, "HERE", tmp_path)
        monkeypatch.setattr(campaign, "LABELLED", tmp_path / "labelled.extxyz.gz")
        monkeypatch.setattr(campaign, "TEST_BLOCK", tmp_path / "tests.extxyz.gz")
        monkeypatch.setattr(campaign, "SIZE_CHECK", tmp_path / "size-labels.extxyz.gz")
        monkeypatch.setattr(campaign, "ENGINE", tmp_path / "engine.json")
        return tmp_path

    def label(self, folder, n):
        """Write the labels of an engine for the first `n` frames, in the campaign's order."""
        found = Campaign.open(folder)
        labels = LabelFolder(folder / "labels")
        labels.path.mkdir(exist_ok=True)
        labels.record("level", {"engine": "none"})
        keys = [entry.key for entry in found.entries][:n]
        for k, atoms in enumerate(found.frames(keys).values()):
            atoms.calc = SinglePointCalculator(
                atoms, energy=-float(k), forces=np.full((len(atoms), 3), 0.1 * k), stress=np.ones(6)
            )
            labels.write(keys[k], Label(atoms, "level", True, 1.0, {"net_force": 0.5}))
        return keys

    def test_labels_survive_in_the_repository(self, place):
        campaign.unpack(place / "here")
        keys = self.label(place / "here" / "round-0", 2)
        campaign.pack(place / "here")
        packed = read_extxyz(campaign.LABELLED)
        assert [atoms.info["frame_hash"] for atoms in packed] == keys
        assert {atoms.info["level"] for atoms in packed} == {"level"}
        assert {atoms.info["state_point"] for atoms in packed} < {"p0", "p1", "p2"}

        # another machine, which has nothing but the repository
        campaign.unpack(place / "there")
        labels = LabelFolder(place / "there" / "round-0" / "labels")
        assert labels.keys() == set(keys)
        for atoms, key in zip(packed, keys, strict=True):
            again = labels.read([key])[key]
            assert again.get_potential_energy() == atoms.get_potential_energy()
            np.testing.assert_array_equal(again.get_forces(), atoms.get_forces())
            np.testing.assert_array_equal(again.get_stress(), atoms.get_stress())
        before = campaign.LABELLED.read_bytes()
        campaign.pack(place / "there")
        assert campaign.LABELLED.read_bytes() == before

    @pytest.mark.parametrize("name", ["test", "size"])
    def test_the_test_block_is_kept_apart(self, place, name):
        block = [water_lattice(4, 1.0, np.random.default_rng(10 + k)) for k in range(2)]
        write_extxyz(place / f"{name}.extxyz.gz", block)
        campaign.unpack(place / "here")
        self.label(place / "here" / "round-0", 3)
        keys = self.label(place / "here" / name, 2)
        campaign.pack(place / "here")
        kept = {"test": campaign.TEST_BLOCK, "size": campaign.SIZE_CHECK}[name]
        trained, tested = read_extxyz(campaign.LABELLED), read_extxyz(kept)
        assert [atoms.info["frame_hash"] for atoms in tested] == keys
        assert len(trained) == 3
        assert not {atoms.info["frame_hash"] for atoms in trained} & set(keys)
        campaign.unpack(place / "there")
        assert LabelFolder(place / "there" / name / "labels").keys() == set(keys)

    def test_broken_molecules_are_marked(self, place):
        path = place / "round-0.extxyz.gz"
        frames = list(read_extxyz(path))
        nearest = frames[1].get_distances(0, range(12), mic=True)[1:].argmin() + 1
        frames[1].set_distance(0, nearest, 1.5, fix=0, mic=True)
        write_extxyz(path, frames)
        campaign.unpack(place / "here")
        self.label(place / "here" / "round-0", 3)
        campaign.pack(place / "here")
        packed = {a.info["state_point"]: a for a in read_extxyz(campaign.LABELLED)}
        assert [bool(packed[f"p{k}"].info.get(DISTORTED)) for k in range(3)] == [False, True, False]

    def test_nothing_is_packed_where_nothing_is_labelled(self, place):
        campaign.unpack(place / "here")
        campaign.pack(place / "here")
        assert not campaign.LABELLED.is_file()


def test_frames_of_the_campaign_are_water():
    for number, path in campaign.rounds():
        frames = read_extxyz(path)
        for atoms in frames:
            assert isinstance(atoms, Atoms)
            waters = 64 if number == campaign.SIZE else 32
            assert atoms.get_chemical_formula() == f"H{2 * waters}O{waters}"
            assert atoms.info["round"] == number


def test_labels_of_the_next_set():
    """Complete, of one level, and labels of frames that the rounds hold."""
    frames = campaign.labelled_frames()
    level = read_record(campaign.ENGINE)["level"]
    assert len(frames) >= 23
    held = [atoms.positions for _, path in campaign.rounds() for atoms in read_extxyz(path)]
    for atoms in frames:
        waters = 64 if atoms.info["round"] == campaign.SIZE else 32
        assert atoms.get_chemical_formula() == f"H{2 * waters}O{waters}"
        assert atoms.info["level"] == level
        assert np.abs(atoms.get_forces().sum(axis=0)).max() < 1e-6
        assert np.isfinite(atoms.get_stress()).all()
        assert atoms.info["label_net_force"] < 0.3  # eV/Å: the grid's
        assert any(
            len(atoms) == len(positions) and np.allclose(atoms.positions, positions)
            for positions in held
        )
    assert len({atoms.info["frame_hash"] for atoms in frames}) == len(frames)


class TestPlaneWaves:
    """ABINIT's output, as it prints it (excerpt), in eV and Å."""

    stress = """ Cartesian components of stress tensor (hartree/bohr^3)
  sigma(1 1)= {0}E-05  sigma(3 2)= -1.00000000E-05
  sigma(2 2)= {0}E-05  sigma(3 1)= -2.00000000E-05
  sigma(3 3)= {0}E-05  sigma(2 1)=  3.00000000E-05
"""
    gpa = """-Cartesian components of stress tensor (GPa)         [Pressure=  1.3634E+00 GPa]
- sigma(1 1)= -1.69494834E+00  sigma(3 2)= -3.59162065E-01
"""
    text = 2 * stress.format("-4.00000000") + gpa + 2 * stress.format("-6.00000000") + gpa
    text += """ cartesian forces (hartree/bohr) at end:
    1      0.10000000000000     0.20000000000000     0.30000000000000
    2     -0.10000000000000    -0.20000000000000    -0.30000000000000
 frms,max,avg= 1.3582477E-02
           etotal1    -2.0000000000E+00
           etotal2    -2.5000000000E+00
"""

    def test_output_is_read(self):
        found = plane_waves.stresses(self.text) / (Hartree / Bohr**3)
        np.testing.assert_allclose(found[0], [-4e-5] * 3 + [-1e-5, -2e-5, 3e-5])
        np.testing.assert_allclose(found[1, :3], -6e-5)
        forces = plane_waves.forces_of(self.text, 2) / (Hartree / Bohr)
        np.testing.assert_allclose(forces, [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]])
        np.testing.assert_allclose(plane_waves.energies(self.text) / Hartree, [-2.0, -2.5])

    def test_pseudopotentials_are_those_of_cp2k(self):
        """An excerpt of CP2K's POTENTIAL, with a neighbour of each element."""
        text = """#
H GTH-PBE-q1 GTH-PBE
    1
     0.20000000    2    -4.17890044     0.72446331
    0
#
He GTH-PBE-q2 GTH-PBE
    2
     0.20000000    2    -9.12214383     1.70270770
    0
#
O GTH-PBE-q6 GTH-PBE
    2    4
     0.24455430    2   -16.66721480     2.48731132
    2
     0.22095592    1    18.33745811
     0.21133247    0
#
"""
        hydrogen, oxygen = (plane_waves.pseudopotential(x, text).splitlines() for x in ("H", "O"))
        assert hydrogen[1:3] == ["1 1 0", "2 11 0 0 2001 0"]
        assert oxygen[1:3] == ["8 6 0", "2 11 1 0 2001 0"]
        numbers = [[float(x) for x in line.split()] for line in (*hydrogen[3:], *oxygen[3:])]
        assert numbers == [
            [0.2, -4.17890044, 0.72446331, 0.0, 0.0],
            [0.0, 0.0, 0.0],
            [0.0, 0.0],
            [0.2445543, -16.6672148, 2.48731132, 0.0, 0.0],
            [0.22095592, 18.33745811, 0.0],
            [0.21133247, 0.0],
        ]
