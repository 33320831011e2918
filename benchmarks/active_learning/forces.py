"""Label efficiency of a force model: an equivariant ridge regression on water.

F_i = sum_ab w_ab V_ia s_ib with V the species-resolved radial sums of unit vectors and s scalar
invariants of atom i (1 among them), weights per element of i; the difference between DFT and
SPC/Fw forces is learnt. Each frame enters through its normal equations, so that a fit to any
subset is one sum and one solve.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve

from benchmarks.active_learning.classical import spc_flexible
from seedselect.frames.frame import Frame
from seedselect.frames.neighbors import neighbor_pairs
from tpainn_calc.base.arrays import Array

CUTOFF = 5.0
#: Radial centres in Angstrom, dense where O-H bonds are.
CENTRES = np.geomspace(0.85, 4.6, 11)
#: Scalars per neighbour element.
COARSE = 3


@dataclass(frozen=True)
class NormalEquations:
    """Normal equations of one frame.

    Attributes
    ----------
    matrix : array (P, P)
    vector : array (P,)
    square : float
        Sum of squared residual forces, (eV/Angstrom)^2.
    components : int
        3 times the number of atoms.
    """

    matrix: NDArray[np.float32]
    vector: Array
    square: float
    components: int


def force_design(frame: Frame) -> Array:
    """Return the design matrix (3 n_atoms, P) of a frame of water."""
    centre, neighbour, vector, distance = neighbor_pairs(frame, CUTOFF)
    is_oxygen = (frame.numbers == 8).astype(int)
    n = len(frame)
    width = 0.5 * np.gradient(CENTRES)
    fade = 0.5 * (1 + np.cos(np.pi * distance / CUTOFF))
    radial = np.exp(-0.5 * ((distance[:, None] - CENTRES) / width) ** 2) * fade[:, None]
    slot = centre * 2 + is_oxygen[neighbour]
    unit = vector / distance[:, None]
    vectors = np.zeros((2 * n, len(CENTRES), 3))
    np.add.at(vectors, slot, radial[:, :, None] * unit[:, None, :])
    vectors = vectors.reshape(n, -1, 3)
    coarse = np.exp(-0.5 * ((distance[:, None] - np.array([1.0, 2.0, 3.2])) / 0.6) ** 2)
    scalars = np.zeros((2 * n, COARSE))
    np.add.at(scalars, slot, coarse * fade[:, None])
    # Typical counts bring the scalars to order 1.
    scalars = scalars.reshape(n, -1) / np.array([1.0, 3.0, 8.0] * 2)
    scalars = np.hstack([np.ones((n, 1)), scalars])
    product = np.einsum("nax,nb->nxab", vectors, scalars).reshape(n, 3, -1)
    out = np.zeros((n, 3, 2, product.shape[2]))
    for element in (0, 1):
        mine = is_oxygen == element
        out[mine, :, element] = product[mine]
    return out.reshape(3 * n, -1)


def normal_equations(frame: Frame) -> NormalEquations:
    """Return the normal equations of a frame that carries DFT forces."""
    if frame.forces is None:
        raise ValueError("the frame has no forces")
    design = force_design(frame)
    target = (frame.forces - spc_flexible(frame)[1]).ravel()
    return NormalEquations(
        (design.T @ design).astype(np.float32),
        design.T @ target,
        float(target @ target),
        len(target),
    )


class ForceRidge:
    """Ridge regression on summed normal equations.

    Parameters
    ----------
    scale : array (P,)
        Root mean square of every column, from unlabelled pool frames.
    ridge : float
        In units of the scaled columns, per component.
    """

    def __init__(self, scale: Array, ridge: float = 1e-3) -> None:
        # Columns that hardly occur (a pair that close) must not be blown up by their scale.
        self.scale = np.maximum(scale, 0.05 * np.median(scale))
        self.ridge = ridge

    def fit(self, parts: Iterable[NormalEquations]) -> ForceRidge:
        """Fit on some frames."""
        parts = list(parts)
        matrix = sum_matrices(parts)
        vector: Array = np.add.reduce([part.vector for part in parts])
        components = sum(part.components for part in parts)
        scaled = matrix / np.outer(self.scale, self.scale)
        scaled.flat[:: len(scaled) + 1] += self.ridge * components
        self.weights: Array = solve(scaled, vector / self.scale, assume_a="pos") / self.scale
        return self

    def frame_errors(self, parts: list[NormalEquations]) -> Array:
        """Return the root-mean-square force error of every frame, eV/Angstrom."""
        w = self.weights
        errors = [p.square - 2 * w @ p.vector + w @ p.matrix @ w for p in parts]
        components = np.array([p.components for p in parts])
        return np.sqrt(np.maximum(np.array(errors, dtype=float), 0.0) / components)


def sum_matrices(parts: list[NormalEquations]) -> Array:
    """Add up matrices in float64."""
    total = np.zeros(parts[0].matrix.shape)
    for part in parts:
        total += part.matrix
    return total


def labels_needed(sizes: Array, errors: Array, target: float) -> float:
    """Return how many labels a mean curve needs to reach `target`; inf if it never does.

    Linear between points in ln n and ln error.
    """
    x, y, goal = np.log(sizes), np.log(errors), np.log(target)
    for k in range(len(x)):
        if y[k] <= goal:
            if k == 0:
                return float(sizes[0])
            part = (y[k - 1] - goal) / (y[k - 1] - y[k])
            return float(np.exp(x[k - 1] + part * (x[k] - x[k - 1])))
    return float("inf")
