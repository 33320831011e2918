"""A training run from configuration to model file; stops and resumes at any time."""

from __future__ import annotations

import io
import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from ase import Atoms
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
    TQDMProgressBar,
)
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch.utils.data import DataLoader

from tpainn_calc import ops
from tpainn_calc.errors import ConfigError
from tpainn_calc.modelfile import save_model, write_atomically
from tpainn_calc.potential import Hyperparameters, Potential
from training.config import TrainingConfig, expand_path
from training.dataset import (
    FrameDataset,
    StreamSampler,
    collate,
    composition,
    elements_of,
    read_frames,
    sha256,
    shortest_distances,
)
from training.evaluate import evaluate, golden_cluster
from training.module import PotentialModule
from training.reference import ReferenceFit, fit_reference_energies
from training.split import Split, split_blocks

_log = logging.getLogger(__name__)


@dataclass
class LabelledSet:
    """The frames of a run, split.

    Attributes
    ----------
    frames : list of ase.Atoms
    split : Split
    files : dict of str to str
        sha256 of each file.
    rejected : list of str
        One line per frame that was left out.
    """

    frames: list[Atoms]
    split: Split
    files: dict[str, str]
    rejected: list[str] = field(default_factory=list)

    def part(self, name: str) -> list[Atoms]:
        """Frames of ``"train"``, ``"validation"`` or ``"test"``."""
        return [self.frames[i] for i in getattr(self.split, name)]


def read_labelled_set(config: TrainingConfig, base: Path) -> LabelledSet:
    """Read, check and split the data of a configuration; paths are relative to `base`."""
    d = config.data
    frames: list[Atoms] = []
    rejected: list[str] = []
    files = {}
    for name in d.files:
        path = expand_path(name, base)
        kept, left_out = read_frames(path, d.level, d.max_force)
        frames += kept
        rejected += left_out
        files[path.name] = sha256(path)
    groups = [(a.info["source"], a.info.get(d.group_by) if d.group_by else None) for a in frames]
    split = split_blocks(groups, d.block, d.validation, d.test, d.split_seed)
    return LabelledSet(frames, split, files, rejected)


def fit(config: TrainingConfig, base: Path, resume: bool = False, progress: bool = True) -> Path:
    """Train a potential from scratch.

    Parameters
    ----------
    config : TrainingConfig
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
    """
    output = base / config.output
    last = output / "checkpoints" / "last.ckpt"
    _check_output(output, last, resume)
    output.mkdir(parents=True, exist_ok=True)
    data = read_labelled_set(config, base)
    _record_split(output, data)
    lightning.seed_everything(config.seed, verbose=False)
    potential, reference = make_potential(config, data.part("train"))
    _log.info(reference.describe())
    module = PotentialModule(potential, config.loss, config.optimizer)
    train_loader, validation_loader = _loaders(config, data, potential)
    with _quiet_lightning():
        sampler = train_loader.sampler
        assert isinstance(sampler, StreamSampler)  # made just above: for the type checker
        trainer = _make_trainer(config, output, sampler, progress)
        trainer.fit(
            module,
            train_loader,
            validation_loader,
            ckpt_path=str(last) if resume and last.is_file() else None,
            weights_only=True,
        )
    _load_best(module, trainer)
    return _finish(config, output, data, module.potential, reference, trainer.global_step)


def make_potential(config: TrainingConfig, frames: list[Atoms]) -> tuple[Potential, ReferenceFit]:
    """Potential with fresh weights, reference energies and energy scale fitted to `frames`."""
    m = config.model
    elements = tuple(m.elements) if m.elements else elements_of(frames)
    missing = set(elements_of(frames)) - set(elements)
    if missing:
        raise ConfigError(f"model.elements lacks {', '.join(sorted(missing))}, which the data hold")
    shape = m.model_dump(exclude={"name", "elements", "dtype"})
    try:
        hyperparameters = Hyperparameters(elements=elements, **shape)
    except ValueError as error:
        raise ConfigError(f"model: {error}") from None
    potential = Potential(hyperparameters, fused=ops.load())
    potential.set_dtype(torch.float64 if m.dtype == "float64" else torch.float32)
    energy = np.array([a.get_potential_energy() for a in frames])
    reference = fit_reference_energies(composition(frames, elements), energy, elements)
    potential.reference_energies.copy_(torch.from_numpy(reference.energies))
    # total energies scatter with composition; forces tell the natural scale
    rms = np.sqrt(np.mean(np.concatenate([a.get_forces().ravel() for a in frames]) ** 2))
    potential.scale.fill_(max(float(rms), 1e-6))
    return potential, reference


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or not there: a kill while writing loses nothing."""

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        """Write the checkpoint beside its final name, then rename it."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getvalue())


