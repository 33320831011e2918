"""Checkpoint from which a run goes on: its place, and reading it as data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tpainn_calc.base.errors import ConfigError, DataError, one_line

#: In the folder of the run.
LAST_CHECKPOINT = Path("checkpoints") / "last.ckpt"


def check_new(output: Path, resume: bool) -> None:
    """Refuse a folder that holds a run which is not to be resumed.

    Raises
    ------
    ConfigError
    """
    if (output / LAST_CHECKPOINT).is_file() and not resume:
        raise ConfigError(
            f"output {output} already holds a run; add --resume to continue it, or choose another"
        )


def read_checkpoint(path: Path, like: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
    """Read a checkpoint as data: numbers and tensors, no objects.

    Parameters
    ----------
    path : Path
    like : mapping of str to Tensor, optional
        State that the checkpoint's is to replace: names and shapes must be the same.

    Raises
    ------
    DataError
        If it is damaged.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        shapes = {name: tuple(value.shape) for name, value in content["state_dict"].items()}
        if like is not None:
            _compare(shapes, {name: tuple(value.shape) for name, value in like.items()})
    except OSError:
        raise
    except Exception as error:  # torch and pickle raise whatever they run into
        reason = one_line(error)[:80]
        raise DataError(f"{path} is damaged ({reason}); begin the run anew without it") from None
    return dict(content)


def _compare(found: Mapping[str, object], expected: Mapping[str, object]) -> None:
    for name in sorted({*found, *expected}):
        if found.get(name) != expected.get(name):
            raise ValueError(f"{name} is {found.get(name)}, not {expected.get(name)}")
