"""The report of an evaluation: its numbers in a file, and the parity plot."""

from __future__ import annotations

import json
from pathlib import Path

from tpainn_calc.base.records import write_record
from training.fit.evaluation import Evaluation

COLOURS = ("#2a6fbb", "#c8442b", "#3c9d55", "#8a5cc2", "#b8862b", "#555555")


def write_evaluation(evaluation: Evaluation, folder: Path) -> None:
    """Write ``evaluation.json`` and ``parity.png``.

    Parameters
    ----------
    evaluation : Evaluation
    folder : Path
        Created if need be.
    """
    record = {"title": evaluation.title, "n_frames": len(evaluation.energy)}
    write_record(folder / "evaluation.json", {**record, **evaluation.summary()})
    draw_parity(evaluation, folder / "parity.png")


def draw_parity(evaluation: Evaluation, path: Path) -> None:
    """Draw labels against predictions: energies per atom and force components.

    Parameters
    ----------
    evaluation : Evaluation
    path : Path
        A PNG file.
    """
    from matplotlib.figure import Figure

    panels = 2 if len(evaluation.forces) else 1
    figure = Figure(figsize=(4.5 * panels, 4.4), layout="constrained")
    left, *others = figure.subplots(1, panels, squeeze=False)[0]
    s = evaluation.summary()
    offset = evaluation.energy_label.mean()
    _parity(
        left,
        evaluation.energy_label - offset,
        evaluation.energy - offset,
        "energy − mean / (eV/atom)",
    )
    left.set_title(f"MAE {s['energy_meV_per_atom_mae']:.2f} meV/atom")
    for right in others:
        for symbol, colour in zip(sorted(set(evaluation.symbols)), COLOURS, strict=False):
            mask = evaluation.symbols == symbol
            label, value = evaluation.forces_label[mask].ravel(), evaluation.forces[mask].ravel()
            _parity(right, label, value, "force component / (eV/Å)", colour, symbol)
        right.set_title(f"MAE {s['forces_meV_per_A_mae']:.1f} meV/Å")
        right.legend(markerscale=4)
    figure.suptitle(evaluation.title)
    # what is in the picture can be read back, and compared with what is written beside it
    figure.savefig(path, dpi=130, metadata={"Description": json.dumps(s)})


def _parity(axis, label, value, name, colour=COLOURS[0], legend=None) -> None:  # type: ignore[no-untyped-def]
    low, high = float(min(label.min(), value.min())), float(max(label.max(), value.max()))
    axis.plot([low, high], [low, high], color="0.7", lw=1, zorder=0)
    axis.scatter(label, value, s=3, alpha=0.5, color=colour, label=legend, rasterized=True)
    axis.set_xlabel(f"reference {name}")
    axis.set_ylabel(f"potential {name}")
