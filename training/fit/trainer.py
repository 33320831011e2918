"""The training loop: batches in, the weights of the best validation out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    ModelCheckpoint,
    TQDMProgressBar,
)
from torch.utils.data import ConcatDataset, DataLoader

from tpainn_calc.base.errors import ConfigError
from tpainn_calc.base.tables import read_table
from tpainn_calc.potential import Potential
from training.data.batches import Batch, FrameDataset, Memory, collate
from training.data.frames import read_frames
from training.data.paths import expand_files
from training.data.plausibility import doubts_beside
from training.data.run_data import RunData, record_split
from training.data.sampler import StreamSampler
from training.fit.callbacks import (
    AtomicCheckpointIO,
    LastValidation,
    MetricsFile,
    MovingAverage,
    RoundOfStep,
    interrupts_as_such,
    quiet_lightning,
)
from training.fit.checkpoint import LAST_CHECKPOINT, read_checkpoint
from training.fit.config import FitConfig
from training.fit.evaluation import evaluate
from training.fit.initial import InitialState
from training.fit.loggers import make_logger
from training.fit.module import PotentialModule
from training.fit.processes import (
    is_main,
    trainer_options,
    validation_loader,
)

_log = logging.getLogger(__name__)

#: Frames whose labels are compared with the pretrained model before it is tuned.
FRAMES_BESIDE = 30


@dataclass
class Trained:
    """Result of the loop.

    Attributes
    ----------
    potential : Potential
        With the weights of the best validation.
    start : InitialState
    steps : int
        Optimiser steps done.
    best : dict of str to float
        Validation errors of these weights: ``step``, ``val_loss``, ``val_energy_mae``
        (eV/atom), ``val_forces_mae`` (eV/Å).
    """

    potential: Potential
    start: InitialState
    steps: int
    best: dict[str, float]


def train(
    config: FitConfig,
    base: Path,
    output: Path,
    data: RunData,
    progress: bool,
) -> Trained:
    """Run the loop, from the last checkpoint in `output` where there is one.

    Parameters
    ----------
    config : FitConfig
    base : Path
        Folder that relative paths in `config` refer to.
    output : Path
        Folder for checkpoints and metrics.
    data : RunData
    progress : bool
    """
    last = output / LAST_CHECKPOINT
    _log.debug("%d threads", torch.get_num_threads())
    torch.manual_seed(config.seed)
    start = config.initial_state(data.part("train"))
    if is_main(config):
        record_split(output, data, start.source.get("sha256"))
    _log.info("%s", start.table)
    if start.previous is not None and not last.is_file():
        beside = evaluate(start.potential, data.part("train")[:FRAMES_BESIDE])
        forces, stress = (
            (beside.forces_label, beside.forces),
            (beside.stress_label, beside.stress),
        )
        for line in doubts_beside(forces, stress, start.previous.name):
            _log.warning("please check: %s", line)
    memory = Memory(int(config.trainer.graph_memory * 2**30))
    replay = _replay(config, base, start, memory)
    module = PotentialModule(
        start.potential, config.loss, config.optimizer, start.rates, config.anchor
    )
    with quiet_lightning(), interrupts_as_such():
        trainer = _make_trainer(config, module, output, progress)
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
    best = min(read_table(output / "metrics.csv"), key=lambda row: row["val_loss"])
    return {k: float(v) for k, v in best.items() if k not in ("train_loss", "learning_rate")}


def _make_trainer(
    config: FitConfig, module: PotentialModule, output: Path, progress: bool
) -> lightning.Trainer:
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
        LastValidation(o.max_steps),
    ]
    if o.ema_decay > 0:
        callbacks.append(MovingAverage(o.ema_decay))
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
        logger=make_logger(config.logger, output, config.name),
        log_every_n_steps=min(50, o.validate_every),
        plugins=[AtomicCheckpointIO(module)],
        enable_progress_bar=progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        deterministic=True,
        **trainer_options(config),
    )


def _replay(
    config: FitConfig, base: Path, start: InitialState, memory: Memory | None = None
) -> FrameDataset | None:
    """Frames of the pretraining level, moved to the reference energies of the new one."""
    r, manifest = config.replayed, start.previous
    if r is None or manifest is None:
        return None
    if r.level not in manifest.reference_energies:
        raise ConfigError(
            f"tune.replay.level {r.level!r}: the pretrained model knows reference energies of "
            f"{', '.join(map(repr, manifest.reference_energies)) or 'no level'} only"
        )
    old = manifest.reference_energies[r.level]
    elements = start.potential.elements
    shift = start.reference.energies - np.array([old[e] for e in elements])
    frames, rejected = None, []
    for name, path in expand_files(r.files, base).items():
        kept, left_out = read_frames(path, r.level, forces=config.loss.forces > 0, name=name)
        frames = kept if frames is None else frames + kept
        rejected += left_out
    if rejected:
        _log.warning("%d replayed frames rejected; the first: %s", len(rejected), rejected[0])
    assert frames is not None  # the schema wants at least one file
    return FrameDataset(frames, elements, start.potential.cutoff, r.weight, shift, memory)


def _loaders(
    config: FitConfig,
    data: RunData,
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
    share = config.replayed.share if config.replayed is not None else 0.0
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
        state = read_checkpoint(Path(best), module.state_dict())["state_dict"]
        module.load_state_dict(state)  # averaged weights, where there is an average
