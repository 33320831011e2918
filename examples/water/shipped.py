"""Errors of a shipped potential, anew: ``python -m examples.water.shipped``.

Errors on the test frames of a configuration go into ``autotune_evaluation.json`` and
``autotune_parity.png`` (``scratch_...`` for one from scratch) beside the configuration, and into
the manifest, with a new checksum; so do, of a potential from scratch, the shortest distances and
coordination numbers of all training frames. ``--properties`` puts in the table of
``examples.water.properties``. Weights, golden values and everything else stay as they are; shipped
students of the potential, which name its checksum, name the new one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tpainn_calc.base.command import run_command
from tpainn_calc.base.records import write_record
from tpainn_calc.base.schema import load_config
from tpainn_calc.base.tables import read_table
from tpainn_calc.manifest import Manifest, find_model, read_manifest, shipped_models
from tpainn_calc.modelfile import load_model, save_model
from tpainn_calc.training_range import coordination_of
from training.data.batches import FrameDataset, shortest_distances
from training.data.run_data import RunData, read_run_data
from training.fit.config import AutotuneConfig, FitConfig, TrainingConfig
from training.fit.evaluation import evaluate
from training.fit.initial import describe_model
from training.fit.parity import draw_parity

HERE = Path(__file__).parent


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser("shipped", description=__doc__)
    parser.add_argument("--model", default="water", help="model file or shipped name; rewritten")
    parser.add_argument(
        "--config", type=Path, default=HERE / "potential" / "final.yaml", help="its training"
    )
    parser.add_argument(
        "--properties", type=Path, metavar="CSV", help="of examples.water.properties"
    )
    arguments = parser.parse_args()
    return run_command(lambda: write_all(find_model(arguments.model), arguments))


def write_all(path: Path, arguments: argparse.Namespace) -> int:
    """Evaluate, draw, and rewrite the manifest of a model file."""
    potential, manifest = load_model(path)
    tuned = manifest.training.get("method") == AutotuneConfig.method
    config: FitConfig = load_config(arguments.config, AutotuneConfig if tuned else TrainingConfig)
    data = read_run_data(config.data, Path.cwd())
    evaluation = evaluate(potential, data.part("test"), f"{manifest.name}: held-out frames")
    print(evaluation.describe())
    errors = {"n_frames": len(evaluation.energy), **evaluation.summary()}
    stem = arguments.config.parent / config.method
    draw_parity(evaluation, Path(f"{stem}_parity.png"))
    write_record(Path(f"{stem}_evaluation.json"), {"title": evaluation.title, **errors})
    fields = fields_of(manifest)
    if not tuned:  # a tuned one has the range of all its levels
        fields |= training_range(data, potential.elements, potential.cutoff)
    if arguments.properties:
        fields["properties"] = properties_of(arguments.properties)
    written = save_model(path, potential, **{**fields, "errors": {"set": "test", **errors}})
    print(f"{path}: {written.shortest_distances}")
    for a, around in written.coordination.items():
        for b, c in around.items():
            print(f"{c.fewest} to {c.most} {b} around {a} within {c.radius} Å")
    for student in students_of(manifest.sha256):
        rename_teacher(student, path)
        print(f"{student}: of {path}")
    return 0


def students_of(seal: str) -> list[Path]:
    """Shipped models that were distilled from the model file with that checksum."""
    return [find_model(name) for name in shipped_models() if read_manifest(name).teacher == seal]


def rename_teacher(student: Path, teacher: Path) -> None:
    """Write in a student's manifest what its teacher's file, of the same weights, is now."""
    potential, manifest = load_model(student)
    fields = fields_of(manifest)
    training = {**manifest.training, "start": describe_model(teacher)}
    save_model(student, potential, **{**fields, "training": training})


def fields_of(manifest: Manifest) -> dict[str, object]:
    """All of a manifest, for a file of the same weights."""
    return {name: getattr(manifest, name) for name in Manifest.model_fields}


def properties_of(table: Path) -> dict[str, dict[str, object]]:
    """Rows of a table of properties, for the manifest."""
    found = {}
    for row in read_table(table):
        waters = f"{row['waters']:.0f} waters"
        of = f"{waters}, {row['ps']:.0f} ps" if row["waters"] else "extrapolated"
        # the only one that depends on the box
        box = f" of {waters}" if row["quantity"] == "diffusion" and row["waters"] else ""
        found[f"{row['quantity']}{box} at {row['temperature']:g} K and 1 bar"] = {
            "value": row["value"],
            "error": row["error"],
            "unit": row["unit"] if isinstance(row["unit"], str) else "1",  # of a ratio
            "source": f"python -m examples.water.properties: {of}",
        }
    return found


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
