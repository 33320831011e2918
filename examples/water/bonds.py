"""What it costs a potential to stretch one bond in the liquid: do its molecules hold together?

``python -m examples.water.bonds [MODEL ...]`` moves single hydrogen atoms of the test block along
their bonds and prints the smallest and the median energy over 60 bonds. A potential that has seen
nothing but the liquid may break bonds for half an eV, and does so in some tens of picoseconds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms

from tpainn_calc import TPaiNNCalculator
from tpainn_calc.base.arrays import Array
from tpainn_calc.base.command import command_parser, run_command
from tpainn_calc.base.frames import read_extxyz

FRAMES = Path(__file__).parent / "data" / "water-revpbe-d3-converged-test.extxyz.gz"
#: Å; the first is that of the molecule at rest.
LENGTHS = (0.97, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0, 2.3)


def main() -> int:
    """Entry point."""
    parser = command_parser("bonds", __doc__)
    parser.add_argument("models", nargs="*", default=["water"], help="model files or shipped names")
    arguments = parser.parse_args()

    def body() -> None:
        print("bond / Å      " + "".join(f"{r:7.2f}" for r in LENGTHS))
        for model in arguments.models:
            costs = stretch(model)
            print(model)
            for name, row in (("smallest", costs.min(0)), ("median", np.median(costs, 0))):
                print(f"{name:9s}/ eV " + "".join(f"{e:7.2f}" for e in row))

    return run_command(body)


def stretch(model: str, n_frames: int = 6, per_frame: int = 10) -> Array:
    """Energy (eV) of a stretched bond over that of a bond at rest.

    Parameters
    ----------
    model : str
        Model file or shipped name.
    n_frames, per_frame : int
        Frames, and bonds in each of them.

    Returns
    -------
    ndarray (bonds, lengths)
        At :data:`LENGTHS`.
    """
    calculator = TPaiNNCalculator(model, range="off")
    energies = []
    for atoms in list(read_extxyz(FRAMES))[:n_frames]:
        for oxygen in np.flatnonzero(atoms.numbers == 8)[:per_frame]:
            frames = [stretched(atoms, oxygen, length) for length in LENGTHS]
            energies.append([r["energy"] for r in calculator.batch(frames, properties=["energy"])])
    costs = np.array(energies)
    return costs - costs[:, :1]


def stretched(atoms: Atoms, oxygen: int, length: float) -> Atoms:
    """Copy in which the nearest hydrogen is `length` (Å) away from an oxygen atom."""
    hydrogens = np.flatnonzero(atoms.numbers == 1)
    nearest = hydrogens[atoms.get_distances(oxygen, hydrogens, mic=True).argmin()]
    moved = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)
    moved.set_distance(oxygen, nearest, length, fix=0, mic=True)
    return moved


if __name__ == "__main__":
    raise SystemExit(main())
