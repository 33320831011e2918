"""What users run with the pair style: ensembles, minimization, restarts, computes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from lammps_plugin.single_point import run_input, write_data
from tpainn_calc.errors import TPaiNNError


@pytest.fixture
def lammps(tmp_path, box, deployed):
    """Function that runs commands on a water box; returns LAMMPS' output."""

    def run(
        commands: str,
        atoms=box,
        model: Path | str = deployed,
        ranks: int = 1,
        options: str = "",
        before: str = "",
        pair: str | None = None,
    ) -> str:
        write_data(tmp_path / "data", atoms, ["H", "O"])
        style = f"pair_style tpainn {options}\npair_coeff * * {model} H O"
        (tmp_path / "in").write_text(
            f"units metal\natom_style atomic\nbox tilt large\n{before}\nread_data data\n"
            f"{pair or style}\ntimestep 0.0005\nthermo 10\nthermo_modify lost error\n"
            f"velocity all create 300 1 loop geom\n{commands}\n"
        )
        return run_input(tmp_path / "in", ranks)

    run.folder = tmp_path
    return run


def thermo(output: str) -> np.ndarray:
    """Rows of every table of thermodynamic output."""
    rows: list[list[float]] = []
    inside = False
    for line in output.splitlines():
        if line.split()[:1] == ["Step"]:
            inside = True
        elif line.startswith("Loop time"):
            inside = False
        elif inside:
            rows.append([float(word) for word in line.split()])
    return np.array(rows)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize(
    "fixes",
    [
        "fix 1 all nvt temp 300 300 0.05",
        "fix 1 all npt temp 300 300 0.05 iso 1 1 0.5",
        "fix 1 all npt temp 300 300 0.05 aniso 1 1 0.5",
        "fix 1 all npt temp 300 300 0.05 tri 1 1 0.5",
        "fix 1 all nve\nfix 2 all langevin 300 300 0.05 7",
    ],
)
def test_ensembles(lammps, tilted, fixes, ranks):
    rows = thermo(
        lammps(f"{fixes}\nthermo_style custom step temp pe press vol\nrun 40", tilted, ranks=ranks)
    )
    assert np.isfinite(rows).all()
    assert (rows[:, 1] > 50).all()
    assert (rows[:, 1] < 3000).all()
    volume = rows[:, 4]
    assert ("npt" in fixes) == (np.ptp(volume) > 1e-3)


def test_nve_conserves_energy(lammps):
    rows = thermo(lammps("fix 1 all nve\nthermo_style custom step etotal ke\nrun 60"))
    assert np.ptp(rows[:, 2]) > 0.5
    assert np.ptp(rows[:, 1]) < 0.01 * np.ptp(rows[:, 2])


def test_minimize(lammps):
    output = lammps("thermo_style custom step pe fmax\nminimize 0 1e-3 200 400")
    rows = thermo(output)
    assert rows[-1, 1] < rows[0, 1] - 0.1
    assert rows[-1, 2] < 0.1 * rows[0, 2]


def test_restart_continues_the_trajectory(lammps, box, deployed):
    table = "thermo_style custom step pe ke press\nthermo_modify format float %.15g\n"
    whole = thermo(lammps(f"{table}fix 1 all nve\nrun 20\nwrite_restart half\nrun 20"))
    (lammps.folder / "in").write_text(
        f"read_restart half\npair_style tpainn\npair_coeff * * {deployed} H O\n"
        f"timestep 0.0005\nthermo 10\n{table}fix 1 all nve\nrun 20\n"
    )
    rest = thermo(run_input(lammps.folder / "in"))
    np.testing.assert_allclose(rest, whole[-3:], rtol=1e-9)


def test_trajectory_is_that_of_one_rank(lammps):
    commands = (
        "thermo_style custom step pe ke press\nfix 1 all nve\n"
        "neigh_modify every 2 delay 0 check no\nrun 50"
    )
    runs = [thermo(lammps(commands, ranks=r, options=o)) for r, o in RUNS]
    for other in runs[1:]:
        np.testing.assert_allclose(other, runs[0], rtol=1e-6)


RUNS = [(1, ""), (1, "ghosts exchange"), (2, ""), (2, "ghosts extended")]


