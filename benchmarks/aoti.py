"""Would an AOTInductor export be faster? ``python -m benchmarks.aoti``.

Energies and forces of liquid water are traced with their gradient, exported with a free number of
atoms and edges, and compiled to a ``.pt2`` package by AOTInductor: once from the plain path, and
once around the fused operator, where Inductor has the dense layers only. Both are called in turn
with the fused path and with its TorchScript export, in one process; numbers must agree first. All
of them get indices that are ready, as between two rebuilds of a neighbour list.
Writes ``benchmarks/results/aoti.csv``.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.machine import write_measurements
from benchmarks.timing import in_turn
from benchmarks.water import water_box
from tpainn_calc import Hyperparameters, Potential, ops
from tpainn_calc.export import export_model, load_exported
from tpainn_calc.graph import Graph
from tpainn_calc.modelfile import Kernel, load_model, save_model
from tpainn_calc.painn import Edges
from tpainn_calc.potential import forces_on_atoms

RESULTS = Path(__file__).parent / "results"
FEATURES = 64
Result = tuple[Tensor, Tensor]


class EnergyAndForces(torch.nn.Module):
    """Per-atom energies and forces as functions of a graph, with nothing left to differentiate."""

    def __init__(self, potential: Potential | torch.jit.ScriptModule) -> None:
        super().__init__()
        self.potential = potential

    def forward(self, species: Tensor, edge_vec: Tensor, *index: Tensor) -> Result:
        """Energies (atoms,) and forces (atoms, 3); `index` as in ``Edges.compressed``."""
        edge_vec = edge_vec.detach().requires_grad_(True)
        empty = edge_vec.new_empty(0)
        compressed = list(index) if len(index) > 2 else []
        n = species.size(0)
        edges = Edges(index[0], index[1], edge_vec, n, compressed, empty, empty, empty)
        edges = self.potential.move(edges, edge_vec)
        energies = self.potential.energies(species, edges)
        (gradient,) = torch.autograd.grad(energies.sum(), edge_vec)
        return energies.detach(), forces_on_atoms(gradient, edges, n)


def register_shapes() -> None:
    """Tell the tracer what shapes the operators return."""

    def message(x, v, edge_vec, table, cutoff, index):  # type: ignore[no-untyped-def]
        n, f = index[2].size(0) - 1, x.size(1) // 3
        return x.new_empty(n, f), x.new_empty(n, 3, f)

    def backward(gs, gv, x, v, edge_vec, table, cutoff, index, with_table):  # type: ignore[no-untyped-def]
        absent = x.new_empty(0)
        gradients = torch.empty_like(x), absent if v is None else torch.empty_like(v)
        return *gradients, torch.empty_like(edge_vec), absent

    torch.library.register_fake("tpainn::message", message)
    torch.library.register_fake("tpainn::message_backward", backward)
    torch.library.register_fake(
        "tpainn::edge_forces",
        lambda gradient, index: gradient.new_empty(index[4].size(0) - 1, 3),
    )


def compile_package(potential: Potential, example: tuple[Tensor, ...], path: Path) -> None:
    """Write a ``.pt2`` package that takes any number of atoms and edges."""
    from torch.fx.experimental.proxy_tensor import make_fx

    function = EnergyAndForces(potential)
    traced = make_fx(function, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*example)
    free = tuple({0: torch.export.Dim.DYNAMIC} for _ in example)
    exported = torch.export.export(traced, example, dynamic_shapes=free, strict=False)
    torch._inductor.aoti_compile_and_package(exported, package_path=str(path))


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser("benchmarks.aoti", description=__doc__)
    parser.add_argument(
        "--sides", type=int, nargs="+", default=[4, 6, 10], help="waters along an edge"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("torch").setLevel(logging.ERROR)
    if not ops.load(arguments.device):
        sys.exit("the fused operator cannot be compiled here")
    register_shapes()
    graphs = [
        Graph.from_atoms(water_box(side), ("O", "H"), 5.0).to(arguments.device)
        for side in arguments.sides
    ]
    example = Graph.from_atoms(water_box(5), ("O", "H"), 5.0).to(arguments.device)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.safetensors"
        torch.manual_seed(0)
        save_model(model, Potential(Hyperparameters(("O", "H"), n_features=FEATURES)))
        potentials: dict[Kernel, Potential] = {
            kernel: load_model(model, kernel=kernel, device=arguments.device)[0].requires_grad_(
                False
            )
            for kernel in ("plain", "fused")
        }
        export_model(model, Path(folder) / "model.pt", kernel="fused")
        exported = load_exported(Path(folder) / "model.pt")[0].to(arguments.device)
        packages = {}
        for kernel, potential in potentials.items():
            path = Path(folder) / f"{kernel}.pt2"
            start = time.perf_counter()
            compile_package(potential, _inputs(potential, example), path)
            print(f"{kernel}: compiled in {time.perf_counter() - start:.0f} s")
            packages[kernel] = torch._inductor.aoti_load_package(str(path))
        rows = [
            _compare(exported, potentials, packages, graph, arguments.seconds) for graph in graphs
        ]
    write_measurements(RESULTS / "aoti.csv", rows)
    return 0


def _inputs(potential: Potential, graph: Graph) -> tuple[Tensor, ...]:
    n, edge_vec = graph.n_atoms, graph.edge_vec.detach()
    edges = potential.connect(graph.centre, graph.neighbour, edge_vec, n, n)
    return graph.species, edge_vec, *(edges.compressed or (graph.centre, graph.neighbour))


def _compare(
    exported: torch.jit.ScriptModule,
    potentials: dict[Kernel, Potential],
    packages: dict[Kernel, Callable[..., Result]],
    graph: Graph,
    seconds: float,
) -> dict[str, object]:
    inputs = {kernel: _inputs(potential, graph) for kernel, potential in potentials.items()}
    eager = {kernel: EnergyAndForces(potential) for kernel, potential in potentials.items()}
    calls: dict[str, Callable[[], object]] = {"fused": partial(eager["fused"], *inputs["fused"])}
    calls["torchscript"] = partial(EnergyAndForces(exported), *inputs["fused"])
    for kernel, package in packages.items():
        energies, forces = package(*inputs[kernel])
        expected = eager[kernel](*inputs[kernel])
        torch.testing.assert_close(energies, expected[0], rtol=1e-5, atol=1e-5)
        largest = float(expected[1].abs().max())
        torch.testing.assert_close(forces, expected[1], rtol=1e-4, atol=1e-5 * largest)
        calls[f"aoti-{kernel}"] = partial(package, *inputs[kernel])
    ms = in_turn(calls, seconds)
    print(f"{len(graph.species):6d} atoms: " + "  ".join(f"{k} {v:.2f} ms" for k, v in ms.items()))
    ratios = {f"{name}/fused": round(ms[name] / ms["fused"], 3) for name in ms if name != "fused"}
    return {"atoms": len(graph.species)} | {k: round(v, 3) for k, v in ms.items()} | ratios


if __name__ == "__main__":
    sys.exit(main())
