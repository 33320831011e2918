"""The folder of a run: one process at a time, its effective configuration, and its log."""

from __future__ import annotations

import logging
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import yaml
from pydantic import BaseModel

from tpainn_calc._version import __version__
from tpainn_calc.base.errors import ConfigError
from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.locks import Lock

LAST_CHECKPOINT = Path("checkpoints") / "last.ckpt"
_LOCK = ".lock"

_log = logging.getLogger(__name__)


@contextmanager
def run_folder(output: Path, config: BaseModel) -> Iterator[None]:
    """Hold the folder of a run; write ``config.yaml`` and append to ``log.txt``.

    Parameters
    ----------
    output : Path
        Created if need be.
    config : BaseModel
        Written with every default, as a file that makes the same run.

    Raises
    ------
    ConfigError
        If there is a file in its place.
    BusyError
        If another process works in it.
    """
    if output.exists() and not output.is_dir():
        raise ConfigError(f"output {output} is a file; choose a folder")
    busy = f"another run (process {{holder}}) writes to {output}; wait, or choose another output"
    with Lock(output / _LOCK, busy), _logging_to(output / "log.txt"):
        settings = config.model_dump(mode="json", exclude_none=True)
        text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
        write_atomically(output / "config.yaml", text)
        _log.debug(
            "tpainn %s, torch %s, Python %s, %s, %d threads: %s",
            __version__,
            torch.__version__,
            platform.python_version(),
            platform.machine(),
            torch.get_num_threads(),
            " ".join(sys.argv),
        )
        yield


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    logger = logging.getLogger("training")
    level, passes_on = logger.level, logger.propagate
    to_file = logging.FileHandler(path, encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    # the file takes everything, all others what they took before
    to_others = _Others(logger.getEffectiveLevel())
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    for handler in (to_file, to_others):
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in (to_file, to_others):
            logger.removeHandler(handler)
        logger.propagate = passes_on
        logger.setLevel(level)
        to_file.close()


class _Others(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger().callHandlers(record)


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
