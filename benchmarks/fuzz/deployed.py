"""Deployed files and inputs for LAMMPS: damaged, altered on purpose, or with code in them."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lammps_plugin.cli
import seedselect.cli
import tpainn_calc.cli
import training.cli
from benchmarks.fuzz import attacks
from benchmarks.fuzz.cases import Case, box_energy, command, water_box
from benchmarks.fuzz.mutations import BINARY, TEXT, Damage, Rng
from benchmarks.fuzz.sandbox import Body, Ended
from lammps_plugin.run import lammps_command, lammps_environment
from lammps_plugin.single_point import SHARED_CORES, write_data
from tpainn_calc.base.command import run_command
from tpainn_calc.base.frames import write_extxyz
from tpainn_calc.deployed import MANIFEST_FILE, load_deployed, seal
from tpainn_calc.export import export_model, load_exported

INPUT = """\
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
#: Waters on a side of the box: on two ranks, both have atoms.
SIDE = 3
#: eV between LAMMPS and ASE, in float32, for this box.
TOLERANCE = 1e-2


@cache
def deployed_water() -> bytes:
    """The shipped potential, exported."""
    with tempfile.TemporaryDirectory(prefix="tpainn-fuzz-") as folder:
        export_model("water", Path(folder) / "water.pt")
        return (Path(folder) / "water.pt").read_bytes()


# ---------------------------------------------------------------------------- damage


def lammps_input(folder: Path, damage: Damage) -> Case:
    """Inputs of LAMMPS: pair style, coefficients, settings."""
    _prepare(folder, deployed_water())
    text = damage.of(INPUT.encode(), TEXT)
    # LAMMPS (22 Jul 2025) itself crashes where this command has no arguments
    text = re.sub(rb"^neighbor\s*$", b"neighbor 1.0 bin", text, flags=re.MULTILINE)
    (folder / "in").write_bytes(text)
    return Case(run_library, lambda ended: bool(np.isfinite(_energies(ended)).all()))


def damaged_file(folder: Path, damage: Damage) -> Case:
    """A deployed file with damaged bytes."""
    _prepare(folder, damage.of(deployed_water(), BINARY))
    return Case(run_library, _is_reference)


def altered_file(folder: Path, damage: Damage) -> Case:
    """A deployed file with other values, sealed again: as from a malicious exporter."""
    _prepare(folder, alter(deployed_water(), damage))
    return Case(run_library, _is_reference)


def file_on_two_ranks(folder: Path, damage: Damage) -> Case:
    """A deployed file with damaged bytes or other values, for LAMMPS' own program on two ranks."""
    _prepare(folder, _damaged_or_altered(damage))
    return Case(run_two_ranks, _is_reference)


def file_in_python(folder: Path, damage: Damage) -> Case:
    """A deployed file with damaged bytes or other values, read by Python."""
    (folder / "water.pt").write_bytes(_damaged_or_altered(damage))

    def body() -> int:
        return run_command(lambda: print(_energy_in_python(Path("water.pt"))))

    return Case(body, lambda ended: abs(float(ended.output) - box_energy(SIDE)) < TOLERANCE)


def _damaged_or_altered(damage: Damage) -> bytes:
    if damage.rng.random() < 0.25:
        return damage.of(deployed_water(), BINARY)
    return alter(deployed_water(), damage)


def _energy_in_python(path: Path) -> float:
    from tpainn_calc.graph import Graph

    potential, _ = load_deployed(path)
    h = potential.hyperparameters
    graph = Graph.from_atoms(water_box(SIDE), h.elements, h.cutoff)
    return float(potential(graph.species, graph.centre, graph.neighbour, graph.edge_vec).sum())


def _prepare(folder: Path, data: bytes) -> None:
    write_data(folder / "box.data", water_box(SIDE), ["O", "H"])
    (folder / "water.pt").write_bytes(data)
    (folder / "in").write_text(INPUT.replace("run          2", "run          0"))


# ---------------------------------------------------------------------------- other values

