"""Work around the training loop: checkpoints, metrics, moving average, order of the data."""

from __future__ import annotations

import io
import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, WeightAveraging
from lightning.pytorch.plugins.io import TorchCheckpointIO

from tpainn_calc.base.files import write_atomically
from training.data.sampler import StreamSampler
from training.fit.checkpoint import read_checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or not there: a kill while writing loses nothing.

    Parameters
    ----------
    module : torch.nn.Module
        Whose state they hold.
    """

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self._module = module

    def save_checkpoint(self, checkpoint: Any, path: Any, storage_options: Any = None) -> None:
        """Write the checkpoint beside its final name, then rename it."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), buffer.getvalue())

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """See :func:`training.fit.checkpoint.read_checkpoint`."""
        return read_checkpoint(Path(path), self._module.state_dict())


class RoundOfStep(Callback):
    """Tell the sampler its round from the number of steps done.

    The trainer's own epoch counter runs ahead by one after a resume.
    """

    def __init__(self, steps_per_round: int) -> None:
        self.steps_per_round = steps_per_round

    def on_train_epoch_start(self, trainer: lightning.Trainer, module: Any) -> None:
        """Choose the round."""
        loader = trainer.train_dataloader
        assert loader is not None  # there is one in training: for the type checker
        sampler = loader.sampler
        assert isinstance(sampler, StreamSampler)  # likewise
        sampler.set_round(trainer.global_step // self.steps_per_round)


class LastValidation(Callback):
    """Validate after the last step, also where it does not end a round.

    Parameters
    ----------
    max_steps : int
        Steps of the run.
    """

    def __init__(self, max_steps: int) -> None:
        self.max_steps = max_steps

    def on_train_batch_end(self, trainer: lightning.Trainer, *arguments: Any) -> None:
        """End the round: the trainer validates, and writes a checkpoint, when it is to stop."""
        if trainer.global_step >= self.max_steps:
            trainer.should_stop = True


class MovingAverage(WeightAveraging):
    """Exponential moving average of the weights, which is what is validated and kept.

    Parameters
    ----------
    decay : float
        Of a step, once the average has warmed up; see :func:`decay_at`.
    """

    def __init__(self, decay: float) -> None:
        def average(mean: torch.Tensor, value: torch.Tensor, n: torch.Tensor | int) -> torch.Tensor:
            return torch.lerp(mean, value, 1.0 - decay_at(int(n), decay))

        super().__init__(use_buffers=False, avg_fn=average)


def decay_at(step: int, decay: float) -> float:
    """Decay of the moving average at a step: min(`decay`, (1 + step) / (10 + step)).

    A plain average with a decay of 0.999 remembers the random weights that a run starts from for
    thousands of steps. With this warm-up its memory is a tenth of the steps done, until `decay`
    bounds it.

    Parameters
    ----------
    step : int
        Averages taken so far.
    decay : float
    """
    return min(decay, (1 + step) / (10 + step))


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
def interrupts_as_such() -> Iterator[None]:
    """Let Ctrl-C arrive as KeyboardInterrupt, which Lightning turns into exit code 1.

    It also leaves Ctrl-C switched off for the rest of the process; here it is put back.
    """
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's chatter."""
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
