"""The LAMMPS example that comes with the package runs, and `tpainn check` finds LAMMPS."""

from __future__ import annotations

import configparser
from importlib.metadata import EntryPoint
from pathlib import Path

from lammps_plugin.cli import main
from lammps_plugin.parity import report
from tpainn_calc.cli import main as tpainn
from tpainn_calc.commands import check

ROOT = Path(__file__).resolve().parents[2]


def test_npt_runs_as_its_comments_say(tmp_path, monkeypatch, capfd):
    assert tpainn(["examples", str(tmp_path)]) == 0
    monkeypatch.chdir(tmp_path / "lammps")
    assert tpainn(["export", "water", "water.pt"]) == 0
    assert main(["run", "in.npt", "-var", "steps", "250", "-log", "npt.log"]) == 0
    log = Path("npt.log").read_text()
    assert "Loop time" in log
    assert "WARNING" not in log
    capfd.readouterr()
    assert tpainn(["observe", "npt.dump", "--timestep", "0.5", "--elements", "O", "H"]) == 0
    assert "density 0.9" in capfd.readouterr().out


def test_check_knows_the_comparison_with_lammps():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    name, _, value = setup["options.entry_points"][check.GROUP].strip().partition(" = ")
    assert name == "LAMMPS"
    assert EntryPoint(name, value, check.GROUP).load() is report
