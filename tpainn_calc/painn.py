"""PaiNN: polarizable atom interaction neural network (Schütt, Unke, Gastegger, ICML 2021,
arXiv 2102.03150).

Every atom carries scalars s (F channels) and vectors v (3 × F). Edges i ← j point from the centre
i to the neighbour j: edge_vec = x_j − x_i (+ image), in Å and always float64. The network works
block by block, so that a host code may exchange the states of ghost atoms in between::

    edges = painn.connect(centre, neighbour, edge_vec, n_centre, n_node)
    s, v = painn.embed(species)
    for k in range(n_blocks):
        s, v = painn.layer(k, s, v, edges)
    energies = painn.readout(s)
"""

# No `from __future__ import annotations` here: TorchScript reads Final[...] from the annotations.

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from tpainn_calc.radial import RadialBasis, RadialFilter


class Edges(NamedTuple):
    """The graph as the blocks want it; made by :meth:`PaiNN.connect`, opaque to callers."""

    centre: Tensor
    neighbour: Tensor
    edge_vec: Tensor
    n_centre: int
    # fused kernel: compressed indices, see ops/message.cpp
    compressed: list[Tensor]
    # plain path: geometry in the network's dtype
    unit: Tensor
    basis: Tensor
    envelope: Tensor


class Message(nn.Module):
    """Message block (Eqs. 7 and 8): neighbours, filtered by distance, act on their centre."""

    fused: Final[bool]
    first: Final[bool]
    cutoff: Final[float]
    table: Tensor

    def __init__(
        self, n_features: int, basis: RadialBasis, first: bool, fused: bool, n_knots: int
    ) -> None:
        super().__init__()
        self.fused = fused
        self.first = first
        self.cutoff = basis.cutoff
        self.context = nn.Sequential(
            nn.Linear(n_features, n_features), nn.SiLU(), nn.Linear(n_features, 3 * n_features)
        )
        self.filter = RadialFilter(basis, 3 * n_features, n_knots)
        # filled by tabulate(), empty while the weights may still change
        self.register_buffer("table", torch.empty(0), persistent=False)

    def forward(self, s: Tensor, v: Tensor, edges: Edges) -> tuple[Tensor, Tensor]:
        """Return the increments of s (n_centre, F) and v (n_centre, 3, F)."""
        x = self.context(s)
        if self.fused:
            table = self.table if self.table.numel() > 0 else self.filter.make_table()
            # in the first block all v are zero: the operator skips them
            neighbour_v = None if self.first else v
            return torch.ops.tpainn.message(
                x, neighbour_v, edges.edge_vec, table, self.cutoff, edges.compressed
            )
        filtered = x.index_select(0, edges.neighbour) * self.filter(edges.basis, edges.envelope)
        # split, not chunk: TorchScript's gradient of chunk is wrong if a part goes unused, as c
        # does in the first block
        a, b, c = filtered.split(s.size(1), dim=1)
        vector = b.unsqueeze(1) * edges.unit.unsqueeze(2)
        if not self.first:
            vector = vector + c.unsqueeze(1) * v.index_select(0, edges.neighbour)
        ds = torch.zeros([edges.n_centre, s.size(1)], dtype=s.dtype, device=s.device)
        dv = torch.zeros([edges.n_centre, 3, s.size(1)], dtype=s.dtype, device=s.device)
        return ds.index_add(0, edges.centre, a), dv.index_add(0, edges.centre, vector)


