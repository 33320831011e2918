"""A training run from configuration to model file; stops and resumes at any time.

``scratch``, ``pretrain`` and ``autotune`` are one loop: they differ in where they start
(:mod:`training.start`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
    TQDMProgressBar,
)
from torch.utils.data import ConcatDataset, DataLoader

from tpainn_calc.base.errors import ConfigError
from tpainn_calc.modelfile import save_model
from tpainn_calc.potential import Potential
from training.callbacks import AtomicCheckpointIO, MetricsFile, RoundOfStep, quiet_lightning
from training.config import AutotuneConfig, TrainingConfig, expand_path
from training.dataset import (
    Batch,
    FrameDataset,
    Memory,
    StreamSampler,
    collate,
    shortest_distances,
)
from training.evaluate import evaluate, golden_cluster
from training.frames import read_frames
from training.labelled import LabelledSet, read_labelled_set, record_split
from training.module import PotentialModule
from training.parallel import (
    check_processes,
    is_main,
    quiet_helpers,
    trainer_options,
    validation_loader,
)
from training.start import Start, fresh_start, tuned_start

_log = logging.getLogger(__name__)

Config = TrainingConfig | AutotuneConfig


@dataclass
class Trained:
    """What the loop leaves.

    Attributes
    ----------
    potential : Potential
        With the weights of the best validation.
    start : Start
    steps : int
        Optimiser steps done.
    best : dict of str to float
        Validation errors of these weights: ``step``, ``val_loss``, ``val_energy_mae``
        (eV/atom), ``val_forces_mae`` (eV/Å).
    """

    potential: Potential
    start: Start
    steps: int
    best: dict[str, float]


def fit(
    config: Config,
    base: Path,
    resume: bool = False,
    progress: bool = True,
    method: str = "scratch",
    model: str | Path | None = None,
) -> Path:
    """Train a potential, from fresh weights or from a pretrained model.

    Parameters
    ----------
    config : TrainingConfig or AutotuneConfig
    base : Path
        Folder that relative paths in `config` refer to.
    resume : bool
        Continue from the last checkpoint in the output folder. Without it an output folder that
        already holds a run is refused.
    progress : bool
        Show a progress bar.
    method : {"scratch", "pretrain"}
        What the model file says of a run from fresh weights.
    model : path or str, optional
        Where an autotune run starts; ``tune.start`` by default.

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
    data = read_labelled_set(config, base)

    def start() -> Start:
        if isinstance(config, AutotuneConfig):
            return tuned_start(config, data.part("train"), model)
        return fresh_start(config, data.part("train"), method)

    trained = train(config, base, output, data, start, progress)
    return _finish(config, output, data, trained)


def train(
    config: Config,
    base: Path,
    output: Path,
    data: LabelledSet,
    make_start: Callable[[], Start],
    progress: bool,
) -> Trained:
    """Run the loop, from the last checkpoint in `output` where there is one.

    Parameters
    ----------
    config : TrainingConfig or AutotuneConfig
    base : Path
        Folder that relative paths in `config` refer to.
    output : Path
        Folder for checkpoints and metrics.
    data : LabelledSet
    make_start : callable
        Makes the potential; called after the seed is set.
    progress : bool
    """
    last = output / "checkpoints" / "last.ckpt"
    lightning.seed_everything(config.seed, verbose=False)
    start = make_start()
    if is_main(config):
        record_split(output, data, start.source.get("sha256"))
    _log.info("%s", start.table)
    memory = Memory(int(config.trainer.graph_memory * 2**30))
    replay = _replay(config, base, start, memory)
    module = PotentialModule(start.potential, config.loss, config.optimizer, start.rates)
    with quiet_lightning():
        trainer = _make_trainer(config, output, progress)
        trainer.fit(
            module,
            *_loaders(config, data, start.potential, replay, trainer, memory),
            ckpt_path=str(last) if last.is_file() else None,
            weights_only=True,
        )
    if not trainer.is_global_zero:
        raise SystemExit(0)  # a helper has done its part; one process writes what is left
    _load_best(module, trainer)
    module.potential.cpu().eval()
    return Trained(module.potential, start, trainer.global_step, best_metrics(output))


def best_metrics(output: Path) -> dict[str, float]:
    """The line of ``metrics.csv`` with the smallest validation loss."""
    table = np.genfromtxt(output / "metrics.csv", delimiter=",", names=True)
    table = np.atleast_1d(table)
    row = table[int(np.nanargmin(table["val_loss"]))]
    names = [n for n in table.dtype.names or () if n not in ("train_loss", "learning_rate")]
    return {name: float(row[name]) for name in names}


def _make_trainer(config: Config, output: Path, progress: bool) -> lightning.Trainer:
    o = config.optimizer
    checkpoint = ModelCheckpoint(
        dirpath=output / "checkpoints",
        filename="best",
        monitor="val_loss",
        save_last=True,
        enable_version_counter=False,
    )
    callbacks: list[Callback] = [
        checkpoint,
        MetricsFile(output / "metrics.csv"),
        RoundOfStep(o.validate_every),
    ]
    if o.ema_decay > 0:
        callbacks.append(EMAWeightAveraging(decay=o.ema_decay, use_buffers=False))
    if o.early_stopping:
        # at the end of a validation: a resumed run ends its epoch without one, and has no loss
        callbacks.append(
            EarlyStopping("val_loss", patience=o.early_stopping, check_on_train_epoch_end=False)
        )
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=10))
    return lightning.Trainer(
        max_steps=o.max_steps,
        gradient_clip_val=o.gradient_clip,
        callbacks=callbacks,
        logger=False,
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        deterministic=True,
        **trainer_options(config),
    )


