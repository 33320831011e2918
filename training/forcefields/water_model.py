"""Flexible three-site water models: published parameters, as an OpenMM force field."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

from tpainn_calc.base.errors import DataError

# Molar mass in g/mol, and Å³ per molecule at 1 g/cm³
MOLAR_MASS = 18.015
VOLUME_AT_UNIT_DENSITY = MOLAR_MASS / 0.602214076


@dataclass(frozen=True)
class WaterModel:
    """Parameters of a flexible simple-point-charge model, in OpenMM's units.

    Bonds and angle are harmonic, E = k/2 (r - r0)² and k/2 (θ - θ0)²; the two hydrogens carry
    half the opposite charge of the oxygen; only oxygens have a Lennard-Jones term.

    Attributes
    ----------
    name : str
    bond_k, bond_length : float
        kJ/mol/nm², nm.
    angle_k, angle : float
        kJ/mol/rad², degrees.
    oxygen_charge : float
        e.
    sigma, epsilon : float
        nm, kJ/mol.
    source : str
        Where the parameters were published.
    """

    name: str
    bond_k: float
    bond_length: float
    angle_k: float
    angle: float
    oxygen_charge: float
    sigma: float
    epsilon: float
    source: str

    def xml(self) -> str:
        """The model as an OpenMM force-field file."""
        h_charge = -self.oxygen_charge / 2
        angle = np.radians(self.angle)
        return f"""<ForceField>
 <AtomTypes>
  <Type name="OW" class="OW" element="O" mass="15.99943"/>
  <Type name="HW" class="HW" element="H" mass="1.007947"/>
 </AtomTypes>
 <Residues>
  <Residue name="HOH">
   <Atom name="O" type="OW"/><Atom name="H1" type="HW"/><Atom name="H2" type="HW"/>
   <Bond atomName1="O" atomName2="H1"/><Bond atomName1="O" atomName2="H2"/>
  </Residue>
 </Residues>
 <HarmonicBondForce>
  <Bond class1="OW" class2="HW" length="{self.bond_length!r}" k="{self.bond_k!r}"/>
 </HarmonicBondForce>
 <HarmonicAngleForce>
  <Angle class1="HW" class2="OW" class3="HW" angle="{float(angle)!r}" k="{self.angle_k!r}"/>
 </HarmonicAngleForce>
 <NonbondedForce coulomb14scale="0" lj14scale="0">
  <Atom type="OW" charge="{self.oxygen_charge!r}"
        sigma="{self.sigma!r}" epsilon="{self.epsilon!r}"/>
  <Atom type="HW" charge="{h_charge!r}" sigma="1" epsilon="0"/>
 </NonbondedForce>
