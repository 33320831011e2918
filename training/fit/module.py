"""The Lightning module: steps of training and validation, optimiser, schedule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import lightning
import torch
from torch import Tensor

from tpainn_calc.base.errors import DivergedError
from tpainn_calc.potential import Potential, Prediction, predict
from training.data.batches import Batch
from training.fit.loss import loss_terms
from training.fit.processes import share_of_mean
from training.fit.sections import LossSection, OptimizerSection


class PotentialModule(lightning.LightningModule):
    """A potential in training.

    Parameters
    ----------
    potential : Potential
    loss : LossSection
    optimizer : OptimizerSection
    rates : dict of str to float, optional
        Factor on the learning rate of each of the potential's parameters, by name; one where
        there is none.
    anchor : float
        Decay of the weights towards those that `potential` has now, per step and unit of the
        learning rate: L2-SP (Li, Grandvalet and Davoine 2018, arXiv 1802.01483), decoupled from
        the gradient as in AdamW.
    """

    def __init__(
        self,
        potential: Potential,
        loss: LossSection,
        optimizer: OptimizerSection,
        rates: Mapping[str, float] | None = None,
        anchor: float = 0.0,
    ) -> None:
        super().__init__()
        self.potential = potential
        self.loss = loss
        self.optimizer = optimizer
        self.rates = dict(rates or {})
        self.anchor = anchor
        # not part of a checkpoint: a resumed run starts from the same model
        self._origin = [p.detach().clone() for p in potential.parameters()] if anchor > 0 else []

    def predict_batch(self, batch: Batch, create_graph: bool = False) -> Prediction:
        """Energies and whichever derivatives the loss needs."""
        return predict(
            self.potential,
            batch.graph,
            forces=self.loss.forces > 0,
            virial=self.loss.stress > 0,
            create_graph=create_graph,
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a batch."""
        terms = loss_terms(self.predict_batch(batch, create_graph=True), batch, self.loss)
        several = self.trainer.world_size > 1
        if several:
            factors = share_of_mean(self.trainer, batch)
            terms = {name: factors[name] * term for name, term in terms.items()}
        total = torch.stack(list(terms.values())).sum()
        n = batch.graph.n_structures
        self.log("train_loss", total.detach(), batch_size=n, prog_bar=True, sync_dist=several)
        return total

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Backpropagate into the weights only: edge vectors are leaves too, but not trained."""
        loss.backward(inputs=[p for p in self.parameters() if p.requires_grad])

    def on_validation_epoch_start(self) -> None:
        """Begin the sums of a validation."""
        self._sums: dict[str, Tensor] = {}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the sums."""
        with torch.enable_grad():
            prediction = self.predict_batch(batch)
        terms = loss_terms(prediction, batch, self.loss)
        means = {
            "val_loss": torch.stack(list(terms.values())).sum(),
            "val_energy_mae": ((prediction.energy - batch.energy) / batch.n_atoms).abs().mean(),
        }
        if prediction.forces is not None:
            means["val_forces_mae"] = (prediction.forces - batch.forces).abs().mean()
        n = batch.weight.count_nonzero().double()
        for name, mean in {**means, "frames": torch.ones_like(n)}.items():
            self._sums[name] = self._sums.get(name, 0.0) + n * mean.detach().double()

    def on_validation_epoch_end(self) -> None:
        """Log the means over the frames of all processes.

        Raises
        ------
        DivergedError
            If the loss is not finite.
        """
        total = self.trainer.strategy.reduce(torch.stack(list(self._sums.values())), None, "sum")
        assert isinstance(total, Tensor)  # as what went in: for the type checker
        sums = dict(zip(self._sums, total, strict=True))
        n = sums.pop("frames")
        if not torch.isfinite(sums["val_loss"]):  # here, so that no checkpoint is written of it
            raise DivergedError(
                f"training diverged by step {self.trainer.global_step}: the validation loss is not "
                f"finite; lower optimizer.learning_rate ({self.optimizer.learning_rate:g})"
            )
        for name, value in sums.items():
            self.log(name, value / n, prog_bar=name != "val_loss")

    def configure_optimizers(self) -> Any:
        """AdamW with warm-up, then cosine decay or decay on plateau."""
        o = self.optimizer
        by_rate: dict[float, list[torch.nn.Parameter]] = {}
        for name, parameter in self.potential.named_parameters():
            if parameter.requires_grad:
                by_rate.setdefault(self.rates.get(name, 1.0), []).append(parameter)
        groups = [
            {"params": by_rate[factor], "lr": factor * o.learning_rate, "factor": factor}
            for factor in sorted(by_rate, reverse=True)
        ]
        adam = torch.optim.AdamW(groups, lr=o.learning_rate, weight_decay=o.weight_decay)
        if o.schedule == "cosine":
            schedule = torch.optim.lr_scheduler.LambdaLR(adam, self._cosine)
            return {
                "optimizer": adam,
                "lr_scheduler": {"scheduler": schedule, "interval": "step"},
            }
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(adam, factor=0.5, patience=o.patience)
        return {
            "optimizer": adam,
            "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss", "interval": "epoch"},
        }

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Warm up the learning rate where the schedule does not do it by itself."""
        o = self.optimizer
        if o.schedule == "plateau" and self.trainer.global_step < o.warmup_steps:
            for group in self.trainer.optimizers[0].param_groups:
                peak = group["factor"] * o.learning_rate
                group["lr"] = peak * (self.trainer.global_step + 1) / o.warmup_steps
        super().optimizer_step(*args, **kwargs)
        if self.anchor > 0:
            self._pull_back()

    @torch.no_grad()
    def _pull_back(self) -> None:
        rate = {p: g["lr"] for g in self.trainer.optimizers[0].param_groups for p in g["params"]}
        for parameter, origin in zip(self.potential.parameters(), self._origin, strict=True):
            if parameter in rate:
                share = min(1.0, rate[parameter] * self.anchor)
                parameter.lerp_(origin.to(parameter.device), share)

    def _cosine(self, step: int) -> float:
        o = self.optimizer
        if step < o.warmup_steps:
            return (step + 1) / o.warmup_steps
        progress = (step - o.warmup_steps) / max(1, o.max_steps - o.warmup_steps)
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
        return o.final_fraction + (1.0 - o.final_fraction) * cosine
