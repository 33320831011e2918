"""The potential: PaiNN plus per-element reference energies.

Defined once, as a function of edge vectors; ASE, training and LAMMPS all feed it the same way, so
that no cell, no image shift and no triclinic special case exists inside the model.
"""

# No `from __future__ import annotations` here: TorchScript reads Final[...] from the annotations.

from dataclasses import asdict, dataclass
from typing import Final

import torch
from torch import Tensor, nn

from tpainn_calc.graph import Graph
from tpainn_calc.hyperparameters import Hyperparameters
from tpainn_calc.painn import Edges, PaiNN

__all__ = ["Hyperparameters", "Potential", "Prediction", "forces_on_atoms", "predict"]


class Potential(nn.Module):
    """Interatomic potential.

    Parameters
    ----------
    hyperparameters : Hyperparameters
    fused : bool
        Use the compiled operator (see :mod:`tpainn_calc.ops`); plain PyTorch otherwise.
    n_knots : int
        Intervals of the filter tables of the compiled operator.
    """

    cutoff: Final[float]
    scale: Tensor
    reference_energies: Tensor
    isolated: Tensor
    # TorchScript reads this name: the properties below are for Python only
    __jit_unused_properties__ = ["dtype", "elements"]  # noqa: RUF012

    def __init__(
        self, hyperparameters: Hyperparameters, fused: bool = False, n_knots: int = 512
    ) -> None:
        super().__init__()
        h = asdict(hyperparameters)
        elements = h.pop("elements")
        self.hyperparameters = hyperparameters
        self.cutoff = hyperparameters.cutoff
        self.network = PaiNN(n_elements=len(elements), fused=fused, n_knots=n_knots, **h)
        # energy unit of the network (eV) and energy of the isolated atoms (eV)
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("reference_energies", torch.zeros(len(elements), dtype=torch.float64))
        # what the network says of isolated atoms; empty while the weights may still change
        self.register_buffer("isolated", torch.empty(0), persistent=False)

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols in the order of species indices."""
        return self.hyperparameters.elements

    @property
    def dtype(self) -> torch.dtype:
        """The network's floating-point type."""
        return self.network.embedding.weight.dtype

    @torch.jit.unused
    def set_dtype(self, dtype: torch.dtype) -> "Potential":
        """Convert the network (geometry, scale and reference energies stay float64)."""
        constants = {n: b for n, b in self.network.named_buffers() if b.dtype == torch.float64}
        self.network.to(dtype)
        for name, constant in constants.items():
            owner = self.network.get_submodule(name.rpartition(".")[0])
            setattr(owner, name.rpartition(".")[2], constant)
        return self

    @torch.jit.unused
    def freeze(self) -> "Potential":
        """Prepare for inference: what depends on the weights alone is computed once, here."""
        self.eval()
        with torch.no_grad():
            self.network.tabulate()
            self.isolated = self.network_of_isolated_atoms()
        return self

    @torch.jit.unused
    def train(self, mode: bool = True) -> "Potential":
        """Set training mode; drops what :meth:`freeze` computed, since weights may now change."""
        if mode:
            self.isolated = torch.empty(0)
        super().train(mode)
        return self

    def network_of_isolated_atoms(self) -> Tensor:
        """Network output (elements,) for one atom of each element without neighbours."""
        n = self.reference_energies.size(0)
        device = self.reference_energies.device
        species = torch.arange(n, device=device)
        nothing = torch.empty(0, dtype=torch.int64, device=device)
        vectors = torch.empty([0, 3], dtype=torch.float64, device=device)
        return self.network(species, nothing, nothing, vectors)

    @torch.jit.export
    def connect(
        self, centre: Tensor, neighbour: Tensor, edge_vec: Tensor, n_centre: int, n_node: int
    ) -> Edges:
        """Prepare a graph for :meth:`layer`; see :meth:`tpainn_calc.painn.PaiNN.connect`."""
        return self.network.connect(centre, neighbour, edge_vec, n_centre, n_node)

    @torch.jit.export
    def move(self, edges: Edges, edge_vec: Tensor) -> Edges:
        """Return the same graph with new edge vectors, see :meth:`tpainn_calc.painn.PaiNN.move`."""
        return self.network.move(edges, edge_vec)

    @torch.jit.export
    def embed(self, species: Tensor) -> tuple[Tensor, Tensor]:
        """Initial scalars (n, F) and vectors (n, 3, F) of atoms of the given species (n,)."""
        return self.network.embed(species)

    @torch.jit.export
    def layer(self, k: int, s: Tensor, v: Tensor, edges: Edges) -> tuple[Tensor, Tensor]:
        """Run block `k`; states of all nodes in, states of the centres out."""
        return self.network.layer(k, s, v, edges)

    @torch.jit.export
    def readout(self, s: Tensor, species: Tensor) -> Tensor:
        """Per-atom energies (n,), float64, in eV; an isolated atom has its reference energy."""
        isolated = self.isolated
        if isolated.numel() == 0:
            isolated = self.network_of_isolated_atoms()
        bound = self.network.readout(s) - isolated.index_select(0, species)
        energies = bound.to(torch.float64) * self.scale
        return energies + self.reference_energies.index_select(0, species)

    def forward(
        self, species: Tensor, centre: Tensor, neighbour: Tensor, edge_vec: Tensor
    ) -> Tensor:
        """Per-atom energies of a graph.

        Parameters
        ----------
        species : Tensor (atoms,), int64
            Indices into `elements`.
        centre, neighbour : Tensor (edges,), int64
            Full list: every pair appears in both directions; any order.
        edge_vec : Tensor (edges, 3), float64
            x_neighbour − x_centre in Å, image shift included; edges at or beyond the cut-off
            contribute nothing.

        Returns
        -------
        Tensor (atoms,), float64
            Energies in eV.
        """
        n = species.size(0)
        return self.energies(species, self.connect(centre, neighbour, edge_vec, n, n))

    @torch.jit.export
    def energies(self, species: Tensor, edges: Edges) -> Tensor:
        """Per-atom energies (atoms,) of a graph from :meth:`connect` or :meth:`move`."""
        s, v = self.embed(species)
        for k in range(self.network.n_blocks):
            s, v = self.layer(k, s, v, edges)
        return self.readout(s, species)


