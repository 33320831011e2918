import numpy as np
import pytest

from tpainn_calc.errors import DataError
from training.fit.reference_energies import fit_reference_energies


def test_exact_on_synthetic_data() -> None:
    rng = np.random.default_rng(0)
    composition = rng.integers(1, 9, (40, 3)).astype(float)
    truth = np.array([-1027.3, -13.6, -2041.9])
    fit = fit_reference_energies(composition, composition @ truth, ["C", "H", "O"])
    np.testing.assert_allclose(fit.energies, truth, rtol=1e-10)
    assert fit.determined
    assert fit.rms_after < 1e-9 * fit.rms_before


def test_constant_composition_is_solved_and_said() -> None:
    composition = np.tile([1.0, 2.0], (5, 1))
    energy = np.full(5, -470.0) + 0.01 * np.arange(5)
    fit = fit_reference_energies(composition, energy, ["O", "H"])
    assert not fit.determined
    assert composition[0] @ fit.energies == pytest.approx(energy.mean())
    assert "only 1 independent composition" in fit.describe()


def test_nothing_to_fit() -> None:
    with pytest.raises(DataError, match="no frames"):
        fit_reference_energies(np.zeros((0, 2)), np.zeros(0), ["O", "H"])