@pytest.mark.parametrize("ranks", [1, 2])
def test_sums_over_atoms(lammps, ranks):
    output = lammps(
        "compute e all pe/atom\ncompute se all reduce sum c_e\n"
        "compute s all stress/atom NULL virial\ncompute ss all reduce sum c_s[1] c_s[2] c_s[3]\n"
        "compute c all centroid/stress/atom NULL virial\n"
        "compute sc all reduce sum c_c[1] c_c[2] c_c[3]\n"
        "compute p all pressure NULL virial\n"
        "variable a equal -(c_ss[1]+c_ss[2]+c_ss[3])/3/vol\n"
        "variable b equal -(c_sc[1]+c_sc[2]+c_sc[3])/3/vol\n"
        "thermo_style custom step pe c_se c_p v_a v_b\nthermo_modify format float %.15g\n"
        "fix 1 all nve\nrun 10",
        ranks=ranks,
    )
    for row in thermo(output):
        assert row[2] == pytest.approx(row[1], abs=1e-7)
        assert row[4] == pytest.approx(row[3], rel=1e-8)
        assert row[5] == pytest.approx(row[3], rel=1e-8)


def test_heat_flux(lammps):
    commands = (
        "compute k all ke/atom\ncompute e all pe/atom\n"
        "compute s all centroid/stress/atom NULL virial\ncompute j all heat/flux k e s\n"
        "thermo_style custom step c_j[1] c_j[2] c_j[3]\nthermo_modify format float %.15g\n"
        "fix 1 all nve\nrun 10"
    )
    one, two = (thermo(lammps(commands, ranks=ranks)) for ranks in (1, 2))
    assert np.abs(one[:, 1:]).min() > 0
    np.testing.assert_allclose(two, one, rtol=1e-6)


def test_model_may_change_between_runs(lammps, make_model, export, deployed):
    other = export(make_model("other", seed=5, cutoff=3.5))
    output = lammps(
        "thermo_style custom step pe press\nrun 0\n"
        f"pair_coeff * * {other} H O\nrun 0\n"
        f"pair_style tpainn\npair_coeff * * {deployed} H O\nrun 0"
    )
    first, second, third = thermo(output)
    assert abs(first[1] - second[1]) > 1e-3
    np.testing.assert_allclose(third, first)


def test_clear_starts_anew(lammps, deployed):
    again = (
        f"clear\nunits metal\nread_data data\npair_style tpainn\npair_coeff * * {deployed} H O\n"
        "thermo_style custom step pe press\nrun 0"
    )
    first, second = thermo(lammps(f"thermo_style custom step pe press\nrun 0\n{again}"))
    assert second[1] == pytest.approx(first[1])


def test_lost_atoms_end_in_an_error(lammps):
    atoms_fly = "change_box all boundary f f f\nvelocity all create 1e6 3\nfix 1 all nve\nrun 1000"
    with pytest.raises(TPaiNNError, match="ERROR"):
        lammps(atoms_fly)


def test_closing_line(lammps):
    output = lammps("fix 1 all nve\nrun 5", ranks=2)
    assert re.search(
        r"pair_style tpainn: [\d.e+]+ us/atom/step on 2 rank\(s\) x 1 thread\(s\), "
        r"ghosts exchange, device cpu, peak memory \d+ MB per rank",
        output,
    )


BONDED = """LAMMPS

3 atoms
2 bonds
2 atom types
1 bond types

0 12 xlo xhi
0 12 ylo yhi
0 12 zlo zhi

Masses

1 1.008
2 15.999

Atoms # bond

1 1 2 5.0 5.0 5.0
2 1 1 5.9 5.0 5.0
3 1 1 4.8 5.9 5.0

Bonds

1 1 1 2
2 1 1 3
"""


def test_bonds_that_hide_neighbours_are_refused(tmp_path, deployed):
    (tmp_path / "data").write_text(BONDED)
    text = (
        "units metal\natom_style bond\n{}\nread_data data\nbond_style zero\nbond_coeff *\n"
        f"pair_style tpainn\npair_coeff * * {deployed} H O\nrun 0\n"
    )
    (tmp_path / "in").write_text(text.format(""))
    with pytest.raises(
        TPaiNNError, match=r"special_bonds hides 3 bonded pairs .* use: special_bonds"
    ):
        run_input(tmp_path / "in")
    (tmp_path / "in").write_text(text.format("special_bonds lj/coul 1 1 1"))
    assert "Loop time" in run_input(tmp_path / "in")