class RoundOfStep(Callback):
    """Tell the sampler its round from the number of steps done.

    The trainer's own epoch counter runs ahead by one after a resume.
    """

    def __init__(self, sampler: StreamSampler, steps_per_round: int) -> None:
        self.sampler = sampler
        self.steps_per_round = steps_per_round

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Choose the round."""
        self.sampler.set_round(trainer.global_step // self.steps_per_round)


class MetricsFile(Callback):
    """Append one line per validation to ``metrics.csv``; a resumed run carries on."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_validation_end(self, trainer: lightning.Trainer, module: Any) -> None:
        """Write step, learning rate and errors."""
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        m = {k: float(v) for k, v in trainer.callback_metrics.items()}
        columns = ["train_loss", "val_loss", "val_energy_mae", "val_forces_mae"]
        values = [trainer.global_step, trainer.optimizers[0].param_groups[0]["lr"]]
        values += [m.get(c, float("nan")) for c in columns]
        header = ",".join(["step", "learning_rate", *columns])
        lines = self.path.read_text().splitlines()[1:] if self.path.is_file() else []
        # lines that were written after the checkpoint which a resumed run starts from
        lines = [s for s in lines if int(s.split(",")[0]) < trainer.global_step]
        lines.append(",".join(f"{v:.8g}" for v in values))
        write_atomically(self.path, "\n".join([header, *lines, ""]).encode())


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    # Left out: advertisements; advice about data-loader workers, which would only fight the
    # kernels for cores; deprecations inside Lightning itself.
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=UserWarning, module=r"lightning\..*")
            warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _make_trainer(
    config: TrainingConfig, output: Path, sampler: StreamSampler, progress: bool
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
        RoundOfStep(sampler, o.validate_every),
    ]
    if o.ema_decay > 0:
        callbacks.append(EMAWeightAveraging(decay=o.ema_decay, use_buffers=False))
    if o.early_stopping:
        callbacks.append(EarlyStopping("val_loss", patience=o.early_stopping))
    if progress:
        callbacks.append(TQDMProgressBar(refresh_rate=10))
    return lightning.Trainer(
        accelerator={"auto": "auto", "cpu": "cpu", "cuda": "gpu"}[config.device],
        devices=1,
        max_steps=o.max_steps,
        gradient_clip_val=o.gradient_clip,
        callbacks=callbacks,
        logger=False,
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        deterministic=True,
        use_distributed_sampler=False,
    )


def _loaders(
    config: TrainingConfig, data: LabelledSet, potential: Potential
) -> tuple[DataLoader, DataLoader]:
    o = config.optimizer
    train, validation = (
        FrameDataset(data.part(name), potential.elements, potential.cutoff)
        for name in ("train", "validation")
    )
    sampler = StreamSampler(len(train), o.validate_every * o.batch_size, config.seed)
    return (
        DataLoader(train, batch_size=o.batch_size, sampler=sampler, collate_fn=collate),
        DataLoader(validation, batch_size=o.batch_size, collate_fn=collate),
    )


def _load_best(module: PotentialModule, trainer: lightning.Trainer) -> None:
    callback = trainer.checkpoint_callback
    best = getattr(callback, "best_model_path", "")
    if best and Path(best).is_file():
        state = torch.load(best, map_location="cpu", weights_only=True)["state_dict"]
        module.load_state_dict(state)  # averaged weights, where there is an average


def _finish(
    config: TrainingConfig,
    output: Path,
    data: LabelledSet,
    potential: Potential,
    reference: ReferenceFit,
    steps: int,
) -> Path:
    potential.cpu().eval()
    path = output / f"{config.model.name}.safetensors"
    test = data.part("test") or data.part("validation")
    report = evaluate(potential, test, title=f"{config.model.name}: held-out frames")
    report.save(output)
    train = FrameDataset(data.part("train"), potential.elements, potential.cutoff)
    sample = range(0, len(train), max(1, len(train) // 200))
    shortest = shortest_distances((train[i].graph for i in sample), potential.elements)
    save_model(
        path,
        potential,
        golden_cluster(data.part("train")[0]),
        name=config.model.name,
        level_of_theory=config.data.level,
        reference_energies={
            config.data.level or "unnamed": dict(
                zip(reference.elements, map(float, reference.energies), strict=True)
            )
        },
        training={
            "method": "scratch",
            "files_sha256": data.files,
            "n_train": len(data.split.train),
            "n_validation": len(data.split.validation),
            "n_test": len(data.split.test),
            "steps": steps,
            "config": config.model_dump(exclude={"output", "device"}),
        },
        errors={
            "set": "test" if len(data.split.test) else "validation",
            "n_frames": len(test),
            **report.summary(),
        },
        shortest_distances=shortest,
    )
    _log.info("%s", report.describe())
    return path


def _check_output(output: Path, last: Path, resume: bool) -> None:
    if not output.exists():
        return
    if not output.is_dir():
        raise ConfigError(f"output {output} is a file; choose a folder")
    if last.is_file() and not resume:
        raise ConfigError(
            f"output {output} already holds a run; add --resume to continue it, or choose another"
        )


def _record_split(output: Path, data: LabelledSet) -> None:
    record = {
        "files_sha256": data.files,
        "sets": {
            name: [[data.frames[i].info["source"], data.frames[i].info["index"]] for i in indices]
            for name, indices in vars(data.split).items()
        },
    }
    path = output / "split.json"
    text = json.dumps(record)
    if path.is_file() and path.read_text() != text:
        raise ConfigError(
            f"{path} records another data split: the data or the configuration changed since this "
            "run began; choose another output folder"
        )
    write_atomically(path, text.encode())
    write_atomically(output / "rejected.txt", "\n".join(data.rejected).encode())
    if data.rejected:
        _log.warning("%d frames rejected, see %s%srejected.txt", len(data.rejected), output, os.sep)
