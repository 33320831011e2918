"""Cost of the ASE calculator beside the bare force call: ``python -m benchmarks.overhead``.

Both are called in turn in one process, so that the machine's load hits them alike: an MD-like call
of the calculator (atoms moved a little; list, conversion, stress and results included), and
:func:`tpainn_calc.predict` on a graph that is already there.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
import torch

from benchmarks.water import water_box
from tpainn_calc import TPaiNNCalculator, predict
from tpainn_calc.graph import Graph
from tpainn_calc.modelfile import load_model


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser("benchmarks.overhead", description=__doc__)
    parser.add_argument("--side", type=int, default=4, help="waters along an edge")
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--model", default="water")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    atoms = water_box(arguments.side)
    atoms.calc = TPaiNNCalculator(arguments.model, device="cpu")
    potential, _ = load_model(arguments.model)
    graph = Graph.from_atoms(atoms, potential.elements, potential.cutoff)
    moves = np.random.default_rng(0).normal(scale=5e-3, size=atoms.positions.shape)
    times = np.empty((arguments.calls, 2))
    for n in range(arguments.calls):
        atoms.positions += moves if n % 2 else -moves
        start = time.perf_counter()
        atoms.get_forces()
        between = time.perf_counter()
        predict(potential, graph)
        times[n] = between - start, time.perf_counter() - between
    calculator, bare = 1000 * np.median(times[10:], axis=0)
    # of the differences, call by call: the load changes slowly
    overhead = 1000 * np.median(times[10:, 0] - times[10:, 1])
    print(
        f"{len(atoms)} atoms: calculator {calculator:.2f} ms, bare {bare:.2f} ms, "
        f"overhead {overhead:.2f} ms = {100 * overhead / bare:.1f} %"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
