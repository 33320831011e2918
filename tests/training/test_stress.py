"""Stress in the loss: tuning lowers its error, and frames without a label count for the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones

from tpainn_calc.base.frames import attach_results
from tpainn_calc.modelfile import load_model
from tpainn_calc.potential import Prediction
from training.data.batches import Batch, FrameDataset, collate
from training.data.frames import read_frames
from training.fit import fit
from training.fit.config import AutotuneConfig, TrainingConfig
from training.fit.evaluation import evaluate
from training.fit.loss import loss_terms
from training.fit.sections import LossSection


def argon(rng: np.random.Generator, edge: float, stress: bool) -> Atoms:
    """Four shaken atoms of a crystal, in a strained box, labelled by ASE."""
    atoms = bulk("Ar", "fcc", a=edge, cubic=True)
    atoms.set_cell(atoms.cell @ (np.eye(3) + rng.normal(0, 0.01, (3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(0, 0.12, atoms.positions.shape)
    atoms.calc = LennardJones(epsilon=0.1, sigma=3.4, rc=5.0, smooth=True)
    label = atoms.get_stress() if stress else None
    return attach_results(atoms, atoms.get_potential_energy(), atoms.get_forces(), label)


def config(files: str, output: str, stress: float, **more: object) -> dict[str, object]:
    return {
        "output": output,
        "data": {"files": [files], "level": "LJ", "validation": 0.1, "test": 0.0},
        "loss": {"energy": 1.0, "forces": 1.0, "stress": stress, "kind": "mse"},
        "optimizer": {
            "max_steps": 150,
            "batch_size": 4,
            "validate_every": 50,
            "warmup_steps": 5,
            "learning_rate": 5e-3,
            "ema_decay": 0.9,
        },
        **more,
    }


def test_tuning_on_stress_lowers_its_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ase.io.write(tmp_path / "old.extxyz", [argon(rng, 5.4, False) for _ in range(40)])
    # a denser crystal; every other frame has a stress, one batch may have none
    new = [argon(rng, 5.1, k % 2 == 0) for k in range(24)]
    ase.io.write(tmp_path / "new.extxyz", new)
    test = [argon(rng, 5.1, True) for _ in range(20)]
    shape = {"n_features": 8, "n_blocks": 2, "cutoff": 5.0, "n_basis": 8}
    start = fit(
        TrainingConfig(**config("old.extxyz", "start", 0.0, model=shape)), tmp_path, progress=False
    )
    paths = [start]
    for output, weight in (("without", 0.0), ("with", 10.0)):
        tune = AutotuneConfig(**config("new.extxyz", output, weight))
        paths.append(fit(tune.starting_from(start), tmp_path, progress=False))
    errors = [evaluate(load_model(path)[0], test).summary()["stress_MPa_mae"] for path in paths]
    before, without, with_stress = errors
    assert with_stress < 0.5 * before
    assert with_stress < 0.8 * without
    assert "stress_MPa_mae" in load_model(paths[-1])[1].errors


def test_frames_without_stress_leave_the_term_to_the_others(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    ase.io.write(tmp_path / "a.extxyz", [argon(rng, 5.2, stress) for stress in (True, False)])
    data = FrameDataset(read_frames(tmp_path / "a.extxyz")[0], ("Ar",), 5.0)
    loss = LossSection(stress=1.0, energy=0.0, forces=0.0, kind="mse")

    def term(batch: Batch) -> torch.Tensor:
        n = batch.graph.n_structures
        virial = torch.ones(n, 3, 3, dtype=torch.float64, requires_grad=True)
        prediction = Prediction(torch.zeros(n), torch.zeros(4 * n), virial=virial)
        (value,) = loss_terms(prediction, batch, loss).values()
        value.backward()  # type: ignore[no-untyped-call]
        assert virial.grad is not None
        assert bool(torch.isfinite(virial.grad).all())
        return value.detach()

    alone, both, none = (term(collate(list(b))) for b in ([data[0]], [data[0], data[1]], [data[1]]))
    assert alone > 0
    assert both == pytest.approx(alone)
    assert none == 0
    twice = replace(data[0], stress=2 * data[0].stress)
    assert term(twice) != pytest.approx(alone)