def _replay(
    config: Config, base: Path, start: Start, memory: Memory | None = None
) -> FrameDataset | None:
    """Frames of the pretraining level, moved to the reference energies of the new one."""
    if not isinstance(config, AutotuneConfig) or config.tune.replay is None:
        return None
    r, manifest = config.tune.replay, start.previous
    assert manifest is not None  # an autotune run starts from a model
    if r.level not in manifest.reference_energies:
        raise ConfigError(
            f"tune.replay.level {r.level!r}: the pretrained model knows reference energies of "
            f"{', '.join(map(repr, manifest.reference_energies)) or 'no level'} only"
        )
    old = manifest.reference_energies[r.level]
    elements = start.potential.elements
    shift = start.reference.energies - np.array([old[e] for e in elements])
    frames, rejected = None, []
    for name in r.files:
        kept, left_out = read_frames(
            expand_path(name, base), r.level, forces=config.loss.forces > 0
        )
        frames = kept if frames is None else frames + kept
        rejected += left_out
    if rejected:
        _log.warning("%d replayed frames rejected; the first: %s", len(rejected), rejected[0])
    assert frames is not None  # the schema wants at least one file
    return FrameDataset(frames, elements, start.potential.cutoff, r.weight, shift, memory)


def _loaders(
    config: Config,
    data: LabelledSet,
    potential: Potential,
    replay: FrameDataset | None,
    trainer: lightning.Trainer,
    memory: Memory,
) -> tuple[DataLoader[Batch], DataLoader[Batch]]:
    o = config.optimizer
    process = trainer.global_rank, trainer.world_size
    train, validation = (
        FrameDataset(data.part(name), potential.elements, potential.cutoff, memory=memory)
        for name in ("train", "validation")
    )
    share = 0.0
    if isinstance(config, AutotuneConfig) and config.tune.replay is not None:
        share = config.tune.replay.share
    sampler = StreamSampler(
        len(train),
        o.validate_every * o.batch_size,
        config.seed,
        len(replay) if replay is not None else 0,
        share,
        *process,
    )
    mixed = train if replay is None else ConcatDataset([train, replay])
    return (
        DataLoader(
            mixed, batch_size=o.batch_size // process[1], sampler=sampler, collate_fn=collate
        ),
        validation_loader(validation, o.batch_size, *process),
    )


def _load_best(module: PotentialModule, trainer: lightning.Trainer) -> None:
    callback = trainer.checkpoint_callback
    best = getattr(callback, "best_model_path", "")
    if best and Path(best).is_file():
        state = torch.load(best, map_location="cpu", weights_only=True)["state_dict"]
        module.load_state_dict(state)  # averaged weights, where there is an average


def _finish(config: Config, output: Path, data: LabelledSet, trained: Trained) -> Path:
    has_test = len(data.split.test) > 0
    test = data.part("test" if has_test else "validation")
    report = evaluate(trained.potential, test, title=f"{config.model.name}: held-out frames")
    report.save(output)
    errors = {
        "set": "test" if has_test else "validation",
        "n_frames": len(test),
        **report.summary(),
    }
    path = output / f"{config.model.name}.safetensors"
    write_model(path, config, data, trained, errors)
    _log.info("%s", report.describe())
    return path


def write_model(
    path: Path, config: Config, data: LabelledSet, trained: Trained, errors: dict[str, Any]
) -> None:
    """Write the model file of a run.

    Parameters
    ----------
    path : Path
    config : TrainingConfig or AutotuneConfig
    data : LabelledSet
    trained : Trained
    errors : dict
        For the manifest.
    """
    potential, start = trained.potential, trained.start
    frames = data.part("train")
    dataset = FrameDataset(frames, potential.elements, potential.cutoff)
    sample = range(0, len(dataset), max(1, len(dataset) // 200))
    shortest = shortest_distances((dataset[i].graph for i in sample), potential.elements)
    references: dict[str, dict[str, float]] = {}
    if start.previous is not None:  # what was seen in pretraining counts as well
        references |= start.previous.reference_energies
        for pair, r in start.previous.shortest_distances.items():
            shortest[pair] = min(r, shortest.get(pair, r))
    energies = map(float, start.reference.energies)
    references[config.data.level or "unnamed"] = dict(
        zip(start.reference.elements, energies, strict=True)
    )
    training: dict[str, Any] = {
        "method": start.method,
        "files_sha256": data.files,
        "n_train": len(data.split.train),
        "n_validation": len(data.split.validation),
        "n_test": len(data.split.test),
        "steps": trained.steps,
        "config": config.model_dump(mode="json", exclude={"output", "device", "trainer"}),
    }
    if start.source:
        training["start"] = start.source
    save_model(
        path,
        potential,
        golden_cluster(frames[0]),
        name=config.model.name,
        level_of_theory=config.data.level,
        reference_energies=references,
        training=training,
        errors=errors,
        shortest_distances=shortest,
    )


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
