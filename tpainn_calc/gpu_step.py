"""Energies and forces on a GPU, step after step: what stays the same stays there.

The neighbour list with its skin lies on the GPU; a step sends positions and fetches forces. Edges
in the skin are beyond the cut-off and contribute nothing, so nothing is filtered and no step waits
for the host in between. A small system leaves the GPU waiting for launches (about 5 µs each, some
hundred a step), so its step is recorded once as a CUDA graph and replayed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tpainn_calc.neighbors import SkinList
from tpainn_calc.painn import Edges
from tpainn_calc.potential import Potential, Prediction, forces_on_atoms

# Above this many atoms kernels outlast their launches, and a recording buys nothing.
LARGEST_GRAPH = 20_000
# Room for edges beyond those of the first list, so that later lists find place.
_ROOM = 1.15
_WARM_UP = 3


# energies (atoms,), forces (atoms, 3), virial (1, 3, 3) or None
Outputs = tuple[Tensor, Tensor, Tensor | None]


class StepOnGPU:
    """One potential, evaluated again and again at new positions.

    Parameters
    ----------
    potential : Potential
        Frozen, on a CUDA device. (On a CPU the same is computed, without a recording.)
    graphs : bool
        Record small systems as CUDA graphs.
    """

    def __init__(self, potential: Potential, graphs: bool = True) -> None:
        self._potential = potential
        self._graphs = graphs and potential.network.fused
        self._device = potential.reference_energies.device
        self._capacity = -1
        self._recording: Callable[[], Outputs] | None = None
        self._species_seen = np.empty(0, dtype=np.int64)

    def __reduce__(self) -> tuple[type[StepOnGPU], tuple[Potential, bool]]:
        # a copy begins anew: recordings belong to a process
        return StepOnGPU, (self._potential, self._graphs)

    def set_list(self, species: NDArray[np.int64], edges: SkinList) -> None:
        """Take a new neighbour list of atoms of the given species (atoms,)."""
        n_edge = len(edges.centre)
        if len(species) > LARGEST_GRAPH or not self._graphs:
            self._recording, self._capacity = None, -1
            self._allocate(species, edges, n_edge)
        elif n_edge > self._capacity or not np.array_equal(species, self._species_seen):
            self._recording, self._capacity = None, int(_ROOM * n_edge) + 64
            self._allocate(species, edges, self._capacity)
            self._positions = torch.zeros(len(species), 3, dtype=torch.float64, device=self._device)
            self._species_seen = species.copy()
        else:
            self._fill(edges)

    def __call__(self, positions: NDArray[np.float64], virial: bool) -> Prediction:
        """Evaluate at positions (atoms, 3) in Å; the virial only if it is asked for."""
        x = torch.from_numpy(np.ascontiguousarray(positions))
        if self._capacity < 0:
            energies, forces, w = self._step(x.to(self._device), virial)
        else:
            self._positions.copy_(x)
            if self._recording is None:
                self._recording = self._record()
            energies, forces, w = self._recording()
        return Prediction(energies.sum().unsqueeze(0), energies, forces, w if virial else None)

    def _allocate(self, species: NDArray[np.int64], edges: SkinList, capacity: int) -> None:
        def on_gpu(values: NDArray[np.int64] | NDArray[np.float64], fill: float) -> Tensor:
            given = torch.from_numpy(values)
            padded = torch.full((capacity, *given.shape[1:]), fill, dtype=given.dtype)
            padded[: len(given)] = given
            return padded.to(self._device)

        self._species = torch.from_numpy(species).to(self._device)
        # places that are free lie beyond the cut-off, and in no row of the compressed index
        self._offset = on_gpu(edges.offset, 2.0 * self._potential.cutoff)
        centre, neighbour = on_gpu(edges.centre, 0), on_gpu(edges.neighbour, 0)
        n = len(species)
        self._edges: Edges = self._potential.connect(centre, neighbour, self._offset, n, n)
        if capacity > len(edges.centre):
            self._fill(edges)

    def _fill(self, edges: SkinList) -> None:
        """Write a list into the buffers that a recording reads."""
        old, m, n = self._edges, len(edges.centre), len(self._species)
        self._offset.fill_(2.0 * self._potential.cutoff)
        parts = [(old.centre, edges.centre), (old.neighbour, edges.neighbour)]
        for buffer, values in [*parts, (self._offset, edges.offset)]:
            buffer[:m] = torch.from_numpy(values).to(self._device)
        offset = self._offset[:m]
        new = self._potential.connect(old.centre[:m], old.neighbour[:m], offset, n, n)
        for buffer, index in zip(old.compressed[2:], new.compressed[2:], strict=True):
            buffer[: len(index)] = index

    def _step(self, positions: Tensor, virial: bool) -> Outputs:
        edges = self._edges
        edge_vec = positions.index_select(0, edges.neighbour)
        edge_vec = edge_vec - positions.index_select(0, edges.centre) + self._offset
        with torch.enable_grad():
            edge_vec.requires_grad_(True)
            moved = self._potential.move(edges, edge_vec)
            energies = self._potential.energies(self._species, moved)
            (gradient,) = torch.autograd.grad(energies.sum(), edge_vec)
        forces = forces_on_atoms(gradient, edges, len(positions))
        w = -(edge_vec.detach().t() @ gradient).unsqueeze(0) if virial else None
        return energies.detach(), forces, w

    def _record(self) -> Callable[[], Outputs]:
        if self._device.type != "cuda":  # nothing records there: the buffers are used as they are
            return lambda: self._step(self._positions, True)
        with torch.cuda.device(self._device):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP):
                    self._step(self._positions, True)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                outputs = self._step(self._positions, True)

        def replay() -> Outputs:
            graph.replay()
            return outputs

        return replay
