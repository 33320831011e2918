"""Checkpoint from which a run goes on."""

from __future__ import annotations

from pathlib import Path

from tpainn_calc.base.errors import ConfigError

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
