"""Radial functions are the published ones, and the filter table is as good as the filter."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from tpainn_calc.radial import BASES, ENVELOPES, RadialBasis, RadialFilter

CUTOFF = 5.0


def distances(n: int = 20_000) -> torch.Tensor:
    """Distances strictly between 0 and the cut-off, not on the knots of any table."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(n, dtype=torch.float64, generator=generator) * CUTOFF


def interpolate(table: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
    """Uniform cubic B-splines on [0, CUTOFF] with the coefficients of a table, by SciPy."""
    knots = CUTOFF / (len(table) - 3) * np.arange(-3, len(table) + 1)
    values = BSpline.design_matrix(r.numpy(), knots, 3).toarray()
    return torch.from_numpy(values) @ table


def derivatives(function, r: float, order: int) -> list[float]:
    """Value and derivatives of a scalar function."""
    x = torch.tensor([r], dtype=torch.float64, requires_grad=True)
    value = function(x).sum()
    out = [value.item()]
    for _ in range(order):
        (value,) = torch.autograd.grad(value, x, create_graph=True)
        out.append(value.item())
    return out


def test_bessel_functions_are_as_published():
    r = distances(50)
    values, _ = RadialBasis(20, CUTOFF, "bessel")(r)
    for n in range(1, 21):
        expected = torch.sin(n * math.pi * r / CUTOFF) / r
        torch.testing.assert_close(values[:, n - 1], expected, rtol=1e-12, atol=1e-13)


def test_gaussians_are_spread_evenly():
    values, _ = RadialBasis(21, CUTOFF, "gaussian")(torch.tensor([1.0, 1.25], dtype=torch.float64))
    assert values.argmax(dim=1).tolist() == [4, 5]
    assert values[0, 4].item() == pytest.approx(1.0)
    assert values[0, 5].item() == pytest.approx(math.exp(-0.5))


@pytest.mark.parametrize(("envelope", "smooth"), [("cosine", 1), ("polynomial", 2)])
def test_envelope_ends_smoothly(envelope, smooth):
    basis = RadialBasis(4, CUTOFF, envelope=envelope)

    def cut(r):
        return basis(r)[1]

    at_zero = derivatives(cut, 0.0, 1)
    assert at_zero == pytest.approx([1.0, 0.0], abs=1e-12)
    just_inside = derivatives(cut, CUTOFF * (1 - 1e-9), smooth)
    assert just_inside == pytest.approx([0.0] * (smooth + 1), abs=1e-6)
    assert derivatives(cut, CUTOFF + 0.3, 1) == pytest.approx([0.0, 0.0], abs=1e-15)


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("envelope", ENVELOPES)
def test_values_and_slopes_are_finite_at_zero(basis, envelope):
    radial = RadialBasis(20, CUTOFF, basis, envelope)
    assert all(map(math.isfinite, derivatives(lambda r: radial(r)[0] * radial(r)[1], 0.0, 1)))


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("envelope", ENVELOPES)
def test_table_error(basis, envelope):
    """Every basis function itself (weights = identity), and the mixture that a network has."""
    radial = RadialBasis(20, CUTOFF, basis, envelope)
    functions = RadialFilter(radial, 20).double()
    torch.nn.init.eye_(functions.dense.weight)
    torch.nn.init.zeros_(functions.dense.bias)
    torch.manual_seed(0)
    mixtures = RadialFilter(radial, 30).double()
    r = distances()
    for module in (functions, mixtures):
        exact = module(*radial(r))
        table = interpolate(module.make_table(), r)
        amplitude = exact.abs().amax(dim=0)
        # 512 intervals are the default
        assert ((table - exact).abs().amax(dim=0) / amplitude).max() < 1e-6


def test_table_is_zero_at_the_cutoff():
    table = RadialFilter(RadialBasis(20, CUTOFF), 6).double().make_table()
    end = interpolate(table, torch.tensor([CUTOFF], dtype=torch.float64))
    assert end.abs().max() < 1e-14 * table.abs().max()


def test_table_is_differentiable_in_the_weights():
    module = RadialFilter(RadialBasis(5, CUTOFF), 3, n_knots=256).double()
    r = distances(40)
    exact = module(*RadialBasis(5, CUTOFF)(r)).square().sum()
    table = interpolate(module.make_table(), r).square().sum()
    wanted = torch.autograd.grad(exact, list(module.parameters()))
    got = torch.autograd.grad(table, list(module.parameters()))
    for a, b in zip(wanted, got, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_misspelt_names_are_refused():
    with pytest.raises(ValueError, match="'besel' is not one of bessel, gaussian"):
        RadialBasis(20, CUTOFF, basis="besel")
    with pytest.raises(ValueError, match="'cosin' is not one of cosine, polynomial"):
        RadialBasis(20, CUTOFF, envelope="cosin")
