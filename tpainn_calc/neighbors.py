"""Neighbour search (vesin) with a Verlet skin: a structure becomes a list of directed edges.

The contract that the rest of the package builds on: an edge points from its centre to its
neighbour, ``edge_vec = x[neighbour] + shift @ cell - x[centre]``; both directions of a pair are
present; edges are sorted by centre; ``|edge_vec| < cutoff`` holds strictly. Any cell is accepted:
triclinic, left-handed, smaller than the cut-off (an atom then sees its own images), periodic in
some directions only, or none at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import vesin
from numpy.typing import ArrayLike, NDArray

from tpainn_calc.base.arrays import Array
from tpainn_calc.base.errors import ConfigError, StructureError

if TYPE_CHECKING:
    import ase

__all__ = ["Edges", "NeighborList", "neighbors"]

COINCIDENT = 1e-6
"""Distance (Å) under which two atoms count as one."""

MIN_CELL_HEIGHT = 0.01
"""Spacing of lattice planes (Å) under which a periodic cell counts as singular."""

MAX_CELL_LENGTH = 1e8
"""Length of a periodic cell vector (Å) from which the search would fail."""

MAX_NEIGHBORS = 100_000
"""Neighbours per atom, on average, from which a cell counts as wrong; liquids have 55 to 500."""

_MAX_IMAGES = 1e8
"""Cells between an atom and the origin, so that the difference of two is a 32-bit integer."""

_MAX_EMPTY_BINS = 64
"""Extent, in cut-offs, from which empty space along a non-periodic direction is cut out."""


@dataclass(frozen=True)
class Edges:
    """Directed edges of one structure, sorted by centre.

    Attributes
    ----------
    centre : (E,) int64 array
        Index of the atom that receives the message.
    neighbour : (E,) int64 array
        Index of the atom that sends it.
    edge_vec : (E, 3) float64 array
        ``x[neighbour] + shift @ cell - x[centre]`` in Å.
    """

    centre: NDArray[np.int64]
    neighbour: NDArray[np.int64]
    edge_vec: Array

    def __len__(self) -> int:
        return len(self.centre)


@dataclass(frozen=True)
class SkinList:
    """Candidate edges: all pairs within cut-off plus skin.

    Attributes
    ----------
    centre, neighbour : (edges,) int64 array
    offset : (edges, 3) float64 array
        Displacement of each neighbour's image in Å.
    """

    centre: NDArray[np.int64]
    neighbour: NDArray[np.int64]
    offset: Array


class NeighborList:
    """Neighbour list that is rebuilt only when atoms have moved through half the skin.

    Between two builds the integer shifts found with ``cutoff + skin`` are kept; only the edge
    vectors are computed anew, and edges beyond the cut-off are left out.

    Parameters
    ----------
    cutoff : float
        Cut-off radius in Å, positive.
    skin : float
        Width of the Verlet skin in Å; 0 rebuilds whenever an atom has moved.

    Attributes
    ----------
    rebuilds : int
        Number of searches since the object was made.

    Raises
    ------
    ConfigError
        If `cutoff` is not positive or `skin` is negative, or either is not finite.
    """

    def __init__(self, cutoff: float, skin: float = 0.0) -> None:
        if not (np.isfinite(cutoff) and cutoff > 0):
            raise ConfigError(f"cutoff must be a positive number of Å, got {cutoff}")
        if not (np.isfinite(skin) and skin >= 0):
            raise ConfigError(f"skin must be zero or a positive number of Å, got {skin}")
        self.cutoff = float(cutoff)
        self.skin = float(skin)
        self.rebuilds = 0
        self._positions: Array | None = None

    def update(self, atoms: ase.Atoms) -> Edges:
        """Return the edges of a structure, from the stored list where it still holds.

        The list is rebuilt if an atom has moved by more than ``skin / 2`` since the last build,
        or if the cell, the periodicity or the number of atoms differs from it.

        Parameters
        ----------
        atoms : ase.Atoms
            Positions may lie anywhere, inside or outside the cell.

        Returns
        -------
        Edges
            All edges shorter than the cut-off. The arrays belong to the caller.

        Raises
        ------
        StructureError
            No atoms, non-finite positions or cell, singular cell, or coincident atoms.
        """
        self.refresh(atoms)
        return _edges(np.asarray(atoms.positions, dtype=np.float64), self.candidates, self.cutoff)

    def refresh(self, atoms: ase.Atoms) -> bool:
        """Rebuild `candidates` where they no longer hold; True if that was so.

        Raises
        ------
        StructureError
            As of :meth:`update`; coincident atoms are noticed at a rebuild only.
        """
        positions = _checked_positions(atoms.positions)
        cell, pbc = atoms.cell.array, atoms.pbc
        if self._still_holds(positions, cell, pbc):
            return False
        self._positions = None  # an error below must not leave half a list behind
        centre, neighbour, shifts = _search(positions, cell, pbc, self.cutoff + self.skin)
        self.candidates = SkinList(centre, neighbour, _offset(shifts, cell, pbc))
        _edges(positions, self.candidates, self.cutoff)  # refuses coincident atoms
        self._cell, self._pbc = cell.copy(), pbc.copy()
        self._positions = positions.copy()
        self.rebuilds += 1
        return True

    def _still_holds(self, positions: Array, cell: Array, pbc: NDArray[np.bool_]) -> bool:
        if self._positions is None or self._positions.shape != positions.shape:
            return False
        if not (np.array_equal(cell, self._cell) and np.array_equal(pbc, self._pbc)):
            return False
        step = positions - self._positions
        return bool(np.einsum("ij,ij->i", step, step).max() <= (0.5 * self.skin) ** 2)


def neighbors(positions: ArrayLike, cell: ArrayLike, pbc: ArrayLike, cutoff: float) -> Edges:
    """Find all edges of one structure that are shorter than a cut-off.

    Parameters
    ----------
    positions : (N, 3) array
        Positions in Å, anywhere in space.
    cell : (3, 3) array
        Cell vectors as rows in Å; rows along non-periodic directions are ignored.
    pbc : bool or three bools
        Periodicity along each cell vector.
    cutoff : float
        Cut-off radius in Å, positive.

    Returns
    -------
    Edges
        See the contract in the module's docstring.

    Raises
    ------
    ConfigError
        If `cutoff` is not a positive number.
    StructureError
        No atoms, non-finite positions or cell, singular cell, or coincident atoms.
    """
    if not (np.isfinite(cutoff) and cutoff > 0):
        raise ConfigError(f"cutoff must be a positive number of Å, got {cutoff}")
    x = _checked_positions(positions)
    lattice = np.asarray(cell, dtype=np.float64).reshape(3, 3)
    periodic = np.broadcast_to(np.asarray(pbc, dtype=bool), (3,))
    centre, neighbour, shifts = _search(x, lattice, periodic, float(cutoff))
    candidates = SkinList(centre, neighbour, _offset(shifts, lattice, periodic))
    return _edges(x, candidates, float(cutoff))


def check_cell(cell: Array, pbc: NDArray[np.bool_]) -> None:
    """Refuse a cell that no structure can have.

    Parameters
    ----------
    cell : (3, 3) array
        Cell vectors as rows in Å; rows along non-periodic directions are ignored.
    pbc : three bools

    Raises
    ------
    StructureError
        If a periodic vector is zero, not finite or too large, or they are not independent.
    """
    _free_directions(cell, pbc)


def _checked_positions(positions: ArrayLike) -> Array:
    x = np.asarray(positions, dtype=np.float64).reshape(-1, 3)
    if len(x) == 0:
        raise StructureError("the structure has no atoms: give it at least one")
    if not np.isfinite(x).all():
        bad = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])
        raise StructureError(
            f"atom {bad} has a position that is not finite ({x[bad].tolist()}): "
            "check the input file, or the time step if this happened during dynamics"
        )
    return x


def _search(
    x: Array, cell: Array, pbc: NDArray[np.bool_], radius: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Centres, neighbours and integer shifts of all edges within `radius`, sorted by centre."""
    free = _free_directions(cell, pbc)
    _refuse_sizes(x, cell, pbc, radius)
    # vesin wants an invertible matrix and reads no meaning from rows without periodicity.
    box = np.where(pbc[:, None], cell, 0.0)
    box[~pbc] = free.T
    finder = vesin.NeighborList(cutoff=radius, full_list=True, sorted=True)
    x_close = _without_empty_space(x, free, radius)
    centre, neighbour, shifts = finder.compute(x_close, box, pbc, quantities="ijS")
    return centre.astype(np.int64), neighbour.astype(np.int64), shifts


