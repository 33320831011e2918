"""Is a label fit to be trained on?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase import Atoms

from training.labels.engines.contract import Label

#: Largest force on the centre of mass, per atom, that is taken for noise, eV/Å.
MAX_NET_FORCE = 0.1

#: Largest force on an atom, eV/Å: beyond, atoms overlap or the engine went wrong.
MAX_FORCE = 200.0

#: Distance from what the other frames say about an energy: eV per atom, and in units of the
#: median of that distance over all frames, since a hot pool spreads more. Both must be exceeded.
MAX_ENERGY_ERROR = 1.0
MAX_ENERGY_RATIO = 20.0

#: With fewer labels nothing is said about energies.
ENOUGH = 8


def problem_of(label: Label) -> str | None:
    """Reason why a label is not usable, judged alone, or None."""
    results = label.atoms.calc.results
    if not label.converged:
        return "not converged"
    for name in ("energy", "forces", "stress"):
        if name in results and not np.isfinite(results[name]).all():
            return f"the {name} of the engine is not finite"
    forces = np.asarray(results["forces"])
    largest = float(np.linalg.norm(forces, axis=1).max())
    if largest > MAX_FORCE:
        return f"force of {largest:.0f} eV/Å on an atom"
    net = float(label.notes.get("net_force", np.linalg.norm(forces.sum(axis=0))))
    if net > MAX_NET_FORCE * len(forces):
        return f"the forces add up to {net:.2f} eV/Å instead of nothing"
    return None


def energy_outliers(frames: Mapping[str, Atoms]) -> dict[str, str]:
    """Frames whose energy does not fit those of the others.

    Every element is given one energy, by a fit that outliers do not sway (iteratively reweighted
    least squares, which minimises the sum of absolute errors); a frame much further off than the
    others is an outlier.

    Parameters
    ----------
    frames : mapping key -> ase.Atoms
        With energies.

    Returns
    -------
    dict key -> str
        One line each.
    """
    if len(frames) < ENOUGH:
        return {}
    elements = sorted({int(z) for atoms in frames.values() for z in atoms.numbers})
    counts = np.array([[np.sum(a.numbers == z) for z in elements] for a in frames.values()], float)
    energies = np.array([a.get_potential_energy() for a in frames.values()])
    size = counts.sum(axis=1)
    x, y = counts / size[:, None], energies / size
    weight = np.ones(len(y))
    for _ in range(50):
        fit = np.linalg.lstsq(x * weight[:, None], y * weight, rcond=None)[0]
        weight = 1 / np.sqrt(np.maximum(np.abs(y - x @ fit), 1e-3))
    off = y - x @ fit
    off -= np.median(off)
    limit = max(MAX_ENERGY_ERROR, MAX_ENERGY_RATIO * float(np.median(np.abs(off))))
    return {
        key: f"energy {value:+.2f} eV per atom off what the other {len(frames) - 1} labels say"
        for key, value in zip(frames, off, strict=True)
        if abs(value) > limit
    }
