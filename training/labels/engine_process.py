"""Inside a process that labels: an engine that stays, and frames one after the other."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ase import Atoms

from tpainn_calc.base.errors import TPaiNNError, one_line
from training.labels.checks import problem_of
from training.labels.engines.config import AnyEngine
from training.labels.engines.contract import Engine, EngineCrashed, Label, LabelFailed
from training.labels.engines.factory import make_engine


@dataclass(frozen=True)
class Failure:
    """No label.

    Attributes
    ----------
    reason : str
        One line.
    kind : {"failed", "crashed", "stop"}
        The frame failed; the engine broke down; or nothing more can be done on this machine.
    """

    reason: str
    kind: Literal["failed", "crashed", "stop"]


_engine: tuple[AnyEngine, Engine] | None = None

#: An engine takes one frame at a time, and a worker of Dask has as many threads as the machine.
_one_at_a_time = threading.Lock()


def label_frame(config: AnyEngine, atoms: Atoms) -> Label | Failure:
    """Label a frame by the engine of this process."""
    with _one_at_a_time:
        return _label_frame(config, atoms)


def _label_frame(config: AnyEngine, atoms: Atoms) -> Label | Failure:
    try:
        label = _engine_of(config).label(atoms)
    except LabelFailed as error:
        return Failure(one_line(error), "failed")
    except EngineCrashed as error:
        _drop_engine()
        return Failure(f"the engine crashed: {one_line(error)}", "crashed")
    except TPaiNNError as error:
        return Failure(one_line(error), "stop")
    except OSError as error:
        _drop_engine()
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Failure(f"scratch files of the engine: {one_line(error)}", "stop")
        return Failure(f"the engine crashed: {one_line(error)}", "crashed")
    problem = problem_of(label)
    return label if problem is None else Failure(problem, "failed")


def _engine_of(config: AnyEngine) -> Engine:
    global _engine
    if _engine is None or _engine[0] != config:
        _drop_engine()
        _engine = (config, make_engine(config))
    return _engine[1]


def _drop_engine() -> None:
    global _engine
    if _engine is not None:
        _engine[1].close()
    _engine = None


def start_engine_process(scratch: str) -> None:
    """Make a process end with its parent, whatever ends that, and with it what it started.

    Parameters
    ----------
    scratch : str
        Folder of the temporary files of all processes; each has its own in it.
    """
    tempfile.tempdir = str(Path(scratch) / str(os.getpid()))
    Path(tempfile.tempdir).mkdir()
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: _end())
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        _end()


def _end() -> None:
    # the process group: this process, and the engine that it may have started
    os.killpg(0, signal.SIGKILL)
