"""Errors and training range of the shipped potential, anew: ``python -m examples.water.shipped``.

Errors on the 180 test frames go into ``scratch_evaluation.json`` and ``scratch_parity.png`` beside
this file; errors, and the shortest distances and coordination numbers of all training frames, into
the manifest, with a new checksum. Weights, golden values and everything else stay as they are.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tpainn_calc.base.command import run_command
from tpainn_calc.base.records import write_record
from tpainn_calc.base.schema import load_config
from tpainn_calc.manifest import Manifest, find_model
from tpainn_calc.modelfile import load_model, save_model
from tpainn_calc.training_range import coordination_of
from training.data.batches import FrameDataset, shortest_distances
from training.data.run_data import RunData, read_run_data
from training.fit.config import TrainingConfig
from training.fit.evaluation import evaluate
from training.fit.parity import draw_parity

HERE = Path(__file__).parent


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser("shipped", description=__doc__)
    parser.add_argument("--model", default="water", help="model file or shipped name; rewritten")
    parser.add_argument("--config", type=Path, default=HERE / "scratch.yaml", help="its training")
    parser.add_argument("-o", "--output", type=Path, default=HERE, help="of figure and numbers")
    arguments = parser.parse_args()
    return run_command(lambda: write_all(find_model(arguments.model), arguments))


def write_all(path: Path, arguments: argparse.Namespace) -> int:
    """Evaluate, draw, and rewrite the manifest of a model file."""
    potential, manifest = load_model(path)
    config = load_config(arguments.config, TrainingConfig)
    data = read_run_data(config.data, Path.cwd())
    evaluation = evaluate(potential, data.part("test"), f"{manifest.name}: held-out frames")
    print(evaluation.describe())
    errors = {"n_frames": len(evaluation.energy), **evaluation.summary()}
    draw_parity(evaluation, arguments.output / "scratch_parity.png")
    write_record(
        arguments.output / "scratch_evaluation.json", {"title": evaluation.title, **errors}
    )
    kept = {name: getattr(manifest, name) for name in Manifest.model_fields}
    fields = {**kept, **training_range(data, potential.elements, potential.cutoff)}
    written = save_model(path, potential, **{**fields, "errors": {"set": "test", **errors}})
    print(f"{path}: {written.shortest_distances}")
    for a, around in written.coordination.items():
        for b, c in around.items():
            print(f"{c.fewest} to {c.most} {b} around {a} within {c.radius} Å")
    return 0


def training_range(data: RunData, elements: tuple[str, ...], cutoff: float) -> dict[str, object]:
    """Shortest distances and coordination numbers of all training frames, for the manifest."""
    frames = FrameDataset(data.part("train"), elements, cutoff)
    graphs = [frames[k].graph for k in range(len(frames))]
    return {
        "shortest_distances": shortest_distances(iter(graphs), elements),
        "coordination": coordination_of(graphs, elements),
    }


if __name__ == "__main__":
    raise SystemExit(main())
