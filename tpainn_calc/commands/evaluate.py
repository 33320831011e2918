"""``tpainn evaluate``: energy, forces and stress of structures, and errors against their labels."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tpainn_calc.base.errors import StructureError

if TYPE_CHECKING:
    from ase import Atoms

    from tpainn_calc.calculator import TPaiNNCalculator
    from tpainn_calc.commands import Commands

#: Force (eV/Å) that no structure has: at a hundredth of it, atoms are inside each other.
LARGEST_FORCE = 1e6


def add_parser(commands: Commands) -> None:
    """Arguments of the command."""
    parser = commands.add_parser("evaluate", help="energy, forces and stress of structures")
    parser.add_argument("model", help="model file or name of a shipped potential")
    parser.add_argument("structures", type=Path, help="any file that ASE reads")
    parser.add_argument("-o", "--output", type=Path, help="extended XYZ with the results")
    parser.add_argument(
        "--range",
        choices=["warn", "stop", "off"],
        default="warn",
        help="where a structure is unlike those of the training set (default: warn)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print a line per structure, and the mean absolute errors where there are labels."""
    from tpainn_calc.base.frames import attach_results, write_extxyz
    from tpainn_calc.calculator import TPaiNNCalculator
    from tpainn_calc.commands.structures import labels_of, read_structures

    frames = list(read_structures(arguments.structures))
    calculator = TPaiNNCalculator(arguments.model, skin=0.0, range=arguments.range)
    errors: dict[str, list[float]] = {"energy": [], "forces": [], "stress": []}
    for index, atoms in enumerate(frames):
        where = f"{arguments.structures}, frame {index}"
        labels = labels_of(atoms, where)
        result = _evaluate(calculator, atoms, where)
        for name, label in labels.items():
            if name in result:
                errors[name].append(_error(name, result[name], label, len(atoms), where))
        attach_results(atoms, **result)
        # the results are of the model's level, whatever level the labels of the file had
        atoms.info["level"] = calculator.manifests[0].level_of_theory or "unknown"
    _print_errors(errors)
    if arguments.output:
        write_extxyz(arguments.output, frames)
        print(arguments.output)
    return 0


def _evaluate(calculator: TPaiNNCalculator, atoms: Atoms, where: str) -> dict[str, Any]:
    import numpy as np

    bulk = atoms.pbc.all() and atoms.cell.rank == 3
    names = ("energy", "forces", "stress") if bulk else ("energy", "forces")
    try:
        calculator.calculate(atoms, names)
    except StructureError as error:
        raise StructureError(f"{where}: {error}") from None
    result = {name: calculator.results[name] for name in names}
    largest = np.linalg.norm(result["forces"], axis=1).max()
    energy = result["energy"]
    if not (np.isfinite(energy) and largest <= LARGEST_FORCE):  # also not if it is NaN
        raise StructureError(
            f"{where}: energy {energy:.2e} eV, largest force {largest:.2e} eV/Å: no structure has "
            "these; atoms lie inside each other, --range stop says which"
        )
    frame = where.rpartition(", ")[2]
    print(f"{frame}: energy {energy:.6f} eV, largest force {largest:.4f} eV/Å")
    return result


def _error(name: str, value: Any, label: Any, n_atoms: int, where: str) -> float:
    import numpy as np

    if np.shape(value) != np.shape(label):
        raise StructureError(
            f"{where}: its label {name} has shape {np.shape(label)}, not {np.shape(value)}"
        )
    per_atom = n_atoms if name == "energy" else 1
    return float(np.abs(value - label).mean()) / per_atom


def _print_errors(errors: dict[str, list[float]]) -> None:
    import numpy as np

    for name, title, unit, digits in (
        ("energy", "energy", "meV/atom", 3),
        ("forces", "force", "meV/Å", 2),
        ("stress", "stress", "meV/Å³", 3),
    ):
        if errors[name]:
            print(f"{title} MAE {1000 * np.mean(errors[name]):.{digits}f} {unit}")
