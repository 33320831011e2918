"""Several models: mean force, deviation file, per-atom deviation; the training range."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lammps_plugin.single_point import Setup, run_input, single_point, write_data
from tpainn_calc.errors import TPaiNNError


@pytest.fixture(scope="module")
def committee(make_model, export):
    return [export(make_model(f"member{seed}", seed=seed)) for seed in range(3)]


@pytest.mark.parametrize(
    ("ranks", "options"), [(1, ""), (1, "ghosts exchange"), (2, ""), (2, "ghosts extended")]
)
def test_deviation_file(tmp_path, box, committee, ranks, options):
    members = [single_point(box, model) for model in committee]
    forces = np.array([m.forces for m in members])
    expected = np.sqrt(((forces - forces.mean(0)) ** 2).sum(2).mean(0))
    write_data(tmp_path / "data", box, ["H", "O"])
    models = " ".join(map(str, committee))
    (tmp_path / "in").write_text(
        "units metal\natom_style atomic\nread_data data\n"
        f"pair_style tpainn deviation 5 devi.out {options}\npair_coeff * * {models} H O\n"
        "timestep 0.0005\nfix 1 all nve\n"
        "fix 2 all pair 1 tpainn deviation 1\n"
        "dump 1 all custom 10 dump id f_2\ndump_modify 1 sort id format float %.15g\n"
        "run 10\nrun 10\n"
    )
    run_input(tmp_path / "in", ranks)
    header = (tmp_path / "devi.out").read_text().splitlines()[0].split()
    # the columns of DeePMD-kit's model_devi.out
    columns = [f"{which}_devi_{of}" for of in "vf" for which in ("max", "min", "avg")]
    assert header == ["#", "step", *columns]
    table = np.loadtxt(tmp_path / "devi.out")
    np.testing.assert_array_equal(table[:, 0], [0, 5, 10, 15, 20])
    np.testing.assert_allclose(
        table[0, 4:], [expected.max(), expected.min(), expected.mean()], rtol=1e-5
    )
    virials = np.array([-m.stress * box.get_volume() for m in members]).reshape(3, 9)
    per_atom = virials.std(0) / len(box)
    np.testing.assert_allclose(
        table[0, 1:4],
        [per_atom.max(), per_atom.min(), np.sqrt((per_atom**2).mean())],
        rtol=1e-5,
    )
    first = np.loadtxt(tmp_path / "dump", skiprows=9, max_rows=len(box))
    np.testing.assert_allclose(first[:, 1], expected, atol=1e-9)


def test_unwritable_deviation_file(tmp_path, box, committee):
    options = f"deviation 1 {tmp_path}/no/such/folder"
    with pytest.raises(TPaiNNError, match=r"deviation file .* No such file or directory"):
        single_point(box, committee, Setup(options=options))


def test_no_deviation_without_committee(tmp_path, box, deployed):
    pair = [
        "pair_style tpainn",
        "pair_coeff * * {model} {elements}",
        "fix 2 all pair 1 tpainn deviation 1",
    ]
    with pytest.raises(TPaiNNError, match="ERROR"):
        single_point(box, deployed, Setup(pair=pair))


@pytest.fixture(scope="module")
def ranged(make_model, export):
    """A model that has never seen O-H closer than 0.97 Å."""
    return export(make_model("ranged", shortest_distances={"H-O": 0.97, "O-O": 2.0}))


def squeezed(box):
    atoms = box.copy()
    atoms.positions[1] = atoms.positions[0] + [0.7, 0.0, 0.0]
    return atoms


@pytest.mark.parametrize("ranks", [1, 2])
def test_leaving_the_training_range_is_reported(box, ranged, ranks):
    atoms = squeezed(box)
    message = "are 0.700 Å apart at step 0, closer than any such pair in the training set (0.970 Å)"
    log = single_point(atoms, ranged, Setup(ranks=ranks)).log
    assert message in log
    assert "atoms 1 (O) and 2 (H)" in log or "atoms 2 (H) and 1 (O)" in log
    assert message not in single_point(atoms, ranged, Setup(options="range off")).log
    # whichever rank is first: other pairs of this box are too close as well
    with pytest.raises(TPaiNNError, match=r"are 0\.\d+ Å apart"):
        single_point(atoms, ranged, Setup(options="range stop", ranks=ranks))


def test_range_in_other_units(box, ranged):
    assert "are 0.700 Å apart" in single_point(squeezed(box), ranged, Setup(units="real")).log


def test_a_full_disk_is_noticed(box, committee):
    with pytest.raises(TPaiNNError, match=r'deviation file "/dev/full": No space left on device'):
        single_point(box, committee, Setup(options="deviation 1 /dev/full"))


def ran_in(tmp_path, atoms, model) -> str:
    write_data(tmp_path / "data", atoms, ["H", "O"])
    (tmp_path / "in").write_text(
        "units metal\natom_style atomic\nread_data data\n"
        f"pair_style tpainn\npair_coeff * * {model} H O\ntimestep 0.00001\nfix 1 all nve\nrun 30\n"
    )
    return run_input(tmp_path / "in")


def test_every_pair_is_warned_of_once(tmp_path, box, ranged):
    # one pair far inside the range for many steps does not hide the others
    log = ran_in(tmp_path, squeezed(box), ranged)
    pairs = re.findall(r"atoms (\d+) \(\w+\) and (\d+) .*closer than any such pair", log)
    assert len(pairs) > 1
    assert len({frozenset(pair) for pair in pairs}) == len(pairs)
    assert {"1", "2"} in [set(pair) for pair in pairs]


def test_warnings_stop_after_ten(tmp_path, box, make_model, export):
    model = export(make_model("wide", shortest_distances={"H-O": 1.2}))  # longer than any bond
    log = ran_in(tmp_path, box, model)
    assert log.count("closer than any such pair") == 10
    assert log.count("no more such warnings") == 1
