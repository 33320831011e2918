"""The same structure in the eager model, the exported one, and LAMMPS in every mode."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.io import read

from lammps_plugin.single_point import Setup, single_point
from tpainn_calc import ops
from tpainn_calc.base.errors import StructureError, TPaiNNError
from tpainn_calc.export import MANIFEST_FILE, export_model, load_exported
from tpainn_calc.graph import Graph
from tpainn_calc.modelfile import Manifest, load_model
from tpainn_calc.potential import Prediction, predict

# where LAMMPS and ASE must agree: eV/atom, eV/Å, eV/Å^3
TOLERANCE = {torch.float64: 1e-6, torch.float32: 2e-4}

MODES = [(1, "fold"), (1, "exchange"), (1, "extended")] + [
    (ranks, mode) for ranks in (2, 4) for mode in ("exchange", "extended")
]


@dataclass(frozen=True)
class Row:
    """One way to compute the structure, and how far it is from the first row.

    Attributes
    ----------
    name : str
    energy : float
        eV.
    d_energy, d_forces, d_pressure : float
        Largest absolute difference: eV/atom, eV/Å, eV/Å³ (of any stress component).
    """

    name: str
    energy: float
    d_energy: float = 0.0
    d_forces: float = 0.0
    d_pressure: float = 0.0

    @property
    def worst(self) -> float:
        """Largest of the three differences."""
        return max(self.d_energy, self.d_forces, self.d_pressure)


def compare(
    model: str | os.PathLike[str],
    atoms: Atoms,
    dtype: torch.dtype = torch.float64,
    modes: list[tuple[int, str]] | None = None,
) -> Iterator[Row]:
    """Compare energies, forces and stress; yields one row after the other.

    Parameters
    ----------
    model : path or str
        Model file, name of a shipped potential, or an exported ``.pt`` (then without eager model).
    atoms : ase.Atoms
        Periodic in all directions, or in none.
    dtype : torch.dtype
        Of the network; that of the file if `model` is an exported one.
    modes : list of (int, str), optional
        Ranks and ghost mode of every LAMMPS run; all modes on 1, 2 and 4 ranks by default.

    Raises
    ------
    TPaiNNError
        If the model, the structure or a LAMMPS run fails.
    """
    with tempfile.TemporaryDirectory(prefix="tpainn-") as folder:
        reference: tuple[float, np.ndarray, np.ndarray] | None = None
        if str(model).endswith(".pt"):
            exported = Path(model)
        else:
            exported = Path(folder) / "model.pt"
            export_model(model, exported, dtype=dtype)
            potential, _ = load_model(model, dtype=dtype)
            graph = Graph.from_atoms(atoms, potential.elements, potential.cutoff)
            reference = _numbers(predict(potential, graph, virial=True), atoms)
            yield Row("eager model (ASE)", reference[0])
        ops.load()  # a fused export cannot be read without its operator
        module, manifest = load_exported(exported)
        elements, cutoff = _shape(manifest)
        graph = Graph.from_atoms(atoms, elements, cutoff)
        numbers = _numbers(predict(module, graph, virial=True), atoms)  # type: ignore[arg-type]
        reference = reference or numbers
        yield _row("exported model", numbers, reference)
        for ranks, mode in modes or MODES:
            setup = Setup(ranks=ranks, options=f"ghosts {mode}")
            got = single_point(atoms, exported, setup)
            name = f"LAMMPS, {ranks} rank{'s' if ranks > 1 else ''}, {mode}"
            yield _row(name, (got.energy, got.forces, got.stress), reference)


def report(model: str, structure: str, dtype: torch.dtype = torch.float64) -> int:
    """Print the table of :func:`compare`; returns 0 if all rows agree, 1 if not.

    Raises
    ------
    TPaiNNError
        If the model, the structure or a LAMMPS run fails.
    """
    atoms = _read(structure)
    if model.endswith(".pt"):
        ops.load()
        dtype = getattr(torch, load_exported(model)[1].dtype)
    tolerance = TOLERANCE[dtype]
    name = str(dtype).removeprefix("torch.")
    print(f"{structure}: {len(atoms)} atoms, network in {name}, tolerance {tolerance:g}")
    print(f"{'':26}{'energy (eV)':>18}{'dE/atom':>11}{'dF (eV/Å)':>11}{'dσ (eV/Å³)':>12}")
    agree = True
    for row in compare(model, atoms, dtype):
        fine = row.worst <= tolerance
        agree &= fine
        print(
            f"{row.name:26}{row.energy:18.6f}{row.d_energy:11.1e}{row.d_forces:11.1e}"
            f"{row.d_pressure:12.1e}{'' if fine else '  DIFFERS'}",
            flush=True,
        )
    print("all agree" if agree else "they do NOT agree")
    return 0 if agree else 1


def _read(structure: str) -> Atoms:
    try:
        atoms = read(structure)
    except FileNotFoundError:
        raise StructureError(f"no structure file {structure!r}") from None
    except Exception as error:  # ASE's readers raise whatever they run into
        raise StructureError(f"cannot read the structure {structure!r}: {error}") from None
    assert isinstance(atoms, Atoms)  # the last frame: for the type checker
    return atoms


def _shape(manifest: Manifest) -> tuple[list[str], float]:
    try:
        return list(manifest.hyperparameters["elements"]), float(manifest.hyperparameters["cutoff"])
    except (KeyError, TypeError, ValueError):
        raise TPaiNNError(f"{MANIFEST_FILE} lacks elements or cut-off") from None


def _numbers(result: Prediction, atoms: Atoms) -> tuple[float, np.ndarray, np.ndarray]:
    assert result.forces is not None  # asked for: for the type checker
    assert result.virial is not None
    stress = np.zeros((3, 3))
    if atoms.pbc.all():
        stress = -result.virial[0].detach().numpy() / atoms.get_volume()
    return result.energy.item(), result.forces.detach().numpy(), stress


def _row(
    name: str,
    got: tuple[float, np.ndarray, np.ndarray],
    expected: tuple[float, np.ndarray, np.ndarray],
) -> Row:
    return Row(
        name,
        got[0],
        abs(got[0] - expected[0]) / len(got[1]),
        float(np.abs(got[1] - expected[1]).max()),
        float(np.abs(got[2] - expected[2]).max()),
    )
