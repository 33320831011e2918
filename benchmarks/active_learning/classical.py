"""Cheap classical labels: flexible SPC water, and bond additivity for organic molecules."""

from __future__ import annotations

import numpy as np
from ase import units
from numpy.typing import NDArray
from scipy.special import erfc

from seedselect.frames.frame import Frame
from seedselect.frames.neighbors import neighbor_pairs
from tpainn_calc.base.arrays import Array
from training.forcefields.water_model import WATER_MODELS

Index = NDArray[np.intp]

COULOMB = 14.399645  # eV Angstrom / e^2
KJ_PER_MOL = units.kJ / units.mol  # eV

SPC_FW = WATER_MODELS["spcfw"]
BOND_K, BOND_R = SPC_FW.bond_k / 100 * KJ_PER_MOL, 10 * SPC_FW.bond_length
ANGLE_K, ANGLE_0 = SPC_FW.angle_k * KJ_PER_MOL, np.deg2rad(SPC_FW.angle)
EPSILON, SIGMA = SPC_FW.epsilon * KJ_PER_MOL, 10 * SPC_FW.sigma
CHARGE = {8: SPC_FW.oxygen_charge, 1: -SPC_FW.oxygen_charge / 2}

#: Mean bond enthalpies in kJ/mol by elements and order (CRC Handbook, section 9).
BOND_ENTHALPY = {
    (1, 6, 1): 413, (1, 7, 1): 391, (1, 8, 1): 463, (6, 6, 1): 348, (6, 6, 2): 614,
    (6, 6, 3): 839, (6, 7, 1): 293, (6, 7, 2): 615, (6, 7, 3): 891, (6, 8, 1): 358,
    (6, 8, 2): 799, (7, 7, 1): 163, (7, 7, 2): 418, (7, 8, 1): 201, (7, 8, 2): 607, (8, 8, 1): 146,
}  # fmt: skip

#: Longest length of a bond of the given order in Angstrom, between the means of the two orders.
ORDER_LIMITS = {
    (6, 6): (1.26, 1.42),
    (6, 7): (1.21, 1.36),
    (6, 8): (1.10, 1.29),
    (7, 7): (1.15, 1.33),
    (7, 8): (1.10, 1.29),
}


def spc_flexible(frame: Frame, cutoff: float = 7.0, damping: float = 0.2) -> tuple[float, Array]:
    """Return energy (eV) and forces (eV/Angstrom) of SPC/Fw water.

    Coulomb by the damped shifted force (Fennell and Gezelter, J. Chem. Phys. 124, 234104, 2006,
    eqs. 18-19). Every oxygen takes its two nearest hydrogens.

    Parameters
    ----------
    frame : Frame of O and H
    cutoff : float, Angstrom
    damping : float, 1/Angstrom
    """
    centre, neighbour, vector, distance = neighbor_pairs(frame, cutoff)
    numbers = np.asarray(frame.numbers)
    forces = np.zeros((len(frame), 3))
    molecule = np.full(len(frame), -1)
    bond = np.flatnonzero((numbers[centre] == 8) & (numbers[neighbour] == 1) & (distance < 1.6))
    bond = bond[np.lexsort((distance[bond], centre[bond]))]
    rank = np.arange(len(bond)) - np.searchsorted(centre[bond], centre[bond])
    bond = bond[rank < 2]
    molecule[centre[bond]] = centre[bond]
    molecule[neighbour[bond]] = centre[bond]
    energy = _bonds(centre[bond], neighbour[bond], vector[bond], distance[bond], forces)
    whole = np.flatnonzero(np.bincount(centre[bond], minlength=len(frame)) == 2)
    first = np.searchsorted(centre[bond], whole)
    energy += _angles(whole, bond[first], bond[first + 1], neighbour, vector, distance, forces)
    other = (molecule[centre] != molecule[neighbour]) | (molecule[centre] < 0)
    centre, neighbour = centre[other], neighbour[other]
    vector, distance = vector[other], distance[other]
    charge = np.array([CHARGE.get(int(z), 0.0) for z in numbers])
    product = COULOMB * charge[centre] * charge[neighbour]
    value, slope = _damped(distance, damping)
    edge, edge_slope = _damped(np.array([cutoff]), damping)
    energy += 0.5 * float((product * (value - edge[0] - edge_slope[0] * (distance - cutoff))).sum())
    radial = product * (slope - edge_slope[0])
    oxygen = (numbers[centre] == 8) & (numbers[neighbour] == 8)
    sixth = np.where(oxygen, (SIGMA / distance) ** 6, 0.0)
    energy += 0.5 * float((4 * EPSILON * (sixth**2 - sixth)).sum())
    radial += -24 * EPSILON * (2 * sixth**2 - sixth) / distance
    # dE/dr along centre -> neighbour pushes the centre the same way.
    np.add.at(forces, centre, (radial / distance)[:, None] * vector)
    return energy, forces


def _damped(r: Array, damping: float) -> tuple[Array, Array]:
    value = erfc(damping * r) / r
    slope = -value / r - 2 * damping / np.sqrt(np.pi) * np.exp(-((damping * r) ** 2)) / r
    return value, slope


def _bonds(o: Index, h: Index, vector: Array, distance: Array, forces: Array) -> float:
    stretch = distance - BOND_R
    pull = (BOND_K * stretch / distance)[:, None] * vector
    np.add.at(forces, o, pull)
    np.add.at(forces, h, -pull)
    return 0.5 * BOND_K * float((stretch**2).sum())


def _angles(
    o: Index, a: Index, b: Index, atom: Index, vector: Array, distance: Array, forces: Array
) -> float:
    """Harmonic H-O-H angles; `a` and `b` number the two bonds of each oxygen."""
    ua, ub = vector[a] / distance[a, None], vector[b] / distance[b, None]
    cosine = np.clip((ua * ub).sum(axis=1), -1 + 1e-12, 1 - 1e-12)
    theta = np.arccos(cosine)
    # dE/dcos, then the chain rule through the two unit vectors.
    torque = -ANGLE_K * (theta - ANGLE_0) / np.sqrt(1 - cosine**2)
    fa = -(torque / distance[a])[:, None] * (ub - cosine[:, None] * ua)
    fb = -(torque / distance[b])[:, None] * (ua - cosine[:, None] * ub)
    np.add.at(forces, atom[a], fa)
    np.add.at(forces, atom[b], fb)
    np.add.at(forces, o, -fa - fb)
    return 0.5 * ANGLE_K * float(((theta - ANGLE_0) ** 2).sum())


def bond_additive_energy(frame: Frame) -> float:
    """Return minus the sum of mean bond enthalpies of an organic molecule, eV.

    Bonds are pairs closer than 1.75 Angstrom (1.25 with hydrogen); the order follows the length.
    """
    centre, neighbour, _, distance = neighbor_pairs(frame, 1.75)
    total = 0.0
    for i, j, r in zip(centre, neighbour, distance, strict=True):
        if i > j:
            continue
        a, b = sorted((int(frame.numbers[i]), int(frame.numbers[j])))
        if b == 1 or (a == 1 and r > 1.25):
            continue
        limits = ORDER_LIMITS.get((a, b), (0.0, 0.0))
        order = 3 if r < limits[0] else 2 if r < limits[1] else 1
        while order > 1 and (a, b, order) not in BOND_ENTHALPY:
            order -= 1
        total -= BOND_ENTHALPY.get((a, b, order), 200)
    return total * 0.0103642688
