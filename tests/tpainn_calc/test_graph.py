"""Structures become graphs; batches keep structures apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from tpainn_calc.errors import StructureError
from tpainn_calc.graph import Graph, species_of


def test_species_follow_the_order_of_elements():
    atoms = molecule("CH3OH")
    species = species_of(atoms, ("O", "H", "C"))
    assert species.dtype == np.int64
    assert [("O", "H", "C")[k] for k in species] == atoms.get_chemical_symbols()


def test_unknown_element():
    atoms = Atoms("HHOCl", positions=np.eye(4, 3))
    with pytest.raises(StructureError) as caught:
        species_of(atoms, ("H", "O", "C"))
    message = str(caught.value)
    assert "element Cl (atom 3)" in message
    assert "knows H, O, C" in message
    assert '(did you mean "C"?)' in message
    assert "\n" not in message
    with pytest.raises(StructureError, match=r"element Fe .* knows H, O$"):
        Graph.from_atoms(Atoms("Fe"), ("H", "O"), 5.0)


def test_edge_vectors_point_to_the_neighbour():
    atoms = Atoms("HO", positions=[[0, 0, 0], [0.5, 1.0, -0.25]])
    graph = Graph.from_atoms(atoms, ("H", "O"), 3.0)
    edges = {
        (c, n): vector
        for c, n, vector in zip(
            graph.centre.tolist(), graph.neighbour.tolist(), graph.edge_vec.tolist(), strict=True
        )
    }
    assert edges == {(0, 1): [0.5, 1.0, -0.25], (1, 0): [-0.5, -1.0, 0.25]}


def test_edge_vectors_hold_the_image():
    atoms = Atoms("HO", positions=[[0.2, 0, 0], [3.9, 0, 0]], cell=[4, 9, 9], pbc=True)
    graph = Graph.from_atoms(atoms, ("H", "O"), 1.0)
    first = graph.centre.tolist().index(0)
    assert graph.edge_vec[first].tolist() == pytest.approx([-0.3, 0, 0])


def test_types_and_sizes(crystal):
    atoms = crystal("triclinic")
    graph = Graph.from_atoms(atoms, ("H", "O", "Cu"), 4.0)
    assert graph.n_atoms == len(atoms)
    assert graph.n_structures == 1
    assert graph.structure.tolist() == [0] * len(atoms)
    assert graph.edge_vec.dtype == torch.float64
    for index in (graph.species, graph.centre, graph.neighbour, graph.structure):
        assert index.dtype == torch.int64
    assert (graph.edge_vec.norm(dim=1) < 4.0).all()


def test_batch_shifts_indices(cluster):
    elements = ("H", "O", "Cu")
    graphs = [
        Graph.from_atoms(atoms, elements, 3.0)
        for atoms in (cluster(4, seed=1), Atoms("O"), cluster(6, seed=2))
    ]
    batch = Graph.batch(graphs)
    assert batch.n_atoms == 11
    assert batch.n_structures == 3
    assert batch.structure.tolist() == [0] * 4 + [1] + [2] * 6
    n = [len(g.centre) for g in graphs]
    assert n[1] == 0
    assert torch.equal(batch.centre[: n[0]], graphs[0].centre)
    assert torch.equal(batch.centre[n[0] :], graphs[2].centre + 5)
    assert torch.equal(batch.neighbour[n[0] :], graphs[2].neighbour + 5)
    assert torch.equal(batch.edge_vec[n[0] :], graphs[2].edge_vec)
    # no edge joins two structures
    assert torch.equal(batch.structure[batch.centre], batch.structure[batch.neighbour])


def test_batches_can_be_batched(cluster):
    graphs = [Graph.from_atoms(cluster(4, seed=k), ("H", "O", "Cu"), 3.0) for k in range(3)]
    nested = Graph.batch([Graph.batch(graphs[:2]), graphs[2]])
    flat = Graph.batch(graphs)
    for name in ("species", "centre", "neighbour", "edge_vec", "structure"):
        assert torch.equal(getattr(nested, name), getattr(flat, name))
    assert nested.n_structures == flat.n_structures == 3


def test_empty_batch_is_refused():
    with pytest.raises(ValueError, match="zero graphs"):
        Graph.batch([])


def test_copy_on_another_device(cluster):
    graph = Graph.from_atoms(cluster(4), ("H", "O", "Cu"), 3.0)
    moved = graph.to("meta")
    assert moved.species.device.type == moved.edge_vec.device.type == "meta"
    assert moved.n_structures == graph.n_structures
    assert graph.species.device.type == "cpu"
