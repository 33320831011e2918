"""Neighbour search against brute force and ASE, the Verlet skin, and every error."""

from __future__ import annotations

import itertools

import ase
import ase.neighborlist
import numpy as np
import pytest

from tpainn_calc.errors import ConfigError, StructureError
from tpainn_calc.neighbors import Edges, NeighborList, neighbors

TRICLINIC = np.array([[6.0, 0.0, 0.0], [2.0, 7.0, 0.0], [-1.0, 1.5, 5.0]])
CELLS = {
    "cubic": np.eye(3) * 6.0,
    "triclinic": TRICLINIC,
    "small": 0.4 * TRICLINIC,
    "left-handed": TRICLINIC[[1, 0, 2]],
    "rotated": TRICLINIC @ np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0],
}
PERIODICITIES = list(itertools.product([True, False], repeat=3))


def brute_force(x, cell, pbc, cutoff):
    """All (i, j, vector) by a plain sum over enough images."""
    n = len(x)
    reach = cutoff + np.linalg.norm(np.ptp(x, axis=0))
    ranges = []
    for k in range(3):
        normal = np.cross(cell[(k + 1) % 3], cell[(k + 2) % 3])
        height = abs(cell[k] @ normal) / np.linalg.norm(normal)
        m = int(np.ceil(reach / height)) + 1 if pbc[k] else 0
        ranges.append(range(-m, m + 1))
    found = []
    for shift in itertools.product(*ranges):
        vectors = x[None, :] - x[:, None] + np.array(shift, float) @ cell
        inside = np.linalg.norm(vectors, axis=2) < cutoff
        if shift == (0, 0, 0):
            inside[np.arange(n), np.arange(n)] = False
        found += [(i, j, *vectors[i, j]) for i, j in zip(*np.nonzero(inside), strict=True)]
    return canonical(np.array(found).reshape(-1, 5))


def canonical(rows):
    """Sort rows (i, j, vector) so that two lists can be compared."""
    keys = np.round(rows, 6) + 0.0
    return rows[np.lexsort(keys.T[::-1])]


def as_rows(edges: Edges):
    return canonical(np.column_stack([edges.centre, edges.neighbour, edges.edge_vec]))


def assert_contract(edges: Edges, cutoff: float):
    assert edges.centre.dtype == edges.neighbour.dtype == np.int64
    assert edges.edge_vec.dtype == np.float64
    assert edges.edge_vec.shape == (len(edges), 3)
    assert (np.diff(edges.centre) >= 0).all()
    assert (np.linalg.norm(edges.edge_vec, axis=1) < cutoff).all()
    reverse = Edges(edges.neighbour, edges.centre, -edges.edge_vec)
    np.testing.assert_allclose(as_rows(reverse), as_rows(edges), atol=1e-10)


@pytest.mark.parametrize("pbc", PERIODICITIES, ids=lambda p: "".join("FT"[b] for b in p))
@pytest.mark.parametrize("name", CELLS)
def test_equals_brute_force_and_ase(name, pbc):
    rng = np.random.default_rng([ord(c) for c in name])
    cell, cutoff = CELLS[name], 4.0
    # Some atoms lie outside the cell on purpose.
    x = rng.uniform(-0.7, 1.6, size=(7, 3)) @ cell
    edges = neighbors(x, cell, pbc, cutoff)
    assert_contract(edges, cutoff)
    expected = brute_force(x, cell, pbc, cutoff)
    np.testing.assert_allclose(as_rows(edges), expected, atol=1e-10)
    atoms = ase.Atoms("H7", positions=x, cell=cell, pbc=pbc)
    i, j, vectors = ase.neighborlist.neighbor_list("ijD", atoms, cutoff)
    np.testing.assert_allclose(
        canonical(np.column_stack([i, j, vectors])), as_rows(edges), atol=1e-9
    )
    np.testing.assert_allclose(as_rows(NeighborList(cutoff).update(atoms)), expected, atol=1e-10)


@pytest.mark.parametrize("seed", range(20))
def test_random_cells_equal_brute_force(seed):
    rng = np.random.default_rng(seed)
    cell = rng.normal(size=(3, 3)) + np.diag(rng.uniform(2.5, 7.0, size=3))
    pbc = rng.random(3) < 0.6
    x = rng.normal(scale=4.0, size=(6, 3))
    np.testing.assert_allclose(
        as_rows(neighbors(x, cell, pbc, 4.5)), brute_force(x, cell, pbc, 4.5), atol=1e-10
    )


def test_atoms_many_cells_away_have_the_same_edges():
    rng = np.random.default_rng(5)
    x = rng.random((8, 3)) @ TRICLINIC
    moved = x + rng.integers(-1000, 1000, size=(8, 3)) @ TRICLINIC
    np.testing.assert_allclose(
        as_rows(neighbors(moved, TRICLINIC, True, 5.0)),
        as_rows(neighbors(x, TRICLINIC, True, 5.0)),
        atol=1e-9,
    )


