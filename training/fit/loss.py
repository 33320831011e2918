"""The loss: weighted terms of energy, forces and stress."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tpainn_calc.potential import Prediction
from training.data.batches import Batch
from training.fit.sections import LossSection


def loss_terms(prediction: Prediction, batch: Batch, loss: LossSection) -> dict[str, Tensor]:
    """Weighted terms of the loss.

    Energy per atom (eV), force components (eV/Å) and, where labelled, the virial per atom (eV).
    The stress term is the mean over the labelled frames of the batch, and zero if there is none.

    Parameters
    ----------
    prediction : Prediction
    batch : Batch
    loss : LossSection

    Returns
    -------
    dict of str to Tensor ()
    """
    terms = {}
    n_atoms, weight = batch.n_atoms, batch.weight
    if loss.energy > 0:
        error = (prediction.energy - batch.energy) / n_atoms
        terms["energy"] = loss.energy * _penalty(error, weight, loss)
    if loss.forces > 0 and prediction.forces is not None:
        per_atom = weight[batch.graph.structure].unsqueeze(1)
        error = prediction.forces - batch.forces
        terms["forces"] = loss.forces * _penalty(error, per_atom, loss)
    if loss.stress > 0 and prediction.virial is not None:
        labelled = torch.isfinite(batch.stress).all(dim=(1, 2))
        virial = -batch.stress * batch.volume[:, None, None]
        error = (prediction.virial - virial) / n_atoms[:, None, None]
        if labelled.any():
            of_labelled = weight[labelled][:, None, None]
            terms["stress"] = loss.stress * _penalty(error[labelled], of_labelled, loss)
        else:  # still a function of the weights, as the backward pass wants it
            terms["stress"] = 0.0 * prediction.virial.sum()
    return terms


def _penalty(error: Tensor, weight: Tensor, loss: LossSection) -> Tensor:
    if loss.kind == "mse":
        return (weight * error.square()).mean()
    huber = functional.huber_loss(
        error, torch.zeros_like(error), delta=loss.delta, reduction="none"
    )
    # divided by delta: the slope of the linear part is one, whatever delta is
    return (weight * huber).mean() / loss.delta
