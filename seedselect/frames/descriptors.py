"""Descriptors of frames without a dependency: averaged local invariants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from seedselect.errors import SeedSelectError
from seedselect.frames.frame import Frame
from seedselect.frames.neighbors import neighbor_pairs
from tpainn_calc.base.arrays import Array


class LocalInvariants:
    """Per-element averages of radial densities and angular power spectra.

    Every atom sees its neighbours through smooth radial functions, one set per neighbour element.
    Radial: sum_j g_n(r_ij). Angular: |sum_j g_n(r_ij) Y_l(r_ij)|^2 and its products between two
    neighbour elements, l = 1 and 2 (the lowest terms of a smooth-overlap power spectrum, Bartok,
    Kondor, Csanyi, PRB 87, 184115, 2013, eq. 31). A frame is the mean and the standard deviation
    over its atoms of each element, beside the composition.

    Parameters
    ----------
    elements : sequence of int
        Atomic numbers that may occur; see `elements_of`.
    cutoff : float, default 6.0, Angstrom
    n_radial : int, default 8
    angular_cutoff : float, default 4.0, Angstrom
    n_angular : int, default 3
    pooling : {"mean", "sum"}, default "mean"
        "mean": mean and deviation per element, for periodic or equal-sized systems. "sum":
        sums per element and counts, for molecules of different size and extensive targets.
    """

    def __init__(
        self,
        elements: Sequence[int],
        cutoff: float = 6.0,
        n_radial: int = 8,
        angular_cutoff: float = 4.0,
        n_angular: int = 3,
        pooling: str = "mean",
    ) -> None:
        if not len(elements):
            raise SeedSelectError("LocalInvariants needs at least one element")
        if not (cutoff > 0 and 0 < angular_cutoff <= cutoff):
            raise SeedSelectError(
                f"cutoff={cutoff}, angular_cutoff={angular_cutoff}: need 0 < angular <= cutoff"
            )
        if pooling not in ("mean", "sum"):
            raise SeedSelectError(f"pooling={pooling!r}: choose 'mean' or 'sum'")
        self.elements = sorted({int(z) for z in elements})
        self.cutoff = float(cutoff)
        self.n_radial = int(n_radial)
        self.angular_cutoff = float(angular_cutoff)
        self.n_angular = int(n_angular)
        self.pooling = pooling

    def __repr__(self) -> str:
        return (
            f"LocalInvariants(elements={self.elements}, cutoff={self.cutoff}, "
            f"n_radial={self.n_radial}, angular_cutoff={self.angular_cutoff}, "
            f"n_angular={self.n_angular}, pooling={self.pooling!r})"
        )

    def atoms(self, frame: Frame) -> Array:
        """Return the invariants of every atom, (n_atoms, F)."""
        species = self._species(frame)
        centre, neighbour, vector, distance = neighbor_pairs(frame, self.cutoff)
        n, s = len(frame), len(self.elements)
        radial = _radial(distance, self.cutoff, self.n_radial)
        slot = centre * s + species[neighbour]
        summed = _sum_into(slot, n * s, radial).reshape(n, -1)
        near = distance < self.angular_cutoff
        direction = vector[near] / distance[near, None]
        weight = _radial(distance[near], self.angular_cutoff, self.n_angular)
        parts = [summed]
        upper = np.triu_indices(s)
        for harmonics in (direction, _quadrupole(direction)):
            size = harmonics.shape[1]
            product = weight[:, :, None] * harmonics[:, None, :]
            product = product.reshape(len(weight), self.n_angular * size)
            moment = _sum_into(slot[near], n * s, product)
            moment = moment.reshape(n, s, self.n_angular, size)
            spectrum = np.einsum("aslm,atlm->astl", moment, moment)
            parts.append(spectrum[:, upper[0], upper[1]].reshape(n, -1))
        return np.hstack(parts)

    def __call__(self, frame: Frame) -> Array:
        """Return the row of a frame."""
        species = self._species(frame)
        return pool_atoms(self.atoms(frame), species, len(self.elements), self.pooling)

    def _species(self, frame: Frame) -> NDArray[np.intp]:
        known = np.array(self.elements)
        position = np.searchsorted(known, frame.numbers)
        position = np.minimum(position, len(known) - 1)
        if (known[position] != frame.numbers).any():
            strange = int(frame.numbers[known[position] != frame.numbers][0])
            raise SeedSelectError(
                f"a frame holds element {strange}, but the descriptor was made for "
                f"{self.elements}: pass elements_of(source, pool)"
            )
        return position


class AtomicFeatures:
    """Pool the features that a model gives to its atoms, for instance those of T-PaiNN.

    Parameters
    ----------
    function : callable
        ``function(frame) -> (n_atoms, F)``.
    elements : sequence of int
    pooling : {"mean", "sum"}
    """

    def __init__(
        self,
        function: Callable[[Frame], Array],
        elements: Sequence[int],
        pooling: str = "mean",
    ) -> None:
        self.function = function
        self.elements = sorted({int(z) for z in elements})
        self.pooling = pooling

    def __call__(self, frame: Frame) -> Array:
        """Return the row of a frame."""
        rows = np.asarray(self.function(frame), dtype=float)
        if rows.ndim != 2 or len(rows) != len(frame):
            raise SeedSelectError(
                f"atomic features have shape {rows.shape}, expected ({len(frame)}, F)"
            )
        species = np.searchsorted(self.elements, frame.numbers)
        return pool_atoms(rows, species, len(self.elements), self.pooling)


def pool_atoms(rows: Array, species: NDArray[np.intp], n_species: int, pooling: str) -> Array:
    """Pool atomic rows (n, F) per element, with the composition in front."""
    counts = np.bincount(species, minlength=n_species).astype(float)
    total = _sum_into(species, n_species, rows)
    if pooling == "sum":
        return np.concatenate([counts, total.ravel()])
    safe = np.maximum(counts, 1.0)[:, None]
    mean = total / safe
    square = _sum_into(species, n_species, rows**2) / safe
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
    return np.concatenate([counts / max(len(rows), 1), mean.ravel(), deviation.ravel()])


def elements_of(*groups: Iterable[Frame]) -> list[int]:
    """Return the atomic numbers that occur in all groups of frames, ascending."""
    found: set[int] = set()
    for frames in groups:
        for frame in frames:
            found.update(int(z) for z in np.unique(frame.numbers))
    return sorted(found)


def describe(frames: Iterable[Frame], descriptor: Any) -> Array:
    """Return the rows of all frames, (n, d), checked for shape and finiteness."""
    rows: list[Array] = []
    for number, frame in enumerate(frames):
        row = np.asarray(descriptor(frame), dtype=float).ravel()
        if rows and len(row) != len(rows[0]):
            raise SeedSelectError(
                f"the descriptor gave {len(row)} values for frame {number} and {len(rows[0])} "
                "before: it must give the same number for every frame"
            )
        if not np.isfinite(row).all():
            raise SeedSelectError(f"the descriptor of frame {number} is not finite")
        rows.append(row)
    return np.array(rows)


def _radial(distance: Array, cutoff: float, count: int) -> Array:
    """Gaussians on a grid from 0.5 A to the cut-off, times a cosine that ends at the cut-off."""
    centres = np.linspace(0.5, cutoff, count)
    width = centres[1] - centres[0] if count > 1 else cutoff
    fade = 0.5 * (1.0 + np.cos(np.pi * distance / cutoff))
    return np.exp(-0.5 * ((distance[:, None] - centres) / width) ** 2) * fade[:, None]


def _quadrupole(u: Array) -> Array:
    """Five orthonormal components of the traceless tensor u u' - 1/3."""
    x, y, z = u.T
    root = np.sqrt(2.0)
    return np.column_stack(
        [
            root * x * y,
            root * y * z,
            root * x * z,
            (x**2 - y**2) / root,
            (2 * z**2 - x**2 - y**2) / np.sqrt(6.0),
        ]
    )


def _sum_into(slot: NDArray[np.intp], n_slots: int, rows: Array) -> Array:
    """Add up rows by slot, (n_slots, F)."""
    chooser = csr_matrix(
        (np.ones(len(slot)), (slot, np.arange(len(slot)))), shape=(n_slots, len(slot))
    )
    return np.asarray(chooser @ rows)