@pytest.mark.parametrize("free", [(0, 1, 2), (2,), (0, 1)])
def test_zero_cell_vectors_along_free_directions(free):
    pbc = np.array([k not in free for k in range(3)])
    x = np.random.default_rng(1).uniform(0, 5, size=(9, 3))
    cell = np.diag([5.0, 6.0, 7.0])
    with_zeros = np.where(pbc[:, None], cell, 0.0)
    np.testing.assert_array_equal(
        as_rows(neighbors(x, with_zeros, pbc, 4.0)), as_rows(neighbors(x, cell, pbc, 4.0))
    )
    with_nonsense = np.where(pbc[:, None], cell, np.nan)
    np.testing.assert_array_equal(
        as_rows(neighbors(x, with_nonsense, pbc, 4.0)), as_rows(neighbors(x, cell, pbc, 4.0))
    )


@pytest.mark.parametrize("distance", [1e3, 1e6, 1e12])
@pytest.mark.parametrize("pbc", [(False, True, True), (True, False, False), False])
def test_far_fragment_along_a_free_direction(distance, pbc):
    # Without care, vesin ends the process with SIGFPE here.
    x = np.random.default_rng(2).uniform(0, 5, size=(8, 3))
    free = np.array([1.0, 0.0, 0.0]) if pbc != (True, False, False) else np.array([0, 0.6, 0.8])
    far = x[:2] + distance * free
    cell = np.eye(3) * 5.0
    alone = neighbors(x, cell, pbc, 4.0)
    edges = neighbors(np.vstack([x, far]), cell, pbc, 4.0)
    here = edges.centre < 8
    assert (edges.neighbour[here] < 8).all()
    near = Edges(edges.centre[here], edges.neighbour[here], edges.edge_vec[here])
    np.testing.assert_allclose(as_rows(near), as_rows(alone), atol=1e-12)
    if distance < 1e9:
        pair = neighbors(x[:2], cell, pbc, 4.0)
        assert np.count_nonzero(~here) == len(pair)


def test_one_atom():
    assert len(neighbors(np.zeros((1, 3)), np.zeros((3, 3)), False, 5.0)) == 0
    assert len(neighbors(np.zeros((1, 3)), np.eye(3) * 3.0, True, 3.1)) == 6
    # An image exactly at the cut-off is not an edge.
    assert len(neighbors(np.zeros((1, 3)), np.eye(3) * 3.0, True, 3.0)) == 0


def test_edges_are_not_symmetric_by_accident():
    edges = neighbors([[0.0, 0, 0], [1.0, 2.0, 0.5]], np.zeros((3, 3)), False, 4.0)
    assert edges.centre.tolist() == [0, 1]
    assert edges.neighbour.tolist() == [1, 0]
    assert edges.edge_vec.tolist() == [[1.0, 2.0, 0.5], [-1.0, -2.0, -0.5]]


@pytest.mark.parametrize("pbc", [True, (True, False, True), False])
def test_skin_over_a_random_walk(pbc):
    rng = np.random.default_rng(7)
    atoms = ase.Atoms("H12", positions=rng.random((12, 3)) @ TRICLINIC, cell=TRICLINIC, pbc=pbc)
    skinned, bare = NeighborList(4.0, skin=1.0), NeighborList(4.0)
    for _ in range(50):
        atoms.positions += rng.normal(scale=0.06, size=(12, 3))
        edges = skinned.update(atoms)
        assert_contract(edges, 4.0)
        np.testing.assert_allclose(as_rows(edges), as_rows(bare.update(atoms)), atol=1e-10)
    assert bare.rebuilds == 50
    assert 2 <= skinned.rebuilds <= 25


def test_rebuilds_only_when_needed():
    atoms = ase.Atoms(
        "H3", positions=[[0, 0, 0], [1.0, 0, 0], [0, 3.0, 0]], cell=[9, 9, 9], pbc=True
    )
    nl = NeighborList(3.0, skin=0.5)
    nl.update(atoms)
    nl.update(atoms)
    atoms.positions[0, 0] += 0.249
    nl.update(atoms)
    assert nl.rebuilds == 1
    atoms.positions[0, 0] += 0.002
    nl.update(atoms)
    assert nl.rebuilds == 2
    for change in (
        lambda: atoms.set_cell([9, 9, 9.001]),
        lambda: atoms.set_cell([9, 9, 8.5], scale_atoms=True),
        lambda: atoms.set_pbc([True, True, False]),
        lambda: atoms.append("O"),
        lambda: atoms.set_positions(atoms.positions + np.array([0.0, 9.0, 0.0])),
    ):
        before = nl.rebuilds
        change()
        atoms.positions[-1] = [4.0, 4.0, float(len(atoms))]
        edges = nl.update(atoms)
        assert nl.rebuilds == before + 1
        np.testing.assert_allclose(
            as_rows(edges),
            as_rows(neighbors(atoms.positions, atoms.cell.array, atoms.pbc, 3.0)),
            atol=1e-12,
        )


