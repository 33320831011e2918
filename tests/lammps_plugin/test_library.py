"""LAMMPS as a Python library: `import lammps_plugin` is all that a user must do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lammps_plugin.single_point import write_data

SETUP = """
def setup(command, model):
    for line in ("units metal", "atom_style atomic", "read_data data", "pair_style tpainn",
                 f"pair_coeff * * {model} H O", "fix 1 all nve", "timestep 0.0005"):
        command(line)
"""


@pytest.fixture
def python(tmp_path, box, deployed):
    """Function that runs a script in a fresh Python, without LD_LIBRARY_PATH and the like."""
    write_data(tmp_path / "data", box, ["H", "O"])

    def run(script: str) -> list[str]:
        (tmp_path / "script.py").write_text(SETUP + script.replace("MODEL", str(deployed)))
        hidden = ("LD_LIBRARY_PATH", "LAMMPS_PLUGIN_PATH", "LD_PRELOAD")
        environment = {k: v for k, v in os.environ.items() if k not in hidden}
        environment["OMP_NUM_THREADS"] = "1"
        done = subprocess.run(
            [sys.executable, "script.py"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.split("RESULT")[1:]

    return run


def energy(reference, atoms) -> float:
    return reference(atoms).energy.item()


def test_two_instances_in_one_process(python, reference, box):
    result = python(
        """
import lammps_plugin
from lammps import lammps
quiet = ["-log", "none", "-screen", "none"]
for _ in range(2):
    first, second = lammps(cmdargs=quiet), lammps(cmdargs=quiet)
    for one in (first, second):
        setup(one.command, "MODEL")
        one.command("run 0")
        print("RESULT", one.get_thermo("pe"))
    first.command("clear")
    setup(first.command, "MODEL")
    first.command("run 5")
    print("RESULT", first.get_thermo("etotal"))
    first.close()
    second.close()
"""
    )
    assert len(result) == 6
    for value in result:
        # the third and the sixth are total energies after a few steps
        assert float(value) == pytest.approx(energy(reference, box), abs=1e-2)


def test_beside_torch_in_python(python, reference, box):
    # the fused operator is registered once, whoever comes first
    result = python(
        """
import torch
from tpainn_calc import ops
ops.load()
import lammps_plugin
from lammps import lammps
one = lammps(cmdargs=["-log", "none", "-screen", "none"])
setup(one.command, "MODEL")
one.command("run 0")
print("RESULT", one.get_thermo("pe"))
x = torch.ones(3, requires_grad=True)
(x * x).sum().backward()
assert x.grad.tolist() == [2.0] * 3
"""
    )
    assert float(result[0]) == pytest.approx(energy(reference, box), abs=1e-4)


def test_lammps_before_torch(python):
    python(
        """
import lammps_plugin, sys
assert "torch" not in sys.modules
from lammps import lammps
one = lammps(cmdargs=["-log", "none", "-screen", "none"])
setup(one.command, "MODEL")
one.command("run 0")
from tpainn_calc import ops
from tpainn_calc.export import load_exported
assert ops.load()
load_exported("MODEL")
"""
    )


def test_errors_are_python_exceptions(python):
    python(
        """
import lammps_plugin
from lammps import lammps
one = lammps(cmdargs=["-log", "none", "-screen", "none"])
try:
    setup(one.command, "nowhere.pt")
except Exception as error:
    assert "no model file" in str(error), error
else:
    raise SystemExit("no exception")
one.command("clear")
setup(one.command, "MODEL")
one.command("run 0")
"""
    )


def test_pylammps(python, reference, box):
    result = python(
        """
import lammps_plugin
from lammps import PyLammps
one = PyLammps(cmdargs=["-log", "none"], verbose=False)
setup(one.command, "MODEL")
one.run(0)
print("RESULT", one.eval("pe"), "RESULT")
"""
    )
    assert float(result[0]) == pytest.approx(energy(reference, box), abs=1e-4)


def test_lammpslib_of_ase(python, reference, box, tmp_path):
    box.write(tmp_path / "box.xyz")
    result = python(
        """
import lammps_plugin
from ase.calculators.lammpslib import LAMMPSlib
from ase.io import read
atoms = read("box.xyz")
atoms.calc = LAMMPSlib(
    lmpcmds=["pair_style tpainn", "pair_coeff * * MODEL H O"],
    atom_types={"H": 1, "O": 2},
    log_file=None,
    keep_alive=True,
)
print("RESULT", atoms.get_potential_energy(), "RESULT")
atoms.rattle(0.01)
atoms.get_forces(), atoms.get_stress()
"""
    )
    assert float(result[0]) == pytest.approx(energy(reference, box), abs=1e-3)
