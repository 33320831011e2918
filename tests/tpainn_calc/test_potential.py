"""Properties of every implementation of the potential.

:class:`PotentialSuite` is the list; each implementation (plain PyTorch, fused operator, TorchScript
of either, exported file) inherits it and says how it is made.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from ase import Atoms

from tpainn_calc.graph import Graph
from tpainn_calc.potential import Hyperparameters, Potential, Prediction, predict

ELEMENTS = ("H", "O", "Cu")
CELLS = ["orthogonal", "triclinic", "small", "slab"]


def evaluate(potential: Potential, atoms: Atoms, **outputs: bool) -> Prediction:
    """Predict for one structure; `potential` may be a TorchScript module too."""
    return predict(potential, Graph.from_atoms(atoms, ELEMENTS, potential.cutoff), **outputs)


def graph_of(species, edges, edge_vec) -> Graph:
    """Graph from edges that are given by hand."""
    pairs = np.array(edges, dtype=np.int64).reshape(-1, 2)
    vectors = np.array(edge_vec, dtype=np.float64).reshape(-1, 3)
    species = np.array(species, dtype=np.int64)
    return Graph.from_edges(species, pairs[:, 0].copy(), pairs[:, 1].copy(), vectors)


def rotation(seed: int = 3) -> np.ndarray:
    """Proper rotation, random."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


def transformed(atoms: Atoms, matrix: np.ndarray) -> Atoms:
    """Structure and cell, every vector multiplied by `matrix`."""
    new = atoms.copy()
    new.set_cell(atoms.cell.array @ matrix.T)
    new.positions = atoms.positions @ matrix.T
    return new


