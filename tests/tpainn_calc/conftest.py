"""Potentials with random weights and small structures that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from ase import Atoms

from tpainn_calc import ops
from tpainn_calc.potential import Hyperparameters, Potential

ELEMENTS = ("H", "O", "Cu")
REFERENCE_ENERGIES = (-13.5, -430.25, -1600.125)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors: threads would only cost time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def fused() -> None:
    """The compiled operator. The tests need g++, as the README says: no build is a failure."""
    if not ops.load():
        pytest.fail("the fused operator was not built, see the log line above")


@pytest.fixture(scope="session")
def make_potential() -> Callable[..., Potential]:
    """Function that makes a potential with random weights of moderate forces.

    The same seed gives the same weights with either kernel and in either precision.
    """

    def make(
        kernel: str = "plain", dtype: torch.dtype = torch.float64, seed: int = 0, **shape
    ) -> Potential:
        if kernel == "fused" and not ops.load():
            pytest.fail("the fused operator was not built, see the log line above")
        shape = {"elements": ELEMENTS, "n_features": 32, "n_blocks": 3, "cutoff": 4.0} | shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            potential = Potential(Hyperparameters(**shape), fused=kernel == "fused")
            # zero biases, as a new network has them, would hide a bias that is forgotten
            for name, parameter in potential.named_parameters():
                if name.endswith("bias"):
                    torch.nn.init.normal_(parameter, std=0.1)
        potential.scale.fill_(0.05)
        n = len(shape["elements"])
        potential.reference_energies[:] = torch.tensor(REFERENCE_ENERGIES[:n], dtype=torch.float64)
        return potential.set_dtype(dtype).freeze()

    return make


@pytest.fixture(scope="session")
def cluster() -> Callable[..., Atoms]:
    """Function that makes a molecule; see :func:`_cluster`."""
    return _cluster


@pytest.fixture(scope="session")
def crystal() -> Callable[..., Atoms]:
    """Function that makes a periodic structure; see :func:`_crystal`."""
    return _crystal


def _cluster(n: int = 9, seed: int = 0) -> Atoms:
    """Atoms without symmetry, not closer than 0.8 Å, no cell."""
    rng = np.random.default_rng(seed)
    positions: list[np.ndarray] = []
    while len(positions) < n:
        x = rng.uniform(0, 4.5, 3)
        if all(np.linalg.norm(x - y) > 0.8 for y in positions):
            positions.append(x)
    symbols = [ELEMENTS[k % len(ELEMENTS)] for k in range(n)]
    return Atoms(symbols, positions=np.array(positions))


def _crystal(kind: str, seed: int = 0) -> Atoms:
    """Periodic structures.

    ``orthogonal``; ``triclinic``; ``small`` (a triclinic cell shorter than the cut-off, so that
    an atom sees several images of its neighbours and of itself); ``slab`` (mixed periodicity).
    """
    cells = {
        "orthogonal": [[6.0, 0, 0], [0, 6.5, 0], [0, 0, 7.0]],
        "triclinic": [[6.5, 0, 0], [2.4, 6.0, 0], [-1.5, 1.9, 6.2]],
        "small": [[2.3, 0.3, 0], [0.9, 2.6, -0.2], [-0.7, 0.8, 2.9]],
        "slab": [[5.5, 0, 0], [1.6, 5.2, 0], [0, 0, 30.0]],
    }
    n = 3 if kind == "small" else 10
    rng = np.random.default_rng(seed)
    cell = np.array(cells[kind])
    atoms = Atoms([ELEMENTS[k % 3] for k in range(n)], cell=cell, pbc=True)
    if kind == "slab":
        atoms.pbc = [True, True, False]
    while True:
        fractions = rng.uniform(0, 1, (n, 3))
        if kind == "slab":
            fractions[:, 2] *= 0.2
        atoms.positions = fractions @ cell
        distances = atoms.get_all_distances(mic=True)[np.triu_indices(n, 1)]
        if distances.min() > 0.7:
            return atoms
