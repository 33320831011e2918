"""``tpainn-train loop``."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tpainn_calc.base.schema import load_config
from tpainn_calc.base.tables import read_table
from training.loop.config import LoopConfig
from training.loop.waiting import Waiting

#: Exit code where labels or trajectories that are made elsewhere are waited for.
WAITS = 3


def loop(config_file: Path, progress: bool = True) -> int:
    """Run the command; return the exit code."""
    config = load_config(config_file, LoopConfig)
    # torch is loaded when the configuration is known to be right
    from training.loop.report import describe
    from training.loop.run import run_loop

    try:
        with _warnings_only():
            root = run_loop(config, Path.cwd(), progress)
    except Waiting as waiting:
        print(f"waiting: {waiting}")
        return WAITS
    print(describe(read_table(root / "rounds.csv")))
    print(f"{root / 'loop.png'}\n{root / 'report.html'}")
    return 0


@contextmanager
def _warnings_only() -> Iterator[None]:
    """Silence the stages: a line for each is enough, and what it has to say is in its folder."""
    logger = logging.getLogger("training")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