class PotentialSuite:
    """Tests that every implementation inherits."""

    dtype = torch.float64
    kernel = "plain"

    @pytest.fixture(scope="class")
    @classmethod
    def eager(cls, make_potential) -> Potential:
        return make_potential(cls.kernel, cls.dtype)

    @pytest.fixture(scope="class")
    @classmethod
    def potential(cls, eager):
        return eager

    @property
    def tolerance(self) -> float:
        """Relative to the largest force or binding energy."""
        return 1e-10 if self.dtype == torch.float64 else 2e-5

    def assert_close(self, got, wanted) -> None:
        got, wanted = (torch.as_tensor(t).detach() for t in (got, wanted))
        amplitude = max(1.0, wanted.abs().max().item())
        torch.testing.assert_close(got, wanted, rtol=0, atol=self.tolerance * amplitude)

    @pytest.fixture(params=["cluster", *CELLS])
    def atoms(self, request, cluster, crystal) -> Atoms:
        return cluster() if request.param == "cluster" else crystal(request.param)

    # ------------------------------------------------------------------ symmetries

    @pytest.mark.parametrize("kind", ["rotation", "reflection", "inversion"])
    def test_rotation_and_reflection(self, potential, atoms, kind):
        matrix = {
            "rotation": rotation(),
            "reflection": np.diag([1.0, -1.0, 1.0]) @ rotation(),
            "inversion": -np.eye(3),
        }[kind]
        before = evaluate(potential, atoms, virial=True, virials=True)
        after = evaluate(potential, transformed(atoms, matrix), virial=True, virials=True)
        assert before.forces.abs().max() > 0.05
        self.assert_close(after.energies, before.energies)
        self.assert_close(after.forces, before.forces.numpy() @ matrix.T)
        self.assert_close(after.virial[0], matrix @ before.virial[0].numpy() @ matrix.T)
        self.assert_close(after.virials, matrix @ before.virials.numpy() @ matrix.T)

    def test_translation_and_wrapping(self, potential, atoms):
        before = evaluate(potential, atoms)
        moved = atoms.copy()
        moved.positions += [0.37, -1.9, 2.2]
        after = evaluate(potential, moved)
        self.assert_close(after.energies, before.energies)
        self.assert_close(after.forces, before.forces)
        shifted = atoms.copy()  # by whole cell vectors, atom by atom
        n = np.random.default_rng(0).integers(-2, 3, (len(atoms), 3)) * atoms.pbc
        shifted.positions += n @ atoms.cell.array
        after = evaluate(potential, shifted)
        self.assert_close(after.energies, before.energies)
        self.assert_close(after.forces, before.forces)

    def test_permutation(self, potential, atoms):
        order = np.random.default_rng(0).permutation(len(atoms))
        before = evaluate(potential, atoms, virials=True)
        after = evaluate(potential, atoms[order], virials=True)
        self.assert_close(after.energies, before.energies[order])
        self.assert_close(after.forces, before.forces[order])
        self.assert_close(after.virials, before.virials[order])

    def test_order_of_edges_does_not_matter(self, potential, atoms):
        graph = Graph.from_atoms(atoms, ELEMENTS, potential.cutoff)
        order = torch.randperm(len(graph.centre), generator=torch.Generator().manual_seed(0))
        mixed = Graph(
            graph.species,
            graph.centre[order],
            graph.neighbour[order],
            graph.edge_vec[order],
            graph.structure,
        )
        before, after = predict(potential, graph), predict(potential, mixed)
        self.assert_close(after.energies, before.energies)
        self.assert_close(after.forces, before.forces)

    def test_edges_beyond_the_cutoff_do_nothing(self, potential, atoms):
        """As in a list with a skin."""
        before = evaluate(potential, atoms)
        graph = Graph.from_atoms(atoms, ELEMENTS, potential.cutoff + 1.0)
        after = predict(potential, graph)
        self.assert_close(after.energies, before.energies)
        self.assert_close(after.forces, before.forces)

    def test_supercell(self, potential, crystal):
        cell = crystal("small")
        one = evaluate(potential, cell, virial=True)
        eight = evaluate(potential, cell * (2, 2, 2), virial=True)
        self.assert_close(eight.energies, one.energies.repeat(8))
        self.assert_close(eight.forces, one.forces.repeat(8, 1))
        self.assert_close(eight.virial, 8 * one.virial)

    # ------------------------------------------------------------------ derivatives

    def test_total_force_and_torque_vanish(self, potential, cluster):
        atoms = cluster()
        forces = evaluate(potential, atoms).forces.numpy()
        self.assert_close(forces.sum(axis=0), np.zeros(3))
        self.assert_close(np.cross(atoms.positions, forces).sum(axis=0), np.zeros(3))

    def test_shares_of_atoms_add_up(self, potential, atoms):
        result = evaluate(potential, atoms, virial=True, virials=True)
        self.assert_close(result.energies.sum(), result.energy[0])
        self.assert_close(result.virials.sum(dim=0), result.virial[0])

    # ------------------------------------------------------------------ limits

    def test_isolated_atom_has_its_reference_energy(self, potential, eager):
        for symbol, reference in zip(ELEMENTS, eager.reference_energies, strict=True):
            alone = evaluate(potential, Atoms(symbol), virial=True)
            assert (alone.forces == 0).all()
            assert (alone.virial == 0).all()
            self.assert_close(alone.energy, reference.unsqueeze(0))

    def test_atom_without_neighbours_among_others(self, potential, cluster):
        atoms = cluster()
        far = Atoms("Cu", positions=[[50.0, 0, 0]])
        result = evaluate(potential, far + atoms)
        self.assert_close(result.energies[0], evaluate(potential, far).energy[0])
        assert (result.forces[0] == 0).all()

    def test_far_fragments_add_up(self, potential, cluster):
        a, b = cluster(6, seed=1), cluster(7, seed=2)
        b.positions += [30.0, 5.0, -4.0]
        both, one, two = (evaluate(potential, atoms) for atoms in (a + b, a, b))
        self.assert_close(both.energy, one.energy + two.energy)
        self.assert_close(both.forces, torch.cat([one.forces, two.forces]))

    def test_smooth_at_the_cutoff(self, potential):
        """Of a pair, energy and force go to those of two lone atoms, and stay there."""
        apart = evaluate(potential, Atoms("HO", positions=[[0, 0, 0], [9.0, 0, 0]])).energy.item()

        def pair(distance: float) -> tuple[float, float]:
            atoms = Atoms("HO", positions=[[0, 0, 0], [distance, 0, 0]])
            result = evaluate(potential, atoms)
            return result.energy.item() - apart, result.forces[1, 0].item()

        cutoff = potential.cutoff
        energy, force = pair(cutoff - 0.5)
        assert abs(energy) > 1e-5  # something to vanish
        assert abs(force) > 1e-5
        noise = self.tolerance * abs(apart) if self.dtype == torch.float64 else 1e-4
        previous = (abs(energy), abs(force))
        if self.dtype == torch.float64:
            # polynomial envelope: the energy goes with the cube, the force with the square
            for gap in (1e-2, 1e-3, 1e-4):
                energy, force = pair(cutoff - gap)
                assert abs(energy) < previous[0] * 0.01 + noise
                assert abs(force) < previous[1] * 0.05 + noise
                previous = (abs(energy), abs(force))
        for distance in (cutoff - 1e-9, cutoff, cutoff + 1e-9, cutoff + 0.5):
            assert pair(distance) == pytest.approx((0.0, 0.0), abs=noise)

    # ------------------------------------------------------------------ direction of edges

    def test_messages_go_from_neighbour_to_centre(self, potential):
        """One edge, not two: only its centre feels the neighbour."""
        alone = predict(potential, graph_of([0, 1], [], []), forces=False).energies
        edge = predict(potential, graph_of([0, 1], [[0, 1]], [[1.1, 0.3, -0.2]]))
        assert abs(edge.energies[0] - alone[0]) > 1e-4
        self.assert_close(edge.energies[1], alone[1])
        # the same with the atoms' roles exchanged is another number: species matter
        swapped = predict(potential, graph_of([0, 1], [[1, 0]], [[1.1, 0.3, -0.2]]))
        self.assert_close(swapped.energies[0], alone[0])
        first, second = edge.energies[0] - alone[0], swapped.energies[1] - alone[1]
        assert abs(first - second) > 1e-4

    def test_force_pulls_along_the_edge(self, potential):
        """The neighbour feels -dE/dr along the edge, the centre the opposite."""
        direction = np.array([2.0, 1.0, -2.0]) / 3.0

        def energy(r: float) -> float:
            graph = graph_of([0, 1], [[0, 1]], [direction * r])
            return predict(potential, graph, forces=False).energy.item()

        h = 1e-4 if self.dtype == torch.float64 else 2e-2
        slope = (energy(1.3 + h) - energy(1.3 - h)) / (2 * h)
        result = predict(potential, graph_of([0, 1], [[0, 1]], [direction * 1.3]))
        expected = np.stack([slope * direction, -slope * direction])
        np.testing.assert_allclose(result.forces, expected, atol=1e-5 if h < 1e-3 else 2e-2)
        assert abs(slope) > 1e-2

    def test_vectors_point_from_centre_to_neighbour(self, potential):
        """Of three atoms, only both directions together tell a bent chain from a straight one."""
        bent = [[1.0, 0, 0], [-1.0, 0, 0], [0, 1.2, 0], [0, -1.2, 0]]
        straight = [[1.0, 0, 0], [-1.0, 0, 0], [-1.2, 0, 0], [1.2, 0, 0]]
        pairs = [[0, 1], [1, 0], [0, 2], [2, 0]]
        energies = [
            predict(potential, graph_of([1, 0, 0], pairs, vectors), forces=False).energies[0]
            for vectors in (bent, straight)
        ]
        assert abs(energies[0] - energies[1]) > 1e-4

    # ------------------------------------------------------------------ batches and interfaces

    def test_batch_is_one_by_one(self, potential, cluster, crystal):
        structures = [cluster(), Atoms("O"), crystal("small"), crystal("triclinic")]
        graphs = [Graph.from_atoms(a, ELEMENTS, potential.cutoff) for a in structures]
        batch = predict(potential, Graph.batch(graphs), virial=True, virials=True)
        singles = [predict(potential, g, virial=True, virials=True) for g in graphs]
        for name in ("energy", "energies", "forces", "virial", "virials"):
            self.assert_close(getattr(batch, name), torch.cat([getattr(p, name) for p in singles]))

    def test_block_by_block(self, potential, atoms):
        """connect, embed, layer, readout give what forward gives."""
        g = Graph.from_atoms(atoms, ELEMENTS, potential.cutoff)
        edges = potential.connect(g.centre, g.neighbour, g.edge_vec, g.n_atoms, g.n_atoms)
        s, v = potential.embed(g.species)
        for k in range(3):
            s, v = potential.layer(k, s, v, edges)
        whole = potential(g.species, g.centre, g.neighbour, g.edge_vec)
        self.assert_close(potential.readout(s, g.species).detach(), whole.detach())

    def test_blocks_with_ghosts(self, potential, cluster):
        """Centres are the first atoms only; ghosts get their states from elsewhere, as in MPI."""
        atoms = cluster(9)
        g = Graph.from_atoms(atoms, ELEMENTS, potential.cutoff)
        whole = potential(g.species, g.centre, g.neighbour, g.edge_vec).detach()
        n, n_own = g.n_atoms, 5
        mine = g.centre < n_own
        all_edges = potential.connect(g.centre, g.neighbour, g.edge_vec, n, n)
        own_edges = potential.connect(g.centre[mine], g.neighbour[mine], g.edge_vec[mine], n_own, n)
        s, v = potential.embed(g.species)
        for k in range(3):
            own_s, own_v = potential.layer(k, s, v, own_edges)
            assert own_s.shape[0] == own_v.shape[0] == n_own
            s, v = potential.layer(k, s, v, all_edges)
            self.assert_close(own_s.detach(), s[:n_own].detach())
        self.assert_close(potential.readout(own_s, g.species[:n_own]).detach(), whole[:n_own])

    def test_no_such_block(self, potential, cluster):
        g = Graph.from_atoms(cluster(), ELEMENTS, potential.cutoff)
        edges = potential.connect(g.centre, g.neighbour, g.edge_vec, g.n_atoms, g.n_atoms)
        s, v = potential.embed(g.species)
        with pytest.raises((IndexError, torch.jit.Error), match="no such block"):
            potential.layer(3, s, v, edges)

    def test_same_numbers_as_plain_pytorch(self, potential, make_potential, atoms):
        """With the tolerance of the tables where there are tables."""
        plain = evaluate(make_potential("plain", torch.float64), atoms, virial=True)
        got = evaluate(potential, atoms, virial=True)
        tolerance = 1e-4 if self.dtype == torch.float32 else 1e-5
        for name in ("energies", "forces", "virial"):
            wanted = getattr(plain, name)
            amplitude = max(1.0, (wanted - wanted.mean()).abs().max().item())
            assert (getattr(got, name) - wanted).abs().max().item() < tolerance * amplitude

    def test_types_of_results(self, potential, cluster):
        result = evaluate(potential, cluster(), virial=True, virials=True)
        for tensor in (result.energy, result.energies, result.forces, result.virial):
            assert tensor.dtype == torch.float64
            assert not tensor.requires_grad
        nothing = evaluate(potential, cluster(), forces=False)
        assert nothing.forces is nothing.virial is nothing.virials is None
        assert evaluate(potential, cluster(), forces=False, virial=True).forces is None


