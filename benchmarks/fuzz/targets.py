"""Files that users hand to our commands, damaged, and the commands that are to refuse them."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

import h5py
import numpy as np
from ase.build import molecule
from safetensors.numpy import save

import seedselect.cli
import tpainn_calc.cli
import training.cli
from benchmarks.fuzz import deployed
from benchmarks.fuzz.cases import (
    Case,
    Target,
    box_energy,
    command,
    energies,
    is_sane,
    labelled_frames,
    warned,
    water_box,
    write_damaged,
)
from benchmarks.fuzz.mutations import BINARY, TEXT, Damage
from benchmarks.fuzz.sandbox import Body, Ended, run_child
from seedselect.campaign.manifest import _checksum
from tpainn_calc.base.frames import attach_results, read_extxyz, write_extxyz, write_shard
from tpainn_calc.manifest import METADATA_KEY, _digest, find_model, read_header, read_tensors

# ---------------------------------------------------------------------------- model files


def model_bytes(folder: Path, damage: Damage) -> Case:
    """The shipped potential with damaged bytes."""
    data = damage.of(find_model("water").read_bytes(), BINARY)
    return _model_case(folder, data)


def model_manifest(folder: Path, damage: Damage) -> Case:
    """The shipped potential with another manifest; now and then sealed anew, as by an attacker."""
    path = find_model("water")
    tensors = read_tensors(path)
    content = damage.of_json(json.loads(read_header(path)))
    text = json.dumps(content)
    if damage.rng.random() < 0.7:
        content.pop("sha256", None)
        text = json.dumps(content)
        text = f'{text[:-1]},"sha256":"{_digest(text, tensors)}"}}'
    return _model_case(folder, save(tensors, {METADATA_KEY: text}))


def _model_case(folder: Path, data: bytes) -> Case:
    (folder / "damaged.safetensors").write_bytes(data)
    write_extxyz(folder / "box.extxyz", [water_box()])
    expected = box_energy(2)
    return Case(
        command(
            tpainn_calc.cli.main,
            "evaluate",
            "damaged.safetensors",
            "box.extxyz",
            "-o",
            "out.extxyz",
        ),
        lambda ended: np.allclose(energies(folder / "out.extxyz"), [expected], atol=1e-3),
    )


# ---------------------------------------------------------------------------- structures


def structures(folder: Path, damage: Damage) -> Case:
    """Extended XYZ for ``tpainn evaluate``."""
    write_damaged(folder / "damaged.extxyz", labelled_frames(2), damage)
    words = ("evaluate", "water", "damaged.extxyz", "-o", "out.extxyz")
    return Case(
        command(tpainn_calc.cli.main, *words),
        lambda ended: is_sane(folder / "out.extxyz") or warned(ended),
    )


def training_frames(folder: Path, damage: Damage) -> Case:
    """Extended XYZ for ``tpainn-train evaluate``."""
    write_damaged(folder / "damaged.extxyz", labelled_frames(3), damage)
    words = ("evaluate", "water", "damaged.extxyz", "-o", "report")
    return Case(
        command(training.cli.main, *words),
        lambda ended: "nan" not in ended.output.lower() or warned(ended),
    )


def pool_frames(folder: Path, damage: Damage) -> Case:
    """Extended XYZ for ``seedselect pick``."""
    write_damaged(folder / "damaged.extxyz", labelled_frames(8), damage)
    return _pick(folder, "damaged.extxyz")


def label_frames(folder: Path, damage: Damage) -> Case:
    """Labels for ``seedselect ingest``."""
    _campaign(folder)
    data = (folder / "c" / "selected.extxyz").read_bytes()
    frames = read_extxyz(folder / "c" / "selected.extxyz")
    for atoms in frames:
        attach_results(atoms, -1.0, np.zeros((len(atoms), 3)))
    buffer = folder / "labels.extxyz"
    write_damaged(buffer, frames, damage)
    words = ("ingest", "c", "labels.extxyz")
    return Case(
        command(seedselect.cli.main, *words),
        lambda ended: (
            (folder / "c" / "selected.extxyz").read_bytes() == data
            and _sane_or_absent(folder / "c" / "labels.extxyz")
        ),
    )


def _sane_or_absent(path: Path) -> bool:
    return not path.is_file() or is_sane(path)


# ---------------------------------------------------------------------------- pools


def pool_hdf5(folder: Path, damage: Damage) -> Case:
    """Frames in HDF5 for ``seedselect pick``."""
    path = write_shard(folder, "damaged", labelled_frames(8))
    path.write_bytes(damage.of(path.read_bytes(), BINARY))
    return _pick(folder, "damaged.h5")


def pool_table(folder: Path, damage: Damage) -> Case:
    """A table in HDF5 or npz for ``seedselect pick``; npz of unequal lengths, too."""
    values = np.random.default_rng(0).normal(size=(40, 5))
    target = values.sum(axis=1)
    kind = int(damage.rng.integers(3))
    if kind == 0:
        with h5py.File(folder / "damaged.h5", "w") as file:
            file["X"], file["y"] = values, target
        path = folder / "damaged.h5"
    else:
        path = folder / "damaged.npz"
        rows = int(damage.rng.integers(41)) if kind == 2 else 40
        np.savez(path, X=values, y=target[:rows])
    if kind < 2:
        path.write_bytes(damage.of(path.read_bytes(), BINARY))
    return _pick(folder, path.name)


def pool_csv(folder: Path, damage: Damage) -> Case:
    """A table in CSV for ``seedselect pick``."""
    values = np.random.default_rng(0).normal(size=(40, 4))
    text = io.StringIO()
    np.savetxt(text, values, fmt="%.6g", delimiter=",", header="a,b,c,y", comments="")
    data = damage.of(text.getvalue().encode(), TEXT)
    (folder / "damaged.csv").write_bytes(data)
    return _pick(folder, "damaged.csv", "--target", "y")


def _pick(folder: Path, name: str, *options: str) -> Case:
    words = ("pick", name, "-n", "3", "-o", "c", *options)

    def right(ended: Ended) -> bool:
        manifest = json.loads((folder / "c" / "manifest.json").read_text())
        chosen = [entry["key"] for entry in manifest["entries"]]
        return len(set(chosen)) == 3

    return Case(command(seedselect.cli.main, *words), right)


# ---------------------------------------------------------------------------- campaigns


def campaign_manifest(folder: Path, damage: Damage) -> Case:
    """A campaign's manifest, its checksum right or not, for ``status`` and ``next``."""
    _campaign(folder)
    path = folder / "c" / "manifest.json"
    if damage.rng.random() < 0.3:
        path.write_bytes(damage.of(path.read_bytes(), TEXT))
    else:
        content = json.loads(path.read_text())
        content.pop("checksum")
        content = damage.of_json(content)
        path.write_text(json.dumps({**content, "checksum": _checksum(content)}))
    words = ("status", "c") if damage.rng.random() < 0.5 else ("next", "c", "-n", "2")
    return Case(command(seedselect.cli.main, *words), lambda ended: "nan" not in ended.output)


