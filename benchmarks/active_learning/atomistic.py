"""Tasks made of frames: QM9, and water at two levels of DFT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.active_learning.cache import cached_arrays
from benchmarks.active_learning.classical import bond_additive_energy, spc_flexible
from benchmarks.active_learning.task import Task, data_file, principal_components
from seedselect.frames.descriptors import LocalInvariants
from seedselect.frames.frame import Frame
from tpainn_calc.base.arrays import Array

#: Molecules of QM9 that are used, drawn once.
QM9_MOLECULES = 4000

REVPBE0 = "water_revpbe0d3_csi2024/water_revpbe0d3_csi2024.extxyz.gz"
SCAN = "water_scan_ice1bar/water_scan_ice1bar.extxyz.gz"


def qm9_orbitals() -> Task:
    """QM9: orbital energy as source target, gap as target."""
    data = cached_arrays(data_file("qm9/qm9.npz"), f"qm9-{QM9_MOLECULES}", _qm9_arrays)
    X = principal_components(data["mean"])
    return Task(
        "qm9",
        "target transfer",
        X,
        data["gap"],
        X,
        data["homo"],
        "HOMO-LUMO gap from averaged invariants; source target HOMO. The paper transfers between "
        "two levels of theory, of which our QM9 has one.",
    )


def qm9_classical() -> Task:
    """QM9: bond-additive energy as source, B3LYP energy as target."""
    data = cached_arrays(data_file("qm9/qm9.npz"), f"qm9-{QM9_MOLECULES}", _qm9_arrays)
    X = principal_components(data["sum"])
    counts = data["counts"]
    return Task(
        "qm9_classical",
        "target transfer",
        X,
        _without_composition(data["u0"], counts),
        X,
        _without_composition(data["classical"], counts),
        "B3LYP energy beyond a fit per element; source target the same of mean bond enthalpies.",
    )


def _qm9_arrays(path: Path) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as file:
        offset = file["offset"]
        rows = np.sort(
            np.random.default_rng(9).choice(len(offset) - 1, size=QM9_MOLECULES, replace=False)
        )
        numbers, positions = file["Z"], file["pos"]
        labels = {k: file[k][rows] for k in ("homo", "gap", "u0")}
    elements = sorted(int(z) for z in np.unique(numbers))
    options = {"cutoff": 5.0, "n_radial": 8, "angular_cutoff": 3.5, "n_angular": 3}
    mean = LocalInvariants(elements, pooling="mean", **options)  # type: ignore[arg-type]
    total = LocalInvariants(elements, pooling="sum", **options)  # type: ignore[arg-type]
    tables: dict[str, list] = {"mean": [], "sum": [], "classical": [], "counts": []}
    for row in tqdm(rows, desc="QM9 descriptors", unit="molecule", disable=None):
        part = slice(offset[row], offset[row + 1])
        frame = Frame(
            numbers[part].astype(np.int64),
            positions[part].astype(float),
            np.zeros((3, 3)),
            np.zeros(3, dtype=bool),
        )
        tables["mean"].append(mean(frame))
        tables["sum"].append(total(frame))
        tables["classical"].append(bond_additive_energy(frame))
        tables["counts"].append([(frame.numbers == z).sum() for z in elements])
    return {k: np.asarray(v, dtype=float) for k, v in (tables | labels).items()}


def _without_composition(energy: Array, counts: Array) -> Array:
    fit, *_ = np.linalg.lstsq(counts, energy, rcond=None)
    return energy - counts @ fit


def water_revpbe0() -> Task:
    """Liquid water and ice: SPC/Fw as source, revPBE0-D3 energy as target."""
    return _water("water", REVPBE0, "revPBE0-D3")


def water_scan() -> Task:
    """Water and ice at 0.5-1.3 g/cm3: SPC/Fw as source, SCAN energy as target."""
    return _water("water_scan", SCAN, "SCAN")


def _water(name: str, file: str, level: str) -> Task:
    data = cached_arrays(data_file(file), "water-invariants", _water_arrays)
    usable = data["fmax"] < 15.0
    X = principal_components(data["X"][usable])
    return Task(
        name,
        "target transfer",
        X,
        data["energy"][usable],
        X,
        np.column_stack([data["classical"], data["classical_force"]])[usable],
        f"{level} energy per molecule from averaged invariants; source targets SPC/Fw energy per "
        "molecule and rms force. Frames with |F| > 15 eV/A are left out.",
    )


def _water_arrays(path: Path) -> dict[str, Array]:
    from seedselect.frames.atoms import iter_frames

    descriptor = LocalInvariants([1, 8])
    tables: dict[str, list] = {
        k: [] for k in ("X", "energy", "classical", "classical_force", "fmax")
    }
    for frame in tqdm(iter_frames(path), desc=path.name, unit="frame", disable=None):
        if frame.energy is None or frame.forces is None:
            continue
        molecules = float((frame.numbers == 8).sum())
        energy, forces = spc_flexible(frame)
        tables["X"].append(descriptor(frame))
        tables["energy"].append(frame.energy / molecules)
        tables["classical"].append(energy / molecules)
        tables["classical_force"].append(np.sqrt((forces**2).mean()))
        tables["fmax"].append(np.linalg.norm(frame.forces, axis=1).max())
    return {k: np.asarray(v, dtype=float) for k, v in tables.items()}
