"""The atomic features of a T-PaiNN model as a descriptor for seedselect.

    TPAINN_MODEL=water PYTHONPATH=examples/active_learning \\
        seedselect pick classical.extxyz -n 50 -o campaign --descriptor tpainn_features:describe

TPAINN_MODEL is a model file or the name of a shipped potential.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers

from seedselect.frames.atoms import to_atoms
from seedselect.frames.descriptors import AtomicFeatures
from seedselect.frames.frame import Frame
from tpainn_calc.graph import Graph
from tpainn_calc.modelfile import load_model
from tpainn_calc.potential import Potential


def atomic_features(potential: Potential, frame: Frame) -> np.ndarray:
    """Return the scalar states of all atoms after the last block, (n_atoms, F)."""
    graph = Graph.from_atoms(to_atoms(frame), potential.elements, potential.cutoff)
    n = graph.n_atoms
    with torch.no_grad():
        edges = potential.connect(graph.centre, graph.neighbour, graph.edge_vec, n, n)
        scalars, vectors = potential.embed(graph.species)
        for block in range(potential.network.n_blocks):
            scalars, vectors = potential.layer(block, scalars, vectors, edges)
    return scalars.double().numpy()


def descriptor(potential: Potential, pooling: str = "mean") -> AtomicFeatures:
    """Return a descriptor that pools the features of a potential per element."""
    numbers = [atomic_numbers[symbol] for symbol in potential.elements]
    return AtomicFeatures(lambda frame: atomic_features(potential, frame), numbers, pooling)


@lru_cache(maxsize=1)
def _default() -> Any:
    potential, _ = load_model(os.environ.get("TPAINN_MODEL", "water"))
    return descriptor(potential)


def describe(frame: Frame) -> np.ndarray:
    """Return the row of a frame, with the model that TPAINN_MODEL names."""
    return _default()(frame)