def test_update_does_not_alias_the_structure_or_an_earlier_answer():
    atoms = ase.Atoms("H2", positions=[[0, 0, 0], [1.0, 0, 0]])
    nl = NeighborList(3.0, skin=1.0)
    first = nl.update(atoms)
    kept = first.edge_vec.copy()
    atoms.positions[1] += 0.3
    nl.update(atoms)
    np.testing.assert_array_equal(first.edge_vec, kept)


def test_recovers_after_an_error():
    atoms = ase.Atoms("H2", positions=[[0, 0, 0], [1.0, 0, 0]])
    nl = NeighborList(3.0, skin=1.0)
    nl.update(atoms)
    atoms.positions[1, 0] = np.nan
    with pytest.raises(StructureError):
        nl.update(atoms)
    atoms.positions[1, 0] = 1.1
    assert nl.update(atoms).edge_vec[0, 0] == 1.1


@pytest.mark.parametrize(
    ("x", "cell", "pbc", "message"),
    [
        (np.zeros((0, 3)), np.eye(3), True, "no atoms"),
        ([[0, 0, 0], [np.nan, 0, 0]], np.eye(3) * 9, True, "atom 1 .* not finite"),
        ([[0, 0, np.inf]], np.eye(3) * 9, False, "atom 0 .* not finite"),
        ([[0, 0, 0]], np.zeros((3, 3)), True, "cell vector a is zero"),
        ([[0, 0, 0]], np.diag([5.0, 5, 0]), True, "cell vector c is zero"),
        ([[0, 0, 0]], np.diag([5.0, 0, 0]), (True, True, False), "cell vector b is zero"),
        ([[0, 0, 0]], [[5.0, 0, 0], [5, 0, 0], [0, 0, 5]], True, "singular"),
        ([[0, 0, 0]], [[5.0, 0, 0], [5, 1e-9, 0], [0, 0, 5]], (True, True, False), "singular"),
        ([[0, 0, 0]], [[5.0, 0, 0], [0, 5, 0], [5, 5, 0]], True, "singular"),
        ([[0, 0, 0]], np.diag([5.0, np.nan, 5]), True, "not finite"),
        ([[0, 0, 0], [1, 0, 0], [1, 0, 1e-7]], np.eye(3) * 9, True, "atoms 1 and 2 coincide"),
        ([[0, 0, 0], [9, 0, 0]], np.eye(3) * 9, True, "atoms 0 and 1 coincide"),
        ([[0, 0, 0], [0, 0, 0]], np.zeros((3, 3)), False, "atoms 0 and 1 coincide"),
    ],
)
def test_errors_of_the_structure(x, cell, pbc, message):
    with pytest.raises(StructureError, match=message) as caught:
        neighbors(x, cell, pbc, 4.0)
    assert "\n" not in str(caught.value)
    atoms = ase.Atoms(["H"] * len(x), positions=x, cell=cell, pbc=pbc)
    with pytest.raises(StructureError, match=message):
        NeighborList(4.0, skin=0.5).update(atoms)


@pytest.mark.parametrize(("cutoff", "skin"), [(0, 0), (-1, 0), (np.nan, 0), (5, -1), (5, np.inf)])
def test_errors_of_the_options(cutoff, skin):
    with pytest.raises(ConfigError, match="must be"):
        NeighborList(cutoff, skin)
    if skin == 0:
        with pytest.raises(ConfigError, match="must be"):
            neighbors([[0, 0, 0]], np.eye(3), False, cutoff)


@pytest.mark.parametrize(
    ("x", "cell", "cutoff", "message"),
    [
        ([[0, 0, 0]], np.eye(3) * 1e200, 5.0, "cell vector a is too large"),
        ([[0, 0, 0]], np.diag([5.0, 5.0, 1e9]), 5.0, "cell vector c is too large"),
        ([[0, 0, 0]], np.eye(3) * 0.02, 5.0, "6.5e[+]07 neighbours each within 5 Å"),
        ([[0, 0, 0], [1, 1, 1]], np.eye(3) * 4.0, 1e4, "neighbours each within 10000 Å"),
        ([[0, 0, 0], [0, 0, 1e200]], np.eye(3) * 9.0, 5.0, "atom 1 is 1.1e[+]199 cells away"),
    ],
)
def test_sizes_are_bounded_before_any_work(x, cell, cutoff, message):
    """Without the bounds, these end the process or run for hours."""
    with pytest.raises(StructureError, match=message) as caught:
        neighbors(x, cell, True, cutoff)
    assert "\n" not in str(caught.value)
    with pytest.raises(StructureError, match=message):
        NeighborList(cutoff).update(ase.Atoms(f"H{len(x)}", x, cell=cell, pbc=True))


def test_a_large_but_honest_cell_is_searched():
    x = [[0, 0, 0], [1, 0, 0], [5e7, 5e7, 5e7]]
    assert len(neighbors(x, np.eye(3) * 9e7, True, 5.0)) == 2
    # hydrogen at 80 times the density of the metal's highest pressures
    assert len(neighbors([[0, 0, 0]], np.eye(3) * 0.25, True, 4.0)) > 10_000
