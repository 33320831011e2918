"""Compare the PySCF engine with QM9: ``python -m benchmarks.qm9_labels qm9.npz``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.units import Hartree

from tpainn_calc.base.command import run_command
from training.data.paths import expand_path
from training.labels.engines.config import LabelConfig
from training.labels.engines.factory import make_engine


def main() -> int:
    """Label small molecules and print how far their energies are from U0 - ZPVE."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default="${TPAINN_DATA}/qm9/qm9.npz")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--heavy", type=int, default=4, help="heavy atoms, at most")
    parser.add_argument("--grid", type=int, default=3)
    parser.add_argument("--density-fitting", action="store_true")
    parser.add_argument("--basis", default="qm9", help="'6-31g(2df,p)' is PySCF's own")
    return run_command(lambda: check(parser.parse_args()))


def check(arguments: argparse.Namespace) -> int:
    """Run the comparison."""
    options = {
        "kind": "pyscf",
        "grid": arguments.grid,
        "basis": arguments.basis,
        "density_fitting": arguments.density_fitting,
    }
    engine = make_engine(LabelConfig.model_validate({"engine": options}).engine)
    print(engine.level)
    print(
        f"{'id':>6} {'formula':10} {'QM9 (Ha)':>14} {'here - QM9 (mHa)':>17} {'max |F| (eV/Å)':>15}"
    )
    differences = []
    path = expand_path(arguments.data, Path.cwd())
    for number, energy, atoms in small_molecules(path, arguments.heavy, arguments.count):
        label = engine.label(atoms)
        off = 1e3 * (label.atoms.get_potential_energy() / Hartree - energy)
        largest = np.linalg.norm(label.atoms.get_forces(), axis=1).max()
        formula = atoms.get_chemical_formula()
        print(f"{number:6d} {formula:10} {energy:14.6f} {off:17.4f} {largest:15.4f}", flush=True)
        differences.append(off)
    print(f"largest difference {np.abs(differences).max():.4f} mHa")
    return 0


def small_molecules(path: Path, heavy: int, count: int) -> Iterator[tuple[int, float, Atoms]]:
    """Id, electronic energy (Hartree) and geometry of molecules with few heavy atoms.

    They are spread evenly over all such molecules, in the order of the set. QM9's U0 contains the
    zero-point energy, which is subtracted.
    """
    with np.load(path, allow_pickle=False) as archive:
        data = {key: archive[key] for key in ("id", "offset", "Z", "pos", "u0", "zpve")}
    offset = data["offset"]
    heavy_atoms = np.add.reduceat(data["Z"] > 1, offset[:-1])
    small = np.flatnonzero(heavy_atoms <= heavy)
    for k in small[np.linspace(0, len(small) - 1, min(count, len(small))).round().astype(int)]:
        atoms = slice(offset[k], offset[k + 1])
        molecule = Atoms(data["Z"][atoms], positions=data["pos"][atoms].astype(float))
        yield int(data["id"][k]), float(data["u0"][k] - data["zpve"][k]), molecule


if __name__ == "__main__":
    sys.exit(main())
