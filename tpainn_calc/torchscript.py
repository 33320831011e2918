"""The module that a deployed file holds: a potential, beside typed attributes that describe it."""

# No `from __future__ import annotations` here: TorchScript reads the types from the annotations.

from typing import Final

import torch
from ase.data import atomic_masses, atomic_numbers
from torch import Tensor, nn

from tpainn_calc.graph import Graph
from tpainn_calc.manifest import Manifest
from tpainn_calc.modelfile import GOLDEN_TOLERANCE
from tpainn_calc.painn import Edges
from tpainn_calc.potential import Potential


class Deployed(nn.Module):
    """A potential as other programs read it; all attributes can be had without running anything.

    Attributes
    ----------
    name, level_of_theory, dtype, kernel : str
        `dtype` is float32 or float64, `kernel` fused or plain.
    seal, teacher : str
        Checksum in the manifest of the model file, and in that of the model which this one was
        distilled from; empty where there is none.
    elements : list of str
        In the order of species indices.
    masses : list of float
        Of these elements, u.
    cutoff : float
        Å.
    n_features, n_blocks, n_basis, basis, envelope, norm_epsilon
        See :class:`tpainn_calc.potential.Hyperparameters`.
    pairs : list of str
    shortest_distances : list of float
        Smallest distance (Å) in the training set of pairs such as ``"H-O"``.
    golden_species, golden_centre, golden_neighbour : Tensor, int64
    golden_edge_vec : Tensor (edges, 3)
        A small graph, Å.
    golden_energy : float
    golden_forces : Tensor (atoms, 3)
        What the model says of it: eV, eV/Å.
    golden_tolerance : float
        How far others may be off: eV per atom, eV/Å.
    """

    fused: Final[bool]
    name: str
    level_of_theory: str
    dtype: str
    kernel: str
    seal: str
    teacher: str
    elements: list[str]
    masses: list[float]
    cutoff: float
    n_features: int
    n_blocks: int
    n_basis: int
    basis: str
    envelope: str
    norm_epsilon: float
    pairs: list[str]
    shortest_distances: list[float]
    golden_energy: float
    golden_tolerance: float

    def __init__(self, potential: Potential, manifest: Manifest) -> None:
        super().__init__()
        self.potential = potential
        self.fused = potential.network.fused
        self.name = manifest.name
        self.level_of_theory = manifest.level_of_theory
        self.dtype = str(potential.dtype).removeprefix("torch.")
        self.kernel = "fused" if potential.network.fused else "plain"
        self.seal = manifest.sha256
        self.teacher = manifest.teacher
        h = potential.hyperparameters
        self.elements = list(h.elements)
        self.masses = [float(atomic_masses[atomic_numbers[e]]) for e in h.elements]
        self.cutoff = float(h.cutoff)
        self.n_features = h.n_features
        self.n_blocks = h.n_blocks
        self.n_basis = h.n_basis
        self.basis = h.basis
        self.envelope = h.envelope
        self.norm_epsilon = float(h.norm_epsilon)
        self.pairs = list(manifest.shortest_distances)
        self.shortest_distances = [float(r) for r in manifest.shortest_distances.values()]
        golden = manifest.golden
        graph = Graph.from_atoms(golden.atoms(), h.elements, h.cutoff)
        tensors = {
            "species": graph.species,
            "centre": graph.centre,
            "neighbour": graph.neighbour,
            "edge_vec": graph.edge_vec,
            "forces": torch.tensor(golden.forces, dtype=torch.float64).reshape(-1, 3),
        }
        for name, tensor in tensors.items():
            self.register_buffer(f"golden_{name}", tensor)
        self.golden_energy = float(golden.energy)
        self.golden_tolerance = GOLDEN_TOLERANCE[potential.dtype]

    def forward(
        self, species: Tensor, centre: Tensor, neighbour: Tensor, edge_vec: Tensor
    ) -> Tensor:
        """Per-atom energies of a graph; see :meth:`tpainn_calc.potential.Potential.forward`."""
        return self.potential(species, centre, neighbour, edge_vec)

    @torch.jit.export
    def connect(
        self, centre: Tensor, neighbour: Tensor, edge_vec: Tensor, n_centre: int, n_node: int
    ) -> Edges:
        """Prepare a graph for :meth:`layer`; see :meth:`tpainn_calc.painn.PaiNN.connect`."""
        return self.potential.connect(centre, neighbour, edge_vec, n_centre, n_node)

    @torch.jit.export
    def move(self, edges: Edges, edge_vec: Tensor) -> Edges:
        """Return the same graph with new edge vectors, see :meth:`tpainn_calc.painn.PaiNN.move`."""
        return self.potential.move(edges, edge_vec)

    @torch.jit.export
    def embed(self, species: Tensor) -> tuple[Tensor, Tensor]:
        """Initial scalars (n, F) and vectors (n, 3, F) of atoms of the given species (n,)."""
        return self.potential.embed(species)

    @torch.jit.export
    def layer(self, k: int, s: Tensor, v: Tensor, edges: Edges) -> tuple[Tensor, Tensor]:
        """Run block `k`; states of all nodes in, states of the centres out."""
        return self.potential.layer(k, s, v, edges)

    @torch.jit.export
    def readout(self, s: Tensor, species: Tensor) -> Tensor:
        """Per-atom energies (n,), float64, in eV."""
        return self.potential.readout(s, species)

    @torch.jit.export
    def energies(self, species: Tensor, edges: Edges) -> Tensor:
        """Per-atom energies (atoms,) of a graph from :meth:`connect` or :meth:`move`."""
        return self.potential.energies(species, edges)

    @torch.jit.export
    def forces(self, gradient: Tensor, edges: Edges, n: int) -> Tensor:
        """Forces (n, 3) on the nodes from dE/d(edge_vec) (edges, 3)."""
        if self.fused:
            return torch.ops.tpainn.edge_forces(gradient, edges.compressed)
        zero = torch.zeros([n, 3], dtype=gradient.dtype, device=gradient.device)
        return zero.index_add(0, edges.centre, gradient).index_add(0, edges.neighbour, -gradient)
