"""The sampler against exact enumeration, with negative controls that it must reject."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import norm

from seedselect import SeedSelectError, sample_kdpp
from seedselect.baselines import array_kernel, inflate_and_truncate, random_rows, top_scores
from seedselect.sampling.inclusion import inclusion_probabilities
from seedselect.sampling.kdpp import sample_eigenvectors, tilted_probabilities

DRAWS = 2500


def small_problem(n_rows: int = 8, n_features: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(42)
    features = rng.normal(size=(n_rows, n_features))
    features /= np.linalg.norm(features, axis=1)[:, None]
    return features, rng.uniform(0.3, 1.5, size=n_rows)


def draw_counts(features, quality, k, rng, draws=DRAWS) -> Counter:
    kernel = array_kernel(features, quality)
    spectrum = kernel.gram().spectrum()
    return Counter(
        tuple(sorted(map(int, sample_kdpp(kernel, k, rng, spectrum)))) for _ in range(draws)
    )


@pytest.mark.parametrize("k", range(1, 9))
def test_counts_follow_the_determinants(k, exact, count_test):
    features, quality = small_problem()
    counts = draw_counts(features, quality, k, np.random.default_rng(k))
    assert count_test(counts, exact(features * quality[:, None], k)) > 1e-4


@pytest.mark.parametrize("name", ["uniform", "top-k", "inflate-and-truncate"])
def test_the_count_test_rejects_what_is_not_a_kdpp(name, exact, count_test):
    features, quality = small_problem()
    rng = np.random.default_rng(3)
    methods = {
        "uniform": lambda: random_rows(features, 3, rng),
        "top-k": lambda: top_scores(quality, 3),
        "inflate-and-truncate": lambda: inflate_and_truncate(features, quality, 3, rng),
    }
    counts = Counter(tuple(sorted(map(int, methods[name]()))) for _ in range(DRAWS))
    assert count_test(counts, exact(features * quality[:, None], 3)) < 1e-6


def test_the_count_test_accepts_the_true_law(exact, count_test):
    """The reference itself: draws from the enumerated law pass."""
    features, quality = small_problem()
    law = exact(features * quality[:, None], 3)
    cells = list(law)
    picks = np.random.default_rng(0).choice(len(cells), size=DRAWS, p=list(law.values()))
    assert count_test(Counter(cells[i] for i in picks), law) > 1e-4


def test_inclusion_frequencies_at_200_rows():
    rng = np.random.default_rng(7)
    features = rng.normal(size=(200, 40)) / np.sqrt(40)
    quality = rng.uniform(0.2, 2.0, size=200)
    kernel = array_kernel(features, quality)
    spectrum = kernel.gram().spectrum()
    k, draws = 10, 1500
    hits = np.zeros(200)
    for _ in range(draws):
        hits[sample_kdpp(kernel, k, rng, spectrum)] += 1
    expected = inclusion_probabilities(kernel.rows(np.arange(200)), spectrum, k)
    z = (hits / draws - expected) / np.sqrt(expected * (1 - expected) / draws)
    limit = norm.isf(1e-4 / 2 / 200)
    assert np.abs(z).max() < limit
    # Negative control: uniform frequencies are far outside the same limit.
    uniform = (k / 200 - expected) / np.sqrt(expected * (1 - expected) / draws)
    assert np.abs(uniform).max() > 2 * limit


def test_pairs_are_negatively_dependent(exact):
    features, quality = small_problem()
    features[1] = features[0] + 0.3 * features[1]
    rows = features * quality[:, None]
    law = exact(rows, 3)
    counts = draw_counts(features, quality, 3, np.random.default_rng(11), draws=4000)
    total = sum(counts.values())
    single = np.zeros(8)
    pair = np.zeros((8, 8))
    for subset, count in counts.items():
        single[list(subset)] += count / total
        for i, j in combinations(subset, 2):
            pair[i, j] += count / total
    exact_pair = sum(p for s, p in law.items() if 0 in s and 1 in s)
    assert pair[0, 1] == pytest.approx(exact_pair, abs=5 * np.sqrt(exact_pair / total) + 1e-3)
    assert pair[0, 1] < 0.7 * single[0] * single[1]
    upper = np.triu_indices(8, 1)
    excess = (pair - np.outer(single, single))[upper]
    assert excess.max() < 4 * np.sqrt(0.25 / total)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_law_of_the_eigenvector_step(k, count_test):
    values = np.array([5.0, 2.0, 1.0, 0.4, 0.1, 1e-3])
    law = {s: float(np.prod(values[list(s)])) for s in combinations(range(6), k)}
    total = sum(law.values())
    law = {s: p / total for s, p in law.items()}
    rng = np.random.default_rng(1)
    counts = Counter(
        tuple(sorted(map(int, sample_eigenvectors(values, k, rng)))) for _ in range(4000)
    )
    assert count_test(counts, law) > 1e-4
    # Control: ignoring the eigenvalues is rejected.
    flat = Counter(tuple(sorted(map(int, rng.choice(6, k, replace=False)))) for _ in range(4000))
    assert count_test(flat, law) < 1e-6


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_tilt_reaches_the_size_on_any_scale(scale):
    values = np.geomspace(1, 1e-12, 60) * scale
    for k in (1, 17, 59, 60):
        assert tilted_probabilities(values, k).sum() == pytest.approx(k, abs=1e-8)


def test_scaling_the_kernel_changes_nothing():
    features, quality = small_problem(50, 30)
    draws = [
        sample_kdpp(array_kernel(features, quality * c), 12, np.random.default_rng(2))
        for c in (1.0, 2.0**-40, 2.0**30)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    np.testing.assert_array_equal(draws[0], draws[2])


def test_permuting_the_rows_permutes_the_law(exact, count_test):
    features, quality = small_problem()
    permutation = np.random.default_rng(9).permutation(8)
    counts = draw_counts(features[permutation], quality[permutation], 3, np.random.default_rng(5))
    back = Counter({tuple(sorted(permutation[list(s)])): c for s, c in counts.items()})
    assert count_test(back, exact(features * quality[:, None], 3)) > 1e-4


def test_an_exact_duplicate_is_never_chosen_twice():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 40))
    features = np.vstack([features, features])
    kernel = array_kernel(features)
    for seed in range(40):
        drawn = sample_kdpp(kernel, 20, np.random.default_rng(seed))
        assert len(set(drawn % 30)) == 20


def test_whole_rank_can_be_drawn():
    features, quality = small_problem(30, 12)
    drawn = sample_kdpp(array_kernel(features, quality), 12, np.random.default_rng(0))
    assert len(set(drawn)) == 12


def test_more_than_the_rank_is_refused_with_rank_and_cure():
    features = np.random.default_rng(0).normal(size=(50, 6))
    with pytest.raises(SeedSelectError, match=r"numerical rank 6 .*smaller length scale"):
        sample_kdpp(array_kernel(features), 7, np.random.default_rng(0))


def test_no_points_is_refused():
    with pytest.raises(SeedSelectError, match="at least one"):
        sample_kdpp(array_kernel(np.eye(3)), 0, np.random.default_rng(0))


def test_zero_quality_shuts_a_row_out():
    features, quality = small_problem(20, 12)
    quality[[2, 5]] = 0.0
    for seed in range(30):
        drawn = sample_kdpp(array_kernel(features, quality), 8, np.random.default_rng(seed))
        assert not {2, 5} & set(drawn.tolist())
