"""Label frames of a model's own run by an engine, and compare."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units

from tpainn_calc.base.errors import ConfigError, DataError
from tpainn_calc.base.frames import checksum, results_of
from tpainn_calc.base.locks import Lock
from tpainn_calc.base.records import record_once, write_record
from tpainn_calc.base.tables import write_table
from tpainn_calc.manifest import Manifest, find_model
from tpainn_calc.modelfile import load_model
from tpainn_calc.observables.density import density
from tpainn_calc.observables.trajectory import (
    cell_vectors,
    load_trajectory,
    spread,
    structures,
)
from tpainn_calc.potential import Potential
from training.fit.evaluation import Evaluation, evaluate
from training.labels.engines.config import AnyEngine
from training.labels.engines.factory import make_engine
from training.labels.journal import label_frames
from training.verify.density import Compressibility, compressibility, density_error
from training.verify.figures import draw

#: Frames with labels that an error bar wants.
ENOUGH = 3


#: Part of the density beyond which its error is no longer proportional to that of the pressure.
FIRST_ORDER = 0.05


@dataclass(frozen=True)
class Settings:
    """Settings of a verification.

    Attributes
    ----------
    model : str
        Model file, or name of a shipped potential.
    trajectory : Path
        Of a run with it.
    engine : AnyEngine
        Of its level of theory.
    frames : int
        So many are labelled, at equal distances.
    skip : float
        Part of the trajectory that is left out at its beginning.
    elements : tuple of str
        Of a LAMMPS dump's atom types.
    topology : Path, optional
    temperature : float
        Of the run, K, for the compressibility.
    compressibility : float, optional
        1/GPa, in place of that of the run.
    jobs : int
    time_limit : float, optional
        s per label.
    """

    model: str
    trajectory: Path
    engine: AnyEngine
    frames: int = 20
    skip: float = 0.1
    elements: tuple[str, ...] = ()
    topology: Path | None = None
    temperature: float = 300.0
    compressibility: float | None = None
    jobs: int = 1
    time_limit: float | None = None


def verify(settings: Settings, folder: Path, progress: bool = True) -> list[str]:
    """Verify a model; what was labelled before is not labelled again.

    Parameters
    ----------
    settings : Settings
    folder : Path
        Gets ``verify.json``, ``verify.csv``, ``verify.png`` and the labels.
    progress : bool

    Returns
    -------
    list of str
        The result, for the terminal.

    Raises
    ------
    ConfigError
        A setting is wrong, or the folder holds another verification.
    BusyError
        Another process works in the folder.
    DataError
        The trajectory cannot be read, is too short, or no frame could be labelled.
    LabelError
        The engine does not work.
    """
    _check(settings)
    potential, manifest = load_model(settings.model)
    engine = make_engine(settings.engine)
    level = engine.level
    engine.close()
    run = _read_run(settings)
    busy = f"{folder}: process {{holder}} verifies a model there; wait for it to end"
    with Lock(folder / ".lock", busy):
        return _label_and_compare(settings, folder, run, potential, manifest, level, progress)


def _label_and_compare(
    settings: Settings,
    folder: Path,
    run: _Run,
    potential: Potential,
    manifest: Manifest,
    level: str,
    progress: bool,
) -> list[str]:
    record_once(
        folder / "settings.json",
        {
            "model": checksum(find_model(settings.model)),
            "trajectory": checksum(settings.trajectory),
            "engine": level,
            "frames": run.numbers.tolist(),
        },
        f"{folder} holds another verification ({{key}}); choose another folder by -o",
    )
    said = label_frames(
        folder / "labels.extxyz",
        run.frames,
        settings.engine,
        settings.jobs,
        progress,
        settings.time_limit,
    )
    labelled = [a for a in said if isinstance(a, Atoms)]
    failed = [reason for reason in said if isinstance(reason, str)]
    if len(labelled) < ENOUGH:
        why = f"; the first: {failed[0]}" if failed else ""
        raise DataError(f"{len(labelled)} of {len(said)} frames have a label{why}")
    numbers = run.numbers[[isinstance(a, Atoms) for a in said]]
    evaluation = evaluate(potential, labelled, f"{manifest.name} against {level}")
    rows = _rows(evaluation, labelled, numbers)
    summary = {
        "model": manifest.name,
        "trained_on": manifest.level_of_theory,
        "engine": level,
        "frames": len(labelled),
        "failed": len(failed),
        **_errors(evaluation, labelled),
        **_pressure_and_density(settings, run, rows),
    }
    write_table(folder / "verify.csv", rows)
    write_record(folder / "verify.json", summary)
    draw(evaluation, rows, summary, folder / "verify.png")
    return describe(summary)


@dataclass(frozen=True)
class _Run:
    frames: list[Atoms]
    numbers: np.ndarray
    volumes: np.ndarray | None
    density: float | None


def _check(s: Settings) -> None:
    for name, bad in (
        ("--frames", s.frames < ENOUGH),
        ("--skip", not 0 <= s.skip < 1),
        ("--temperature", not s.temperature > 0),
        ("--jobs", s.jobs < 1),
        ("--time-limit", s.time_limit is not None and not s.time_limit > 0),
        ("--compressibility", s.compressibility is not None and not s.compressibility > 0),
    ):
        if bad:
            value = getattr(s, name.removeprefix("--").replace("-", "_"))
            raise ConfigError(f"{name} {value}: out of range (at least {ENOUGH} frames are needed)")


def _read_run(s: Settings) -> _Run:
    universe = load_trajectory(s.trajectory, s.topology, elements=s.elements or None)
    total = len(universe.trajectory)
    first = int(s.skip * total)
    if total - first < s.frames:
        raise DataError(
            f"{s.trajectory}: {total - first} frames after the first {first}, and {s.frames} are "
            "asked for: a longer run, or fewer --frames"
        )
    numbers = spread(first, total, s.frames)
    frames = structures(universe, numbers)
    if not all(atoms.pbc.all() for atoms in frames):
        return _Run(frames, numbers, None, None)
    cells = cell_vectors(universe, range(first, total))
    found = density(universe, start=first)
    return _Run(frames, numbers, np.abs(np.linalg.det(cells)), found.value)


def _rows(e: Evaluation, labelled: list[Atoms], numbers: np.ndarray) -> list[dict[str, Any]]:
    offset = float((e.energy - e.energy_label).mean())
    ends = np.cumsum([len(atoms) for atoms in labelled])[:-1]
    forces = [np.abs(part).mean() for part in np.split(e.forces - e.forces_label, ends)]
    with_stress = [k for k, atoms in enumerate(labelled) if "stress" in results_of(atoms)]
    pressures = {
        k: (-np.trace(e.stress_label[n]) / 3 / units.GPa, -np.trace(e.stress[n]) / 3 / units.GPa)
        for n, k in enumerate(with_stress)
    }
    rows = []
    for k, number in enumerate(numbers):
        row = {
            "frame": int(number),
            "energy_engine_eV_per_atom": float(e.energy_label[k]),
            "energy_model_eV_per_atom": float(e.energy[k]),
            "energy_error_meV_per_atom": 1e3 * float(e.energy[k] - e.energy_label[k] - offset),
            "forces_mae_meV_per_A": 1e3 * float(forces[k]),
        }
        if k in pressures:
            engine, model = pressures[k]
            row["virial_pressure_engine_GPa"] = float(engine)
            row["virial_pressure_model_GPa"] = float(model)
        rows.append(row)
    return rows


def _errors(e: Evaluation, labelled: list[Atoms]) -> dict[str, float]:
    difference = e.energy - e.energy_label
    centred = difference - difference.mean()
    summary = {
        "energy_offset_meV_per_atom": 1e3 * float(difference.mean()),
        "energy_meV_per_atom_mae": 1e3 * float(np.abs(centred).mean()),
        "energy_meV_per_atom_rmse": 1e3 * float(np.sqrt(np.mean(centred**2))),
    }
    others = {k: v for k, v in e.summary().items() if not k.startswith("energy")}
    return summary | others


def _pressure_and_density(
    s: Settings, run: _Run, rows: list[dict[str, Any]]
) -> dict[str, float | str]:
    differences = [
        row["virial_pressure_model_GPa"] - row["virial_pressure_engine_GPa"]
        for row in rows
        if "virial_pressure_model_GPa" in row
    ]
    if len(differences) < ENOUGH or run.volumes is None or run.density is None:
        return {"density_remark": "no stress labels of periodic frames"}
    mean = float(np.mean(differences))
    # frames that are far apart are taken for independent
    error = float(np.std(differences, ddof=1) / np.sqrt(len(differences)))
    found: dict[str, float | str] = {
        "pressure_difference_MPa": 1e3 * mean,
        "pressure_difference_error_MPa": 1e3 * error,
        "density_g_per_cm3": run.density,
    }
    if s.compressibility is not None:
        kappa: Compressibility | None = Compressibility(s.compressibility, 0.0)
    else:
        kappa = compressibility(run.volumes, s.temperature)
    if kappa is None:
        remark = "the run has a constant volume: give --compressibility in 1/GPa"
        return {**found, "density_remark": remark}
    implied = density_error(run.density, (mean, error), kappa)
    return {
        **found,
        "compressibility_per_GPa": kappa.value,
        "compressibility_error_per_GPa": kappa.error,
        "density_error_g_per_cm3": implied.value,
        "density_error_error_g_per_cm3": implied.error,
    }


def describe(summary: dict[str, Any]) -> list[str]:
    """The result, for the terminal."""
    lines = [
        f"{summary['model']} (trained on {summary['trained_on'] or 'an unnamed level'}) against "
        f"{summary['engine']}, {summary['frames']} frames of its own run"
        + (f", {summary['failed']} failed" if summary["failed"] else ""),
        f"energy    MAE {summary['energy_meV_per_atom_mae']:.3f}, RMSE "
        f"{summary['energy_meV_per_atom_rmse']:.3f} meV/atom, after an offset of "
        f"{summary['energy_offset_meV_per_atom']:.3f}",
        f"forces    MAE {summary['forces_meV_per_A_mae']:.2f}, RMSE "
        f"{summary['forces_meV_per_A_rmse']:.2f} meV/Å",
    ]
    if "stress_MPa_mae" in summary:
        lines.append(
            f"stress    MAE {summary['stress_MPa_mae']:.1f}, RMSE "
            f"{summary['stress_MPa_rmse']:.1f} MPa"
        )
    if "pressure_difference_MPa" in summary:
        lines.append(
            f"pressure  model − engine {summary['pressure_difference_MPa']:.1f} ± "
            f"{summary['pressure_difference_error_MPa']:.1f} MPa"
        )
    if "density_error_g_per_cm3" in summary:
        lines.append(
            f"density   {summary['density_g_per_cm3']:.4f} g/cm³ in the run; error "
            f"{summary['density_error_g_per_cm3']:+.4f} ± "
            f"{summary['density_error_error_g_per_cm3']:.4f} g/cm³ (compressibility "
            f"{summary['compressibility_per_GPa']:.3f} ± "
            f"{summary['compressibility_error_per_GPa']:.3f} / GPa)"
        )
        if abs(summary["density_error_g_per_cm3"]) > FIRST_ORDER * summary["density_g_per_cm3"]:
            lines.append("          (so large that the first order gives no more than the sign)")
    elif "density_remark" in summary:
        lines.append(f"density   no error: {summary['density_remark']}")
    return lines
