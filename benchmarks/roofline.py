"""Share of the machine's arithmetic and memory bandwidth that the fused path reaches.

``python -m benchmarks.roofline`` measures both ceilings with one thread (float32 matrix product
and array copy), times energies and forces of water, and writes ``results/roofline.csv`` and
``roofline.png``. Operations and bytes are counted, not measured:

- *operations*, per block: the linear maps on atoms (15 F² multiply-adds per atom forward, as many
  backward: weights need no gradient at inference), and on every edge the filters and messages
  (37 F operations forward, 100 F backward, see :func:`operations`);
- *bytes*: what must move at least once, every array of atoms and edges read and written once per
  pass, as if caches held the rest. So the arithmetic intensity is an upper bound.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from benchmarks.timing import median_ms

HERE = Path(__file__).parent
N_BLOCKS = 3


def operations(n_atoms: int, n_edges: int, features: int) -> float:
    """Floating-point operations of one energy-and-forces call, in units of one.

    On an edge and channel: three cubic splines from four coefficients each (3 × 7), their product
    with x_j (3), the sum of scalars (1) and vectors (3 × 4) make 37 forward. Backward the splines
    and their derivatives (3 × 14) and the gradients of x, v, filters and direction (58).
    """
    linear = 2 * 2 * 15 * features**2 * n_atoms
    edges = (37 + 100) * features * n_edges
    return float(N_BLOCKS * (linear + edges))


def least_bytes(n_atoms: int, n_edges: int, features: int) -> float:
    """Bytes that must move at least: float32 states, float64 edge vectors, int64 indices."""
    # forward and backward: x (3F), s (F), v (3F) in and out, and the tape of the linear maps (~16F)
    atoms = 2 * 4 * features * (3 + 2 * 1 + 2 * 3 + 16) * n_atoms
    edges = 2 * (2 * 8 + 3 * 8) * n_edges
    return float(N_BLOCKS * (atoms + edges))


def ceilings() -> tuple[float, float]:
    """Float32 matrix product in FLOP/s and copy in bytes/s, one thread, best of sizes."""
    import torch

    gemm = 0.0
    for n in (256, 512, 1024, 2048):
        a, b = torch.randn(n, n), torch.randn(n, n)
        gemm = max(gemm, 2 * n**3 / (1e-3 * median_ms(lambda a=a, b=b: a @ b, 2.0)))
    source = torch.ones(64 * 2**20 // 4)
    target = torch.empty_like(source)
    copy = 2 * source.numel() * 4 / (1e-3 * median_ms(lambda: target.copy_(source), 2.0))
    return gemm, copy


def measure(sides: list[int], features: int) -> list[dict[str, float]]:
    """Time the fused path; one row per size."""
    import torch

    from benchmarks.water import water_box
    from tpainn_calc import Hyperparameters, Potential, ops, predict
    from tpainn_calc.graph import Graph

    torch.set_num_threads(1)
    ops.load()
    gemm, copy = ceilings()
    potential = Potential(
        Hyperparameters(("O", "H"), n_features=features, n_blocks=N_BLOCKS), fused=True
    )
    potential.set_dtype(torch.float32).freeze()
    rows = []
    for side in sides:
        graph = Graph.from_atoms(water_box(side), potential.elements, potential.cutoff)
        seconds = 1e-3 * median_ms(lambda graph=graph: predict(potential, graph))
        n_edges = graph.centre.numel()
        flop = operations(graph.n_atoms, n_edges, features)
        moved = least_bytes(graph.n_atoms, n_edges, features)
        rows.append(
            {
                "n_atoms": graph.n_atoms,
                "n_edges": n_edges,
                "features": features,
                "ms": 1e3 * seconds,
                "gflop": 1e-9 * flop,
                "gflop_per_s": 1e-9 * flop / seconds,
                "flop_per_byte": flop / moved,
                "gemm_gflop_per_s": 1e-9 * gemm,
                "copy_gb_per_s": 1e-9 * copy,
                "share_of_gemm": flop / seconds / gemm,
                "share_of_copy": moved / seconds / copy,
            }
        )
        print(
            f"{graph.n_atoms:6d} atoms {1e3 * seconds:9.2f} ms {1e-9 * flop / seconds:7.1f} GFLOP/s"
            f" = {flop / seconds / gemm:.0%} of the matrix product's,"
            f" {moved / seconds / copy:.0%} of the copy's bandwidth",
            flush=True,
        )
    return rows


def draw(rows: list[dict[str, float]], path: Path) -> None:
    """Roofline: achieved rate over arithmetic intensity, under both ceilings."""
    import numpy as np
    from matplotlib.figure import Figure

    gemm, copy = rows[0]["gemm_gflop_per_s"], rows[0]["copy_gb_per_s"]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    intensity = np.geomspace(0.3, 300, 100)
    axes.loglog(intensity, np.minimum(gemm, copy * intensity), color="#444444")
    axes.text(250, 1.06 * gemm, f"matrix product {gemm:.0f} GFLOP/s", ha="right", fontsize=8)
    axes.text(0.5, 0.72 * copy * 0.5, f"copy {copy:.0f} GB/s", fontsize=8, rotation=35)
    for k, row in enumerate(rows):
        axes.plot(row["flop_per_byte"], row["gflop_per_s"], "o", color="#2a6fbb")
        label = f"{row['n_atoms']:.0f} atoms: {row['share_of_gemm']:.0%}"
        axes.annotate(
            label,
            (row["flop_per_byte"], row["gflop_per_s"]),
            xytext=(8 if k % 2 else -8, -3),  # all at nearly one intensity
            textcoords="offset points",
            ha="left" if k % 2 else "right",
            fontsize=8,
        )
    axes.set(
        xlabel="operations per byte (upper bound)",
        ylabel="rate / (GFLOP/s)",
        xlim=(0.3, 300),
        ylim=(5, 2 * gemm),
    )
    axes.grid(alpha=0.3, which="both")
    figure.savefig(path, dpi=140)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser("benchmarks.roofline", description=__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[4, 6, 10, 16])
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("-o", "--output", type=Path, default=HERE / "results")
    arguments = parser.parse_args()
    rows = measure(arguments.sides, arguments.features)
    arguments.output.mkdir(parents=True, exist_ok=True)
    with (arguments.output / "roofline.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.5g}" for k, v in row.items()} for row in rows)
    draw(rows, arguments.output / "roofline.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
