"""Small labelled sets: flexible three-atom molecules with a closed-form energy."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

REFERENCE = {"O": -430.0, "H": -13.0}


def spring_molecule(rng: np.random.Generator) -> Atoms:
    """An H2O with harmonic O-H and H-H springs: exact energies and forces without any engine."""
    positions = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    positions += rng.normal(0, 0.08, (3, 3))
    energy, forces = sum(REFERENCE[s] for s in "OHH"), np.zeros((3, 3))
    for i, j, k, r0 in ((0, 1, 30.0, 0.96), (0, 2, 30.0, 0.96), (1, 2, 5.0, 1.52)):
        vector = positions[j] - positions[i]
        r = np.linalg.norm(vector)
        energy += 0.5 * k * (r - r0) ** 2
        pull = k * (r - r0) * vector / r
        forces[i] += pull
        forces[j] -= pull
    atoms = Atoms("OHH", positions=positions)
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
    return atoms


@pytest.fixture(scope="session")
def frames() -> list[Atoms]:
    rng = np.random.default_rng(0)
    return [spring_molecule(rng) for _ in range(60)]


@pytest.fixture
def data_file(tmp_path: Path, frames: list[Atoms]) -> Path:
    path = tmp_path / "data.extxyz"
    ase.io.write(path, frames, format="extxyz")
    return path


CONFIG = """\
output: run
seed: 3
data:
  files: [data.extxyz]
  level: springs
  block: 2
  validation: 0.1
  test: 0.1
model: {name: springs, n_features: 8, n_blocks: 2, cutoff: 3.0, n_basis: 6}
optimizer:
  learning_rate: 5.0e-3
  max_steps: 60
  batch_size: 4
  validate_every: 20
  warmup_steps: 5
  ema_decay: 0.95
"""


@pytest.fixture
def config_file(tmp_path: Path, data_file: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path
