"""Labels under other names, in other files than expected, or that are no labels at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from tpainn_calc.base.frames import attach_results, results_of
from tpainn_calc.base.schema import check_config
from tpainn_calc.errors import ConfigError, DataError
from training.cli import main
from training.data.config import DataSection
from training.data.frames import read_frames
from training.data.keys import LabelKeys
from training.data.paths import expand_files
from training.data.run_data import read_run_data

HEADER = 'Properties=species:S:1:pos:R:3:{forces}:R:3 {info} pbc="F F F"'


def write(path: Path, info: str, forces: str = "forces", count: int = 1) -> Path:
    lines = ["2", HEADER.format(info=info, forces=forces), "H 0 0 0 0 0 1", "H 0 0 0.9 0 0 -1"]
    path.write_text("\n".join([*lines * count, ""]))
    return path


def test_labels_of_other_names_are_read(tmp_path: Path) -> None:
    stressed = bulk("Cu", cubic=True)
    stressed.info |= {"E_pbe": -3.5, "virial_pbe": np.arange(6.0)}
    stressed.arrays["F_pbe"] = np.full((4, 3), 0.5)
    attach_results(stressed, energy=99.0)  # of another method: not taken
    ase.io.write(tmp_path / "a.extxyz", [stressed] * 12, format="extxyz")
    section = DataSection(
        files=["a.extxyz"],
        energy_key="E_pbe",
        forces_key="F_pbe",
        stress_key="virial_pbe",
        validation=0.2,
        test=0.0,
    )
    data = read_run_data(section, tmp_path, stress=True)
    for atoms in (data.part("train")[0], next(iter(data.frames))):
        found = results_of(atoms)
        assert found["energy"] == -3.5
        assert (found["forces"] == 0.5).all()
        assert found["stress"].tolist() == [0, 1, 2, 3, 4, 5]
        assert atoms.info["source"] == "a.extxyz"


def test_a_stress_of_nine_numbers_is_brought_to_six() -> None:
    atoms = Atoms("H", info={"s": np.array([1, 6, 5, 6, 2, 4, 5, 4, 3])})
    found = LabelKeys(stress="s").results(atoms, "here")
    assert found["stress"].tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("info", "forces", "keys", "message"),
    [
        ("dft_energy=-3.0 step=4", "forces", {}, r"no energy, but 'dft_energy', 'step'.*data: ene"),
        ("energy=-3.0", "f_dft", {}, r"no forces, but 'f_dft'; name .* by 'data: forces_key'"),
        ("note=x", "forces", {}, "no energy; label every frame"),
        (
            "E_dft=-3.0 energy=1.0",
            "forces",
            {"energy": "e_dft"},
            r"no energy under 'e_dft', but 'E_dft' \(did you mean \"E_dft\"\?\)",
        ),
        ("energy=abc", "forces", {}, "energy is 'abc', which is not a number"),
        ("energy=T", "forces", {}, "energy is 'True', which is not a number"),
        ('energy="1 2"', "forces", {}, "energy has 2 numbers"),
        ("energy=1 s=5", "forces", {"stress": "s"}, "s has 1 numbers; a stress has six"),
    ],
)
def test_what_is_no_label_is_named(
    tmp_path: Path, info: str, forces: str, keys: dict[str, str], message: str
) -> None:
    path = write(tmp_path / "a.extxyz", info, forces)
    with pytest.raises(DataError, match=rf"a\.extxyz, frame 0: .*{message}"):
        read_frames(path, keys=LabelKeys(**keys))


@pytest.mark.parametrize("energy", ["1e19", "nan", "-inf"])
def test_energies_that_cannot_be_are_left_out(tmp_path: Path, energy: str) -> None:
    path = write(tmp_path / "a.extxyz", f"energy={energy}")
    with pytest.raises(DataError, match=r"every frame was rejected; .*(energy of 1e|not finite)"):
        read_frames(path)


def test_patterns_and_files_of_one_name(tmp_path: Path) -> None:
    for folder in ("b", "a"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "x.extxyz", "energy=-3.0", count=8)
    write(tmp_path / "y.extxyz", "energy=-3.0", count=8)
    found = expand_files(["*/x.extxyz", "y.extxyz"], tmp_path)
    assert list(found) == ["a/x.extxyz", "b/x.extxyz", "y.extxyz"]
    data = read_run_data(DataSection(files=["*/x.extxyz", "y.extxyz"], validation=0.2), tmp_path)
    assert sorted(data.files) == sorted(found)
    assert len(data.frames) == 24
    assert len(set(map(tuple, data.frames.names()))) == 24
    with pytest.raises(DataError, match=r"no data file matches z\*"):
        expand_files(["z*.extxyz"], tmp_path)
    with pytest.raises(DataError, match="listed twice"):
        expand_files(["y.extxyz", "*.extxyz"], tmp_path)
    with pytest.raises(ConfigError, match="NUL"):
        check_config({"files": ["a\0"]}, DataSection, "here")


def test_evaluate_advises_what_its_command_knows(
    pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(pretrained / "pretrained" / "springs.safetensors")
    frames: list[Any] = ase.io.read(pretrained / "cheap.extxyz", ":3")
    for atoms in frames:
        atoms.info |= {"level": "PBE", "e_pbe": 1.0}
        atoms.calc = None
    path = tmp_path / "other.extxyz"
    ase.io.write(path, frames, format="extxyz")
    assert main(["evaluate", model, str(path)]) == 2
    assert "name the one that is meant by --energy-key" in capsys.readouterr().err
    assert main(["evaluate", model, str(path), "--energy-key", "e_pbe"]) == 2
    assert (
        "of model 'springs'; --level compares with another level all the same"
        in capsys.readouterr().err
    )
    assert main(["evaluate", model, str(path), "--energy-key", "e_pbe", "--level", "PBE"]) == 0
    assert "(3 frames)" in capsys.readouterr().out
