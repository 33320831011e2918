"""Multiple time steps: the lines, and the physics that they give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lammps_plugin.cli import main
from lammps_plugin.respa import TimeSteps, respa_lines, rewrite_input
from lammps_plugin.single_point import Setup, run_input, single_point, write_data
from tpainn_calc.base.errors import ConfigError
from tpainn_calc.modelfile import load_model, read_manifest, save_model

PLAIN = "pair_style tpainn\npair_coeff * * {model} H O\ntimestep {step}\n"
NVE = "fix 1 all nve"
NPT = "fix 1 all npt temp 300 300 0.1 iso 1 1 0.5"


@pytest.fixture(scope="module")
def fast(make_model, export):
    """Another potential, which knows nothing of the full one: the worst of students."""
    return export(make_model("fast", seed=3, cutoff=3.0))


@pytest.fixture(scope="module")
def near(model_file, export, tmp_path_factory):
    """A good student: a twentieth of every force is left to the full potential."""
    potential, _ = load_model(model_file, dtype=torch.float64, kernel="plain")
    potential.scale *= 0.95
    path = tmp_path_factory.mktemp("near") / "near.safetensors"
    save_model(path, potential)
    return export(path)


@pytest.fixture
def run(tmp_path, box):
    """Function that runs a water box and returns rows of time (fs), energy, pressure, volume."""
    write_data(tmp_path / "data", box, ["H", "O"])

    def start(pair, ensemble, steps, every=1, ranks=1, before="read_data data", after=""):
        velocity = "velocity all create 300 1 loop geom" if "data" in before else ""
        (tmp_path / "in").write_text(
            f"units metal\natom_style atomic\natom_modify map yes\n{before}\n{pair}\n{ensemble}\n"
            f"{velocity}\nthermo {every}\nthermo_style custom step dt pe etotal press vol\n"
            f"thermo_modify format float %.15g norm no\nrun {steps}\n{after}\n"
        )
        output = start.output = run_input(tmp_path / "in", ranks)
        table = output.split("Step", 1)[1].split("\n", 1)[1].split("Loop time")[0]
        rows = np.array([line.split() for line in table.splitlines() if line.strip()], dtype=float)
        return np.column_stack([rows[:, 0] * rows[:, 1] * 1e3, rows[:, 3:]])

    return start


def mts(model, fast, outer, inner, options=""):
    return respa_lines([str(model)], str(fast), ["H", "O"], TimeSteps(outer, inner), options)


@pytest.mark.parametrize("ensemble", [NVE, NPT])
def test_a_student_that_knows_all_gives_the_plain_trajectory(run, deployed, ensemble):
    """Nothing is left to the outer step: plain dynamics with the inner one.

    A barostat moves the cell once per outer step, so that the cell itself is another.
    """
    several = run(mts(deployed, deployed, 1.0, 0.5), ensemble, 8)
    plain = run(PLAIN.format(model=deployed, step=0.0005), ensemble, 16, every=2)
    assert several[:, 0] == pytest.approx(plain[:, 0])
    if ensemble == NVE:
        assert several[:, 1:] == pytest.approx(plain[:, 1:], rel=1e-9, abs=1e-6)
    else:
        assert several[0, 1:] == pytest.approx(plain[0, 1:], rel=1e-9, abs=1e-6)
        assert several[:, 3] == pytest.approx(plain[:, 3], rel=1e-4)


def test_energy_and_pressure_at_a_point_are_those_of_the_full_model(run, deployed, fast):
    several = run(mts(deployed, fast, 1.0, 0.25), NPT, 0)
    plain = run(PLAIN.format(model=deployed, step=0.001), NPT, 0)
    assert several == pytest.approx(plain, rel=1e-9)


@pytest.mark.parametrize(("options", "ranks"), [("", 1), ("", 2), ("ghosts extended", 2)])
def test_energies_and_virials_of_atoms_are_those_of_the_full_model(
    box, deployed, fast, options, ranks
):
    pair = mts(deployed, fast, 1.0, 0.25, options).splitlines()
    several = single_point(box, deployed, Setup(pair=pair, elements=["H", "O"], ranks=ranks))
    plain = single_point(box, deployed, Setup(elements=["H", "O"]))
    assert several.energies == pytest.approx(plain.energies, abs=1e-9)
    assert several.virials == pytest.approx(plain.virials, abs=1e-9)


def test_energy_fluctuates_no_more_than_with_the_outer_step_alone(run, deployed, near):
    several = run(mts(deployed, near, 1.0, 0.25), NVE, 30)[:, 1]
    outer = run(PLAIN.format(model=deployed, step=0.001), NVE, 30)[:, 1]
    inner = run(PLAIN.format(model=deployed, step=0.00025), NVE, 120, every=4)[:, 1]
    assert np.ptp(inner) < 0.2 * np.ptp(outer)
    assert np.ptp(several) < 0.3 * np.ptp(outer)


def test_the_outer_step_is_of_second_order(run, deployed, fast):
    """Half the outer step, a quarter of the error in the energy, with the worst of students."""
    errors = []
    for outer, steps in ((0.25, 40), (0.125, 80)):
        energies = run(mts(deployed, fast, outer, 0.0625), NVE, steps, every=steps // 20)[:, 1]
        errors.append(np.abs(energies - energies[0]).mean())
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.25)


@pytest.mark.parametrize("options", ["", "ghosts extended"])
def test_ranks_agree(run, deployed, fast, options):
    one = run(mts(deployed, fast, 0.5, 0.25), NPT, 5)
    two = run(mts(deployed, fast, 0.5, 0.25, options), NPT, 5, ranks=2)
    assert two == pytest.approx(one, rel=1e-8, abs=1e-6)


def test_a_restart_continues_the_trajectory(run, deployed, fast, tmp_path):
    pair = mts(deployed, fast, 0.5, 0.25)
    whole = run(pair, NPT, 8)
    first = run(pair, NPT, 4, after="write_restart half")
    assert first == pytest.approx(whole[:5], rel=1e-12)
    rest = run(pair, NPT, 4, before="read_restart half")
    assert rest[:, 1:] == pytest.approx(whole[4:, 1:], rel=1e-8, abs=1e-6)


@pytest.fixture(scope="module")
def student(model_file, export, make_model):
    """A model file that calls the full potential its teacher."""
    start = {"name": "random", "seal": read_manifest(model_file).sha256}
    return export(make_model("student", seed=5, training={"method": "distill", "start": start}))


def test_a_student_of_another_model_is_said_once(run, deployed, student, fast, capfd):
    run(mts(deployed, student, 0.5, 0.25), NVE, 1)
    assert "student of another model" not in run.output
    run(mts(fast, student, 0.5, 0.25), NVE, 1)
    assert run.output.count("student of another model") == 1
    assert "fast.pt" in run.output


def test_a_student_serves_alone(run, student):
    """As any other model does; the search for its teacher ends."""
    assert np.isfinite(run(PLAIN.format(model=student, step=0.0005), NVE, 1)).all()


INPUT = """\
units real   # kcal/mol
pair_style tpainn ghosts extended  # ours
pair_coeff * * water.pt O H
timestep 0.5
fix 1 all nve
run 10
"""


def test_an_input_is_rewritten():
    text = rewrite_input(INPUT, "fast.pt", TimeSteps(2.0, 0.5))
    assert text == (
        "units real   # kcal/mol\n"
        "pair_style   hybrid/scaled 1.0 tpainn range off 1.0 tpainn ghosts extended "
        "-1.0 tpainn range off\n"
        "pair_coeff   * * tpainn 1 fast.pt O H\n"
        "pair_coeff   * * tpainn 2 water.pt O H\n"
        "pair_coeff   * * tpainn 3 fast.pt O H\n"
        "timestep     2\n"
        "run_style    respa 2 4 hybrid 1 2 2\n"
        "fix 1 all nve\n"
        "run 10\n"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("pair_style tpainn", "pair_style lj/cut"), "only a plain 'pair_style tpainn'"),
        (("pair_style", "#"), "0 lines of pair_style"),
        (("pair_coeff * *", "pair_coeff 1 1"), "must be for all types"),
        (("water.pt ", ""), "names no model"),
        (("units real", ""), "no 'units' line"),
        (("units real", "units lj"), "units lj cannot be served"),
        (("fix 1", "run_style verlet\nfix 1"), "run_style of its own"),
    ],
)
def test_inputs_that_cannot_be_rewritten(change, message):
    with pytest.raises(ConfigError, match=message):
        rewrite_input(INPUT.replace(*change), "fast.pt", TimeSteps(2.0))


@pytest.mark.parametrize(("outer", "inner"), [(0.4, 0.5), (3.0, 0.7), (1.0, 0.0), (1.0, -0.5)])
def test_steps_that_do_not_fit(outer, inner):
    with pytest.raises(ConfigError, match=r"does not fit|whole number"):
        TimeSteps(outer, inner)


def test_the_command_writes_the_input(tmp_path, capsys):
    (tmp_path / "in").write_text(INPUT)
    assert main(["respa", str(tmp_path / "in"), "--fast", "fast.pt", "--outer", "2"]) == 0
    assert "run_style    respa 2 4" in capsys.readouterr().out
    output = tmp_path / "in.respa"
    words = ["respa", str(tmp_path / "in"), "--fast", "fast.pt", "--outer", "2", "-o", str(output)]
    assert main(words) == 0
    assert output.read_text() == rewrite_input(INPUT, "fast.pt", TimeSteps(2.0))
    assert main([*words[:2], "--fast", "fast.pt", "--outer", "0.7"]) == 2
    assert "whole number" in capsys.readouterr().err
