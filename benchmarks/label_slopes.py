"""Forces and stress of an engine against the slopes of its own energy.

``python -m benchmarks.label_slopes FRAMES.extxyz --engine engine.yaml``
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from ase import Atoms

from tpainn_calc.base.command import run_command
from tpainn_calc.base.errors import TPaiNNError
from tpainn_calc.base.frames import read_extxyz
from training.labels.engines.config import load_engine
from training.labels.engines.contract import Engine, EngineCrashed, LabelFailed
from training.labels.engines.factory import make_engine


def main() -> int:
    """Print labels beside central differences, for the first frame of a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("frames", type=Path)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--atoms", type=int, default=2, help="atoms that are displaced")
    parser.add_argument("--displacement", type=float, default=0.005, help="Å")
    parser.add_argument("--strain", type=float, default=0.005)
    parser.add_argument("--isotropic", action="store_true", help="only the mean of xx, yy, zz")
    return run_command(lambda: _check(parser.parse_args()))


def _check(arguments: argparse.Namespace) -> int:
    try:
        return check(arguments)
    except (EngineCrashed, LabelFailed) as error:
        raise TPaiNNError(f"no label: {error}") from error


def check(arguments: argparse.Namespace) -> int:
    """Run the comparison."""
    engine = make_engine(load_engine(arguments.engine))
    atoms = read_extxyz(arguments.frames)[0]
    label = engine.label(atoms)
    print(f"{engine.level}: {label.seconds:.1f} s, {dict(label.notes)}", flush=True)
    results = label.atoms.calc.results
    for k in range(min(arguments.atoms, len(atoms))):
        shift = np.zeros((len(atoms), 3))
        shift[k, k % 3] = arguments.displacement
        slope = _difference(engine, moved(atoms, shift), moved(atoms, -shift))
        slope /= 2 * arguments.displacement
        print(f"force {k} {'xyz'[k % 3]}: {results['forces'][k, k % 3]:.5f}, {-slope:.5f} eV/Å")
    if "stress" not in results:
        return 0
    tensor = label.atoms.get_stress(voigt=False)
    for name, direction in directions(arguments.isotropic):
        strain = arguments.strain * direction
        slope = _difference(engine, strained(atoms, strain), strained(atoms, -strain))
        slope /= 2 * arguments.strain * atoms.get_volume()
        said = float((tensor * direction).sum())
        print(f"stress {name}: {said:.6f}, {slope:.6f} eV/Å³", flush=True)
    engine.close()
    return 0


def directions(isotropic: bool) -> list[tuple[str, np.ndarray]]:
    """Strains, such that stress times strain is a component, or the mean of the diagonal."""
    if isotropic:
        return [("mean", np.eye(3) / 3)]
    found = []
    for i, k in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        unit = np.zeros((3, 3))
        unit[i, k] = 1.0
        found.append(("xyz"[i] + "xyz"[k], (unit + unit.T) / 2))
    return found


def moved(atoms: Atoms, shift: np.ndarray) -> Atoms:
    """A copy with other positions, Å."""
    copy = atoms.copy()
    copy.positions += shift
    return copy


def strained(atoms: Atoms, strain: np.ndarray) -> Atoms:
    """A copy under a homogeneous symmetric strain."""
    copy = atoms.copy()
    copy.set_cell(copy.cell.array @ (np.eye(3) + strain), scale_atoms=True)
    return copy


def _difference(engine: Engine, plus: Atoms, minus: Atoms) -> float:
    up, down = (engine.label(atoms).atoms.get_potential_energy() for atoms in (plus, minus))
    return float(up - down)


if __name__ == "__main__":
    sys.exit(main())
