"""A training run from configuration to model file; stops and resumes at any time.

``scratch``, ``pretrain`` and ``autotune`` are one loop: they differ in where they start
(:mod:`training.fit.initial`).
"""

from __future__ import annotations

import logging
from pathlib import Path

from tpainn_calc.base.errors import ConfigError
from training.data.run_data import RunData, read_run_data
from training.fit.config import FitConfig
from training.fit.evaluation import evaluate
from training.fit.model import write_model
from training.fit.parity import write_evaluation
from training.fit.processes import check_processes, quiet_helpers
from training.fit.trainer import Trained, train

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
        The model file. Beside it: ``metrics.csv``, ``evaluation.json``, ``parity.png``,
        ``split.json``, ``rejected.txt``, and the checkpoints.

    Raises
    ------
    ConfigError
        If the folder, the model or the number of processes does not fit.
    SystemExit
        In every process but the first, when training is done: with several processes
        (``trainer``) each runs the calling program, and one of them is to go on.
    """
    check_processes(config)
    quiet_helpers(config)
    output = base / config.output
    check_output(output, resume)
    output.mkdir(parents=True, exist_ok=True)
    data = read_run_data(config.data, base, forces=config.loss.forces > 0)
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


def check_output(output: Path, resume: bool) -> None:
    """Refuse a folder that holds a run which is not to be resumed.

    Raises
    ------
    ConfigError
    """
    if not output.exists():
        return
    if not output.is_dir():
        raise ConfigError(f"output {output} is a file; choose a folder")
    if (output / "checkpoints" / "last.ckpt").is_file() and not resume:
        raise ConfigError(
            f"output {output} already holds a run; add --resume to continue it, or choose another"
        )