class Update(nn.Module):
    """Update block (Eqs. 9 and 10): scalars and vectors of one atom act on each other.

    The norm |Vv| has a cusp at zero, where forces jump: atoms pass near it in every step, and the
    energy of a trajectory walks at random. √(|Vv|² + ε) is smooth over √ε.
    """

    last: Final[bool]
    norm_epsilon: Final[float]

    def __init__(self, n_features: int, last: bool, norm_epsilon: float) -> None:
        super().__init__()
        self.last = last
        self.norm_epsilon = norm_epsilon
        self.mix = nn.Linear(n_features, 2 * n_features, bias=False)  # U and V at once
        self.context = nn.Sequential(
            nn.Linear(2 * n_features, n_features),
            nn.SiLU(),
            nn.Linear(n_features, 3 * n_features),
        )

    def forward(self, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the new s (n, F) and v (n, 3, F)."""
        u_v, v_v = self.mix(v).chunk(2, dim=2)
        norm = torch.sqrt((v_v * v_v).sum(1) + self.norm_epsilon)
        # split, not chunk, because a_vv goes unused in the last block; see Message.forward
        context = self.context(torch.cat([s, norm], dim=1))
        a_ss, a_vv, a_sv = context.split(s.size(1), dim=1)
        s = s + a_ss + a_sv * (u_v * v_v).sum(1)
        if self.last:  # nobody reads the vectors after the last block
            return s, v
        return s, v + a_vv.unsqueeze(1) * u_v


class Block(nn.Module):
    """One interaction: message, then update."""

    def __init__(self, message: Message, update: Update) -> None:
        super().__init__()
        self.message = message
        self.update = update

    def forward(self, s: Tensor, v: Tensor, edges: Edges) -> tuple[Tensor, Tensor]:
        """Return s and v of the centres (the first `edges.n_centre` nodes)."""
        ds, dv = self.message(s, v, edges)
        return self.update(s[: edges.n_centre] + ds, v[: edges.n_centre] + dv)


class PaiNN(nn.Module):
    """The network: species and edge vectors in, one number per atom out.

    Parameters
    ----------
    n_elements : int
        Size of the embedding.
    n_features : int
        Channels F.
    n_blocks : int
        Interaction blocks.
    cutoff : float
        Cut-off radius in Å.
    n_basis, basis, envelope
        See :class:`tpainn_calc.radial.RadialBasis`.
    norm_epsilon : float
        ε of the update's norm, see :class:`Update`.
    fused : bool
        Use the compiled operator ``tpainn::message`` with tabulated filters
        (:mod:`tpainn_calc.ops`) in place of plain PyTorch with exact filters.
    n_knots : int
        Intervals of the filter tables.
    """

    fused: Final[bool]
    n_features: Final[int]
    n_blocks: Final[int]

    def __init__(
        self,
        n_elements: int,
        n_features: int = 128,
        n_blocks: int = 3,
        cutoff: float = 5.0,
        n_basis: int = 20,
        basis: str = "bessel",
        envelope: str = "polynomial",
        norm_epsilon: float = 1e-3,
        fused: bool = False,
        n_knots: int = 512,
    ) -> None:
        super().__init__()
        self.fused = fused
        self.n_features = n_features
        self.n_blocks = n_blocks
        self.radial = RadialBasis(n_basis, cutoff, basis, envelope)
        self.embedding = nn.Embedding(n_elements, n_features)
        self.blocks = nn.ModuleList(
            Block(
                Message(n_features, self.radial, k == 0, fused, n_knots),
                Update(n_features, k == n_blocks - 1, norm_epsilon),
            )
            for k in range(n_blocks)
        )
        self.output = nn.Sequential(
            nn.Linear(n_features, n_features // 2), nn.SiLU(), nn.Linear(n_features // 2, 1)
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier-uniform weights and zero biases, as in the reference implementation."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for block in self._typed_blocks():
            for half in block.update.mix.weight.data.chunk(2, dim=0):  # U and V one by one
                nn.init.xavier_uniform_(half)

    @torch.jit.unused
    def _typed_blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    @torch.jit.unused
    def tabulate(self) -> None:
        """Fix the filter tables: for inference, when the weights change no more."""
        with torch.no_grad():
            for block in self._typed_blocks():
                block.message.table = block.message.filter.make_table().contiguous()

    @torch.jit.unused
    def train(self, mode: bool = True) -> "PaiNN":
        """Set training mode; drops fixed filter tables, since weights may now change."""
        if mode:
            for block in self._typed_blocks():
                block.message.table = torch.empty(0)
        super().train(mode)
        return self

    @torch.jit.export
    def connect(
        self, centre: Tensor, neighbour: Tensor, edge_vec: Tensor, n_centre: int, n_node: int
    ) -> Edges:
        """Prepare the graph for :meth:`layer`.

        Parameters
        ----------
        centre, neighbour : Tensor (edges,), int64
            Atoms of every edge, in any order; ``centre < n_centre``, ``neighbour < n_node``.
        edge_vec : Tensor (edges, 3), float64
            x_neighbour − x_centre in Å.
        n_centre, n_node : int
            How many atoms receive messages, and how many send them.
        """
        index: list[Tensor] = []
        if self.fused:
            centre_start, centre_order = torch.ops.tpainn.compress(centre, n_centre)
            neighbour_start, neighbour_order = torch.ops.tpainn.compress(neighbour, n_node)
            index = [
                centre,
                neighbour,
                centre_start,
                centre_order,
                neighbour_start,
                neighbour_order,
            ]
        empty = torch.empty(0, device=edge_vec.device)
        edges = Edges(centre, neighbour, edge_vec, n_centre, index, empty, empty, empty)
        return self.move(edges, edge_vec)

    @torch.jit.export
    def move(self, edges: Edges, edge_vec: Tensor) -> Edges:
        """Return the same graph with new `edge_vec` (edges, 3), whatever their lengths."""
        unit, basis, envelope = edges.unit, edges.basis, edges.envelope
        if not self.fused:
            r = torch.linalg.vector_norm(edge_vec, dim=1)
            basis, envelope = self.radial(r)
            dtype = self.embedding.weight.dtype
            unit = (edge_vec / r.unsqueeze(1)).to(dtype)
            basis, envelope = basis.to(dtype), envelope.to(dtype)
        return Edges(
            edges.centre,
            edges.neighbour,
            edge_vec,
            edges.n_centre,
            edges.compressed,
            unit,
            basis,
            envelope,
        )

    @torch.jit.export
    def embed(self, species: Tensor) -> tuple[Tensor, Tensor]:
        """Initial state: s (n, F) from the embedding of `species` (n,), v (n, 3, F) = 0."""
        s = self.embedding(species)
        v = torch.zeros([species.size(0), 3, self.n_features], dtype=s.dtype, device=s.device)
        return s, v

    @torch.jit.export
    def layer(self, k: int, s: Tensor, v: Tensor, edges: Edges) -> tuple[Tensor, Tensor]:
        """Run block `k` on the states of all nodes; returns the states of the centres."""
        # TorchScript unrolls this loop: a ModuleList cannot be indexed by a variable
        for index, block in enumerate(self.blocks):
            if index == k:
                return block(s, v, edges)
        raise IndexError("PaiNN.layer: no such block")

    @torch.jit.export
    def readout(self, s: Tensor) -> Tensor:
        """Per-atom output (n,) from the final scalars."""
        return self.output(s).squeeze(1)

    def forward(
        self, species: Tensor, centre: Tensor, neighbour: Tensor, edge_vec: Tensor
    ) -> Tensor:
        """Per-atom output (n,) of a whole graph, in the network's dtype."""
        n = species.size(0)
        edges = self.connect(centre, neighbour, edge_vec, n, n)
        s, v = self.embed(species)
        for block in self.blocks:
            s, v = block(s, v, edges)
        return self.readout(s)