@dataclass(frozen=True)
class Prediction:
    """Energies and derivatives of a batch of structures; units eV and Å.

    Attributes
    ----------
    energy : Tensor (structures,)
    energies : Tensor (atoms,)
    forces : Tensor (atoms, 3) or None
    virial : Tensor (structures, 3, 3) or None
        W = −Σ r ⊗ dE/dr over edges; stress = −W / volume.
    virials : Tensor (atoms, 3, 3) or None
        Per-atom share of `virial`: half of every edge to each of its two atoms.
    """

    energy: Tensor
    energies: Tensor
    forces: Tensor | None = None
    virial: Tensor | None = None
    virials: Tensor | None = None


def predict(
    potential: Potential,
    graph: Graph,
    forces: bool = True,
    virial: bool = False,
    virials: bool = False,
    create_graph: bool = False,
) -> Prediction:
    """Energy and, when asked for, its derivatives, from one forward and one backward pass.

    Parameters
    ----------
    potential : Potential
    graph : Graph
        One structure or a batch.
    forces, virial, virials : bool
        What to compute beside the energies; no gradient is computed when all are False.
    create_graph : bool
        Keep the graph of the derivatives: for training on forces.
    """
    derivatives = forces or virial or virials
    edge_vec = graph.edge_vec.detach()
    if derivatives:
        edge_vec.requires_grad_(True)
    with torch.set_grad_enabled(derivatives or torch.is_grad_enabled()):
        n = graph.n_atoms
        edges = potential.connect(graph.centre, graph.neighbour, edge_vec, n, n)
        energies = potential.energies(graph.species, edges)
        energy = energies.new_zeros(graph.n_structures).index_add(0, graph.structure, energies)
        if not derivatives:
            return Prediction(energy, energies)
        (gradient,) = torch.autograd.grad(energies.sum(), edge_vec, create_graph=create_graph)
    if not create_graph:
        energy, energies = energy.detach(), energies.detach()
    f = w = w_atoms = None
    if forces:
        f = forces_on_atoms(gradient, edges, graph.n_atoms)
    vectors = edge_vec.detach()
    if virial and graph.n_structures == 1:
        w = -(vectors.t() @ gradient).unsqueeze(0)
    elif virial:
        per_edge = -vectors.unsqueeze(2) * gradient.unsqueeze(1)
        zero = per_edge.new_zeros(graph.n_structures, 3, 3)
        w = zero.index_add(0, graph.structure[graph.centre], per_edge)
    if virials:
        share = -0.5 * vectors.unsqueeze(2) * gradient.unsqueeze(1)
        zero = share.new_zeros(graph.n_atoms, 3, 3)
        w_atoms = zero.index_add(0, graph.centre, share).index_add(0, graph.neighbour, share)
    return Prediction(energy, energies, f, w, w_atoms)


def forces_on_atoms(gradient: Tensor, edges: Edges, n_atoms: int) -> Tensor:
    """Forces (n_atoms, 3) from dE/d(edge_vec) (edges, 3): plus at centres, minus at neighbours."""
    if edges.compressed:
        return torch.ops.tpainn.edge_forces(gradient, edges.compressed)
    zero = gradient.new_zeros(n_atoms, 3)
    return zero.index_add(0, edges.centre, gradient).index_add(0, edges.neighbour, -gradient)
