"""One structure, evaluated by LAMMPS: for checks against ASE, between modes and between ranks."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.lammps import Prism
from ase.data import atomic_masses, atomic_numbers

from lammps_plugin.run import run_captured
from tpainn_calc.base.errors import StructureError

# LAMMPS' units: (one eV, one bar or atm in energy per Å^3). Its own constants, see its update.cpp.
_METAL_BOLTZ = 8.617343e-5
UNITS = {
    "metal": (1.0, 1.0 / 1.6021765e6),
    "real": (0.0019872067 / _METAL_BOLTZ, 1.0 / 68568.415),
}


# Checks start more ranks than there are free cores: those that wait must let go of theirs.
SHARED_CORES = {
    "OMP_NUM_THREADS": "1",
    "MPIR_CVAR_ENABLE_HEAVY_YIELD": "1",
    "MPIR_CVAR_POLLS_BEFORE_YIELD": "10",
}


@dataclass(frozen=True)
class Setup:
    """Settings with which LAMMPS evaluates a structure.

    Attributes
    ----------
    elements : sequence of str, optional
        Element per atom type; by default those of the structure, sorted.
    ranks : int
        MPI ranks.
    options : str
        Arguments of ``pair_style tpainn``, such as ``"ghosts extended"``.
    units : {"metal", "real"}
    before : sequence of str
        Commands after ``units`` and before the atoms are read (``processors``, ``newton``).
    pair : sequence of str, optional
        Pair commands in place of the usual two; ``{model}`` and ``{elements}`` are filled in.
    """

    elements: Sequence[str] | None = None
    ranks: int = 1
    options: str = ""
    units: str = "metal"
    before: Sequence[str] = ()
    pair: Sequence[str] | None = None


@dataclass(frozen=True)
class SinglePoint:
    """LAMMPS' results for a structure, in ASE's units, signs and axes.

    Attributes
    ----------
    energy : float
        eV.
    forces : ndarray (atoms, 3)
        eV/Å.
    stress : ndarray (3, 3)
        eV/Å³, tension positive; zeros without periodicity.
    energies : ndarray (atoms,)
        eV.
    virials : ndarray (atoms, 3, 3)
        Symmetric per-atom virials, −Σ r ⊗ dE/dr, in eV.
    centroid_virials : ndarray (atoms, 3, 3)
        The same, not symmetrized (position × force).
    log : str
        LAMMPS' output.
    """

    energy: float
    forces: np.ndarray
    stress: np.ndarray
    energies: np.ndarray
    virials: np.ndarray
    centroid_virials: np.ndarray
    log: str = field(repr=False, default="")


def single_point(
    atoms: Atoms, models: Path | Sequence[Path], setup: Setup | None = None
) -> SinglePoint:
    """Evaluate a structure with LAMMPS in a process of its own.

    Parameters
    ----------
    atoms : ase.Atoms
        Any cell that is periodic in all directions, or in none.
    models : path or sequence of paths
        Exported models (``.pt``); several make a committee.
    setup : Setup, optional

    Raises
    ------
    TPaiNNError
        If LAMMPS ends with an error (its message), or the structure has mixed periodicity.
    """
    setup = setup or Setup()
    paths = [models] if isinstance(models, str | os.PathLike) else list(models)
    elements = list(setup.elements or sorted(set(atoms.get_chemical_symbols())))
    prism = _prism(atoms)
    with tempfile.TemporaryDirectory(prefix="tpainn-") as name:
        folder = Path(name)
        write_data(folder / "data", atoms, elements)
        text = _input_file(atoms, [str(Path(p).resolve()) for p in paths], elements, setup)
        (folder / "in").write_text(text)
        log = run_input(folder / "in", setup.ranks)
        return _read(folder, atoms, prism, setup.units, log)


def run_input(path: Path, ranks: int = 1, timeout: float = 600.0) -> str:
    """Run a LAMMPS input file in its folder, without a log; returns what it printed.

    Raises
    ------
    LammpsError
        If LAMMPS fails, with its error message.
    """
    return run_captured(path, ["-log", "none"], ranks, timeout=timeout, defaults=SHARED_CORES)


def write_data(path: Path, atoms: Atoms, elements: Sequence[str]) -> None:
    """Write a LAMMPS data file (``atom_style atomic``) with one atom type per element.

    Raises
    ------
    StructureError
        If an element has no atom type, or the structure has mixed periodicity.
    """
    path.write_text(_data_file(atoms, _prism(atoms), elements))


def _prism(atoms: Atoms) -> Prism:
    if atoms.pbc.all():
        return Prism(np.asarray(atoms.cell))
    if atoms.pbc.any():
        raise StructureError(
            "LAMMPS check: the structure must be periodic in all directions or none"
        )
    return Prism(np.diag(np.ptp(atoms.positions, axis=0) + 10.0))


def _data_file(atoms: Atoms, prism: Prism, elements: Sequence[str]) -> str:
    lx, ly, lz, xy, xz, yz = prism.get_lammps_prism()
    origin = np.zeros(3) if atoms.pbc.all() else atoms.positions.min(axis=0) - 5.0
    positions = prism.vector_to_lammps(atoms.positions - origin)
    lines = ["T-PaiNN", "", f"{len(atoms)} atoms", f"{len(elements)} atom types", ""]
    lines += [
        f"0 {side:.17g} {axis}lo {axis}hi" for axis, side in zip("xyz", (lx, ly, lz), strict=True)
    ]
    if max(abs(xy), abs(xz), abs(yz)) > 1e-12:
        lines.append(f"{xy:.17g} {xz:.17g} {yz:.17g} xy xz yz")
    lines += ["", "Masses", ""]
    for k, element in enumerate(elements):
        mass = atomic_masses[atomic_numbers[element]] if element in atomic_numbers else 1.0
        lines.append(f"{k + 1} {mass:.6g}")
    lines += ["", "Atoms # atomic", ""]
    for k, (symbol, r) in enumerate(zip(atoms.get_chemical_symbols(), positions, strict=True)):
        if symbol not in elements:
            raise StructureError(f"element {symbol} of the structure has no atom type: {elements}")
        lines.append(f"{k + 1} {elements.index(symbol) + 1} {r[0]:.17g} {r[1]:.17g} {r[2]:.17g}")
    return "\n".join(lines) + "\n"


def _input_file(atoms: Atoms, models: list[str], elements: list[str], setup: Setup) -> str:
    pair = setup.pair or [
        f"pair_style tpainn {setup.options}",
        "pair_coeff * * {model} {elements}",
    ]
    words = {"model": " ".join(f'"{m}"' for m in models), "elements": " ".join(elements)}
    commands = [
        f"units {setup.units}",
        "boundary p p p" if atoms.pbc.all() else "boundary s s s",
        *setup.before,
        "atom_style atomic",
        "box tilt large",
        "read_data data",
        *[line.format(**words) for line in pair],
        "compute energies all pe/atom pair",
        "compute virials all stress/atom NULL pair",
        "compute centroids all centroid/stress/atom NULL pair",
        "thermo_style custom step pe pxx pyy pzz pxy pxz pyz",
        "dump out all custom 1 dump id fx fy fz c_energies c_virials[*] c_centroids[*]",
        "dump_modify out sort id format float %.17g",
        "fix hold all nve",  # asks for the virial at step 0
        "run 0",
        'print "$(pe:%.17g) $(pxx:%.17g) $(pyy:%.17g) $(pzz:%.17g) $(pyz:%.17g) $(pxz:%.17g) '
        '$(pxy:%.17g)" file result screen no',
    ]
    return "\n".join(commands) + "\n"


def _read(folder: Path, atoms: Atoms, prism: Prism, units: str, log: str) -> SinglePoint:
    ev, pressure = UNITS[units]
    energy, *p = np.array((folder / "result").read_text().split(), dtype=float) / ev
    rows = np.loadtxt(folder / "dump", skiprows=9, ndmin=2) / ev
    rotation = prism.rot_mat

    def to_ase(tensors: np.ndarray) -> np.ndarray:
        return rotation @ tensors @ rotation.T

    def full(v: np.ndarray, order: list[int]) -> np.ndarray:
        return v[..., order].reshape(*v.shape[:-1], 3, 3)

    # LAMMPS: stress/atom is xx yy zz xy xz yz, times volume, in pressure units, minus the virial
    virials = -full(rows[:, 5:11], [0, 3, 4, 3, 1, 5, 4, 5, 2]) * pressure
    centroids = -full(rows[:, 11:20], [0, 3, 4, 6, 1, 5, 7, 8, 2]) * pressure
    stress = -full(np.array(p), [0, 5, 4, 5, 1, 3, 4, 3, 2]) * pressure
    return SinglePoint(
        energy=float(energy),
        forces=rows[:, 1:4] @ rotation.T,
        stress=to_ase(stress) if atoms.pbc.all() else np.zeros((3, 3)),
        energies=rows[:, 4],
        virials=to_ase(virials),
        centroid_virials=to_ase(centroids),
        log=log,
    )
