"""Use of the pair style: ensembles, minimization, restarts, computes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from lammps_plugin.single_point import UNITS, run_input, write_data
from tpainn_calc.errors import TPaiNNError


@pytest.fixture
def lammps(tmp_path, box, deployed):
    """Function that runs commands on a water box; returns LAMMPS' output."""

    # loop all: velocities that do not hang on the last digit of a coordinate, as those of "geom" do
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
            f"velocity all create 300 1 loop all\n{commands}\n"
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


ENSEMBLES = {
    "nve": "fix 1 all nve",
    "nvt": "fix 1 all nvt temp 300 300 0.05",
    "npt iso": "fix 1 all npt temp 300 300 0.05 iso 1 1 0.5",
    "npt aniso": "fix 1 all npt temp 300 300 0.05 aniso 1 1 0.5",
    "npt tri": "fix 1 all npt temp 300 300 0.05 tri 1 1 0.5",
    "langevin": "fix 1 all nve\nfix 2 all langevin 300 300 0.05 7",
}
STATE = "thermo_style custom step temp pe press lx ly lz xy xz yz\n"
DIGITS = "thermo_modify format float %.15g\n"


@pytest.mark.parametrize("name", ENSEMBLES)
def test_ensembles(lammps, tilted, name):
    commands = f"{ENSEMBLES[name]}\n{STATE}{DIGITS}run 20"
    one, four = (thermo(lammps(commands, tilted, ranks=ranks)) for ranks in (1, 4))
    for rows in (one, four):
        assert np.isfinite(rows).all()
        assert (rows[:, 1] > 50).all()
        assert (rows[:, 1] < 3000).all()
    moved = np.ptp(one[:, 4:], axis=0) > 1e-4
    assert moved.tolist() == {
        "npt iso": [True] * 6,  # the tilt scales with the edges
        "npt aniso": [True] * 6,
        "npt tri": [True] * 6,
    }.get(name, [False] * 6)
    if name != "langevin":  # every rank draws its own random numbers
        np.testing.assert_allclose(four, one, rtol=1e-6)


def test_npt_under_hybrid_overlay(lammps, deployed):
    # dispersion adds its own virial, and the box follows the sum on any number of ranks
    pair = (
        "pair_style hybrid/overlay tpainn dispersion/d3 original pbe0 12.0 8.0\n"
        f"pair_coeff * * tpainn {deployed} H O\npair_coeff * * dispersion/d3 H O"
    )
    commands = f"{ENSEMBLES['npt aniso']}\n{STATE}{DIGITS}run 20"
    one, four = (thermo(lammps(commands, pair=pair, ranks=ranks)) for ranks in (1, 4))
    alone = thermo(lammps(commands))
    np.testing.assert_allclose(four, one, rtol=1e-6)
    assert abs(one[0, 3] - alone[0, 3]) > 100  # bar
    assert np.abs(one[-1, 4:7] - alone[-1, 4:7]).min() > 1e-6


def test_units_real_give_the_trajectory_of_metal(tmp_path, lammps, box):
    # in fs and kcal/mol; the constants of the two unit systems differ in the sixth digit
    table = "thermo_style custom step temp pe vol\n"
    metal = thermo(lammps(f"{table}{DIGITS}fix 1 all nve\nrun 40"))
    text = (tmp_path / "in").read_text()
    text = text.replace("units metal", "units real").replace("timestep 0.0005", "timestep 0.5")
    (tmp_path / "in").write_text(text)
    real = thermo(run_input(tmp_path / "in"))
    np.testing.assert_allclose(real[:, 1], metal[:, 1], rtol=1e-3)
    change = np.ptp(metal[:, 2])
    per_ev = UNITS["real"][0]
    np.testing.assert_allclose(real[:, 2] / per_ev, metal[:, 2], atol=1e-3 * change, rtol=1e-6)


def test_dynamics_with_an_empty_rank(lammps, box):
    # a droplet in one corner of a long box: two of four ranks have no atoms all the time
    droplet = box[:12]
    droplet.set_cell(np.diag([60.0, 12.0, 12.0]))
    droplet.positions += 1.0
    commands = f"{ENSEMBLES['nve']}\n{STATE}{DIGITS}run 20"
    one = thermo(lammps(commands, droplet))
    output = lammps(commands, droplet, ranks=4, before="processors 4 1 1")
    assert re.search(r"Nlocal: .* 0 min", output)
    np.testing.assert_allclose(thermo(output), one, rtol=1e-6)


def test_nve_conserves_energy(lammps):
    # the forces of random weights are steep: a time step at which no two atoms run into each other
    rows = thermo(
        lammps("timestep 0.0002\nfix 1 all nve\nthermo_style custom step etotal ke\nrun 60")
    )
    assert np.ptp(rows[:, 2]) > 0.5
    assert np.ptp(rows[:, 1]) < 0.01 * np.ptp(rows[:, 2])


@pytest.mark.parametrize("ranks", [1, 2])
def test_minimize(lammps, ranks):
    output = lammps("thermo_style custom step pe fmax\nminimize 0 1e-3 200 400", ranks=ranks)
    rows = thermo(output)
    assert rows[-1, 1] < rows[0, 1] - 0.1
    assert (np.diff(rows[:, 1]) <= 0).all()
    # conjugate gradients lower the energy, not the force, in every step
    assert rows[-1, 2] < 0.5 * rows[0, 2]


@pytest.mark.parametrize("ranks", [1, 2])
def test_minimize_the_box_too(lammps, ranks):
    # wants the virial at every trial step of the line search
    output = lammps(
        "thermo_style custom step pe press vol\nfix 1 all box/relax iso 0 vmax 0.001\n"
        "minimize 0 1e-6 60 200",
        ranks=ranks,
    )
    rows = thermo(output)
    assert rows[-1, 1] < rows[0, 1]
    assert abs(rows[-1, 2]) < 0.5 * abs(rows[0, 2])
    assert abs(rows[-1, 3] - rows[0, 3]) > 1


RESTARTS = [  # written on so many ranks, read on so many, ghosts
    (1, 1, "fold"),
    (1, 1, "exchange"),
    (1, 1, "extended"),
    (2, 2, "exchange"),
    (2, 2, "extended"),
    (4, 4, "exchange"),
    (4, 4, "extended"),
    (1, 2, "auto"),
    (4, 1, "auto"),
]


@pytest.mark.parametrize(("written", "read", "mode"), RESTARTS)
def test_restart_continues_the_trajectory(lammps, deployed, written, read, mode):
    table = f"thermo_style custom step pe ke press vol\n{DIGITS}"
    fixes = f"{table}{ENSEMBLES['npt iso']}\n"
    pair = f"pair_style tpainn ghosts {mode}\npair_coeff * * {deployed} H O\n"
    commands = f"{fixes}run 20\nwrite_restart half\nrun 20"
    whole = thermo(lammps(commands, pair=pair, ranks=written))
    (lammps.folder / "in").write_text(
        f"read_restart half\n{pair}timestep 0.0005\nthermo 10\n{fixes}run 20\n"
    )
    rest = thermo(run_input(lammps.folder / "in", read))
    assert rest[:, 0].tolist() == [20, 30, 40]
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


@pytest.mark.parametrize("ranks", [1, 2, 4])
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
        r"pair_style tpainn: [\d.e+]+ us/atom/step on 2 rank\(s\) x \d+ thread\(s\), "
        r"ghosts exchange, device cpu, peak memory \d+ MB per rank",
        output,
    )
