"""``tpainn info``: what a model file says of itself."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tpainn_calc.commands import Commands
    from tpainn_calc.manifest import Manifest


def add_parser(commands: Commands) -> None:
    """Arguments of the command."""
    parser = commands.add_parser("info", help="what a model file says of itself")
    parser.add_argument("model", nargs="?", help="model file or shipped name; none: list the names")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the manifest of a model, or the names of the shipped ones."""
    from tpainn_calc.manifest import find_model, shipped_models

    if arguments.model is None:
        print("shipped potentials:", ", ".join(shipped_models()) or "none")
        return 0
    path = find_model(arguments.model)
    manifest, state = _checked(path)
    for name, value in {**_rows(manifest, path), "file is": state}.items():
        if value:
            print(f"{name:20s} {value}")
    return 0


def _checked(path: Path) -> tuple[Manifest, str]:
    """The manifest, and how it is known that the file is what was written."""
    from tpainn_calc.manifest import check_seal, parse_manifest, read_header, read_tensors

    header = read_header(path)
    manifest = parse_manifest(header, path)
    manifest.shape(path)
    if check_seal(header, read_tensors(path), path):
        return manifest, "as it was written (sha256)"
    # without a checksum the golden values must do, which takes torch and seconds
    from tpainn_calc.modelfile import load_model

    return load_model(path, kernel="plain")[1], "without checksum; golden values reproduced"


def _rows(manifest: Manifest, path: Path) -> dict[str, str]:
    shape = manifest.shape(path)
    return {
        "name": manifest.name,
        "file": str(path),
        "level of theory": manifest.level_of_theory,
        "elements": " ".join(shape.elements),
        "network": f"F = {shape.n_features}, {shape.n_blocks} blocks, {shape.cutoff} Å, "
        f"{shape.n_basis} {shape.basis} functions, {shape.envelope} envelope, "
        f"{manifest.dtype}",
        "trained on": ", ".join(
            f"{v} {k.removeprefix('n_')}" for k, v in manifest.training.items() if k[:2] == "n_"
        ),
        "held-out errors": ", ".join(f"{k} {_short(v)}" for k, v in manifest.errors.items()),
        "properties": "; ".join(
            f"{k} {_short(p.value)} ± {_short(p.error)} {p.unit}"
            for k, p in manifest.properties.items()
        ),
        "shortest distances": ", ".join(
            f"{k} {v} Å" for k, v in manifest.shortest_distances.items()
        ),
        "coordination": "; ".join(
            f"{_range(c.fewest, c.most)} {b} around {a} within {c.radius:.2f} Å"
            for a, around in manifest.coordination.items()
            for b, c in around.items()
        ),
        "citation": manifest.citation,
    }


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low} to {high}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
