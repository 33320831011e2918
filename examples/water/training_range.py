"""The range that the shipped potential was trained in: ``python -m examples.water.training_range``.

Shortest distances and coordination numbers of all its training frames go into the manifest, and
the file gets its checksum; weights, golden values and everything else stay as they are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tpainn_calc.base.command import run_command
from tpainn_calc.base.schema import load_config
from tpainn_calc.manifest import Manifest, find_model
from tpainn_calc.modelfile import load_model, save_model
from tpainn_calc.training_range import coordination_of
from training.data.batches import FrameDataset, shortest_distances
from training.data.run_data import read_run_data
from training.fit.config import TrainingConfig

CONFIG = Path(__file__).parent / "scratch.yaml"


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser("training_range", description=__doc__)
    parser.add_argument("--model", default="water", help="model file or shipped name; rewritten")
    parser.add_argument("--config", type=Path, default=CONFIG, help="of its training")
    arguments = parser.parse_args()
    return run_command(lambda: write_range(find_model(arguments.model), arguments.config))


def write_range(path: Path, config: Path) -> int:
    """Rewrite a model file with the range of the training frames of a configuration."""
    potential, manifest = load_model(path, kernel="plain")
    data = read_run_data(load_config(config, TrainingConfig).data, Path.cwd())
    frames = FrameDataset(data.part("train"), potential.elements, potential.cutoff)
    graphs = [frames[k].graph for k in range(len(frames))]
    found = {
        "shortest_distances": shortest_distances(iter(graphs), potential.elements),
        "coordination": coordination_of(graphs, potential.elements),
    }
    kept = {name: getattr(manifest, name) for name in Manifest.model_fields}
    written = save_model(path, potential, **{**kept, **found})
    print(f"{path}: {len(graphs)} frames; {written.shortest_distances}")
    for a, around in written.coordination.items():
        for b, c in around.items():
            print(f"{c.fewest} to {c.most} {b} around {a} within {c.radius} Å")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