</ForceField>
"""


WATER_MODELS = {
    "spcfw": WaterModel(
        "SPC/Fw",
        *(443153.38, 0.1012, 317.5656, 113.24),
        *(-0.82, 0.3165492, 0.650299),
        "Wu, Tepper, Voth, J. Chem. Phys. 124, 024503 (2006)",
    ),
    "q-spcfw": WaterModel(
        "q-SPC/Fw",
        *(443153.38, 0.1000, 317.5656, 112.0),
        *(-0.84, 0.3165492, 0.650299),
        "Paesani, Zhang, Case, Cheatham, Voth, J. Chem. Phys. 125, 184507 (2006)",
    ),
}


def make_system(model: WaterModel, n_molecules: int, box: float | None, cutoff: float) -> Any:
    """OpenMM system of flexible water.

    Coulomb *and* dispersion are summed by particle-mesh Ewald: the real-space cut-off must
    shrink with the box, and yet frames of all box sizes are to be at one level.

    Parameters
    ----------
    model : WaterModel
    n_molecules : int
        Atoms are ordered O, H, H, O, H, H, ...
    box : float, optional
        Edge of the cubic box in Å; None for molecules in vacuum, every pair counted.
    cutoff : float
        Real-space cut-off of the Ewald sums in Å, at most half of `box`.

    Returns
    -------
    topology : openmm.app.Topology
    system : openmm.System
    """
    from openmm import unit
    from openmm.app import LJPME, ForceField, NoCutoff

    topology = water_topology(n_molecules, box)
    field = ForceField(io.StringIO(model.xml()))
    # Without rigidWater=False OpenMM makes every molecule named HOH rigid.
    options = {"rigidWater": False, "constraints": None, "removeCMMotion": False}
    if box is None:
        return topology, field.createSystem(topology, nonbondedMethod=NoCutoff, **options)
    system = field.createSystem(
        topology,
        nonbondedMethod=LJPME,
        nonbondedCutoff=cutoff / 10 * unit.nanometer,
        ewaldErrorTolerance=1e-5,
        **options,
    )
    return topology, system


def water_topology(n_molecules: int, box: float | None) -> Any:
    """OpenMM topology of molecules ordered O, H, H, in a cubic box of edge `box` (Å) or none."""
    from openmm import unit
    from openmm.app import Topology
    from openmm.app.element import hydrogen, oxygen

    topology = Topology()
    chain = topology.addChain()
    for _ in range(n_molecules):
        residue = topology.addResidue("HOH", chain)
        o = topology.addAtom("O", oxygen, residue)
        for name in ("H1", "H2"):
            topology.addBond(o, topology.addAtom(name, hydrogen, residue))
    if box is not None:
        topology.setUnitCellDimensions([box / 10] * 3 * unit.nanometer)
    return topology


def mass_lines(hydrogen: float) -> str:
    """LAMMPS' masses of oxygen, type 1, and hydrogen, type 2.

    Parameters
    ----------
    hydrogen : float
        u; what it has more than nature's is taken from the oxygen atom, so that molecules weigh
        what they do.
    """
    return f"mass 1 {MOLAR_MASS - 2 * hydrogen}\nmass 2 {hydrogen}"


def water_lattice(n_molecules: int, density: float, rng: np.random.Generator) -> Atoms:
    """Randomly oriented molecules on the sites of a cubic lattice, in a cubic box.

    Parameters
    ----------
    n_molecules : int
        Any number: sites of the next larger cube are left empty at random.
    density : float
        g/cm³.
    rng : numpy.random.Generator

    Returns
    -------
    ase.Atoms
        Whole molecules, ordered O, H, H.
    """
    n_side = int(np.ceil(round(n_molecules ** (1 / 3), 9)))
    box = (n_molecules * VOLUME_AT_UNIT_DENSITY / density) ** (1 / 3)
    sites = np.array(list(np.ndindex(n_side, n_side, n_side)), dtype=float) * box / n_side
    sites = sites[np.sort(rng.permutation(len(sites))[:n_molecules])]
    half = np.radians(104.5 / 2)
    molecule = 0.97 * np.array(
        [[0, 0, 0], [np.sin(half), np.cos(half), 0], [-np.sin(half), np.cos(half), 0]]
    )
    turns = Rotation.random(n_molecules, rng=rng)
    positions = [site + turn.apply(molecule) for site, turn in zip(sites, turns, strict=True)]
    return Atoms("OHH" * n_molecules, np.concatenate(positions), cell=[box] * 3, pbc=True)


def whole_molecules(atoms: Atoms) -> np.ndarray:
    """Positions with every molecule in one piece: hydrogens next to their oxygen.

    OpenMM computes bonds from positions as they are, without the minimum-image convention; a
    wrapped frame gives absurd energies, or plausible wrong ones.

    Parameters
    ----------
    atoms : ase.Atoms
        Water ordered O, H, H, O, H, H, ...

    Returns
    -------
    ndarray (atoms, 3)
        Å.

    Raises
    ------
    DataError
        If the order is another, or an O-H distance exceeds 1.6 Å.
    """
    check_order(atoms.get_chemical_symbols())
    positions = atoms.positions.copy()
    for first in (1, 2):
        vector = positions[first::3] - positions[::3]
        if atoms.pbc.any():
            fraction = np.linalg.solve(atoms.cell.T, vector.T).T
            vector = vector - np.round(fraction) * atoms.pbc @ atoms.cell
        positions[first::3] = positions[::3] + vector
        longest = float(np.linalg.norm(vector, axis=1).max())
        if longest > 1.6:
            raise DataError(f"an O-H bond of {longest:.2f} Å: these are not whole water molecules")
    return positions


def check_order(symbols: Sequence[str]) -> None:
    """Refuse anything but O, H, H, O, H, H, ...

    Raises
    ------
    DataError
    """
    if list(symbols) != ["O", "H", "H"] * (len(symbols) // 3) or not symbols:
        raise DataError("water must be ordered O, H, H, O, H, H, ...: sort the atoms first")
