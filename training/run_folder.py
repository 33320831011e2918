"""The folder of a run: one process at a time, its effective configuration, and its log."""

from __future__ import annotations

import logging
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import yaml
from pydantic import BaseModel

from tpainn_calc._version import __version__
from tpainn_calc.base.errors import ConfigError
from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.locks import Lock

CONFIG, LOG = "config.yaml", "log.txt"
BUSY = "another run (process {holder}) writes to this folder; wait, or choose another output"

_log = logging.getLogger(__name__)


@contextmanager
def run_folder(
    output: Path,
    config: BaseModel,
    check: Callable[[], object] = lambda: None,
    busy: str = BUSY,
) -> Iterator[None]:
    """Hold the folder of a run, and keep its configuration and log there: :func:`run_log`.

    Parameters
    ----------
    output : Path
        Created if need be.
    config : BaseModel
    check : callable
        Refuses, by raising, a folder that holds another run, before anything of it is replaced.
    busy : str
        What to tell whoever comes second; ``{holder}`` stands for the number of the process.

    Raises
    ------
    ConfigError
        If there is a file in its place.
    BusyError
        If another process works in it.
    """
    if output.exists() and not output.is_dir():
        raise ConfigError(f"output {output} is a file; choose a folder")
    with Lock(output / ".lock", f"{output}: {busy}"):
        check()
        with run_log(output, config):
            yield


@contextmanager
def run_log(folder: Path, config: BaseModel) -> Iterator[None]:
    """Write ``config.yaml``, and append what the package `training` logs to ``log.txt``.

    Parameters
    ----------
    folder : Path
    config : BaseModel
        Written with every default, as a file that makes the same run.
    """
    with _logging_to(folder / LOG):
        settings = config.model_dump(mode="json", exclude_none=True)
        text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
        write_atomically(folder / CONFIG, text)
        _log.debug(
            "tpainn %s, torch %s, Python %s, %s: %s",
            __version__,
            metadata.version("torch"),
            platform.python_version(),
            platform.machine(),
            " ".join(sys.argv),
        )
        yield


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    logger = logging.getLogger("training")
    level, passes_on = logger.level, logger.propagate
    to_file = logging.FileHandler(path, encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    handlers: list[logging.Handler] = [to_file]
    if passes_on:  # a run inside another one leaves all others to that one
        # the file takes everything, all others what they took before
        handlers.append(_Others(logger.getEffectiveLevel()))
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
        logger.propagate = passes_on
        logger.setLevel(level)
        to_file.close()


class _Others(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        logging.getLogger().callHandlers(record)
