"""The members of the committee: trained one after the other, and asked together."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from tpainn_calc.base.frames import results_of
from tpainn_calc.calculator import TPaiNNCalculator
from training.data.config import DataSection
from training.fit import fit
from training.fit.config import AutotuneConfig, FitConfig, PretrainConfig
from training.fit.evaluation import Evaluation
from training.fit.sections import TunedModelSection
from training.loop.config import AutotuneStage, LoopConfig, PretrainStage


def pretrain_member(
    config: LoopConfig, member: int, source: Path, level: str, output: Path
) -> Path:
    """Train fresh weights on the classical pool, from the last checkpoint where there is one.

    Parameters
    ----------
    config : LoopConfig
    member : int
        Seeds the weights, the order of the frames and the choice of those left out.
    source : Path
        Labelled frames.
    level : str
        Of these.
    output : Path

    Returns
    -------
    Path
        The model file.
    """
    p = config.pretrain
    run = PretrainConfig(
        **_common(config, member, source, level, output, p, p.block),
        model=p.model.model_copy(update={"name": "pretrained"}),
    )
    return _fit(run, output)


def tune_member(
    config: LoopConfig, member: int, labels: Path, level: str, start: Path, output: Path
) -> Path:
    """Tune pretrained weights on the labels, from the last checkpoint where there is one.

    Parameters
    ----------
    config : LoopConfig
    member : int
    labels : Path
        Labelled frames.
    level : str
        Of these.
    start : Path
        Pretrained model.
    output : Path

    Returns
    -------
    Path
        The model file.
    """
    a = config.autotune
    run = AutotuneConfig(
        **_common(config, member, labels, level, output, a),
        model=TunedModelSection(name=config.name),
        tune=a.tune,
    )
    return _fit(run.starting_from(start), output)


def _common(
    config: LoopConfig,
    member: int,
    frames: Path,
    level: str,
    output: Path,
    section: PretrainStage | AutotuneStage,
    block: int = 1,
) -> dict[str, Any]:
    """Settings that pretraining and tuning of a member have in common."""
    seed = config.seed + member
    return {
        "output": str(output.resolve()),
        "seed": seed,
        "device": config.device,
        "data": DataSection(
            files=[str(frames.resolve())],
            level=level,
            validation=section.validation,
            test=0.0,
            block=block,
            split_seed=seed,
        ),
        "loss": section.loss,
        "optimizer": section.optimizer,
    }


def _fit(run: FitConfig, output: Path) -> Path:
    path = fit(run, output, resume=True, progress=False)
    # a finished member is not resumed: what is left of its run is the model and the record
    shutil.rmtree(output / "checkpoints", ignore_errors=True)
    return path


def largest_deviation(forces_std: np.ndarray, members: int) -> float:
    """Largest force deviation of a frame, as ``pair_style tpainn`` defines it.

    That of an atom is sqrt(⟨|f − ⟨f⟩|²⟩) over the members.

    Parameters
    ----------
    forces_std : ndarray (atoms, 3)
        Sample standard deviations, as the calculator gives them, eV/Å.
    members : int
    """
    squares = (forces_std**2).sum(axis=1) * (members - 1) / members
    return float(np.sqrt(squares.max()))


def judge(
    models: Sequence[Path], frames: Sequence[Atoms], title: str, device: str
) -> tuple[Evaluation, np.ndarray]:
    """Errors of the committee's mean on labelled frames, and its deviation there.

    Returns
    -------
    evaluation : Evaluation
    deviation : ndarray (frames,)
        Largest force deviation of each frame, eV/Å.
    """
    calculator = committee(models, device)
    results = calculator.batch(frames)
    with_stress = [k for k, atoms in enumerate(frames) if "stress" in results_of(atoms)]
    stress = calculator.batch([frames[k] for k in with_stress], ["stress"]) if with_stress else []
    sizes = np.array([len(atoms) for atoms in frames])
    evaluation = Evaluation(
        title=title,
        symbols=np.concatenate([a.get_chemical_symbols() for a in frames]),
        energy_label=np.array([a.get_potential_energy() for a in frames]) / sizes,
        energy=np.array([r["energy"] for r in results]) / sizes,
        forces_label=np.concatenate([a.get_forces() for a in frames]),
        forces=np.concatenate([r["forces"] for r in results]),
        stress_label=np.array([frames[k].get_stress(voigt=False) for k in with_stress]),
        stress=np.array([voigt_6_to_full_3x3_stress(r["stress"]) for r in stress]),
    )
    deviation = [largest_deviation(r["forces_std"], len(models)) for r in results]
    return evaluation, np.array(deviation)


def committee(models: Sequence[Path], device: str) -> TPaiNNCalculator:
    """Calculator of several models."""
    return TPaiNNCalculator(list(models), device=None if device == "auto" else device)


def frame_errors(evaluation: Evaluation, frames: Sequence[Atoms]) -> np.ndarray:
    """Largest force error of each frame, eV/Å, to be seen beside its largest deviation."""
    error = np.linalg.norm(evaluation.forces - evaluation.forces_label, axis=1)
    ends = np.cumsum([len(atoms) for atoms in frames])
    return np.array([part.max() for part in np.split(error, ends[:-1])])
