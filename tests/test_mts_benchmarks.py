"""The benchmarks of multiple time steps: what they run, and what they read from it."""

from __future__ import annotations

import ase.io
import numpy as np
import pytest

from benchmarks.machine import read_measurements
from benchmarks.mts import START, Run, band_temperatures, main, measure, thermo
from benchmarks.production import CODES, Row, describe, read, seconds_of, write, write_spcfw
from lammps_plugin.single_point import run_input
from tpainn_calc.modelfile import read_manifest


def test_the_shipped_student_is_one_of_the_shipped_water():
    """Whoever ships another water distils it anew: examples/water/distill.yaml."""
    assert read_manifest("water-fast").teacher == read_manifest("water").sha256


def test_a_run_of_water_is_measured_once(tmp_path, monkeypatch):
    table = tmp_path / "mts.csv"
    words = ["--ensembles", "npt", "--outer", "2", "--length", "0.3", "-o", str(table)]
    monkeypatch.setattr("sys.argv", ["mts", *words])
    assert main() == 0
    assert main() == 0
    (row,) = read_measurements(table)
    assert float(row["held"]) == pytest.approx(0.3)
    assert 0.8 < float(row["density"]) < 1.0
    assert 200 < float(row["temperature"]) < 500


def test_a_run_that_explodes_has_the_time_until_then():
    """The student of nothing: an outer step of ten periods of a bond."""
    result = measure(Run("nve", 90.0, 0.5, 1.008, 9.0), ("water", "water-fast"))
    assert result.held < 9.0
    assert np.isnan(result.drift)


def test_the_heat_of_a_vibration_is_found_in_its_band(tmp_path):
    run = Run("nve", 2.0, 0.5, 1.008, 1.0)
    start = ase.io.read(START)
    speed = 3.0  # Å/ps, the amplitude
    lines = []
    for step in range(1000):
        lines += [str(step)] * 3 + [str(len(start))] + ["head"] * 5
        v = speed * np.sin(2 * np.pi * 2.99792458e-5 * 3000.0 * step * run.outer)
        lines += [f"{k} {v} 0 0" for k in range(len(start))]
    (tmp_path / "velocities").write_text("\n".join(lines) + "\n")
    found = band_temperatures(tmp_path / "velocities", run)
    assert found["stretch"] == pytest.approx(1.008 * speed**2 / 2 / 3 / 0.83144626, rel=1e-3)
    assert found["cages"] + found["bend"] < 1e-3 * found["stretch"]


def test_thermo_tables_are_joined():
    head = "   Step          Temp          TotEng         Press         Density    \n"
    first, second, third = ("0 300 -1 5 0.9\n", "10 301 -1 5 0.9\n", "20 302 -2 5 0.9\n")
    output = f"x\n{head}{first}{second}Loop time\n{head}{second}{third}"
    assert thermo(output)[:, 0] == pytest.approx([0, 10, 20])
    assert thermo("").shape == (0, 5)


def test_times_allow_for_other_work():
    output = (
        "Loop time of 9 on 1 procs for 3 steps\n"
        "100.0% CPU use with 1 MPI tasks x 1 OpenMP threads\n"
        "Loop time of 8 on 2 procs for 4 steps with 192 atoms\n"
        "50.0% CPU use with 2 MPI tasks x 1 OpenMP threads\n"
    )
    assert seconds_of(output, 2) == (4.0, 4)
    assert seconds_of(output, 1) == (8.0, 4)


def test_the_table_of_production(tmp_path):
    rows = [Row("plain", 192, 1, 0.5, 5.0), Row("mts", 192, 1, 2.0, 8.0)]
    assert rows[0].ns_per_day == pytest.approx(8.64)
    assert "2.50 x plain" in describe(rows[1], rows)
    write(rows, tmp_path)
    table = (tmp_path / "production.csv").read_text().splitlines()
    assert table[0].startswith("# ")
    assert table[2].startswith("plain,192,1,0.5,5,8.64")
    assert read(tmp_path / "production.csv") == rows
    assert (tmp_path / "production.png").stat().st_size > 5000
    assert set(CODES) == {"plain", "mts", "mts-heavy", "fast", "spcfw"}


def test_the_classical_water_is_spcfw(tmp_path):
    """Its forces against OpenMM's; what PPPM and the cut-offs leave is small beside them."""
    from training.forcefields.water import label_water

    atoms = ase.io.read(START)
    write_spcfw(tmp_path, atoms)
    (tmp_path / "in").write_text(
        "include spcfw.in\nreplicate 2 1 1\n"
        "dump 1 all custom 1 dump id fx fy fz\ndump_modify 1 sort id\nrun 0\n"
    )
    run_input(tmp_path / "in")
    forces = np.loadtxt(tmp_path / "dump", skiprows=9)[:, 1:] / 23.060548
    expected = np.tile(label_water(atoms, "spcfw").get_forces(), (2, 1))
    assert np.abs(forces - expected).max() < 0.02 * np.abs(expected).max()
