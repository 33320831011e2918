"""A training run from configuration to model file; stops and resumes at any time.

``scratch``, ``pretrain`` and ``autotune`` are one loop: they differ in where they start
(:mod:`training.fit.initial`).
"""

from __future__ import annotations

import logging
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from training.data.paths import expand_path
from training.data.plausibility import doubts
from training.data.run_data import RunData, read_run_data
from training.fit.checkpoint import check_new
from training.fit.config import FitConfig
from training.fit.evaluation import evaluate
from training.fit.loggers import check_logger
from training.fit.model import write_model
from training.fit.parity import write_evaluation
from training.fit.processes import check_processes, is_main, quiet_helpers
from training.fit.trainer import Trained, train
from training.run_folder import run_folder

_log = logging.getLogger(__name__)


def fit(
    config: FitConfig,
    base: Path,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train a potential from wherever the configuration lets it start.

    Parameters
    ----------
    config : FitConfig
    base : Path
        Folder that relative paths in `config` refer to.
    resume : bool
        Continue from the last checkpoint in the output folder. Without it an output folder that
        already holds a run is refused.
    progress : bool
        Show a progress bar.

    Returns
    -------
    Path
        The model file. Beside it: ``config.yaml`` (with all defaults), ``log.txt``,
        ``metrics.csv``, ``evaluation.json``, ``parity.png``, ``split.json``, ``rejected.txt``,
        and the checkpoints.

    Raises
    ------
    ConfigError
        If the folder, the model or the number of processes does not fit.
    BusyError
        If another process trains into the same folder.
    SystemExit
        In every process but the first, when training is done: with several processes
        (``trainer``) each runs the calling program, and one of them is to go on.
    """
    check_processes(config)
    check_logger(config.logger)
    quiet_helpers(config)
    output = expand_path(config.output, base)
    check = partial(check_new, output, resume)
    with run_folder(output, config, check) if is_main(config) else nullcontext():
        data = read_run_data(
            config.data, base, forces=config.loss.forces > 0, stress=config.loss.stress > 0
        )
        _log.info("%s", data.describe())
        for line in doubts(data.part("train")):
            _log.warning("please check: %s", line)
        trained = train(config, base, output, data, progress)
        return _finish(config, output, data, trained)


def _finish(config: FitConfig, output: Path, data: RunData, trained: Trained) -> Path:
    has_test = len(data.split.test) > 0
    test = data.part("test" if has_test else "validation")
    report = evaluate(trained.potential, test, title=f"{config.name}: held-out frames")
    write_evaluation(report, output)
    errors = {
        "set": "test" if has_test else "validation",
        "n_frames": len(test),
        **report.summary(),
    }
    path = output / f"{config.name}.safetensors"
    write_model(path, config, data, trained, errors)
    _log.info("%s", report.describe())
    return path
