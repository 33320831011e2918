"""Several processes, on one node or many, that share a training run.

Lightning's DDP starts them (or finds those that SLURM or ``torchrun`` started), and averages their
gradients. What is decided here is who takes which frames, such that a run on any number of
processes sees the same batches, and takes the same steps, as a run on one.
"""

from __future__ import annotations

import logging
from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import ConcatDataset, DataLoader

from tpainn_calc.base.errors import ConfigError
from training.data.batches import Batch, FrameDataset, collate
from training.fit.config import FitConfig


def check_processes(config: FitConfig) -> None:
    """Refuse what cannot be shared out.

    Raises
    ------
    ConfigError
        If the batch cannot be divided equally, or the node has fewer GPUs.
    """
    n = config.trainer.processes
    if config.optimizer.batch_size % n:
        raise ConfigError(
            f"optimizer.batch_size ({config.optimizer.batch_size}) counts the structures of a step "
            f"on all processes together: make it a multiple of their number ({n}, from "
            "trainer.devices x trainer.nodes)"
        )
    if config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available()):
        here = torch.cuda.device_count()
        if config.trainer.devices > here:
            raise ConfigError(
                f"trainer.devices is {config.trainer.devices}, but this node has {here} GPU(s); "
                "lower it, or set device: cpu"
            )


def is_main(config: FitConfig) -> bool:
    """True in the process that writes files and speaks to the user."""
    # with one process, SLURM's rank is that of a run among others
    rank: int = getattr(rank_zero_only, "rank", 0)
    return config.trainer.processes == 1 or rank == 0


def quiet_helpers(config: FitConfig) -> None:
    """Let only one process say what all have to say."""
    if not is_main(config):
        logging.getLogger("training").setLevel(logging.ERROR)


def trainer_options(config: FitConfig) -> dict[str, Any]:
    """Arguments of :class:`lightning.Trainer` that say which processes there are."""
    options: dict[str, Any] = {
        "accelerator": {"auto": "auto", "cpu": "cpu", "cuda": "gpu"}[config.device],
        "devices": config.trainer.devices,
        "num_nodes": config.trainer.nodes,
        "use_distributed_sampler": False,  # see StreamSampler and validation_loader
    }
    if config.trainer.processes > 1:
        # Unused parameters: with some losses the readout's bias has no gradient. Buffers are
        # constants; broadcasting them would want as many validation batches on every process.
        options["strategy"] = DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)
    return options


def validation_loader(
    data: FrameDataset, batch_size: int, rank: int, processes: int
) -> DataLoader[Batch]:
    """Every process takes whole batches in turn: the same batches as on one process.

    Parameters
    ----------
    data : FrameDataset
    batch_size : int
    rank, processes : int
        This process, and their number.
    """
    batches = [
        list(range(first, min(first + batch_size, len(data))))
        for first in range(0, len(data), batch_size)
    ]
    own = batches[rank::processes]
    if own:
        return DataLoader(data, batch_sampler=own, collate_fn=collate)
    # all processes must take part in the validation: this one with a frame that does not count
    muted = FrameDataset(data.frames, data.elements, data.cutoff, weight=0.0)
    return DataLoader(ConcatDataset([data, muted]), batch_sampler=[[len(data)]], collate_fn=collate)


def share_of_mean(trainer: lightning.Trainer, batch: Batch) -> dict[str, torch.Tensor]:
    """Factor on each term of the loss that makes the mean over processes a mean over labels.

    Terms are means over the frames, atoms or stress labels of a process' share of a batch, which
    are not equally many on every process.

    Parameters
    ----------
    trainer : lightning.Trainer
    batch : Batch
        This process' share.
    """
    own = torch.stack(
        [
            batch.energy.new_tensor(float(batch.graph.n_structures)),
            batch.energy.new_tensor(float(len(batch.forces))),
            torch.isfinite(batch.stress).all(dim=(1, 2)).sum().to(batch.energy),
        ]
    )
    mean = trainer.strategy.reduce(own.clone(), reduce_op="mean")
    assert isinstance(mean, torch.Tensor)  # as what went in: for the type checker
    ratio = own / mean.clamp(min=1e-9)
    return dict(zip(("energy", "forces", "stress"), ratio.unbind(), strict=True))
