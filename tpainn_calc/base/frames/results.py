"""Labels of a frame: energy, forces and stress, as ASE carries them."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

#: Info key of frames whose atoms were displaced at random: good to learn from, bad to judge by.
DISTORTED = "distorted"


def results_of(atoms: Atoms) -> dict[str, Any]:
    """Energy (eV), forces (eV/Å) and stress (eV/Å³) of a frame, as far as it carries them.

    They are taken as they were read: ASE's getters compare every frame with a copy of itself
    first, and set the forces on atoms with constraints to zero. A frame with a free energy alone,
    as some codes write it, has that as its energy.
    """
    results = dict(atoms.calc.results) if atoms.calc is not None else {}
    if results.get("energy") is None:
        results["energy"] = results.get("free_energy")
    return {k: results[k] for k in ("energy", "forces", "stress") if results.get(k) is not None}


def attach_results(
    atoms: Atoms,
    energy: float | None = None,
    forces: np.ndarray | None = None,
    stress: np.ndarray | None = None,
) -> Atoms:
    """Give a frame labels, in place of those that it has.

    Parameters
    ----------
    atoms : ase.Atoms
    energy : float, optional
        eV.
    forces : ndarray (atoms, 3), optional
        eV/Å.
    stress : ndarray (6,), optional
        Voigt xx yy zz yz xz xy, tension positive, eV/Å³.

    Returns
    -------
    ase.Atoms
        `atoms` itself.
    """
    from ase.calculators.singlepoint import SinglePointCalculator

    results: dict[str, Any] = {}
    if energy is not None:
        results["energy"] = float(energy)
    if forces is not None:
        results["forces"] = np.asarray(forces)
    if stress is not None:
        results["stress"] = np.asarray(stress)
    atoms.calc = SinglePointCalculator(atoms, **results) if results else None
    return atoms
