"""A cheap level of theory beside another one: energies, forces, stress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms, units

from tpainn_calc.base.arrays import Array
from tpainn_calc.base.frames import results_of

#: Data are too few for a fit with more parameters than this part of them.
MOST_PARAMETERS = 0.5


@dataclass(frozen=True)
class EnergyFit:
    """Reference energies, and a slope, that bring a cheap energy nearest to the right one.

    Attributes
    ----------
    elements : tuple of str
    offsets : ndarray (elements,)
        eV per atom.
    slope : float
        Factor of the cheap energy.
    error : float
        Mean absolute error, eV per atom, of frames that the fit has not seen: every frame is
        judged by the fit to all others.
    error_per_frame : float
        The same for whole frames, eV.
    """

    elements: tuple[str, ...]
    offsets: Array
    slope: float
    error: float
    error_per_frame: float


@dataclass(frozen=True)
class Comparison:
    """A teacher beside the reference, on the frames that it labels.

    Attributes
    ----------
    n : int
        Frames.
    alone : EnergyFit
        Reference energies alone, without the teacher: what has to be beaten.
    fixed, free : EnergyFit or None
        With the teacher's energy, and slope 1 or a fitted one; None for too few frames.
    forces : dict
        ``mae``, ``rms`` of the reference (eV/Å), ``correlation``, ``slope`` and ``calibrated``:
        the error after multiplication by `slope`. Empty without forces.
    stress : dict
        ``mae`` and ``pressure`` (mean of teacher minus reference), GPa. Empty without stress.
    """

    n: int
    alone: EnergyFit | None
    fixed: EnergyFit | None
    free: EnergyFit | None
    forces: dict[str, float] = field(default_factory=dict)
    stress: dict[str, float] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """Part that the teacher leaves to be learnt: 0 for the reference itself, 1 for no teacher.

        The geometric mean over energies (slope 1, against reference energies alone) and forces
        (against forces of zero), as far as there are labels.
        """
        parts = []
        if self.fixed is not None and self.alone is not None and self.alone.error > 0:
            parts.append(self.fixed.error / self.alone.error)
        if self.forces:
            parts.append(self.forces["mae"] / self.forces["none"])
        if not parts:
            return float("nan")
        return float(np.exp(np.mean(np.log(np.maximum(parts, 1e-12)))))


def compare(reference: Sequence[Atoms], cheap: Sequence[Atoms]) -> Comparison:
    """Compare labels of the same frames.

    Parameters
    ----------
    reference, cheap : sequence of ase.Atoms
        Labelled.
    """
    right, said = [results_of(a) for a in reference], [results_of(a) for a in cheap]
    elements = tuple(sorted({s for a in reference for s in a.get_chemical_symbols()}))
    symbols = [np.array(a.get_chemical_symbols()) for a in reference]
    counts = np.array([[np.sum(s == e) for e in elements] for s in symbols], float)
    energy = np.array([r["energy"] for r in right])
    teacher = np.array([s["energy"] for s in said])
    return Comparison(
        len(reference),
        fit_energies(elements, counts, energy, np.zeros_like(energy), slope=0.0),
        fit_energies(elements, counts, energy, teacher, slope=1.0),
        fit_energies(elements, counts, energy, teacher, slope=None),
        _compare_forces(right, said),
        _compare_stress(right, said),
    )


def fit_energies(
    elements: tuple[str, ...],
    counts: Array,
    energy: Array,
    teacher: Array,
    slope: float | None,
) -> EnergyFit | None:
    """Fit energies per atom, so that large frames do not outweigh small ones.

    Parameters
    ----------
    elements : tuple of str
    counts : ndarray (frames, elements)
    energy, teacher : ndarray (frames,)
        eV.
    slope : float, optional
        Of the teacher's energy; fitted where it is None.

    Returns
    -------
    EnergyFit or None
        None where the frames are too few to judge it.
    """
    size = counts.sum(axis=1)
    x, y, t = counts / size[:, None], energy / size, teacher / size
    middle = t.mean()  # energies of -1e4 eV would spoil the condition of the fit
    if slope is None:
        x = np.column_stack([x, t - middle])
    else:
        y = y - slope * t
    solution, _, rank, _ = np.linalg.lstsq(x, y, rcond=1e-10)
    if rank > MOST_PARAMETERS * len(y):
        return None
    # leave-one-out residuals of a linear fit, from the diagonal of its hat matrix
    u, singular, _ = np.linalg.svd(x, full_matrices=False)
    hat = (u[:, singular > 1e-10 * singular[0]] ** 2).sum(axis=1)
    left_out = (y - x @ solution) / np.maximum(1 - hat, 1e-9)
    offsets, factor = solution[: len(elements)], slope
    if factor is None:
        factor = float(solution[-1])
        offsets = offsets - factor * middle  # of every atom, since fractions add up to 1
    return EnergyFit(
        elements,
        offsets,
        factor,
        float(np.abs(left_out).mean()),
        float(np.abs(left_out * size).mean()),
    )


def _compare_forces(right: Sequence[dict], said: Sequence[dict]) -> dict[str, float]:
    pairs = [(r["forces"], s["forces"]) for r, s in zip(right, said, strict=True) if "forces" in r]
    if not pairs:
        return {}
    f = np.concatenate([np.ravel(r) for r, _ in pairs])
    g = np.concatenate([np.ravel(s) for _, s in pairs])
    slope = float(f @ g / (g @ g))
    return {
        "mae": float(np.abs(g - f).mean()),
        "correlation": float(np.corrcoef(f, g)[0, 1]),
        "slope": slope,
        "calibrated": float(np.abs(slope * g - f).mean()),
        "none": float(np.abs(f).mean()),
    }


def _compare_stress(right: Sequence[dict], said: Sequence[dict]) -> dict[str, float]:
    pairs = [
        (r["stress"], s["stress"])
        for r, s in zip(right, said, strict=True)
        if "stress" in r and "stress" in s
    ]
    if not pairs:
        return {}
    difference = np.array([np.asarray(s) - np.asarray(r) for r, s in pairs]) / units.GPa
    return {
        "mae": float(np.abs(difference).mean()),
        "pressure": float(-difference[:, :3].mean()),
    }
