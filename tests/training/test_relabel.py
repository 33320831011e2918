"""Frames of a cheap force field with labels of another level: geometry stays, levels never mix."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import ase.build
import ase.io
import numpy as np
import pytest
from ase.calculators.emt import EMT
from pebble.pool.process import TaskManager

from tpainn_calc.base.errors import BusyError
from tpainn_calc.base.frames import open_frames, write_extxyz
from tpainn_calc.base.locks import Lock
from tpainn_calc.base.schema import check_config
from tpainn_calc.errors import ConfigError, DataError
from training.classical.config import ClassicalConfig
from training.classical.generate import generate
from training.cli import main
from training.data.frames import read_frames
from training.labels.breakdowns import LabelError
from training.labels.journal import Journal
from training.loop.config import SampledFrames

MORSE = {
    "kind": "ase",
    "calculator": "ase.calculators.morse.MorsePotential",
    "arguments": {"epsilon": 0.5, "r0": 2.4, "rho0": 4.0},
    "level": "Morse",
}


def config(folder: Path, labels: Any, **changes: Any) -> ClassicalConfig:
    copper = ase.build.bulk("Cu", cubic=True)
    ase.io.write(folder / "copper.extxyz", [copper] * 3)
    source = {
        "kind": "calculator",
        "calculator": "ase.calculators.emt.EMT",
        "structures": "copper.extxyz",
        "level": "EMT",
        "sampling": "displacement",
        "frames": 2,
        "structures_per_shard": 2,
        "labels": labels,
    }
    content = {"output": "out", "source": source, **changes}
    return check_config(content, ClassicalConfig, "classical.yaml")


def contents(folder: Path) -> dict[str, bytes]:
    """Files of a folder but those that name it, or the time."""
    paths = (p for p in folder.iterdir() if p.name not in ("config.yaml", "log.txt"))
    return {p.name: p.read_bytes() for p in paths if p.is_file()}


@pytest.mark.parametrize("form", ["hdf5", "extxyz"])
def test_geometry_stays_and_labels_are_those_of_the_engine(tmp_path: Path, form: str) -> None:
    plain = generate(config(tmp_path, None, output="plain", format=form), tmp_path, progress=False)
    folder = generate(config(tmp_path, MORSE, format=form), tmp_path, progress=False)
    sampled, labelled = open_frames(plain), open_frames(folder)
    assert len(sampled) == len(labelled) == 6
    for before, after in zip(sampled, labelled, strict=True):
        np.testing.assert_array_equal(after.positions, before.positions)
        np.testing.assert_array_equal(after.cell, before.cell)
        assert after.info["level"] == "Morse"
        assert after.info["sampled_with"] == before.info["level"] == "EMT"
        assert after.info["structure"] == before.info["structure"]
        again = after.copy()
        from ase.calculators.morse import MorsePotential

        again.calc = MorsePotential(**MORSE["arguments"])  # type: ignore[arg-type]
        assert after.get_potential_energy() == pytest.approx(again.get_potential_energy())
        np.testing.assert_allclose(after.get_forces(), again.get_forces(), atol=2e-8)
        np.testing.assert_allclose(after.get_stress(), again.get_stress(), atol=1e-8)
    # the cheap labels are kept beside
    for before, kept in zip(sampled, open_frames(folder / "sampled"), strict=True):
        assert kept.get_potential_energy() == before.get_potential_energy()
    assert not list((folder / "labelling").iterdir())
    assert json.loads((folder / "source.json").read_text())["level"] == "Morse"


def test_levels_do_not_mix(tmp_path: Path) -> None:
    folder = generate(config(tmp_path, MORSE), tmp_path, progress=False)
    assert len(read_frames(folder, "Morse")[0]) == 6
    with pytest.raises(DataError, match="level of theory 'Morse' differs from 'EMT'"):
        read_frames(folder, "EMT")
    for labels in (None, {**MORSE, "level": "another"}):
        with pytest.raises(ConfigError, match=r"another configuration \(source.labels"):
            generate(config(tmp_path, labels), tmp_path, progress=False)


def test_interrupted_labelling_goes_on_and_ends_with_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = contents(generate(config(tmp_path, MORSE), tmp_path, progress=False))
    again = config(tmp_path, MORSE, output="again")
    written: list[int] = []
    write = Journal.write

    def stop_at_the_third(journal: Journal, number: int, result: Any) -> None:
        if len(written) == 2:
            with journal.path.open("a") as stream:  # as a kill may leave it
                stream.write("4\nLattice=")
            raise KeyboardInterrupt
        written.append(number)
        write(journal, number, result)

    monkeypatch.setattr(Journal, "write", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        generate(again, tmp_path, progress=False)
    monkeypatch.setattr(Journal, "write", lambda *a: (written.append(a[1]), write(*a)))
    assert contents(generate(again, tmp_path, progress=False)) == expected
    assert len(written) == 6  # none of them twice


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        Lock(tmp_path / "out" / ".lock", ""),
        pytest.raises(BusyError, match=f"process {os.getpid()} makes these frames"),
    ):
        generate(config(tmp_path, None), tmp_path, progress=False)


def test_a_damaged_journal_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "journal.extxyz"
    write_extxyz(path, [ase.build.bulk("Cu")])
    with pytest.raises(DataError, match=r"journal.extxyz is damaged; remove it"):
        Journal(path)


def test_a_full_disk_is_named() -> None:
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        Journal(Path("/dev/full")).write(0, "no label")


def test_frames_that_fail_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    plain = open_frames(generate(config(tmp_path, None, output="p"), tmp_path, progress=False))
    heights = sorted(a.positions[0, 2] for a in plain)
    faulty = {**MORSE, "calculator": "label_calculators.FaultyEMT", "level": "faulty"}
    faulty["arguments"] = {"how": "scf", "limit": float(heights[-2])}
    folder = generate(config(tmp_path, faulty), tmp_path, progress=False)
    assert len(open_frames(folder)) == 5
    (line,) = (folder / "rejected.txt").read_text().splitlines()
    assert line.endswith("no convergence in 50 steps")
    log = tmp_path / "log"
    hangs = {**faulty, "arguments": {"how": "hang", "limit": heights[-2], "log": str(log)}}
    is_late = TaskManager.timeout

    def hangs_and_is_late(task: Any) -> bool:
        """The clock of those that hang: others may be slow on a machine with other work."""
        hung = log.read_text().split()[::3] if log.exists() else []
        return str(task.worker_id) in hung and is_late(task)

    monkeypatch.setattr(TaskManager, "timeout", staticmethod(hangs_and_is_late))
    limited = config(tmp_path, hangs, output="hangs", time_limit=1.0)
    assert len(open_frames(generate(limited, tmp_path, progress=False))) == 5
    (line,) = (tmp_path / "hangs" / "rejected.txt").read_text().splitlines()
    assert line.endswith("took longer than 1 s")
    broken = {**faulty, "arguments": {"how": "bug", "limit": -1e9}}
    with pytest.raises(LabelError, match="3 frames in a row"):
        generate(config(tmp_path, broken, output="broken"), tmp_path, progress=False)


def test_molecules_by_tight_binding(tmp_path: Path, monkeypatch, capsys) -> None:
    pytest.importorskip("rdkit")
    pytest.importorskip("tblite")
    from tblite.ase import TBLite

    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.smi").write_text("CO\nC#N\n")
    (tmp_path / "c.yaml").write_text(
        "output: gfn2\nworkers: 2\nsource: {kind: molecules, molecules: list.smi, frames: 2,\n"
        "  spacing: 0.01, labels: {kind: tblite, method: GFN2-xTB}}\n"
    )
    assert main(["classical", "--quiet", "c.yaml"]) == 0
    frames, rejected = read_frames(tmp_path / "gfn2", "GFN2-xTB (tblite)")
    assert [a.info["molecule"] for a in frames] == ["CO", "CO", "C#N", "C#N"]
    assert not rejected
    atoms = frames[2].copy()
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    assert frames[2].get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
    (tmp_path / "c.yaml").write_text(
        "output: x\nsource: {kind: molecules, molecules: list.smi,\n"
        "  labels: {kind: tblite, metod: x}}\n"
    )
    assert main(["classical", "--quiet", "c.yaml"]) == 2
    assert 'did you mean "method"?' in capsys.readouterr().err


def test_water_by_the_same_door(tmp_path: Path) -> None:
    pytest.importorskip("openmm")
    pytest.importorskip("tblite")
    source = {"kind": "water", "n_molecules": [8], "frames": 1, "spacing": 0.005}
    source |= {"equilibration": 0.005, "stress": False}
    labels = {"kind": "tblite", "method": "GFN1-xTB"}
    content = {"output": "w", "source": {**source, "labels": labels}, "max_force": 1e3}
    folder = generate(check_config(content, ClassicalConfig, "w"), tmp_path, progress=False)
    (atoms,) = read_frames(folder, "GFN1-xTB (tblite)")[0]
    assert atoms.info["sampled_with"] == "q-SPC/Fw"
    assert set(atoms.calc.results) == {"energy", "forces", "stress"}


@pytest.mark.parametrize(
    "source",
    [
        {"kind": "water"},
        {"kind": "molecules", "molecules": "x.smi"},
        {"kind": "lammps", "input": "in", "level": "x"},
        {"kind": "calculator", "calculator": "a.B", "structures": "x", "level": "x"},
    ],
)
def test_every_source_takes_every_engine(source: dict[str, Any]) -> None:
    for labels, kind in (
        ("tblite", "tblite"),
        ("iamoeba", "water-model"),
        ("mmff94", "mmff94"),
        (MORSE, "ase"),
        ({"kind": "cp2k"}, "cp2k"),
    ):
        section = check_config({"source": {**source, "labels": labels}}, SampledFrames, "x").source
        assert section.labels is not None
        assert section.labels.kind == kind
    for labels in (None, "model"):
        section = check_config({"source": {**source, "labels": labels}}, SampledFrames, "x").source
        assert section.labels is None


def test_the_engine_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    import importlib.util

    find = importlib.util.find_spec
    for module, text in (
        ("rdkit", "{kind: molecules, molecules: list.smi}"),
        ("openmm", "{kind: water}"),
        ("tblite", "{kind: calculator, calculator: ase.calculators.emt.EMT, structures: x.xyz,"
         " level: EMT, labels: tblite}"),
    ):  # fmt: skip
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda n, *a, m=module: None if n == m else find(n, *a)
        )
        monkeypatch.chdir(tmp_path)
        Path("x.xyz").write_text("1\n\nCu 0 0 0\n")
        Path("c.yaml").write_text(f"output: out\nsource: {text}\n")
        assert main(["classical", "--quiet", "c.yaml"]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "pip install 'tpainn[" in line
        assert module in line
        assert not Path("out").exists()


def test_emt_is_what_was_sampled(tmp_path: Path) -> None:
    """The labels of the source itself, where no engine is asked for."""
    for atoms in open_frames(generate(config(tmp_path, "model"), tmp_path, progress=False)):
        again = atoms.copy()
        again.calc = EMT()
        assert atoms.get_potential_energy() == pytest.approx(again.get_potential_energy())
