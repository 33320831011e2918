"""Small labelled sets: flexible three-atom molecules with a closed-form energy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

REFERENCE = {"O": -430.0, "H": -13.0}


def spring_molecule(
    rng: np.random.Generator, reference: dict[str, float] = REFERENCE, stiffness: float = 1.0
) -> Atoms:
    """An H2O with harmonic O-H and H-H springs: exact energies and forces without any engine."""
    positions = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    positions += rng.normal(0, 0.08, (3, 3))
    energy, forces = sum(reference[s] for s in "OHH"), np.zeros((3, 3))
    for i, j, k, r0 in ((0, 1, 30.0, 0.96), (0, 2, 30.0, 0.96), (1, 2, 5.0, 1.52)):
        vector = positions[j] - positions[i]
        k *= stiffness
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


# A cheap level of theory, other springs and another zero, and a model of it.
CHEAP = {"O": -3.0, "H": 1.0}
PRETRAIN = (
    CONFIG.replace("output: run", "output: pretrained")
    .replace("[data.extxyz]", "[cheap.extxyz]")
    .replace("level: springs", "level: cheap")
    .replace("max_steps: 60", "max_steps: 200")
)


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``cheap.extxyz`` and the model ``pretrained/springs.safetensors``."""
    from tpainn_calc.base.schema import load_config
    from training.fit import fit
    from training.fit.config import PretrainConfig

    folder = tmp_path_factory.mktemp("cheap")
    rng = np.random.default_rng(1)
    frames = [spring_molecule(rng, CHEAP, 0.8) for _ in range(60)]
    ase.io.write(folder / "cheap.extxyz", frames, format="extxyz")
    (folder / "pretrain.yaml").write_text(PRETRAIN)
    config = load_config(folder / "pretrain.yaml", PretrainConfig)
    fit(config, folder, progress=False)
    return folder


@pytest.fixture
def water_field(tmp_path: Path) -> Callable[[Atoms, float, float], str]:
    """Writes ``water.data``; makes the head of a LAMMPS input of q-SPC/Fw that reads it."""
    from training.forcefields.water_model import WATER_MODELS

    def write(atoms: Atoms, cutoff: float, accuracy: float) -> str:
        m = WATER_MODELS["q-spcfw"]
        kcal, box, n = 1 / 4.184, float(atoms.cell[0, 0]), len(atoms) // 3
        lines = ["water", "", f"{3 * n} atoms", f"{2 * n} bonds", f"{n} angles", "2 atom types"]
        lines += ["1 bond types", "1 angle types", ""]
        lines += [f"0 {box!r} {axis}lo {axis}hi" for axis in "xyz"]
        lines += ["", "Masses", "", "1 15.999", "2 1.008", "", "Atoms", ""]
        for k, (x, y, z) in enumerate(atoms.positions.tolist()):
            charge = m.oxygen_charge if k % 3 == 0 else -m.oxygen_charge / 2
            lines.append(f"{k + 1} {k // 3 + 1} {1 if k % 3 == 0 else 2} {charge} {x} {y} {z}")
        lines += ["", "Bonds", ""]
        for k in range(n):
            lines += [f"{2 * k + h} 1 {3 * k + 1} {3 * k + 1 + h}" for h in (1, 2)]
        lines += ["", "Angles", ""]
        lines += [f"{k + 1} 1 {3 * k + 2} {3 * k + 1} {3 * k + 3}" for k in range(n)]
        (tmp_path / "water.data").write_text("\n".join([*lines, ""]))
        return (
            "units real\natom_style full\nbond_style harmonic\nangle_style harmonic\n"
            f"pair_style lj/long/coul/long long long {cutoff}\nkspace_style ewald/disp {accuracy}\n"
            "read_data water.data\npair_modify mix geometric\nspecial_bonds lj/coul 0 0 0\n"
            f"pair_coeff 1 1 {m.epsilon * kcal!r} {m.sigma * 10!r}\npair_coeff 2 2 0 1\n"
            f"bond_coeff 1 {0.5 * m.bond_k * kcal / 100!r} {m.bond_length * 10!r}\n"
            f"angle_coeff 1 {0.5 * m.angle_k * kcal!r} {m.angle!r}\nneigh_modify one 10000\n"
        )

    return write