INTEGERS = ("n_features", "n_blocks", "n_basis")
FLOATS = ("cutoff", "norm_epsilon", "golden_energy", "golden_tolerance")
TEXTS = ("name", "level_of_theory", "dtype", "kernel", "seal", "teacher", "basis", "envelope")
LISTS = ("elements", "masses", "pairs", "shortest_distances")


def alter(deployed: bytes, damage: Damage) -> bytes:
    """A deployed file with one value changed, and a seal that is right again."""
    rng, records = damage.rng, attacks.records_of(deployed)
    name = attacks.find_record(records, MANIFEST_FILE)
    manifest = records[name]
    if damage.sound:
        return seal(_saved(_loaded(deployed), manifest))
    kind = rng.choice(["attribute", "tensor", "manifest", "pickle"], p=[0.35, 0.3, 0.15, 0.2])
    if kind in ("attribute", "tensor"):
        module = _loaded(deployed)
        (_change_attribute if kind == "attribute" else _change_tensor)(module, rng)
        return seal(_saved(module, manifest))
    if kind == "manifest":
        content = damage.of_json(json.loads(manifest))
        return attacks.archive_of(records | {name: json.dumps(content).encode()})
    name = attacks.find_record(records, "/data.pkl")
    return attacks.archive_of(records | {name: damage.of(records[name], BINARY)})


def _loaded(deployed: bytes) -> Any:
    return torch.jit.load(io.BytesIO(deployed))  # our own export


def _saved(module: Any, manifest: bytes) -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(module, buffer, _extra_files={MANIFEST_FILE: manifest})
    return buffer.getvalue()


def _change_attribute(module: Any, rng: Rng) -> None:
    name = str(rng.choice([*INTEGERS, *FLOATS, *TEXTS, *LISTS]))
    value = getattr(module, name)
    choices: list[Any]
    if name in INTEGERS:
        choices = [-1, 0, 1, value - 1, value + 1, 2 * value, 10**4, 10**9, 10**12, 2**62]
    elif name in FLOATS:
        extremes = [0.0, -1.0, 1e-300, 1e9, 1e300, np.nan, np.inf, -np.inf]
        choices = [*extremes, -value, 1.01 * value, value + 1.0]
    elif name in TEXTS:
        choices = ["", "abc", "float64", "plain", "\x00", "é" * 9, "a" * 10**6, "%s%n"]
    else:
        odd = ["", "Xx"] if isinstance(value[0], str) else [np.nan, -1.0, 1e300]
        choices = [[], value[::-1], value[:1], [value[0]] * len(value), value * 100]
        choices += [[item, *value[1:]] for item in odd] + [[*value, item] for item in odd]
    setattr(module, name, choices[int(rng.integers(len(choices)))])


def _change_tensor(module: Any, rng: Rng) -> None:
    places = [(holder, key) for holder in module.modules() for key in _tensors(holder)]
    holder, key = places[int(rng.integers(len(places)))]
    value = getattr(holder, key)
    changed = value.detach().contiguous().clone()
    kind = int(rng.integers(8))
    if kind < 4:
        floats = [np.nan, np.inf, -1e30, 0.1]
        odd = floats if changed.is_floating_point() else [-1, 7, 10**6, 2**40]
        changed.view(-1)[int(rng.integers(changed.numel()))] = odd[kind]
    elif kind == 4:
        changed = changed.to(torch.int32 if changed.is_floating_point() else torch.float32)
    elif kind == 5:
        changed = changed[:0]
    elif kind == 6:
        changed = changed[:1].expand(10**12, *changed.shape[1:])  # much of little
    else:
        changed = torch.cat([changed, changed])
    if isinstance(value, torch.nn.Parameter):
        changed = torch.nn.Parameter(changed, requires_grad=False)
    setattr(holder, key, changed)


def _tensors(module: Any) -> list[str]:
    own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
    return [name for name, value in own if value.numel()]


# ---------------------------------------------------------------------------- code


