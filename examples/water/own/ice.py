"""Ice Ih with its hydrogens in disorder, as the ice rules allow."""

from __future__ import annotations

import networkx
import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

#: Oxygens of the orthorhombic cell of eight waters, in fractions of it, for ideal tetrahedra.
OXYGENS = np.array(
    [
        (x, y, z)
        for low, high in ((1 / 16, 15 / 16), (7 / 16, 9 / 16))
        for x, y, z in (
            (0, 1 / 3, low),
            (1 / 2, 5 / 6, low),
            (0, 2 / 3, high),
            (1 / 2, 1 / 6, high),
        )
    ]
)
O_O = 2.76  # Å
O_H = 0.985  # Å
#: Edges of the cell over the distance of neighbours, for ideal tetrahedra.
EDGES = np.array([np.sqrt(8 / 3), np.sqrt(8), 8 / 3])


def ice_ih(repeat: tuple[int, int, int], rng: np.random.Generator, distance: float = O_O) -> Atoms:
    """Ice Ih of 8 × repeat waters, O H H by molecule, without a dipole if 1000 draws find one.

    The hydrogens obey the ice rules: one on every line between neighbours, two at every oxygen.
    An Eulerian circuit of the network of hydrogen bonds, whose nodes have four edges each, enters
    and leaves every oxygen twice: hydrogens lie in the direction of travel.

    Parameters
    ----------
    repeat : (int, int, int)
        Of the orthorhombic cell of eight waters; two or more wherever the cell is to be no less
        than 7 Å wide.
    rng : numpy.random.Generator
    distance : float
        Between oxygens, Å; 2.76 gives 0.93 g/cm³.
    """
    oxygens = Atoms("O8", scaled_positions=OXYGENS, cell=distance * EDGES, pbc=True).repeat(repeat)
    best, smallest = None, np.inf
    for _ in range(1000):
        bonds = _directions(oxygens, distance, rng)
        dipole = float(np.linalg.norm(sum(v for pair in bonds.values() for v in pair)))
        if dipole < smallest:
            best, smallest = bonds, dipole
        if smallest < 1e-6 * distance:
            break
    assert best is not None
    atoms = Atoms(cell=oxygens.cell, pbc=True)
    for k, position in enumerate(oxygens.positions):
        hydrogens = [position + O_H / distance * v for v in best[k]]
        atoms += Atoms("OH2", positions=[position, *hydrogens])
    return atoms


def _directions(
    oxygens: Atoms, distance: float, rng: np.random.Generator
) -> dict[int, list[np.ndarray]]:
    """Two vectors to neighbours (Å) for every oxygen, along which its hydrogens lie."""
    first, second, vectors = neighbor_list("ijD", oxygens, 1.2 * distance)
    graph = networkx.MultiGraph()
    bonds = list(zip(first.tolist(), second.tolist(), vectors, strict=True))
    for k in rng.permutation(len(bonds)).tolist():
        i, j, vector = bonds[k]
        # each bond is listed from both ends: keep that which points upwards
        if tuple(vector.round(6)) > (0.0, 0.0, 0.0):
            graph.add_edge(i, j, origin=i, vector=vector)
    found: dict[int, list[np.ndarray]] = {k: [] for k in range(len(oxygens))}
    source = int(rng.integers(len(oxygens)))
    for i, j, key in networkx.eulerian_circuit(graph, source, keys=True):
        edge = graph.edges[i, j, key]
        found[i].append(edge["vector"] if edge["origin"] == i else -edge["vector"])
    return found
