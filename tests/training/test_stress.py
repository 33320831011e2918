"""Stress in the loss: tuning on it lowers its error, and frames without a label leave it alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.lj import LennardJones

from tpainn_calc.base.frames import attach_results
from tpainn_calc.modelfile import load_model
from tpainn_calc.potential import Hyperparameters, Potential, Prediction, predict
from training.data.batches import Batch, FrameDataset, collate
from training.data.frames import read_frames
from training.fit import fit, module
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


def config(output: str, loss: dict[str, float], steps: int, **more: object) -> dict[str, object]:
    return {
        "output": output,
        "data": {"files": ["new.extxyz"], "level": "LJ", "validation": 0.1, "test": 0.0},
        "loss": {"energy": 0.0, "forces": 0.0, **loss, "kind": "mse"},
        "optimizer": {
            "max_steps": steps,
            "batch_size": 4,
            "validate_every": steps,
            "warmup_steps": 5,
            "learning_rate": 5e-3,
            "ema_decay": 0.0,
        },
        **more,
    }


@pytest.mark.parametrize("left_out", [False, True])
def test_tuning_on_stress_alone_lowers_its_error(
    tmp_path: Path, left_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the frames that it is tuned on, which no draw of frames or weights can spoil."""
    rng = np.random.default_rng(0)
    frames = [argon(rng, 5.1, True) for _ in range(20)]
    ase.io.write(tmp_path / "new.extxyz", frames)
    shape = {"n_features": 8, "n_blocks": 1, "cutoff": 5.0, "n_basis": 8}
    untuned = TrainingConfig(**config("start", {"energy": 1.0, "forces": 1.0}, 10, model=shape))
    start = fit(untuned, tmp_path, progress=False)
    if left_out:

        def without(*arguments: Any) -> dict[str, torch.Tensor]:
            return {name: 0.0 * term for name, term in loss_terms(*arguments).items()}

        monkeypatch.setattr(module, "loss_terms", without)
    tune = AutotuneConfig(**config("tuned", {"stress": 1.0}, 150)).starting_from(start)
    tuned = fit(tune, tmp_path, progress=False)
    before, after = (
        evaluate(load_model(path)[0], frames).summary()["stress_MPa_mae"] for path in (start, tuned)
    )
    assert (after < 0.5 * before) is not left_out
    assert "stress_MPa_mae" in load_model(tuned)[1].errors


def test_the_gradient_of_the_stress_term_is_that_of_finite_differences(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    ase.io.write(tmp_path / "a.extxyz", [argon(rng, 5.1, True) for _ in range(3)])
    data = FrameDataset(read_frames(tmp_path / "a.extxyz")[0], ("Ar",), 5.0)
    batch = collate(list(data))
    torch.manual_seed(0)
    shape = Hyperparameters(elements=("Ar",), n_features=8, n_blocks=2, cutoff=5.0, n_basis=8)
    potential = Potential(shape)
    potential.set_dtype(torch.float64)
    loss = LossSection(stress=1.0, energy=0.0, forces=0.0, kind="mse")

    def term(create_graph: bool = False) -> torch.Tensor:
        prediction = predict(potential, batch.graph, virial=True, create_graph=create_graph)
        return loss_terms(prediction, batch, loss)["stress"]

    weights = [p for p in potential.parameters() if p.requires_grad]
    gradient = torch.autograd.grad(term(create_graph=True), weights, allow_unused=True)
    pairs = [(p, g) for p, g in zip(weights, gradient, strict=True) if g is not None]
    slope = float(torch.stack([g.square().sum() for _, g in pairs]).sum())
    step = 1e-6 / slope**0.5
    values = []
    for factor in (step, -2 * step):
        with torch.no_grad():
            for weight, g in pairs:
                weight += factor * g
        values.append(float(term()))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-6)


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


def test_the_mean_error_of_the_pressure_has_its_sign() -> None:
    """Labels with 100 MPa less pressure than the potential gives, and a shear besides."""
    rng = np.random.default_rng(3)
    frames = [argon(rng, edge, stress=True) for edge in (5.2, 5.4)]
    potential = Potential(Hyperparameters(("Ar",), n_features=8, n_blocks=1, cutoff=4.0, n_basis=6))
    mpa = 1 / 160217.6634
    for atoms in frames:
        results = potential_stress(potential, atoms)
        atoms.calc.results["stress"] = results + 100 * mpa * np.array([1, 1, 1, 0.5, 0, 0])
    summary = evaluate(potential, frames).summary()
    assert summary["pressure_MPa_mean_error"] == pytest.approx(100, rel=1e-6)
    assert summary["stress_MPa_mae"] == pytest.approx(100 * (3 + 2 * 0.5) / 9, rel=1e-6)
    assert "mean error of the pressure: 100.0 MPa" in evaluate(potential, frames).describe()


def potential_stress(potential: Potential, atoms: Atoms) -> np.ndarray:
    """xx yy zz yz xz xy, eV/Å³."""
    s = evaluate(potential, [atoms]).stress[0]
    return np.array([s[0, 0], s[1, 1], s[2, 2], s[1, 2], s[0, 2], s[0, 1]])
