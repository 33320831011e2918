"""The model file that a training run leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from tpainn_calc.base.frames import DISTORTED
from tpainn_calc.modelfile import save_model
from tpainn_calc.training_range import coordination_of, merge_coordination
from training.data.batches import FrameDataset, shortest_distances
from training.data.run_data import RunData
from training.fit.config import FitConfig
from training.fit.trainer import Trained

#: Settings that say where a run took place rather than what it was.
NOT_RECORDED: dict[str, Any] = {
    **dict.fromkeys(("output", "device", "trainer", "logger"), True),
    "tune": {"start"},
}


def write_model(
    path: Path, config: FitConfig, data: RunData, trained: Trained, errors: dict[str, Any]
) -> None:
    """Write the model file of a run.

    Parameters
    ----------
    path : Path
    config : FitConfig
    data : RunData
    trained : Trained
    errors : dict
        For the manifest.
    """
    potential, start = trained.potential, trained.start
    frames = data.part("train")
    dataset = FrameDataset(frames, potential.elements, potential.cutoff)
    every = max(1, len(dataset) // 200)
    # distorted ones are there to be avoided: they widen no range
    sample = [k for k in range(0, len(dataset), every) if not frames[k].info.get(DISTORTED)]
    shortest = shortest_distances((dataset[i].graph for i in sample), potential.elements)
    coordination = coordination_of((dataset[i].graph for i in sample), potential.elements)
    references: dict[str, dict[str, float]] = {}
    if start.previous is not None:  # what was seen in pretraining counts as well
        references |= start.previous.reference_energies
        for pair, r in start.previous.shortest_distances.items():
            shortest[pair] = min(r, shortest.get(pair, r))
        coordination = merge_coordination(coordination, start.previous.coordination)
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
        "config": config.model_dump(mode="json", exclude=NOT_RECORDED),
    }
    if start.source:
        training["start"] = start.source
    save_model(
        path,
        potential,
        golden_cluster(frames[0]),
        name=config.name,
        level_of_theory=config.data.level,
        reference_energies=references,
        training=training,
        errors=errors,
        shortest_distances=shortest,
        coordination=coordination,
    )


def golden_cluster(atoms: Atoms, n: int = 9) -> Atoms:
    """The `n` atoms nearest to the first atom, without periodicity: small, but real geometry."""
    nearest = np.argsort(atoms.get_distances(0, range(len(atoms)), mic=True), kind="stable")[:n]
    vectors = atoms.get_distances(0, nearest, mic=True, vector=True)
    symbols = [atoms.symbols[i] for i in nearest]
    return Atoms(symbols, positions=vectors)