def _campaign(folder: Path) -> None:
    shutil.copytree(_sound_campaign(), folder, dirs_exist_ok=True)


@cache
def _sound_campaign() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tpainn-fuzz-"))
    write_extxyz(folder / "pool.extxyz", labelled_frames(12))
    words = ("pick", "pool.extxyz", "-n", "4", "-o", "c")
    return _made(folder, command(seedselect.cli.main, *words))


def _made(folder: Path, body: Body) -> Path:
    ended = run_child(body, folder, 120)
    if ended.code != 0:
        raise RuntimeError(f"sound input was refused: {ended.errors}")
    return folder


# ---------------------------------------------------------------------------- configurations

TRAINING = """\
output: run
seed: 0
data:
  files: [frames.extxyz]
  level: test
  max_force: 50.0
  block: 2
  validation: 0.2
  test: 0.2
model: {name: tiny, n_features: 4, n_blocks: 1, cutoff: 3.0, n_basis: 4}
loss: {kind: huber, delta: 0.02, energy: 1.0, forces: 1.0, stress: 0.0}
optimizer: {learning_rate: 1.0e-3, warmup_steps: 1, max_steps: 4, batch_size: 1, validate_every: 2}
"""

CLASSICAL = """\
output: frames
seed: 1
max_force: 50.0
min_distance: 0.5
source:
  kind: calculator
  calculator: ase.calculators.emt.EMT
  structures: start.extxyz
  level: EMT
  frames: 2
  sampling: displacement
  displacement: 0.05
  structures_per_shard: 2
"""


CLUSTER = """\
5
cluster
Cu 0.00 0.00  0.0
Cu 2.30 0.00  0.0
Cu 1.15 2.00  0.0
Cu 1.15 0.67  1.9
Cu 1.15 0.67 -1.9
"""