class FiniteDifferences:
    """Derivatives against differences of energies, which take float64."""

    def test_forces_are_slopes_of_the_energy(self, potential, atoms):
        forces = evaluate(potential, atoms).forces.numpy()
        h = 1e-4
        slopes = np.zeros_like(forces)
        for i in range(min(4, len(atoms))):
            for k in range(3):
                energies = []
                for step in (-2 * h, -h, h, 2 * h):
                    moved = atoms.copy()
                    moved.positions[i, k] += step
                    energies.append(evaluate(potential, moved, forces=False).energy.item())
                a, b, c, d = energies
                slopes[i, k] = (a - 8 * b + 8 * c - d) / (12 * h)
        n = min(4, len(atoms))
        # energies of thousands of eV: rounding of their differences limits the agreement
        np.testing.assert_allclose(forces[:n], -slopes[:n], rtol=0, atol=1e-6)

    @pytest.mark.parametrize("kind", CELLS)
    def test_virial_is_the_slope_by_strain(self, potential, crystal, kind):
        atoms = crystal(kind)
        virial = evaluate(potential, atoms, virial=True).virial[0].numpy()
        h = 1e-5
        slopes = np.zeros((3, 3))
        for i in range(3):
            for k in range(3):
                energies = []
                for step in (-2 * h, -h, h, 2 * h):
                    strain = np.eye(3)
                    strain[i, k] += step
                    strained = transformed(atoms, strain)
                    energies.append(evaluate(potential, strained, forces=False).energy.item())
                a, b, c, d = energies
                slopes[i, k] = (a - 8 * b + 8 * c - d) / (12 * h)
        # virial = -dE/dstrain, symmetric because a rotation costs nothing
        scale = max(1.0, np.abs(virial).max())
        np.testing.assert_allclose(virial, -slopes, rtol=0, atol=1e-6 * scale)
        np.testing.assert_allclose(virial, virial.T, rtol=0, atol=1e-10 * scale)


