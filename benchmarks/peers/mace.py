"""Time MACE on the benchmark's box: ``mace.py SIDE FEATURES``, one JSON line.

Runs in MACE's own environment. A small MACE (2 layers, L = 1, correlation 3, 5 Å) with random
weights: an equivariant model with angular features up to l = 3, so a different trade of accuracy
for speed, not the same network.
"""

import json
import os
import resource
import sys
import warnings
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # timing.py and water.py; not this folder
warnings.simplefilter("ignore")
# e3nn loads its own constants with torch.load in the old way
os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"

import numpy as np  # noqa: E402
import torch  # noqa: E402
from e3nn import o3  # noqa: E402
from mace import data, modules, tools  # noqa: E402
from mace.tools import torch_geometric  # noqa: E402
from timing import median_ms  # noqa: E402
from water import water_box  # noqa: E402


def main() -> None:
    """Entry point."""
    side, features = int(sys.argv[1]), int(sys.argv[2])
    torch.set_default_dtype(torch.float32)
    table = tools.AtomicNumberTable([1, 8])
    model = modules.ScaleShiftMACE(
        r_max=5.0,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        num_interactions=2,
        num_elements=2,
        hidden_irreps=o3.Irreps(f"{features}x0e + {features}x1o"),
        MLP_irreps=o3.Irreps("16x0e"),
        gate=torch.nn.functional.silu,
        atomic_energies=np.zeros(2),
        avg_num_neighbors=50,
        atomic_numbers=table.zs,
        correlation=3,
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    ).eval()
    configuration = data.config_from_atoms(water_box(side))
    graph = data.AtomicData.from_config(configuration, z_table=table, cutoff=5.0)
    loader = torch_geometric.dataloader.DataLoader([graph], batch_size=1)
    batch = next(iter(loader)).to_dict()
    ms = median_ms(lambda: model(dict(batch), compute_force=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"ms": ms, "peak_mb": peak}))


main()
