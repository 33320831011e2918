"""A small part of ``python -m benchmarks.fuzz``: sound files are accepted, damaged ones refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.fuzz.mutations import BINARY, TEXT, Damage
from tpainn_calc.base.tables import read_table

ROOT = Path(__file__).parents[1]
#: The quick ones; LAMMPS' inputs and trainings are left to the benchmark.
TARGETS = ("model file, bytes", "model file, manifest", "structures", "labels", "pool in tables")


@pytest.mark.parametrize("mutations", [BINARY, TEXT])
def test_damage_is_damage_and_follows_its_seed(mutations):
    data = b"energy=-1.5 stress=2e-3\n1 2 3\nO 0.0 0.5 1.0\n" * 5
    damaged = {Damage(np.random.default_rng(k)).of(data, mutations) for k in range(50)}
    assert data not in damaged
    assert len(damaged) > 40
    again = Damage(np.random.default_rng(7)).of(data, mutations)
    assert again == Damage(np.random.default_rng(7)).of(data, mutations)
    assert Damage(np.random.default_rng(7), sound=True).of(data, mutations) == data


def test_nothing_gets_through(tmp_path):
    """The command checks itself that each target accepts sound input."""
    table = tmp_path / "fuzz.csv"
    command = [sys.executable, "-m", "benchmarks.fuzz", "--cases", "40", "-o", str(table)]
    done = subprocess.run(
        [*command, "--targets", *TARGETS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    total = read_table(table)[-1]
    assert total["cases"] >= 35
    assert total["clean"] > 20
    assert total["boundary"] == 0, done.stderr
