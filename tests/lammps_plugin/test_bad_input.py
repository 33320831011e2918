"""Mistakes in LAMMPS input: one clear line each, never a C++ exception or a hang."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
import torch

from lammps_plugin.run import lammps_command, lammps_environment
from lammps_plugin.single_point import Setup, single_point
from tpainn_calc.errors import TPaiNNError


def complaint(atoms, model, **setup) -> str:
    with pytest.raises(TPaiNNError) as caught:
        single_point(atoms, model, Setup(**setup))
    message = str(caught.value)
    assert "\n" not in message
    assert "terminate called" not in message
    return message


def pair_coeff(line: str, style: str = "pair_style tpainn") -> list[str]:
    return [style, f"pair_coeff * * {line}"]


@pytest.mark.parametrize("ranks", [1, 2])
def test_missing_model(box, deployed, ranks):
    message = complaint(box, deployed, pair=pair_coeff("nowhere.pt H O"), ranks=ranks)
    assert 'no model file "nowhere.pt"' in message
    assert "tpainn export" in message


ONE_TYPE_BOX = """
units metal
region box block 0 10 0 10 0 10
create_box 1 box
pair_style tpainn
pair_coeff * * model.pt O
"""


def test_letters_outside_ascii(deployed, tmp_path):
    # LAMMPS changes them in its input, but not in variables of the command line
    shutil.copy(deployed, tmp_path / "wässer–2Å.pt")

    def run(name: str, *arguments: str) -> str:
        (tmp_path / "in.lmp").write_text(ONE_TYPE_BOX.replace("model.pt", name))
        done = subprocess.run(
            lammps_command(["-in", "in.lmp", "-log", "none", *arguments]),
            cwd=tmp_path,
            env=lammps_environment(),
            capture_output=True,
            timeout=120,
        )
        return done.stdout.decode(errors="replace")  # LAMMPS prints what it has made of it

    assert "start LAMMPS with: -var model NAME.pt" in run("wässer–2Å.pt")
    assert "ERROR" not in run("${model}", "-var", "model", "wässer–2Å.pt")


@pytest.mark.parametrize("missing", [0, 1])
def test_model_missing_on_one_rank(deployed, tmp_path, missing):
    (tmp_path / "in.lmp").write_text(ONE_TYPE_BOX)
    parts = []
    for rank in range(2):
        folder = tmp_path / f"node{rank}"
        folder.mkdir()
        if rank != missing:
            shutil.copy(deployed, folder / "model.pt")
        lmp = lammps_command(["-in", str(tmp_path / "in.lmp"), "-log", "none"])
        parts.append(["-n", "1", "-wdir", str(folder), *lmp])
    mpiexec = lammps_command([], ranks=2)[0]
    done = subprocess.run(
        [mpiexec, *parts[0], ":", *parts[1]],
        env=lammps_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    # on one of them only, and yet the message is never lost
    assert 'no model file "model.pt"' in done.stdout + done.stderr


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_truncated_model(box, deployed, tmp_path, keep):
    data = deployed.read_bytes()
    broken = tmp_path / "broken.pt"
    broken.write_bytes(data[: int(keep * len(data)) if keep < 1 else keep])
    message = complaint(box, broken)
    assert "is not a readable exported model" in message


def test_foreign_torchscript(box, tmp_path):
    foreign = tmp_path / "foreign.pt"
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), foreign)
    assert "was not exported by T-PaiNN" in complaint(box, foreign)


def test_foreign_file(box, tmp_path):
    foreign = tmp_path / "foreign.pt"
    torch.save({"weights": torch.zeros(3)}, foreign)
    assert "was not exported by T-PaiNN" in complaint(box, foreign)


def test_model_file_instead_of_export(box, model_file, deployed):
    message = complaint(box, deployed, pair=pair_coeff(f"{model_file} H O"))
    assert f"write one with: tpainn export {model_file} random.pt" in message
    message = complaint(box, deployed, pair=pair_coeff("water H O"))
    assert (
        '"water" is not an exported model (.pt); write one with: tpainn export water water.pt'
        in message
    )


@pytest.mark.parametrize("elements", ["O", "O H H", ""])
def test_wrong_number_of_elements(box, deployed, elements):
    message = complaint(box, deployed, pair=pair_coeff(f"{deployed} {elements}"))
    assert "there are 2 atom types, so 2 element names must follow the model file" in message
    assert f"file, not {len(elements.split())}" in message


def test_unknown_element(box, deployed):
    message = complaint(box, deployed, pair=pair_coeff(f"{deployed} h O"))
    assert (
        'does not know the element "h" of atom type 1 (did you mean "H"?); it knows O, H' in message
    )


def test_null_alone(box, deployed):
    message = complaint(box, deployed, pair=pair_coeff(f"{deployed} NULL O"))
    assert (
        "NULL for atom type 1: these atoms would feel no force; NULL is for pair_style hybrid"
        in message
    )


def test_everything_null(box, deployed):
    pair = [
        "pair_style hybrid tpainn lj/cut 3.0",
        f"pair_coeff * * tpainn {deployed} NULL NULL",
        "pair_coeff * * lj/cut 0.0 1.0",
    ]
    assert "every atom type is NULL" in complaint(box, deployed, pair=pair)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("devise cpu", 'unknown keyword "devise" (did you mean "device"?)'),
        ("ghost fold", 'unknown keyword "ghost" (did you mean "ghosts"?)'),
        ("5.0", 'unknown keyword "5.0"; known: device, ghosts, deviation, range, levels'),
        ("device gpu", 'device must be auto, cpu, cuda or cuda:N, not "gpu" (did you mean "cpu"?)'),
        ("device", "device lacks its value"),
        ("ghosts folded", 'not "folded" (did you mean "fold"?)'),
        ("levels all", 'levels must be one of any, same, not "all"'),
        ("range warm", 'not "warm" (did you mean "warn"?)'),
        ("deviation 10", "deviation lacks its value: N FILE"),
        ("deviation 0 d.out", "deviation needs a positive number of steps"),
        ("deviation d.out 10", "deviation needs a positive number of steps"),
        ("deviation 10 d.out", "deviation needs a committee"),
    ],
)
def test_misspelt_arguments(box, deployed, options, expected):
    assert expected in complaint(box, deployed, options=options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_no_gpu(box, deployed):
    message = complaint(box, deployed, options="device cuda")
    assert "device cuda: this libtorch sees no GPU" in message
    assert "use device cpu" in message
    assert "device cpu" in single_point(box, deployed, Setup(options="device auto")).log


def test_units_lj(box, deployed):
    assert "works in physical units" in complaint(box, deployed, units="lj")


def test_no_pair_coeff(box, deployed):
    message = complaint(box, deployed, pair=["pair_style tpainn"])
    assert "pair coeffs are not set" in message or "no pair_coeff command" in message


@pytest.mark.parametrize("ranks", [1, 2])
def test_atoms_on_top_of_each_other(box, deployed, ranks):
    atoms = box.copy()
    atoms.positions[4] = atoms.positions[5]
    message = complaint(atoms, deployed, ranks=ranks)
    assert "are on top of each other" in message
    assert "5 (H) and 6 (H)" in message or "6 (H) and 5 (H)" in message


@pytest.mark.parametrize("ranks", [1, 2])
def test_explosion_ends_in_an_error(box, deployed, ranks):
    pair = [
        *pair_coeff("{model} {elements}"),
        "velocity all create 1e9 1",
        "timestep 1.0",
        "fix 1 all nve",
        "neigh_modify every 1 delay 0 check no",
        "run 100",
    ]
    message = complaint(box, deployed, pair=pair, ranks=ranks)
    assert re.search("ERROR.*(not finite|on top of each other|[Ll]ost atoms)", message)
