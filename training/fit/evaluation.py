"""Errors of a potential on labelled frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms

from tpainn_calc.base.errors import DataError
from tpainn_calc.potential import Potential, predict
from training.data.batches import FrameDataset


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
        """Mean absolute and root mean square errors, meV/atom, meV/Å and MPa.

        With stress labels also the mean error of the pressure, MPa, which moves the density.
        """
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
        if "stress_MPa" in errors:
            pressures = -np.trace(errors["stress_MPa"], axis1=1, axis2=2) / 3
            result["pressure_MPa_mean_error"] = float(pressures.mean())
        return result

    def describe(self) -> str:
        """A small table for people."""
        s = self.summary()
        names = [k.removesuffix("_mae") for k in s if k.endswith("_mae")]
        rows = [f"{'quantity':28s} {'MAE':>10s} {'RMSE':>10s}"]
        rows += [f"{n:28s} {s[n + '_mae']:10.3f} {s[n + '_rmse']:10.3f}" for n in names]
        if "pressure_MPa_mean_error" in s:
            rows.append(f"mean error of the pressure: {s['pressure_MPa_mean_error']:.1f} MPa")
        return "\n".join([f"{self.title} ({len(self.energy)} frames)", *rows])


def evaluate(
    potential: Potential, frames: Sequence[Atoms], title: str = "", device: str = "cpu"
) -> Evaluation:
    """Compare a potential with labels.

    Parameters
    ----------
    potential : Potential
        In evaluation mode.
    frames : sequence of ase.Atoms
        Labelled, as :func:`training.data.frames.read_frames` returns them; forces may be missing.
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
