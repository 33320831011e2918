"""Small models with random weights, structures, and the numbers that ASE's side gives for them."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule

from lammps_plugin.build import build_plugin
from tpainn_calc.export import export_model
from tpainn_calc.graph import Graph
from tpainn_calc.modelfile import load_model, save_model
from tpainn_calc.potential import Hyperparameters, Potential, Prediction, predict

ELEMENTS = ("O", "H")


@pytest.fixture(scope="session", autouse=True)
def plugin() -> Path:
    """Compile once. The tests need g++, as the README says: a plugin that fails to build fails."""
    return build_plugin()


@pytest.fixture(scope="session")
def make_model(tmp_path_factory):
    """Function that writes a model file with random weights."""

    def make(name: str = "random", seed: int = 0, cutoff: float = 4.0, **manifest) -> Path:
        torch.manual_seed(seed)
        hyperparameters = Hyperparameters(ELEMENTS, n_features=8, n_blocks=3, cutoff=cutoff)
        potential = Potential(hyperparameters).set_dtype(torch.float64)
        # random weights give forces of hundreds of eV/Å: tolerances are for a smooth potential
        potential.scale *= 0.02
        potential.reference_energies[:] = torch.tensor([-430.0, -13.0], dtype=torch.float64)
        path = tmp_path_factory.mktemp("model") / f"{name}.safetensors"
        save_model(path, potential, **manifest)
        return path

    return make


@pytest.fixture(scope="session")
def model_file(make_model) -> Path:
    return make_model()


@pytest.fixture(scope="session")
def export(tmp_path_factory):
    """Function that exports a model file, once per kind."""
    done: dict[tuple[Path, torch.dtype, str], Path] = {}

    def run(model: Path, dtype: torch.dtype = torch.float64, kernel: str = "fused") -> Path:
        key = (model, dtype, kernel)
        if key not in done:
            done[key] = tmp_path_factory.mktemp("export") / f"{model.stem}.pt"
            export_model(model, done[key], dtype=dtype, kernel=kernel)
        return done[key]

    return run


@pytest.fixture(scope="session")
def deployed(model_file, export) -> Path:
    return export(model_file)


@pytest.fixture(scope="session")
def reference(model_file):
    """Function: what the eager model (float64, same kernel) says of a structure."""

    def run(
        atoms: Atoms, model: Path = model_file, kernel: str = "fused", dtype=torch.float64
    ) -> Prediction:
        potential, _ = load_model(model, dtype=dtype, kernel=kernel)
        graph = Graph.from_atoms(atoms, potential.elements, potential.cutoff)
        result = predict(potential, graph, virial=True, virials=True)
        tensors = {f.name: getattr(result, f.name).detach() for f in fields(result)}
        return Prediction(**tensors)

    return run


def waters(n: int, cell: np.ndarray, seed: int = 0) -> Atoms:
    """n³ waters on a perturbed grid in any cell, turned at random."""
    rng = np.random.default_rng(seed)
    atoms = Atoms(cell=cell, pbc=True)
    for index in np.ndindex(n, n, n):
        water = molecule("H2O")
        water.rotate(rng.uniform(0, 360), rng.normal(size=3), center="COM")
        water.translate((np.array(index) + 0.5) / n @ cell - water.get_center_of_mass())
        atoms += water
    atoms.positions += rng.normal(scale=0.05, size=(len(atoms), 3))
    return atoms


CELLS = {
    "orthogonal": np.diag([9.4, 9.0, 9.8]),
    "triclinic": np.array([[9.3, 0.0, 0.0], [2.9, 9.1, 0.0], [-1.8, 3.4, 9.2]]),
    "rotated": np.array([[8.1, 4.4, 0.9], [-3.7, 8.3, 1.1], [0.4, -1.9, 9.6]]),
    "small": np.diag([6.3, 6.1, 6.6]),  # less than two cut-offs
}


@pytest.fixture(params=list(CELLS))
def water_box(request) -> Atoms:
    return waters(2 if request.param == "small" else 3, CELLS[request.param])


@pytest.fixture(scope="session")
def box() -> Atoms:
    return waters(3, CELLS["orthogonal"])


@pytest.fixture(scope="session")
def tilted() -> Atoms:
    return waters(3, CELLS["triclinic"])
