"""Inclusion probabilities against enumeration."""

from __future__ import annotations

import numpy as np
import pytest

from seedselect import sample_kdpp
from seedselect.baselines import array_kernel
from seedselect.sampling.inclusion import eigenvector_marginals, inclusion_probabilities


@pytest.mark.parametrize("k", range(1, 8))
def test_equal_to_enumeration(k, exact):
    rng = np.random.default_rng(k)
    rows = rng.normal(size=(7, 8)) * rng.uniform(0.1, 3, size=(7, 1))
    spectrum = array_kernel(rows).gram().spectrum()
    expected = np.zeros(7)
    for subset, p in exact(rows, k).items():
        expected[list(subset)] += p
    np.testing.assert_allclose(inclusion_probabilities(rows, spectrum, k), expected, atol=1e-12)


def test_marginals_of_eigenvectors_match_symmetric_polynomials():
    values = np.array([4.0, 1.0, 0.5, 0.2])
    # e_2 and the terms without each eigenvalue, by hand.
    total = sum(values[i] * values[j] for i in range(4) for j in range(i))
    expected = [v * (values.sum() - v) / total for v in values]
    np.testing.assert_allclose(eigenvector_marginals(values, 2), expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-250, 1e250])
def test_no_overflow_where_symmetric_polynomials_do(scale):
    values = np.geomspace(1, 1e-10, 400) * scale
    marginals = eigenvector_marginals(values, 150)
    assert marginals.sum() == pytest.approx(150, rel=1e-9)
    assert (np.diff(marginals) <= 1e-12).all()
    assert marginals.min() >= 0


def test_horvitz_thompson_is_unbiased():
    """Weighted sums over exact draws average to the sum over the pool."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 20)) * rng.uniform(0.3, 2, size=(40, 1))
    values = (rows**2).sum(axis=1)
    kernel = array_kernel(rows)
    spectrum = kernel.gram().spectrum()
    pi = inclusion_probabilities(rows, spectrum, 8)
    estimates = []
    naive = []
    for _ in range(1500):
        drawn = sample_kdpp(kernel, 8, rng, spectrum)
        estimates.append((values[drawn] / pi[drawn]).sum())
        naive.append(values[drawn].mean() * 40)
    error = np.std(estimates) / np.sqrt(1500)
    assert abs(np.mean(estimates) - values.sum()) < 4.5 * error
    # Control: without the weights the favoured rows bias the sum.
    assert abs(np.mean(naive) - values.sum()) > 10 * np.std(naive) / np.sqrt(1500)
