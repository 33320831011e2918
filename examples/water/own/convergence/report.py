"""Table and figure of the study.

Two pressures are given. The *atomic* one is the mean stress of a frame. Part of its difference
between two levels comes from bonds that are a little too long or short for the one level: in a
simulation with that level they relax, and this part is gone. The *molecular* one leaves the forces
within molecules out from the beginning,

    P_molecular = P_atomic - 1/(3 V) sum over atoms (r - R) f,

R being the centre of mass of the molecule. In a simulation the means of both are the same, so it
is the molecular one that says how the density of the liquid will differ.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units

from examples.water.own.convergence.config import ConvergenceConfig
from tpainn_calc.base.records import read_record
from training.forcefields.water_model import whole_molecules

#: Isothermal compressibility of water at 300 K, 1/Pa (experiment).
COMPRESSIBILITY = 4.5e-10
MPA = units.Pascal * 1e6

NUMBERS = (
    "net_force_eV_per_A",
    "forces_rms_meV_per_A",
    "forces_max_meV_per_A",
    "energy_meV_per_atom",
    "atomic_pressure_MPa",
    "pressure_MPa",
    "shear_MPa",
)

HEAD = (
    "| setting | frames | CPU s | net force, eV/Å | forces rms / max, meV/Å "
    "| energy, meV/atom | atomic pressure, MPa "
    "| molecular pressure, MPa | shear, MPa | density, % |"
)

Row = dict[str, Any]


def collect(study: ConvergenceConfig, frames: Mapping[str, Atoms], folder: Path) -> list[Row]:
    """One row for every frame and setting of a group, from the records in a folder.

    A group in which there is nothing yet to be compared is left out.
    """
    rows: list[Row] = []
    for group in study.groups:
        own: list[Row] = []
        for setting in [group.beside, *(s for s in group.settings if s != group.beside)]:
            for frame, atoms in frames.items():
                paths = [folder / name / f"{frame}.json" for name in (setting, group.beside)]
                if all(path.is_file() for path in paths):
                    here, there = map(read_record, paths)
                    own.append(
                        {"group": group.title, "beside": group.beside, "setting": setting}
                        | {"frame": frame}
                        | _difference(here, there, atoms)
                    )
        if any(row["setting"] != group.beside for row in own):
            rows += own
    return rows


def _difference(here: Mapping[str, Any], there: Mapping[str, Any], atoms: Atoms) -> Row:
    row: Row = {"level": here["level"], "cpu_s": here["cpu_seconds"]}
    if "error" in here:
        return row | {"error": here["error"]}
    row |= {"net_force_eV_per_A": here["net_force"], "scf": here.get("fallback", "")}
    if "error" in there:
        return row
    forces = np.array(here["forces"]) - np.array(there["forces"])
    stress = np.array(here["stress"]) - np.array(there["stress"])
    pressure = -stress[:3].mean()
    shear = np.concatenate([stress[:3] + pressure, np.sqrt(2) * stress[3:]])
    return row | {
        "forces_rms_meV_per_A": 1e3 * float(np.sqrt((forces**2).mean())),
        "forces_max_meV_per_A": 1e3 * float(np.abs(forces).max()),
        "energy_meV_per_atom": 1e3 * (here["energy"] - there["energy"]) / len(forces),
        "atomic_pressure_MPa": pressure / MPA,
        "pressure_MPa": (pressure - within_molecules(atoms, forces)) / MPA,
        "shear_MPa": float(np.sqrt((shear**2).sum() / 5)) / MPA,
    }


def within_molecules(atoms: Atoms, forces: np.ndarray) -> float:
    """Share of forces (eV/Å) within molecules in the pressure, eV/Å³.

    Parameters
    ----------
    atoms : ase.Atoms
        Water, ordered O, H, H.
    forces : ndarray (atoms, 3)
    """
    positions = whole_molecules(atoms).reshape(-1, 3, 3)
    masses = atoms.get_masses().reshape(-1, 3, 1)
    centres = (masses * positions).sum(axis=1, keepdims=True) / masses.sum(axis=1, keepdims=True)
    return float(((positions - centres).reshape(-1, 3) * forces).sum() / (3 * atoms.get_volume()))


def summary(rows: Sequence[Row]) -> list[Row]:
    """One row for every setting of a group: over its frames.

    Of basis sets with the same pseudopotentials the one with the lower energy is the better; what
    differs between frames is the spread. For the density the mean of the molecular pressure
    counts: a level that gives too much of it makes a liquid that is too thin.
    """
    together: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        together[row["group"], row["setting"]].append(row)
    found = []
    for (group, setting), own in together.items():
        good = [row for row in own if "pressure_MPa" in row]
        line: Row = {"group": group, "beside": own[0]["beside"], "setting": setting}
        line |= {"level": own[0]["level"], "frames": len(good), "failed": len(own) - len(good)}
        line["cpu_s"] = float(np.mean([row["cpu_s"] for row in own]))
        if good:
            column = {key: np.array([row[key] for row in good]) for key in NUMBERS}
            pressure = column["pressure_MPa"]
            line |= {
                "net_force_eV_per_A": _rms(column["net_force_eV_per_A"]),
                "forces_rms_meV_per_A": _rms(column["forces_rms_meV_per_A"]),
                "forces_max_meV_per_A": float(column["forces_max_meV_per_A"].max()),
                "energy_meV_per_atom": float(column["energy_meV_per_atom"].mean()),
                "energy_spread_meV_per_atom": float(column["energy_meV_per_atom"].std()),
                "atomic_pressure_MPa": float(column["atomic_pressure_MPa"].mean()),
                "pressure_MPa": float(pressure.mean()),
                "pressure_spread_MPa": float(pressure.std()),
                "shear_MPa": _rms(column["shear_MPa"]),
                "density_percent": -100 * COMPRESSIBILITY * 1e6 * float(pressure.mean()),
            }
        found.append(line)
    return found


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt((values**2).mean()))


def report(rows: Sequence[Row]) -> str:
    """The summary as a table in Markdown."""
    lines = []
    group = None
    for line in summary(rows):
        if line["group"] != group:
            group = line["group"]
            lines += ["", f"{group}, beside {line['beside']}", "", HEAD, "|---" * 10 + "|"]
        if "pressure_MPa" not in line:
            lines.append(f"| {line['setting']} | failed |")
            continue
        lines.append(
            "| {setting} | {frames} | {cpu_s:.0f} | {net_force_eV_per_A:.2f} "
            "| {forces_rms_meV_per_A:.1f} / {forces_max_meV_per_A:.0f} "
            "| {energy_meV_per_atom:+.2f} ± {energy_spread_meV_per_atom:.2f} "
            "| {atomic_pressure_MPa:+.1f} "
            "| {pressure_MPa:+.1f} ± {pressure_spread_MPa:.1f} "
            "| {shear_MPa:.1f} | {density_percent:+.2f} |".format(**line)
        )
    return "\n".join(lines[1:])


def draw(rows: Sequence[Row], path: Path) -> None:
    """Pressure of every frame, and forces over cost, a row of panels for every group."""
    from matplotlib.figure import Figure

    titles = list(dict.fromkeys(row["group"] for row in rows if "pressure_MPa" in row))
    figure = Figure(figsize=(11, 0.8 + 3.2 * len(titles)), layout="constrained")
    panels = figure.subplots(len(titles), 2, squeeze=False)
    for (left, right), title in zip(panels, titles, strict=True):
        good = [row for row in rows if row["group"] == title and "pressure_MPa" in row]
        settings = list(dict.fromkeys(row["setting"] for row in good))
        for number, setting in enumerate(settings):
            own = [row for row in good if row["setting"] == setting]
            for row in own:
                marker = "s" if str(row["frame"]).startswith("ice") else "o"
                left.plot(number, row["pressure_MPa"], marker, color="C0", mfc="none")
            left.plot(number, np.mean([row["pressure_MPa"] for row in own]), "_k", ms=16)
            if setting == own[0]["beside"]:
                continue
            cost = np.mean([row["cpu_s"] for row in own])
            force = _rms(np.array([row["forces_rms_meV_per_A"] for row in own]))
            right.plot(cost, force, "o", color="C1")
            right.annotate(setting, (cost, force), (4, 4), textcoords="offset points", fontsize=8)
        left.axhline(0, lw=0.8, color="0.5")
        left.set_xticks(range(len(settings)), settings, rotation=30, ha="right", fontsize=8)
        left.set(
            ylabel="molecular pressure, difference / MPa",
            title=f"{title}: beside {good[0]['beside']}",
        )
        right.set(xlabel="CPU time of a label / s", ylabel="force difference, rms / (meV/Å)")
        right.set(ylim=(0, None))
        right.margins(x=0.15)
        right.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