def _free_directions(cell: Array, pbc: NDArray[np.bool_]) -> Array:
    """Orthonormal columns (3, 3 - number of periodic vectors) normal to all periodic vectors.

    Raises StructureError if the periodic vectors are not finite or not independent.
    """
    lattice = cell[pbc]
    if not np.isfinite(lattice).all():
        raise StructureError("the cell has a vector that is not finite: check the input file")
    for name, vector in zip(np.array(list("abc"))[pbc], lattice, strict=True):
        if np.abs(vector).max() > MAX_CELL_LENGTH:
            raise StructureError(
                f"cell vector {name} is too large ({vector.tolist()}): check its unit, or set "
                "pbc=False in this direction"
            )
        if np.linalg.norm(vector) < MIN_CELL_HEIGHT:
            raise StructureError(
                f"cell vector {name} is zero ({vector.tolist()}) but the structure is periodic "
                "along it: set the cell, or pbc=False in this direction"
            )
    q, r = np.linalg.qr(lattice.T, mode="complete")
    # The height of each vector over the span of the others is one over a row of the inverse.
    square = r[: len(lattice)]
    diagonal = np.abs(np.diag(square))
    if len(lattice) and (
        diagonal.min() < MIN_CELL_HEIGHT
        or (1.0 / np.linalg.norm(np.linalg.inv(square), axis=1)).min() < MIN_CELL_HEIGHT
    ):
        raise StructureError(
            f"the cell is singular ({cell.tolist()}): its periodic vectors are parallel or lie in "
            "one plane; check the cell, or the barostat if this happened during dynamics"
        )
    return q[:, len(lattice) :]


