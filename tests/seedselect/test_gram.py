"""Dual Gram accumulators."""

from __future__ import annotations

import numpy as np
import pytest

from seedselect import DualGram, SeedSelectError


def test_update_and_merge_equal_one_product():
    rows = np.random.default_rng(0).normal(size=(100, 7))
    whole = DualGram(7).update(rows)
    parts = DualGram(7).update(rows[:13]).merge(DualGram(7).update(rows[13:60]).update(rows[60:]))
    assert parts.n_rows == whole.n_rows == 100
    np.testing.assert_allclose(parts.matrix, rows.T @ rows, rtol=1e-13, atol=1e-12)
    np.testing.assert_allclose(whole.matrix, parts.matrix, rtol=1e-13, atol=1e-12)


def test_spectrum_is_that_of_the_kernel():
    rows = np.random.default_rng(0).normal(size=(20, 6))
    spectrum = DualGram(6).update(rows).spectrum()
    expected = np.linalg.eigvalsh(rows @ rows.T)[::-1][:6]
    np.testing.assert_allclose(spectrum.values, expected, rtol=1e-10)
    assert spectrum.rank == 6
    equal = DualGram(4).update(np.eye(4)).spectrum()
    assert equal.effective_dimension == pytest.approx(4)


def test_rank_leaves_noise_out():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 30))
    assert DualGram(30).update(rows).spectrum().rank == 5
    assert DualGram(3).spectrum().rank == 0


def test_mismatches_are_refused():
    with pytest.raises(SeedSelectError, match="expected"):
        DualGram(3).update(np.zeros((2, 4)))
    with pytest.raises(SeedSelectError, match="merge"):
        DualGram(3).merge(DualGram(4))
