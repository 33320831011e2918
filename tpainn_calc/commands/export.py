"""``tpainn export``: a model file becomes TorchScript for LAMMPS."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tpainn_calc.base.errors import ConfigError

if TYPE_CHECKING:
    from tpainn_calc.commands import Commands

SUFFIX = ".pt"


def add_parser(commands: Commands) -> None:
    """Arguments of the command."""
    parser = commands.add_parser("export", help="model file -> TorchScript for LAMMPS")
    parser.add_argument("model", help="model file or name of a shipped potential")
    parser.add_argument("output", type=Path, help="file to write, NAME.pt")
    parser.add_argument("--dtype", choices=["float32", "float64"], help="network's type")
    parser.add_argument(
        "--kernel", choices=["auto", "fused", "plain"], default="auto", help="plain: for GPUs"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Export, and say what was written."""
    output = arguments.output
    if output.suffix != SUFFIX:
        # a file "water" would be found before the shipped potential of that name
        raise ConfigError(
            f"the exported model must end in {SUFFIX}: tpainn export {arguments.model} "
            f"{output.with_suffix(SUFFIX) if output.name else 'NAME' + SUFFIX}"
        )
    import torch

    from tpainn_calc.export import export_model

    dtype = getattr(torch, arguments.dtype) if arguments.dtype else None
    manifest = export_model(arguments.model, output, dtype, arguments.kernel)
    elements = " ".join(manifest.hyperparameters["elements"])
    print(f"{output}: {manifest.name}, elements {elements}, {manifest.dtype}")
    return 0