def _refuse_sizes(x: Array, cell: Array, pbc: NDArray[np.bool_], radius: float) -> None:
    """Raise StructureError where the search would take too long, or end the process."""
    lattice = cell[pbc]
    if not len(lattice):
        return
    # volume, area or length that repeats, and what a sphere of the radius covers of it
    repeats = float(np.sqrt(np.linalg.det(lattice @ lattice.T)))
    covered = (2.0 * radius, np.pi * radius**2, 4.0 / 3.0 * np.pi * radius**3)[len(lattice) - 1]
    if len(x) * covered > MAX_NEIGHBORS * repeats:
        raise StructureError(
            f"{len(x)} atoms in a cell of {cell.tolist()} have about "
            f"{len(x) * covered / repeats:.1e} neighbours each within {radius:g} Å: the cell is "
            "too small or the cut-off too large; check both"
        )
    fractional = np.abs(x @ np.linalg.pinv(lattice))
    if fractional.max() > _MAX_IMAGES:
        atom = int(fractional.max(axis=1).argmax())
        raise StructureError(
            f"atom {atom} is {fractional.max():.1e} cells away from the origin "
            f"({x[atom].tolist()}): wrap the positions into the cell, or check the input file"
        )


def _without_empty_space(x: Array, free: Array, radius: float) -> Array:
    """Shorten gaps wider than the search radius along non-periodic directions.

    No pair within the radius spans such a gap, so the edges stay the same. vesin lays bins over
    the whole extent: one atom 10⁶ Å above a slab ends its process with SIGFPE.
    """
    for direction in free.T:
        height = x @ direction
        if np.ptp(height) <= _MAX_EMPTY_BINS * radius:
            continue
        order = np.argsort(height)
        gaps = np.diff(height[order], prepend=height[order[0]])
        lowered = np.empty_like(height)
        lowered[order] = np.cumsum(np.minimum(gaps, 2.0 * radius))
        x = x + (lowered - height)[:, None] * direction
    return x


def _offset(shifts: NDArray[np.int32], cell: Array, pbc: NDArray[np.bool_]) -> Array:
    """Cartesian displacement (E, 3) of each neighbour's image in Å."""
    return shifts.astype(np.float64) @ np.where(pbc[:, None], cell, 0.0)


def _edges(x: Array, candidates: SkinList, cutoff: float) -> Edges:
    centre, neighbour = candidates.centre, candidates.neighbour
    edge_vec = x.take(neighbour, axis=0)
    edge_vec -= x.take(centre, axis=0)
    edge_vec += candidates.offset
    squared = (edge_vec * edge_vec) @ np.ones(3)  # half the time of einsum
    if len(squared):
        refuse_coincident(candidates, int(squared.argmin()), float(squared.min()))
    inside = np.flatnonzero(squared < cutoff**2)
    return Edges(centre.take(inside), neighbour.take(inside), edge_vec.take(inside, axis=0))


def refuse_coincident(candidates: SkinList, closest: int, squared: float) -> None:
    """Raise StructureError if the closest candidate, of squared distance `squared`, is no pair."""
    if squared < COINCIDENT**2:
        i, j = sorted((int(candidates.centre[closest]), int(candidates.neighbour[closest])))
        raise StructureError(
            f"atoms {i} and {j} coincide (distance below {COINCIDENT:g} Å): "
            "remove one of them, or check the cell"
        )
