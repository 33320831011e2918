"""Radial bases, cut-off envelopes, and the filter table that is made from them.

The filters of PaiNN depend on the interatomic distance alone (Schütt, Unke, Gastegger 2021,
arXiv 2102.03150, Eq. 9), so a cubic spline of a filter is as good as the filter itself and far
cheaper to evaluate. :meth:`RadialFilter.make_table` makes the table that ``tpainn::message`` reads.
"""

# No `from __future__ import annotations` here: TorchScript reads Final[...] from the annotations.

import math
from typing import Final

import numpy as np
import torch
from scipy.linalg import solve_banded
from torch import Tensor, nn

from tpainn_calc.hyperparameters import BASES, ENVELOPES


class RadialBasis(nn.Module):
    """Radial basis times cut-off envelope.

    Parameters
    ----------
    n_basis : int
        Number of radial functions.
    cutoff : float
        Cut-off radius in Å.
    basis : {"bessel", "gaussian"}
        ``bessel``: sin(nπr/r_c)/r, n = 1 … n_basis, as published (arXiv 2102.03150, Eq. 10; no
        further normalisation). ``gaussian``: exp(-(r-μ)²/2δ²) with centres spread evenly from 0
        to `cutoff` and δ the spacing, as in SchNetPack.
    envelope : {"cosine", "polynomial"}
        ``cosine``: ½(cos(πr/r_c)+1), once continuously differentiable. ``polynomial``: the p = 6
        envelope of Gasteiger et al. (DimeNet, arXiv 2003.03123, Eq. 8), twice continuously
        differentiable at the cut-off, the choice for molecular dynamics.
    """

    n_basis: Final[int]
    cutoff: Final[float]
    basis: Final[str]
    envelope: Final[str]
    constants: Tensor

    def __init__(
        self, n_basis: int, cutoff: float, basis: str = "bessel", envelope: str = "polynomial"
    ) -> None:
        super().__init__()
        if basis not in BASES:
            raise ValueError(f"radial basis {basis!r} is not one of {', '.join(BASES)}")
        if envelope not in ENVELOPES:
            raise ValueError(f"envelope {envelope!r} is not one of {', '.join(ENVELOPES)}")
        self.n_basis = n_basis
        self.cutoff = cutoff
        self.basis = basis
        self.envelope = envelope
        # Constants of the basis: frequencies or Gaussian centres. Kept in float64: distances are.
        if basis == "bessel":
            constants = torch.arange(1, n_basis + 1, dtype=torch.float64) * (math.pi / cutoff)
        else:
            constants = torch.linspace(0.0, cutoff, n_basis, dtype=torch.float64)
        self.register_buffer("constants", constants, persistent=False)

    def forward(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate the basis.

        Parameters
        ----------
        r : Tensor (edges,), float64
            Distances in Å.

        Returns
        -------
        basis : Tensor (edges, n_basis), float64
            Radial functions, not multiplied by the envelope.
        envelope : Tensor (edges, 1), float64
            Envelope, zero at and beyond the cut-off.
        """
        d = r.unsqueeze(1)
        if self.basis == "bessel":
            # sinc keeps value and derivative finite at r = 0
            values = torch.sinc(d * self.constants / math.pi) * self.constants
        else:
            width = self.cutoff / (self.n_basis - 1)
            values = torch.exp(-0.5 * ((d - self.constants) / width) ** 2)
        x = (d / self.cutoff).clamp(max=1.0)
        if self.envelope == "cosine":
            cut = 0.5 * (torch.cos(math.pi * x) + 1.0)
        else:
            x6 = x**6
            cut = 1.0 - 28.0 * x6 + 48.0 * x6 * x - 21.0 * x6 * x * x
        return values, cut


class RadialFilter(nn.Module):
    """Distance-dependent filter of one message block: Dense(basis(r)) · envelope(r).

    Parameters
    ----------
    basis : RadialBasis
        Shared by all blocks.
    n_out : int
        Number of filter channels (3F in PaiNN).
    n_knots : int
        Intervals of the table that :meth:`make_table` makes; 512 keep the error of the published
        basis under 1e-6 of its amplitude and the table of F = 64 within a core's own cache.
    """

    knots: Tensor

    def __init__(self, basis: RadialBasis, n_out: int, n_knots: int = 512) -> None:
        super().__init__()
        self.dense = nn.Linear(basis.n_basis, n_out)
        # A table is linear in weight and bias: table = knots @ [weight; bias], so the expensive
        # part (the splines of the basis functions themselves) is computed once, here.
        self.register_buffer("knots", _basis_splines(basis, n_knots), persistent=False)

    def forward(self, basis: Tensor, envelope: Tensor) -> Tensor:
        """Exact filter, (edges, n_out), from `RadialBasis` output in the network's dtype."""
        return self.dense(basis) * envelope

    def make_table(self) -> Tensor:
        """Spline table (n_knots + 3, n_out) of the filter, differentiable in the weights."""
        weight = torch.cat([self.dense.weight.t(), self.dense.bias.unsqueeze(0)], dim=0)
        return torch.matmul(self.knots.to(weight.dtype), weight)


def _basis_splines(basis: RadialBasis, intervals: int) -> Tensor:
    """B-spline coefficients (intervals + 3, n_basis + 1) of basis · envelope, and of envelope.

    The spline goes through the functions at every knot and has their slopes at both ends, which
    makes its error of fourth order up to the ends.
    """
    r = torch.linspace(0.0, basis.cutoff, intervals + 1, dtype=torch.float64)
    values, cut = basis(r)
    columns = torch.cat([values * cut, cut], dim=1)
    ends = torch.tensor([1e-9, basis.cutoff * (1 - 1e-12)], dtype=torch.float64)
    slopes = torch.stack([_slopes(basis, end) for end in ends])
    n = intervals + 3
    h = basis.cutoff / intervals
    # bands[2 + i - j, j] = matrix[i, j]: values at the knots between slopes at the ends
    bands = np.zeros((5, n))
    bands[3, :-2], bands[2, 1:-1], bands[1, 2:] = 1 / 6, 4 / 6, 1 / 6
    bands[2, 0], bands[0, 2] = -0.5 / h, 0.5 / h
    bands[1, 1] = 0.0
    bands[4, -3], bands[2, -1] = -0.5 / h, 0.5 / h
    bands[3, -2] = 0.0
    right = torch.cat([slopes[:1], columns, slopes[1:]]).numpy()
    return torch.from_numpy(solve_banded((2, 2), bands, right))


def _slopes(basis: RadialBasis, r: Tensor) -> Tensor:
    def columns(x: Tensor) -> Tensor:
        values, cut = basis(x.unsqueeze(0))
        return torch.cat([values * cut, cut], dim=1).squeeze(0)

    return torch.autograd.functional.jacobian(columns, r)
