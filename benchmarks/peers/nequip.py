"""Time NequIP on the benchmark's box: ``nequip.py SIDE FEATURES``, one JSON line.

Runs in NequIP's own environment. Three layers, l = 1 without parity, 5 Å, random weights, eager:
an equivariant model with vectors as its largest features, like PaiNN's, but with tensor products.
"""

import json
import resource
import sys
from pathlib import Path

# timing.py and water.py; not this folder, whose files are named after the packages
sys.path[0] = str(Path(__file__).resolve().parents[1])

from nequip.data.ase import from_ase  # noqa: E402
from nequip.data.transforms import (  # noqa: E402
    ChemicalSpeciesToAtomTypeMapper,
    NeighborListTransform,
)
from nequip.model import NequIPGNNModel  # noqa: E402
from nequip.utils.global_state import set_global_state  # noqa: E402
from timing import median_ms  # noqa: E402
from water import water_box  # noqa: E402


def main() -> None:
    """Entry point."""
    side, features = int(sys.argv[1]), int(sys.argv[2])
    set_global_state()
    elements = ["O", "H"]
    model = NequIPGNNModel(
        seed=0,
        model_dtype="float32",
        type_names=elements,
        r_max=5.0,
        num_layers=3,
        l_max=1,
        parity=False,
        num_features=features,
        radial_mlp_depth=1,
        radial_mlp_width=features,
        avg_num_neighbors=50.0,
    ).eval()
    data = from_ase(water_box(side))
    data = NeighborListTransform(r_max=5.0)(data)
    data = ChemicalSpeciesToAtomTypeMapper(elements)(data)
    ms = median_ms(lambda: model(dict(data)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"ms": ms, "peak_mb": peak}))


main()
