"""``tpainn check``: the same structure by every path, eager, fused, exported and beyond.

Programs that take exported models, such as the LAMMPS plugin, add their own comparison as an entry
point of the group ``tpainn.checks``: a function ``(model, structure) -> exit code`` that prints
what it finds. This package knows none of them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ase import Atoms

    from tpainn_calc.commands import Commands

GROUP = "tpainn.checks"


def add_parser(commands: Commands) -> None:
    """Arguments of the command."""
    parser = commands.add_parser("check", help="compare eager, fused, exported and LAMMPS")
    parser.add_argument("model", help="model file or name of a shipped potential")
    parser.add_argument("structure", nargs="?", type=Path, help="default: the golden structure")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print a table of differences; the exit code is 1 if they are too large."""
    agree = _check_paths(arguments.model, arguments.structure)
    agree &= _check_others(arguments.model, arguments.structure)
    print("all agree" if agree else "DISAGREEMENT: see the table")
    return 0 if agree else 1


def _check_paths(model: str, structure: Path | None) -> bool:
    import torch

    from tpainn_calc import ops
    from tpainn_calc.export import export_model, load_exported
    from tpainn_calc.graph import Graph
    from tpainn_calc.modelfile import Kernel, load_model
    from tpainn_calc.potential import predict

    plain, manifest = load_model(model, dtype=torch.float64, kernel="plain")
    atoms = _last_of(structure) if structure else manifest.golden.atoms()
    graph = Graph.from_atoms(atoms, plain.elements, plain.cutoff)
    reference = predict(plain, graph)
    assert reference.forces is not None  # asked for by default
    print(f"{len(atoms)} atoms; differences from plain PyTorch, float64: eV/atom, eV/Å")
    kernels: list[Kernel] = ["plain", "fused"] if ops.load() else ["plain"]
    differences: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for kernel in kernels:
            for dtype in (torch.float64, torch.float32):
                potential, _ = load_model(model, dtype=dtype, kernel=kernel)
                file = Path(folder) / "model.pt"
                export_model(model, file, dtype, kernel)
                for name, module in (("eager", potential), ("exported", load_exported(file)[0])):
                    result = predict(module, graph)  # type: ignore[arg-type]  # same signature
                    assert result.forces is not None
                    energy = float((result.energies - reference.energies).abs().max())
                    forces = float((result.forces - reference.forces).abs().max())
                    print(f"{name:9s} {kernel:6s} {str(dtype)[6:]:8s} {energy:9.1e} {forces:9.1e}")
                    differences += [energy, forces]
    worst = float(torch.tensor(differences).max())  # NaN if there is one, unlike max()
    return worst < 1e-3 * max(1.0, float(reference.forces.abs().max()))


def _check_others(model: str, structure: Path | None) -> bool:
    from importlib.metadata import entry_points

    found = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    if not found:
        print("LAMMPS: skipped, no plugin is installed")
    agree = True
    for point in found:
        if structure is None:
            print(f"{point.name}: skipped, give a structure (the golden one is not periodic)")
        else:
            print(f"{point.name}:")
            agree &= point.load()(model, str(structure)) == 0
    return agree


def _last_of(path: Path) -> Atoms:
    from tpainn_calc.commands.structures import read_structures

    *_, last = read_structures(path)
    return last