def code(folder: Path, damage: Damage) -> Case:
    """Files of every kind that would run code if they were trusted, and all that read them."""
    victim = folder / "victim"
    victim.write_bytes(b"harmless")
    rng = damage.rng
    if damage.sound or rng.random() < 0.6:
        body = _deployed_attack(folder, damage, victim)
    else:
        makers = (pickled_table, yaml_tags, pickled_model)
        body = makers[int(rng.integers(len(makers)))](folder, rng, victim)
    return Case(body, lambda ended: True, lambda: victim.read_bytes() != b"harmless")


def _deployed_attack(folder: Path, damage: Damage, victim: Path) -> Body:
    data = deployed_water()
    if not damage.sound:
        kinds = list(attacks.DEPLOYED.values())
        data = kinds[int(damage.rng.integers(len(kinds)))](data, victim)
        if damage.rng.random() < 0.2:
            data = damage.of(data, BINARY)
    _prepare(folder, data)
    write_extxyz(folder / "box.extxyz", [water_box(SIDE)])
    readers: list[Body] = [
        run_library,
        run_two_ranks,
        command(lammps_plugin.cli.main, "parity", "water.pt", "box.extxyz"),
        command(tpainn_calc.cli.main, "evaluate", "water.pt", "box.extxyz", "-o", "out.extxyz"),
        lambda: run_command(lambda: print(load_exported("water.pt"))),
    ]
    return readers[0 if damage.sound else int(damage.rng.integers(len(readers)))]


def pickled_table(folder: Path, rng: Rng, victim: Path) -> Body:
    """A table with objects in it."""
    odd = np.array([attacks.Runs(victim)] * 40, dtype=object)
    columns = {"X": rng.normal(size=(40, 2)), "y": rng.normal(size=40)}
    np.savez(folder / "pool.npz", **{**columns, str(rng.choice(["X", "y", "z"])): odd})
    return command(seedselect.cli.main, "pick", "pool.npz", "-n", "3", "-o", "c")


def yaml_tags(folder: Path, rng: Rng, victim: Path) -> Body:
    """A configuration with a tag that calls a function."""
    line = f"!!python/object/apply:os.system ['{attacks.shell_line(victim)}']\n"
    key = str(rng.choice(["output", "data", "seed", "engine", "source"]))
    (folder / "c.yaml").write_text(f"{key}: {line}")
    words = str(rng.choice(["scratch", "classical", "loop", "autotune", "distill"]))
    return command(training.cli.main, words, "c.yaml")


def pickled_model(folder: Path, rng: Rng, victim: Path) -> Body:
    """A file of torch with objects in it, in the place of a model."""
    name = str(rng.choice(["model.safetensors", "model.pt", "model.ckpt"]))
    torch.save({"state_dict": attacks.Runs(victim)}, folder / name)
    write_extxyz(folder / "box.extxyz", [water_box()])
    words = [("info", name), ("evaluate", name, "box.extxyz", "-o", "out.extxyz")]
    return command(tpainn_calc.cli.main, *words[int(rng.integers(2))])


# ---------------------------------------------------------------------------- LAMMPS


def run_library() -> int:
    """Run the input ``in`` in this process, as ``lmp -in in`` does."""
    from lammps import lammps

    lmp = lammps(cmdargs=["-log", "none", "-nocite"])
    try:
        lmp.file("in")
    except Exception as error:  # LAMMPS' own errors, already printed by it
        print("ERROR", error)
        return 1
    lmp.close()
    return 0


def run_two_ranks() -> int:
    """Run the input ``in`` by LAMMPS' own program on two ranks."""
    words = lammps_command(["-in", "in", "-log", "none", "-nocite"], 2)
    code = subprocess.run(words, env=SHARED_CORES | lammps_environment(), check=False).returncode
    if code < 0:
        os.kill(os.getpid(), -code)
    return code


def _energies(ended: Ended) -> list[float]:
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


def _is_reference(ended: Ended) -> bool:
    found = _energies(ended)
    return len(found) == 1 and abs(found[0] - box_energy(SIDE)) < TOLERANCE
