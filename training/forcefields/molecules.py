"""Molecules in vacuum by RDKit: MMFF94, or UFF where it has no parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms, units

from tpainn_calc.base.errors import DataError

KCAL_PER_MOL = units.kcal / units.mol  # eV
FIELDS = ("MMFF94", "UFF")


class MoleculeField:
    """Energy and forces of a molecule.

    Parameters
    ----------
    molecule : rdkit.Chem.Mol
        With explicit hydrogens and a conformer.

    Attributes
    ----------
    name : str
        ``MMFF94``, or ``UFF`` where that has no parameters for the molecule.

    Raises
    ------
    DataError
        If neither has.
    """

    def __init__(self, molecule: Any, fields: Sequence[str] = FIELDS) -> None:
        from rdkit.Chem import rdForceFieldHelpers as helpers

        self._molecule = molecule  # RDKit's field points into it, but does not keep it alive
        properties = helpers.MMFFGetMoleculeProperties(molecule, mmffVariant="MMFF94")
        if "MMFF94" in fields and properties is not None:
            self.name = "MMFF94"
            # every pair counts: the default leaves out those beyond 100 Å
            self._field = helpers.MMFFGetMoleculeForceField(
                molecule, properties, nonBondedThresh=1e4
            )
        elif "UFF" in fields and helpers.UFFHasAllMoleculeParams(molecule):
            self.name = "UFF"
            self._field = helpers.UFFGetMoleculeForceField(molecule, vdwThresh=1e4)
        else:
            raise DataError(f"{' and '.join(fields)} have no parameters for this molecule")
        self._field.Initialize()

    def compute(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        """Energy in eV and forces (atoms, 3) in eV/Å at positions in Å."""
        x = positions.ravel().tolist()
        # The energy first: CalcGrad alone reuses the distances of the last energy call.
        energy = self._field.CalcEnergy(x)
        gradient = np.array(self._field.CalcGrad(x)).reshape(-1, 3)
        return energy * KCAL_PER_MOL, -gradient * KCAL_PER_MOL

    def minimise(self, steps: int = 500) -> np.ndarray:
        """Positions (atoms, 3) of a near minimum, Å."""
        self._field.Minimize(maxIts=steps)
        return np.array(self._field.Positions()).reshape(-1, 3)


def bonded(atoms: Atoms) -> Any:
    """RDKit molecule of a neutral structure, with bonds perceived from its geometry.

    Raises
    ------
    DataError
        If no valid bonding was found.
    """
    from rdkit import Chem
    from rdkit.Chem import rdDetermineBonds

    lines = [str(len(atoms)), ""]
    for symbol, (x, y, z) in zip(atoms.get_chemical_symbols(), atoms.positions, strict=True):
        lines.append(f"{symbol} {x:.8f} {y:.8f} {z:.8f}")
    molecule = Chem.MolFromXYZBlock("\n".join([*lines, ""]))
    if molecule is None:
        raise DataError("RDKit cannot read the structure")
    try:
        rdDetermineBonds.DetermineBonds(molecule, charge=0)
        Chem.SanitizeMol(molecule)
    except ValueError as error:
        raise DataError(f"no bonding found: {error}") from None
    if len(Chem.GetMolFrags(molecule)) > 1:
        raise DataError("the structure falls into several molecules")
    return molecule
