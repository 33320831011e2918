"""Write schnetpack_reference.json: energies and forces of SchNetPack's PaiNN.

Run this where SchNetPack 2.1 is installed (not in the project's environment)::

    python make_schnetpack_reference.py

The weights are not stored: they follow from a seed by :func:`recipe`, which
``test_schnetpack.py`` repeats.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.utils.data.dataloader as dataloader
from ase import Atoms
from ase.build import molecule
from ase.neighborlist import neighbor_list

if not hasattr(dataloader, "T_co"):
    # SchNetPack 2.1 imports this type variable for an annotation; newer torch calls it _T_co
    dataloader.T_co = dataloader._T_co

import schnetpack
from schnetpack import properties
from schnetpack.atomistic import Atomwise, Forces, PairwiseDistances
from schnetpack.model import NeuralNetworkPotential
from schnetpack.nn import CosineCutoff, GaussianRBF
from schnetpack.representation import PaiNN

SEED = 20211
CUTOFF = 5.0


def recipe(shapes: dict[str, list[int]], seed: int) -> dict[str, np.ndarray]:
    """Normal deviates over sqrt(fan-in), tensor after tensor in the order of their names."""
    rng = np.random.default_rng(seed)
    return {k: rng.standard_normal(s) / np.sqrt(s[-1]) for k, s in sorted(shapes.items())}


def structures() -> dict[str, Atoms]:
    """One molecule without symmetry, one crystal with cell vectors shorter than the cut-off."""
    rng = np.random.default_rng(1)
    ethanol = molecule("CH3CH2OH")
    ethanol.positions += rng.normal(0, 0.05, (len(ethanol), 3))
    cell = np.array([[4.4, 0, 0], [1.3, 4.1, 0], [-0.9, 0.7, 4.8]])
    fractions = [[0.1, 0.1, 0.1], [0.6, 0.15, 0.2], [0.15, 0.65, 0.55], [0.6, 0.6, 0.8]]
    crystal = Atoms("COHH", scaled_positions=fractions, cell=cell, pbc=True)
    return {"molecule": ethanol, "crystal": crystal}


def evaluate(model: torch.nn.Module, atoms: Atoms) -> tuple[float, np.ndarray]:
    """Energy and forces, float64."""
    i, j, shifts = neighbor_list("ijS", atoms, CUTOFF)
    n = len(atoms)
    out = model(
        {
            properties.Z: torch.tensor(atoms.numbers),
            properties.R: torch.tensor(atoms.positions),
            properties.idx_i: torch.tensor(i),
            properties.idx_j: torch.tensor(j),
            properties.offsets: torch.tensor(shifts @ atoms.cell.array),
            properties.idx_m: torch.zeros(n, dtype=torch.int64),
            properties.n_atoms: torch.tensor([n]),
        }
    )
    return out["energy"].item(), out["forces"].detach().numpy()


def main() -> None:
    """Build the model by the recipe, evaluate both structures, write the file."""
    representation = PaiNN(
        n_atom_basis=32,
        n_interactions=3,
        radial_basis=GaussianRBF(20, cutoff=CUTOFF),
        cutoff_fn=CosineCutoff(CUTOFF),
    )
    model = NeuralNetworkPotential(
        representation,
        input_modules=[PairwiseDistances()],
        output_modules=[Atomwise(32, output_key="energy"), Forces()],
    ).double()
    parameters = dict(model.named_parameters())
    shapes = {name: list(tensor.shape) for name, tensor in parameters.items()}
    with torch.no_grad():
        for name, values in recipe(shapes, SEED).items():
            parameters[name].copy_(torch.from_numpy(values))
    results = {}
    for name, atoms in structures().items():
        energy, forces = evaluate(model, atoms)
        results[name] = {
            "symbols": atoms.get_chemical_symbols(),
            "positions": atoms.positions.tolist(),
            "cell": atoms.cell.tolist(),
            "pbc": atoms.pbc.tolist(),
            "energy": energy,
            "forces": forces.tolist(),
        }
    content = {
        "made_with": f"SchNetPack {schnetpack.__version__}, PaiNN, float64",
        "seed": SEED,
        "cutoff": CUTOFF,
        "parameters": dict(sorted(shapes.items())),
        "buffers": {name: tensor.tolist() for name, tensor in model.named_buffers()},
        "structures": results,
    }
    path = Path(__file__).with_name("schnetpack_reference.json")
    path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