LOOP = """\
output: run
seed: 1
classical:
  source:
    kind: calculator
    calculator: ase.calculators.morse.MorsePotential
    arguments: {epsilon: 0.5, r0: 2.4, rho0: 4.0}
    structures: start.xyz
    level: Morse
    frames: 16
    sampling: langevin
    temperature: 400
    spacing: 0.02
    timestep: 1.0
test: {frames: 3}
pick:
  first: 4
  next: 2
  settings: {n_estimators: 4, n_features: 16, dedup: 0.0, length_factor: 0.3}
label:
  engine: {kind: ase, calculator: ase.calculators.emt.EMT, level: EMT, stress: false}
pretrain:
  validation: 0.2
  model: {n_features: 4, n_blocks: 1, cutoff: 3.5, n_basis: 4}
  optimizer: &short {max_steps: 4, batch_size: 4, validate_every: 2, warmup_steps: 1}
autotune: {validation: 0.25, optimizer: *short}
committee: {size: 2}
md: {trajectories: 2, temperatures: [200, 300], steps: 12, timestep: 1.0, every: 6, ceiling: 1e+4}
stop: {rounds: 1}
"""


def training_config(folder: Path, damage: Damage) -> Case:
    """A configuration of ``tpainn-train scratch``, of which a few steps are trained."""
    write_extxyz(folder / "frames.extxyz", labelled_frames(10))
    (folder / "c.yaml").write_bytes(damage.of(TRAINING.encode(), TEXT))

    def right(ended: Ended) -> bool:
        return bool(list(folder.rglob("*.safetensors")))

    return Case(command(training.cli.main, "scratch", "c.yaml", "--quiet"), right)


def classical_config(folder: Path, damage: Damage) -> Case:
    """A configuration of ``tpainn-train classical``."""
    write_extxyz(folder / "start.extxyz", [molecule("H2O"), molecule("CH4")])
    (folder / "c.yaml").write_bytes(damage.of(CLASSICAL.encode(), TEXT))
    return Case(
        command(training.cli.main, "classical", "c.yaml", "--quiet"),
        lambda ended: bool(list(folder.rglob("rejected.txt"))),
    )


def loop_config(folder: Path, damage: Damage) -> Case:
    """A configuration of ``tpainn-train loop``, of which one round is run."""
    (folder / "start.xyz").write_text(CLUSTER)
    (folder / "c.yaml").write_bytes(damage.of(LOOP.encode(), TEXT))
    return Case(
        command(training.cli.main, "loop", "c.yaml", "--quiet"),
        lambda ended: bool(list(folder.rglob("rounds.csv"))),
    )


def checkpoint(folder: Path, damage: Damage) -> Case:
    """A checkpoint from which a training goes on; it must end with the same model."""
    shutil.copytree(_sound_training(), folder, dirs_exist_ok=True)
    model = folder / "run" / "tiny.safetensors"
    expected = model.read_bytes()
    model.unlink()
    name = "last" if damage.rng.random() < 0.5 else "best"
    path = folder / "run" / "checkpoints" / f"{name}.ckpt"
    path.write_bytes(damage.of(path.read_bytes(), BINARY))
    return Case(
        command(training.cli.main, "scratch", "c.yaml", "--quiet", "--resume"),
        lambda ended: model.read_bytes() == expected,
    )


@cache
def _sound_training() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tpainn-fuzz-"))
    write_extxyz(folder / "frames.extxyz", labelled_frames(10))
    (folder / "c.yaml").write_text(TRAINING)
    return _made(folder, command(training.cli.main, "scratch", "c.yaml", "--quiet"))


#: Name, target, share of all cases.
TARGETS: dict[str, tuple[Target, float]] = {
    "model file, bytes": (model_bytes, 0.11),
    "model file, manifest": (model_manifest, 0.12),
    "deployed file, bytes": (deployed.damaged_file, 0.07),
    "deployed file, values": (deployed.altered_file, 0.10),
    "deployed file, 2 ranks": (deployed.file_on_two_ranks, 0.05),
    "deployed file, Python": (deployed.file_in_python, 0.06),
    "code": (deployed.code, 0.05),
    "LAMMPS input": (deployed.lammps_input, 0.08),
    "structures": (structures, 0.09),
    "training frames": (training_frames, 0.04),
    "labels": (label_frames, 0.05),
    "pool of frames": (pool_frames, 0.03),
    "pool in HDF5": (pool_hdf5, 0.03),
    "pool in tables": (pool_table, 0.03),
    "pool in CSV": (pool_csv, 0.02),
    "campaign": (campaign_manifest, 0.05),
    "training configuration": (training_config, 0.02),
    "classical configuration": (classical_config, 0.02),
    "loop configuration": (loop_config, 0.01),
    "checkpoint": (checkpoint, 0.01),
}
