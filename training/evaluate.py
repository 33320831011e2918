"""Errors of a potential on labelled frames, in numbers and as a parity plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ase import Atoms

from tpainn_calc.base.errors import DataError
from tpainn_calc.base.files import write_atomically
from tpainn_calc.potential import Potential, predict
from training.dataset import FrameDataset


@dataclass(frozen=True)
class Evaluation:
    """Labels beside predictions; energies per atom in eV, forces in eV/Å, stress in eV/Å³.

    Attributes
    ----------
    title : str
    symbols : ndarray (atoms,) of str
        Of the frames with force labels, like `forces`.
    energy_label, energy : ndarray (frames,)
        Per atom.
    forces_label, forces : ndarray (atoms, 3)
    stress_label, stress : ndarray (labelled frames, 3, 3)
        Empty without stress labels.
    """

    title: str
    symbols: np.ndarray
    energy_label: np.ndarray
    energy: np.ndarray
    forces_label: np.ndarray
    forces: np.ndarray
    stress_label: np.ndarray
    stress: np.ndarray

    def summary(self) -> dict[str, float]:
        """Mean absolute and root mean square errors, meV/atom, meV/Å and MPa."""
        errors = {"energy_meV_per_atom": 1e3 * (self.energy - self.energy_label)}
        if len(self.forces):
            errors["forces_meV_per_A"] = 1e3 * (self.forces - self.forces_label)
        for symbol in sorted(set(self.symbols)):
            mask = self.symbols == symbol
            errors[f"forces_{symbol}_meV_per_A"] = 1e3 * (self.forces - self.forces_label)[mask]
        if len(self.stress):
            errors["stress_MPa"] = 160217.6634 * (self.stress - self.stress_label)
        result = {}
        for name, error in errors.items():
            result[f"{name}_mae"] = float(np.abs(error).mean())
            result[f"{name}_rmse"] = float(np.sqrt(np.mean(error**2)))
        return result

    def describe(self) -> str:
        """A small table for people."""
        s = self.summary()
        names = [k.removesuffix("_mae") for k in s if k.endswith("_mae")]
        rows = [f"{'quantity':28s} {'MAE':>10s} {'RMSE':>10s}"]
        rows += [f"{n:28s} {s[n + '_mae']:10.3f} {s[n + '_rmse']:10.3f}" for n in names]
        return "\n".join([f"{self.title} ({len(self.energy)} frames)", *rows])

    def save(self, folder: Path) -> None:
        """Write ``evaluation.json`` and ``parity.png``."""
        folder.mkdir(parents=True, exist_ok=True)
        record = {"title": self.title, "n_frames": len(self.energy), **self.summary()}
        write_atomically(folder / "evaluation.json", json.dumps(record, indent=1).encode())
        self.plot(folder / "parity.png")

    def plot(self, path: Path) -> None:
        """Parity plot of energies per atom and force components."""
        from matplotlib.figure import Figure

        panels = 2 if len(self.forces) else 1
        figure = Figure(figsize=(4.5 * panels, 4.4), layout="constrained")
        left, *others = figure.subplots(1, panels, squeeze=False)[0]
        s = self.summary()
        offset = self.energy_label.mean()
        _parity(left, self.energy_label - offset, self.energy - offset, "energy − mean, eV/atom")
        left.set_title(f"MAE {s['energy_meV_per_atom_mae']:.2f} meV/atom")
        for right in others:
            for symbol, colour in zip(sorted(set(self.symbols)), COLOURS, strict=False):
                mask = self.symbols == symbol
                label, value = self.forces_label[mask].ravel(), self.forces[mask].ravel()
                _parity(right, label, value, "force component, eV/Å", colour, symbol)
            right.set_title(f"MAE {s['forces_meV_per_A_mae']:.1f} meV/Å")
            right.legend(markerscale=4)
        figure.suptitle(self.title)
        figure.savefig(path, dpi=130)


COLOURS = ("#2a6fbb", "#c8442b", "#3c9d55", "#8a5cc2", "#b8862b", "#555555")


def evaluate(
    potential: Potential, frames: Sequence[Atoms], title: str = "", device: str = "cpu"
) -> Evaluation:
    """Compare a potential with labels.

    Parameters
    ----------
    potential : Potential
        In evaluation mode.
    frames : sequence of ase.Atoms
        Labelled, as :func:`training.frames.read_frames` returns them; forces may be missing.
    title : str
    device : str

    Raises
    ------
    DataError
        If there are no frames.
    """
    if not frames:
        raise DataError("no frames to evaluate on")
    data = FrameDataset(frames, potential.elements, potential.cutoff)
    rows: dict[str, list[np.ndarray]] = {k: [] for k in ("e0", "e", "f0", "f", "s0", "s")}
    symbols: list[str] = []
    for k in range(len(data)):
        batch = data[k].to(device)
        has_forces = bool(torch.isfinite(batch.forces).all())
        has_stress = bool(torch.isfinite(batch.stress).all())
        p = predict(potential, batch.graph, forces=has_forces, virial=has_stress)
        n = batch.graph.n_atoms
        rows["e0"].append(batch.energy.cpu().numpy() / n)
        rows["e"].append(p.energy.detach().cpu().numpy() / n)
        if p.forces is not None:
            symbols += frames[k].get_chemical_symbols()
            rows["f0"].append(batch.forces.cpu().numpy())
            rows["f"].append(p.forces.cpu().numpy())
        if p.virial is not None:
            rows["s0"].append(batch.stress.cpu().numpy())
            rows["s"].append((-p.virial / batch.volume[:, None, None]).cpu().numpy())
    empty = {"f": np.zeros((0, 3)), "s": np.zeros((0, 3, 3))}
    joined = {k: np.concatenate(v) if v else empty[k[0]] for k, v in rows.items()}
    return Evaluation(
        title,
        np.array(symbols, dtype=str),
        joined["e0"],
        joined["e"],
        joined["f0"],
        joined["f"],
        joined["s0"],
        joined["s"],
    )


def golden_cluster(atoms: Atoms, n: int = 9) -> Atoms:
    """The `n` atoms nearest to the first atom, without periodicity: small, but real geometry."""
    nearest = np.argsort(atoms.get_distances(0, range(len(atoms)), mic=True), kind="stable")[:n]
    vectors = atoms.get_distances(0, nearest, mic=True, vector=True)
    symbols = [atoms.symbols[i] for i in nearest]
    return Atoms(symbols, positions=vectors)


def _parity(axis, label, value, name, colour=COLOURS[0], legend=None) -> None:  # type: ignore[no-untyped-def]
    low, high = float(min(label.min(), value.min())), float(max(label.max(), value.max()))
    axis.plot([low, high], [low, high], color="0.7", lw=1, zorder=0)
    axis.scatter(label, value, s=3, alpha=0.5, color=colour, label=legend, rasterized=True)
    axis.set_xlabel(f"reference {name}")
    axis.set_ylabel(f"potential {name}")
