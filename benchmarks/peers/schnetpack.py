"""Time SchNetPack's PaiNN on the benchmark's box: ``schnetpack.py SIDE FEATURES``, one JSON line.

Runs in SchNetPack's own environment. Same size and cut-off as ours: 3 interactions, 20 radial
functions, 5 Å.
"""

import json
import resource
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # timing.py and water.py; not this folder

import torch  # noqa: E402
from torch.utils.data import dataloader  # noqa: E402

if not hasattr(dataloader, "T_co"):
    # SchNetPack 2.1 imports this type variable for an annotation; newer torch calls it _T_co
    dataloader.T_co = dataloader._T_co

import numpy as np  # noqa: E402
import schnetpack as spk  # noqa: E402
from ase.neighborlist import neighbor_list  # noqa: E402
from schnetpack import properties  # noqa: E402
from timing import median_ms  # noqa: E402
from water import water_box  # noqa: E402


def main() -> None:
    """Entry point."""
    side, features = int(sys.argv[1]), int(sys.argv[2])
    atoms = water_box(side)
    model = spk.model.NeuralNetworkPotential(
        representation=spk.representation.PaiNN(
            n_atom_basis=features,
            n_interactions=3,
            radial_basis=spk.nn.BesselRBF(n_rbf=20, cutoff=5.0),
            cutoff_fn=spk.nn.CosineCutoff(5.0),
        ),
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[
            spk.atomistic.Atomwise(n_in=features, output_key="energy"),
            spk.atomistic.Forces(energy_key="energy", force_key="forces"),
        ],
    )
    model.eval()
    i, j, shift = neighbor_list("ijS", atoms, 5.0)
    cell = np.asarray(atoms.cell)

    def call() -> object:
        # the model writes into its input: a fresh mapping for every call
        return model(
            {
                properties.Z: torch.tensor(atoms.numbers),
                properties.R: torch.tensor(atoms.positions, dtype=torch.float32),
                properties.cell: torch.tensor(cell[None], dtype=torch.float32),
                properties.pbc: torch.ones(1, 3, dtype=torch.bool),
                properties.idx_i: idx_i,
                properties.idx_j: idx_j,
                properties.offsets: offsets,
                properties.idx_m: idx_m,
                properties.n_atoms: torch.tensor([len(atoms)]),
            }
        )

    idx_i, idx_j = torch.tensor(i), torch.tensor(j)
    offsets = torch.tensor(shift @ cell, dtype=torch.float32)
    idx_m = torch.zeros(len(atoms), dtype=torch.int64)
    ms = median_ms(call)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"ms": ms, "peak_mb": peak}))


main()
