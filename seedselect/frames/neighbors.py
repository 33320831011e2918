"""Neighbour pairs of a frame within a cut-off, periodic in any cell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from seedselect.errors import SeedSelectError
from seedselect.frames.frame import Frame
from tpainn_calc.base.arrays import Array

#: Images of atoms that are looked through for neighbours, at most.
MOST_IMAGES = 20_000_000


def neighbor_pairs(
    frame: Frame, cutoff: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], Array, Array]:
    """Return all ordered pairs closer than `cutoff`.

    Parameters
    ----------
    frame : Frame
    cutoff : float, Angstrom

    Returns
    -------
    centre, neighbour : int array (p,)
    vector : array (p, 3), from centre to neighbour image, Angstrom
    distance : array (p,), Angstrom
    """
    if not np.isfinite(frame.positions).all():
        raise SeedSelectError("a frame has positions that are not finite: drop it from the file")
    positions, images, owner = _with_images(frame, cutoff)
    found = cKDTree(positions).sparse_distance_matrix(
        cKDTree(images), cutoff, output_type="ndarray"
    )
    # An atom's own image in the home cell comes first in `images`.
    real = found["i"] != found["j"]
    centre, ghost, distance = found["i"][real], found["j"][real], found["v"][real]
    vector = images[ghost] - positions[centre]
    order = np.lexsort((ghost, centre))
    return centre[order], owner[ghost[order]], vector[order], distance[order]


def _with_images(frame: Frame, cutoff: float) -> tuple[Array, Array, NDArray[np.intp]]:
    positions = np.asarray(frame.positions, dtype=float)
    n = len(positions)
    own = np.arange(n)
    if not frame.pbc.any():
        return positions, positions, own
    cell = np.array(frame.cell, dtype=float)
    if (np.linalg.norm(cell[frame.pbc], axis=1) < 1e-6).any():
        raise SeedSelectError("a frame is periodic along a cell vector of length 0: fix its cell")
    for axis in np.flatnonzero(~frame.pbc):
        # Any vector will do where nothing repeats, as long as the cell is not flat.
        others = np.delete(np.arange(3), axis)
        normal = np.cross(cell[others[0]], cell[others[1]])
        if np.linalg.norm(normal) < 1e-6:
            normal = np.eye(3)[axis]
        cell[axis] = normal / np.linalg.norm(normal)
    inverse = np.linalg.inv(cell)
    fractional = positions @ inverse
    fractional[:, frame.pbc] %= 1.0
    positions = fractional @ cell
    margin = cutoff * np.linalg.norm(inverse, axis=0)
    reach = np.where(frame.pbc, np.ceil(margin).astype(int), 0)
    if np.prod(2.0 * reach + 1) * n > MOST_IMAGES:
        raise SeedSelectError(
            f"a frame's cell is too small for a cut-off of {cutoff} Angstrom: fix its Lattice"
        )
    images, owners = [positions], [own]
    for shift in np.ndindex(*(2 * reach + 1)):
        offset = np.array(shift) - reach
        if not offset.any():
            continue
        moved = fractional + offset
        near = ((moved > -margin) & (moved < 1 + margin) | ~frame.pbc).all(axis=1)
        if near.any():
            images.append(moved[near] @ cell)
            owners.append(own[near])
    return positions, np.concatenate(images), np.concatenate(owners)