class Scripted(PotentialSuite):
    """TorchScript, written and read again, as LAMMPS gets it."""

    @pytest.fixture(scope="class")
    @classmethod
    def potential(cls, eager):
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(eager), buffer)
        buffer.seek(0)
        return torch.jit.load(buffer)


class TestPlain(PotentialSuite, FiniteDifferences):
    pass


class TestPlainFloat32(PotentialSuite):
    dtype = torch.float32


class TestFused(PotentialSuite, FiniteDifferences):
    kernel = "fused"


class TestFusedFloat32(PotentialSuite):
    kernel = "fused"
    dtype = torch.float32


class TestScripted(Scripted, FiniteDifferences):
    pass


class TestScriptedFused(Scripted, FiniteDifferences):
    kernel = "fused"


class TestScriptedFusedFloat32(Scripted):
    kernel = "fused"
    dtype = torch.float32


# ---------------------------------------------------------------------- hyperparameters


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"elements": ()}, "distinct and not empty"),
        ({"elements": ("H", "H")}, "distinct and not empty"),
        ({"elements": ("H", "Xq")}, "not a chemical symbol: Xq"),
        ({"n_features": 33}, "n_features should be a multiple of 2"),
        ({"n_blocks": 0}, "n_blocks should be greater than or equal to 1"),
        ({"n_basis": 1}, "n_basis should be greater than or equal to 2"),
        ({"cutoff": 0.0}, "cutoff should be greater than or equal to 0.1"),
        ({"cutoff": float("nan")}, "cutoff should be a finite number"),
        ({"norm_epsilon": 0.0}, "norm_epsilon should be greater than 0"),
        ({"basis": "besel"}, "basis should be 'bessel' or 'gaussian'"),
        ({"envelope": "cosin"}, "envelope should be 'cosine' or"),
    ],
)
def test_bad_hyperparameters_are_refused(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        Hyperparameters(**({"elements": ("H", "O")} | change))


@pytest.mark.parametrize("basis", ["bessel", "gaussian"])
@pytest.mark.parametrize("envelope", ["cosine", "polynomial"])
def test_every_basis_and_envelope(make_potential, cluster, basis, envelope):
    shape = {"basis": basis, "envelope": envelope, "cutoff": 5.0}
    plain, fused = (evaluate(make_potential(k, **shape), cluster()) for k in ("plain", "fused"))
    torch.testing.assert_close(fused.forces, plain.forces, rtol=0, atol=1e-5)
    torch.testing.assert_close(fused.energy, plain.energy, rtol=0, atol=1e-5)


def test_one_block_only(make_potential, cluster):
    """First and last at once."""
    plain, fused = (evaluate(make_potential(k, n_blocks=1), cluster()) for k in ("plain", "fused"))
    assert plain.forces.abs().max() > 0.01
    torch.testing.assert_close(fused.forces, plain.forces, rtol=0, atol=1e-5)


def test_set_dtype_keeps_geometry_in_float64(make_potential):
    potential = make_potential(dtype=torch.float32)
    assert potential.dtype == torch.float32
    assert potential.scale.dtype == potential.reference_energies.dtype == torch.float64
    assert potential.network.radial.constants.dtype == torch.float64
    exact = make_potential().network.radial.constants
    assert torch.equal(potential.network.radial.constants, exact)
