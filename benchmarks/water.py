"""The box of water that all codes are timed on; needs numpy and ase only."""

from __future__ import annotations

import numpy as np
from ase import Atoms


def water_box(side: int, spacing: float = 3.106, seed: int = 0) -> Atoms:
    """side³ water molecules with random orientations on a lattice, 1 g/cm³.

    Parameters
    ----------
    side : int
        Molecules along an edge.
    spacing : float
        Lattice constant in Å.
    seed : int
    """
    rng = np.random.default_rng(seed)
    half = np.radians(104.5 / 2)
    molecule = 0.97 * np.array(
        [[0, 0, 0], [np.sin(half), np.cos(half), 0], [-np.sin(half), np.cos(half), 0]]
    )
    sites = spacing * np.array(list(np.ndindex(side, side, side)), dtype=float)
    # random rotations from normalised quaternions
    q = rng.normal(size=(len(sites), 4))
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    rotations = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    ).transpose(2, 0, 1)
    positions = sites[:, None] + np.einsum("nij,kj->nki", rotations, molecule)
    cell = [side * spacing] * 3
    return Atoms("OHH" * len(sites), positions=positions.reshape(-1, 3), cell=cell, pbc=True)
