"""The figure of a verification: energies, forces and pressures of model and engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tpainn_calc.base.files import replacing
from training.fit.evaluation import Evaluation
from training.fit.parity import COLOURS


def draw(
    evaluation: Evaluation, rows: list[dict[str, Any]], summary: dict[str, Any], path: Path
) -> None:
    """Draw model against engine: energies after the offset, force components, pressures."""
    from matplotlib.figure import Figure

    pressures = [row for row in rows if "virial_pressure_model_GPa" in row]
    panels = 3 if pressures else 2
    figure = Figure(figsize=(4.2 * panels, 4.2), layout="constrained")
    axes = figure.subplots(1, panels)
    e, f = evaluation, evaluation.forces
    label = 1e3 * (e.energy_label - e.energy_label.mean())
    _parity(axes[0], [(label, 1e3 * (e.energy - e.energy.mean()), "")], "energy / (meV/atom)", 14)
    axes[0].set_title(f"MAE {summary['energy_meV_per_atom_mae']:.2f} meV/atom", fontsize=10)
    elements = sorted(set(e.symbols))
    groups = [
        (e.forces_label[e.symbols == s].ravel(), f[e.symbols == s].ravel(), s) for s in elements
    ]
    _parity(axes[1], groups, "force component / (eV/Å)", 3)
    axes[1].set_title(f"MAE {summary['forces_meV_per_A_mae']:.1f} meV/Å", fontsize=10)
    axes[1].legend(frameon=False, markerscale=3)
    if pressures:
        engine = np.array([row["virial_pressure_engine_GPa"] for row in pressures])
        model = np.array([row["virial_pressure_model_GPa"] for row in pressures])
        _parity(axes[2], [(engine, model, "")], "virial pressure / GPa", 14)
        title = f"model − engine {1e3 * (model - engine).mean():+.0f}"
        error = summary.get("pressure_difference_error_MPa")
        title += " MPa" if error is None else f" ± {error:.0f} MPa"
        if "density_error_g_per_cm3" in summary:
            title += (
                f"\ndensity error {summary['density_error_g_per_cm3']:+.4f} ± "
                f"{summary['density_error_error_g_per_cm3']:.4f} g/cm³"
            )
        axes[2].set_title(title.replace("-", "\N{MINUS SIGN}"), fontsize=10)
    figure.suptitle(evaluation.title, fontsize=10)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)


def _parity(
    axis: Any, groups: list[tuple[np.ndarray, np.ndarray, str]], name: str, size: float
) -> None:
    values = np.concatenate([np.concatenate([x, y]) for x, y, _ in groups])
    low, high = float(values.min()), float(values.max())
    axis.plot([low, high], [low, high], color="0.7", lw=1, zorder=0)
    for (x, y, label), colour in zip(groups, COLOURS, strict=False):
        axis.scatter(x, y, s=size, alpha=0.6, color=colour, label=label or None, rasterized=True)
    axis.set_xlabel(f"engine: {name}")
    axis.set_ylabel(f"model: {name}")
    axis.spines[["top", "right"]].set_visible(False)
