"""The range that a potential was trained in: shortest distances and coordination numbers.

A network answers any question, also about hydronium when it has only ever seen water. What the
training set held is recorded in the manifest; :class:`RangeGuard` compares structures with it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from ase.data import atomic_numbers, covalent_radii

from tpainn_calc.base.arrays import Array
from tpainn_calc.base.errors import StructureError, check_choice
from tpainn_calc.graph import Graph
from tpainn_calc.manifest import Coordination, Manifest

RangeMode = Literal["warn", "stop", "off"]
MODES: tuple[RangeMode, ...] = ("warn", "stop", "off")

# Where a bond ends is looked for between these multiples of the sum of covalent radii.
_SEARCH = (1.05, 1.45)
_BINS = 40
# Counts that fewer atoms than this have are left out: a proton halfway between two waters, as
# path-integral beads have it, does not make hydronium a species of the training set.
_RARE = 1e-3

_log = logging.getLogger(__name__)


class _Bonds(NamedTuple):
    """The short edges of a structure: centres, kinds, and lengths over sums of covalent radii."""

    species: np.ndarray
    centre: np.ndarray
    kind: np.ndarray
    r: Array

    def counts(self, k: int, n: int, radius: float) -> np.ndarray:
        """Neighbours of kind `k`, of `n` elements, of every atom that can have some."""
        bonded = self.centre[(self.kind == k) & (self.r < radius)]
        return np.bincount(bonded, minlength=len(self.species))[self.species == k // n]


def coordination_of(
    graphs: Iterable[Graph], elements: Sequence[str]
) -> dict[str, dict[str, Coordination]]:
    """Coordination numbers in a training set, per pair of elements.

    The radius of a pair lies where the fewest distances are found, between 1.05 and 1.45 times
    the sum of the covalent radii. Counts of less than one atom in a thousand are left out.

    Parameters
    ----------
    graphs : iterable of Graph
        Single structures or batches.
    elements : sequence of str
        In the order of the species indices.

    Returns
    -------
    dict
        ``result["O"]["H"]`` says how many hydrogen atoms an oxygen atom has; elements without
        atoms are left out.
    """
    n = len(elements)
    ends = _bond_ends(elements)
    edges = np.linspace(_SEARCH[0], _SEARCH[1], _BINS + 1)
    found = np.zeros((n * n, _BINS))
    bonds: list[_Bonds] = []
    for graph in graphs:
        species, centre = graph.species.numpy(), graph.centre.numpy()
        kind = species[centre] * n + species[graph.neighbour.numpy()]
        r = np.linalg.norm(graph.edge_vec.numpy(), axis=1) / ends[kind]
        near = np.flatnonzero(r < _SEARCH[1])
        bonds.append(_Bonds(species, centre[near], kind[near], r[near]))
        for k in np.unique(kind[near]):
            found[k] += np.histogram(r[near][kind[near] == k], edges)[0]
    middle = 0.5 * (edges[1:] + edges[:-1])
    radius = np.array([middle[_emptiest(counts)] for counts in found])
    result: dict[str, dict[str, Coordination]] = {}
    for k in range(n * n):
        counts = [b.counts(k, n, radius[k]) for b in bonds]
        everyone = np.concatenate(counts) if counts else np.empty(0, dtype=np.int64)
        if len(everyone):
            low, high = _common(everyone)
            result.setdefault(elements[k // n], {})[elements[k % n]] = Coordination(
                radius=round(float(radius[k] * ends[k]), 4), fewest=low, most=high
            )
    return result


def merge_coordination(
    new: Mapping[str, Mapping[str, Coordination]], old: Mapping[str, Mapping[str, Coordination]]
) -> dict[str, dict[str, Coordination]]:
    """Coordination numbers of two training sets, such as those of pretraining and tuning.

    Ranges are widened to hold both; the radius is that of `new` where it has one.
    """
    merged = {a: dict(around) for a, around in old.items()}
    for a, around in new.items():
        for b, c in around.items():
            before = merged.setdefault(a, {}).get(b, c)
            merged[a][b] = Coordination(
                radius=c.radius,
                fewest=min(c.fewest, before.fewest),
                most=max(c.most, before.most),
            )
    return merged


class RangeGuard:
    """Says, once per pair of elements, where structures leave the range of the training set.

    Parameters
    ----------
    manifests : sequence of Manifest
        Of the members of a committee. A distance must be in the range of all of them;
        coordination is that of the first.
    elements : sequence of str
    mode : {"warn", "stop", "off"}
        Log a warning, raise StructureError, or do nothing.

    Raises
    ------
    ConfigError
        If `mode` is none of these.
    """

    def __init__(
        self, manifests: Sequence[Manifest], elements: Sequence[str], mode: RangeMode
    ) -> None:
        check_choice("range", mode, MODES)
        self.elements = tuple(elements)
        self.mode = mode
        n = len(self.elements)
        self._shortest = np.zeros(n * n)
        self._radius = np.zeros(n * n)
        self._fewest = np.zeros(n * n, dtype=np.int64)
        self._most = np.full(n * n, np.iinfo(np.int64).max)
        for k in range(n * n):
            a, b = self.elements[k // n], self.elements[k % n]
            pair = "-".join(sorted((a, b)))
            self._shortest[k] = max(m.shortest_distances.get(pair, 0.0) for m in manifests)
            known = manifests[0].coordination.get(a, {}).get(b)
            if known is not None:
                self._radius[k], self._fewest[k], self._most[k] = (
                    known.radius,
                    known.fewest,
                    known.most,
                )
        self._reach = float(max(self._shortest.max(), self._radius.max()))
        self._said: set[tuple[str, int]] = set()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to compare with."""
        return self.mode == "off" or self._reach == 0.0

    def check(self, graph: Graph, where: str = "") -> None:
        """Compare a structure with the training set.

        Parameters
        ----------
        graph : Graph
            On the CPU.
        where : str
            Precedes the message.

        Raises
        ------
        StructureError
            In mode "stop", where a distance or a coordination number is outside.
        """
        if self.idle:
            return
        vectors = graph.edge_vec.numpy()
        squared = np.einsum("ij,ij->i", vectors, vectors)
        near = np.flatnonzero(squared < self._reach**2)
        r = np.sqrt(squared[near])
        species = graph.species.numpy()
        centre, neighbour = graph.centre.numpy()[near], graph.neighbour.numpy()[near]
        kind = species[centre] * len(self.elements) + species[neighbour]
        self._check_distances(centre, neighbour, kind, r, where)
        self._check_coordination(species, centre, neighbour, kind, r, where)

    def _check_distances(
        self, centre: np.ndarray, neighbour: np.ndarray, kind: np.ndarray, r: Array, where: str
    ) -> None:
        below = np.flatnonzero(r < self._shortest[kind])
        worst_first = below[np.argsort(r[below] / self._shortest[kind[below]])]
        for k in dict.fromkeys(kind[worst_first].tolist()):
            edge = worst_first[kind[worst_first] == k][0]
            i, j = sorted((int(centre[edge]), int(neighbour[edge])))
            a, b = sorted(self._pair(k))
            self._say(
                ("distance", self._unordered(k)),
                f"{where}atoms {i} and {j} are {r[edge]:.3f} Å apart, closer than any {a}-{b} pair "
                f"of the training set ({self._shortest[k]:.3f} Å)",
            )

    def _check_coordination(
        self,
        species: np.ndarray,
        centre: np.ndarray,
        neighbour: np.ndarray,
        kind: np.ndarray,
        r: Array,
        where: str,
    ) -> None:
        n = len(self.elements)
        bonded = r < self._radius[kind]
        for k in np.flatnonzero(self._radius).tolist():
            if ("coordination", k) in self._said and self.mode == "warn":
                continue
            of_kind = bonded & (kind == k)
            counts = np.bincount(centre[of_kind], minlength=len(species))
            outside = (counts < self._fewest[k]) | (counts > self._most[k])
            atoms = np.flatnonzero(outside & (species == k // n))
            if len(atoms) == 0:
                continue
            atom = int(atoms[0])
            a, b = self._pair(k)
            bonded_to = sorted(neighbour[of_kind & (centre == atom)].tolist())
            names = ", ".join(map(str, bonded_to))
            known = f"{self._fewest[k]} to {self._most[k]}"
            if self._fewest[k] == self._most[k]:
                known = str(self._fewest[k])
            more = f", and {len(atoms) - 1} more such atoms" if len(atoms) > 1 else ""
            self._say(
                ("coordination", k),
                f"{where}atom {atom} ({a}) has {counts[atom]} {b} within {self._radius[k]:.2f} Å"
                f"{f' (atoms {names})' if names else ''}, in the training set it has {known}{more}",
            )

    def _say(self, what: tuple[str, int], message: str) -> None:
        if self.mode == "stop":
            raise StructureError(f"{message}; range='warn' computes it all the same")
        if what not in self._said:
            self._said.add(what)
            _log.warning("%s; the result is an extrapolation (said once per pair)", message)

    def _pair(self, k: int) -> tuple[str, str]:
        n = len(self.elements)
        return self.elements[k // n], self.elements[k % n]

    def _unordered(self, k: int) -> int:
        n = len(self.elements)
        a, b = sorted((k // n, k % n))
        return a * n + b


def _bond_ends(elements: Sequence[str]) -> Array:
    """Sum of covalent radii (Å) of every ordered pair."""
    radii = np.array([covalent_radii[atomic_numbers[symbol]] for symbol in elements])
    return (radii[:, None] + radii[None, :]).reshape(-1)


def _emptiest(counts: Array) -> int:
    """Middle of the longest run of bins with the fewest entries, over windows of three bins."""
    windows = np.convolve(counts, np.ones(3), mode="valid")
    runs: list[list[int]] = []
    for index in np.flatnonzero(windows == windows.min()).tolist():
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    longest = max(runs, key=len)
    return longest[len(longest) // 2] + 1


def _common(counts: np.ndarray) -> tuple[int, int]:
    """Smallest and largest count that is not rare."""
    how_many = np.bincount(counts)
    common = np.flatnonzero(how_many >= max(1.0, _RARE * len(counts)))
    return int(common[0]), int(common[-1])
