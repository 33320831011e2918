"""Make ``water64.extxyz``, where the quickstart begins: ``python -m examples.quickstart.start``.

Molecules with random orientations on a lattice, melted and equilibrated at 300 K and 1 bar with
the shipped potential in LAMMPS, so that the quickstart itself starts from liquid water.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import ase.io
from ase import Atoms

from benchmarks.water import water_box
from tpainn_calc.export import export_model

INPUT = """\
units           metal
atom_style      atomic
read_data       lattice.data
pair_style      tpainn
pair_coeff      * * water.pt O H
mass            1 15.999
mass            2 1.008
timestep        0.0005
thermo          500
thermo_style    custom step temp pe press density
minimize        0.0 0.5 100 200
velocity        all create 350.0 1 mom yes rot yes dist gaussian
fix             melt all nvt temp 350.0 300.0 0.05
run             {melt}
unfix           melt
fix             ensemble all npt temp 300.0 300.0 0.05 iso 1.0 1.0 0.5
run             {equilibrate}
write_dump      all custom final.dump id type x y z modify sort id format float %.6f
"""


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--melt", type=int, default=6_000, help="NVT steps of 0.5 fs")
    parser.add_argument("--equilibrate", type=int, default=20_000, help="NPT steps of 0.5 fs")
    parser.add_argument("-n", "--n-side", type=int, default=4)
    parser.add_argument(
        "-o", "--output", type=Path, default=Path(__file__).parent / "water64.extxyz"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_model("water", folder / "water.pt")
        lattice = water_box(arguments.n_side, spacing=3.16)  # 0.95 g/cm³
        ase.io.write(folder / "lattice.data", lattice, format="lammps-data", specorder=["O", "H"])
        text = INPUT.format(melt=arguments.melt, equilibrate=arguments.equilibrate)
        (folder / "in.lammps").write_text(text)
        program = Path(sys.executable).parent / "tpainn-lammps"
        subprocess.run([str(program), "run", "in.lammps"], cwd=folder, check=True)
        final = ase.io.read(folder / "final.dump", format="lammps-dump-text")
        water = Atoms(
            ["OH"[t - 1] for t in final.arrays.get("type", final.numbers)],
            positions=final.positions,
            cell=final.cell,
            pbc=True,
        )
        water.wrap()
        ase.io.write(arguments.output, water, format="extxyz")


if __name__ == "__main__":
    main()
