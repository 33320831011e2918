"""Labels of frames as numbers that can be learnt from a pooled descriptor."""

from __future__ import annotations

import numpy as np

from seedselect.frames.frame import Frame
from tpainn_calc.base.arrays import Array


def raw_targets(frame: Frame) -> tuple[float, float]:
    """Return energy (eV) and rms force (eV/Angstrom) of a frame, NaN where unknown."""
    energy = np.nan if frame.energy is None else frame.energy
    force = np.nan if frame.forces is None else float(np.sqrt((frame.forces**2).mean()))
    return energy, force


def frame_targets(raw: Array, composition: Array) -> tuple[Array | None, list[str]]:
    """Return targets that do not depend on composition: energy per atom beyond a fit, rms force.

    Parameters
    ----------
    raw : array (n, 2)
        Of `raw_targets`.
    composition : array (n, Z)
        Atoms of each element.

    Returns
    -------
    targets : array (n, K) or None
    names : list of str
    """
    columns, names = [], []
    energy, force = raw.T
    labelled = np.isfinite(energy)
    if labelled.any():
        used = composition[:, composition.any(axis=0)]
        fit, *_ = np.linalg.lstsq(used[labelled], energy[labelled], rcond=None)
        columns.append((energy - used @ fit) / used.sum(axis=1))
        names.append("energy")
    if np.isfinite(force).any():
        columns.append(force)
        names.append("forces")
    return (np.column_stack(columns) if columns else None), names
