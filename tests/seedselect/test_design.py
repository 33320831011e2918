"""Expected-error design: the formula, what labels may and may not do, and its limits."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from seedselect import SeedSelectError, SourceDesign
from seedselect.kernel.gaussian import GaussianKernel, fit_gaussian
from seedselect.sampling.expected_error import ExpectedError

# `fit(X_source, y_source)` are the method's own words
NOT_APPLICABLE = {"check_fit_score_takes_y": "the second argument of fit is y_source"}


@parametrize_with_checks(
    [SourceDesign(), SourceDesign(n_fit=20, fit_covariance=True)],
    expected_failed_checks=lambda estimator: NOT_APPLICABLE,
)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(300, 3))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]


def direct(kernel, X, V, f_X, f_V, rho2, chosen) -> float:
    """J(S) from the textbook's formulae."""
    K = kernel(X[chosen], X[chosen]) + kernel.noise * np.eye(len(chosen))
    cross = kernel(V, X[chosen])
    mean = cross @ np.linalg.solve(K, f_X[chosen])
    variance = kernel.variance - (cross * np.linalg.solve(K, cross.T).T).sum(axis=1)
    labels = ((f_V - mean) ** 2).mean()
    return rho2 * labels + (1 - rho2) * variance.mean() / kernel.signal


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("rho2", [0.0, 0.3, 1.0])
def test_updates_equal_the_direct_posterior(rho2, columns):
    rng = np.random.default_rng(0)
    X, V = rng.normal(size=(40, 4)), rng.normal(size=(30, 4))
    f_X, f_V = rng.normal(size=(40, columns)), rng.normal(size=(30, columns))
    kernel = GaussianKernel(2.5, 1.7, 0.05)
    error = ExpectedError(kernel, X, V, f_X, f_V, rho2)
    assert error.objective == pytest.approx(
        rho2 * (f_V**2).mean() + (1 - rho2) * kernel.variance / kernel.signal, abs=1e-12
    )
    chosen: list[int] = []
    for _ in range(25):
        gains = error.gains()
        here = error.objective
        for other in range(0, 40, 7):
            expected = direct(kernel, X, V, f_X, f_V, rho2, [*chosen, other])
            assert gains[other] == pytest.approx(here - expected, abs=1e-8)
        best = int(np.argmax(gains))
        error.add(best)
        chosen.append(best)
        expected = direct(kernel, X, V, f_X, f_V, rho2, chosen)
        assert error.objective == pytest.approx(expected, abs=1e-8)


def test_the_objective_falls_with_every_row(problem):
    selection = SourceDesign(random_state=0).fit(*problem).select(60)
    assert (np.diff(selection.diagnostics["objective"]) < 0).all()
    assert len(set(selection.indices)) == 60
    assert 0 < selection.diagnostics["label_share"] < 1
    np.testing.assert_allclose(
        selection.quality[selection.order], -np.diff(selection.diagnostics["objective"])
    )


def test_every_prefix_is_a_design(problem):
    design = SourceDesign(random_state=0).fit(*problem)
    whole = design.select(30).ordered
    assert (design.select(12).ordered == whole[:12]).all()


def test_without_rho_labels_do_not_matter(problem):
    X, y = problem
    chosen = [
        SourceDesign(rho2=0, random_state=0).fit(X, labels).select(20)
        for labels in (y, y**3, np.random.default_rng(0).permutation(y), None)
    ]
    chosen.append(SourceDesign(random_state=0).fit(X).select(20))
    chosen.append(SourceDesign(random_state=0).fit(X, np.ones(len(X))).select(20))
    for other in chosen[1:]:
        assert (other.ordered == chosen[0].ordered).all()
    kinds = [c.diagnostics["labels"] for c in chosen]
    assert kinds == ["ignored"] * 4 + ["none", "constant"]
    assert all(c.diagnostics["rho2"] == 0 for c in chosen)


def regression_error(design: SourceDesign, X, target, rows) -> float:
    """Error of the process itself, fed with the target's labels of the chosen rows."""
    kernel, scaled = design.kernel_, (X - X.mean(axis=0)) / X.std(axis=0)
    K = kernel(scaled[rows], scaled[rows]) + 1e-2 * np.eye(len(rows))
    offset = target[rows].mean()
    mean = kernel(scaled, scaled[rows]) @ np.linalg.solve(K, target[rows] - offset) + offset
    return float(np.sqrt(((mean - target) ** 2).mean()))


def test_true_labels_help_and_permuted_ones_do_not():
    """The target is a hill somewhere in the plane, and the source says where.

    Against the choice without labels, the geometric mean of ratios over eight planes is 0.68 with
    the source's labels and 1.21 with permuted ones.
    """
    ratios: dict[str, list[float]] = {"true": [], "permuted": []}
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X = rng.uniform(-1, 1, size=(500, 2))
        target = np.exp(-((X - rng.uniform(-0.6, 0.6, 2)) ** 2).sum(axis=1) / 0.2)
        source = target + 0.1 * target.std() * rng.normal(size=500)
        blind = SourceDesign(rho2=0, random_state=0).fit(X)
        designs = {
            name: SourceDesign(random_state=0).fit(X, labels)
            for name, labels in (("true", source), ("permuted", rng.permutation(source)))
        }
        # one and the same process judges all choices
        judge = SourceDesign(random_state=0, n_fit=200, fit_covariance=True).fit(X, source)
        base = regression_error(judge, X, target, blind.select(20).ordered)
        for name, design in designs.items():
            error = regression_error(judge, X, target, design.select(20).ordered)
            ratios[name].append(np.log(error / base))
    true, permuted = (np.exp(np.mean(ratios[name])) for name in ("true", "permuted"))
    assert true < 0.8
    assert permuted > 1.0


@pytest.mark.parametrize("fitted", [False, True])
def test_units_do_not_matter(problem, fitted):
    X, y = problem
    base = SourceDesign(random_state=0, fit_covariance=fitted)
    one = clone(base).fit(X, y).select(25)
    other = clone(base).fit(X * [1e3, 1e-4, 7.0] - 5.0, -4e5 * y + 3e6).select(25)
    assert (one.ordered == other.ordered).all()
    assert one.diagnostics["length_scale"] == other.diagnostics["length_scale"]
    assert (one.diagnostics["length_scale"] == GaussianKernel.unfitted(3).length) is not fitted
    design = SourceDesign(random_state=0).fit(X)
    first, second = design.select(25, cheap=y), design.select(25, cheap=1e-3 * y + 2)
    assert (first.ordered == second.ordered).all()


def test_known_rows_are_where_the_choice_goes_on_from(problem):
    X, y = problem
    design = SourceDesign(random_state=0).fit(X, y)
    whole = design.select(30)
    first = whole.ordered[:14]
    assert (design.select(16, labeled=first).ordered == whole.ordered[14:]).all()
    assert (design.select(16, pending=first).ordered == whole.ordered[14:]).all()
    both = design.select(16, labeled=first[:5], pending=first[5:])
    assert (both.ordered == whole.ordered[14:]).all()
    assert both.diagnostics["n_conditioned"] == 14
    np.testing.assert_allclose(
        both.diagnostics["objective"], whole.diagnostics["objective"][14:], atol=1e-10
    )
    # descriptors of known rows serve as well, where labels do not matter
    blind = SourceDesign(rho2=0, random_state=0).fit(X)
    rows = blind.select(30).ordered
    assert (blind.select(16, labeled=X[rows[:14]]).ordered == rows[14:]).all()


def test_excluded_rows_teach_nothing(problem):
    design = SourceDesign(random_state=0).fit(*problem)
    first = design.select(10).ordered[:3]
    rest = design.select(20, excluded=first)
    assert not set(rest.indices) & set(first)
    assert rest.diagnostics["n_conditioned"] == 0


def test_reproducible_and_ruled_by_the_seed():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 3))
    y = X[:, 0] ** 2
    chosen = [SourceDesign(random_state=seed).fit(X, y).select(20).ordered for seed in (0, 0, 1)]
    assert (chosen[0] == chosen[1]).all()
    assert set(chosen[0]) != set(chosen[2])
    design = SourceDesign(random_state=0).fit(X, y)
    assert (design.select(20, random_state=0).ordered == chosen[0]).all()
    assert set(design.select(20, random_state=2**70 + 1).ordered) != set(chosen[0])


def test_several_targets_count_equally(problem):
    X, y = problem
    single = SourceDesign(random_state=0).fit(X, y).select(15)
    twice = SourceDesign(random_state=0).fit(X, np.column_stack([y, y, y])).select(15)
    assert twice.diagnostics["labels"] == "used"
    other = SourceDesign(random_state=0).fit(X, np.column_stack([y, X[:, 0] ** 3])).select(15)
    assert set(other.indices) != set(single.indices)


def test_duplicates_are_never_chosen_twice(problem):
    X, y = problem
    rows = np.concatenate([X[:20], X[:20], X[:20]])
    design = SourceDesign(random_state=0).fit(rows, np.concatenate([y[:20]] * 3))
    chosen = design.select(20).indices
    assert sorted(chosen % 20) == list(range(20))
    with pytest.raises(SeedSelectError, match="exceeds the 20 distinct rows"):
        design.select(21)
    assert not set(design.select(10, labeled=np.array([3])).indices % 20) & {3}


def test_costs_and_budgets(problem):
    X, y = problem
    design = SourceDesign(random_state=0).fit(X, y)
    cost = np.where(X[:, 0] > 0, 8.0, 1.0)
    chosen = design.select(budget=40.0, cost=cost)
    assert cost[chosen.indices].sum() <= 40.0
    assert cost[chosen.indices].mean() < cost[design.select(20).indices].mean()
    assert len(design.select(5, cost=cost)) == 5
    with pytest.raises(SeedSelectError, match="does not pay"):
        design.select(budget=0.5, cost=cost)
    with pytest.raises(SeedSelectError, match="needs the cost"):
        design.select(budget=3.0)
    with pytest.raises(SeedSelectError, match="give n"):
        design.select()


def test_another_pool_gets_the_labels_of_a_committee(problem):
    X, y = problem
    design = SourceDesign(random_state=0).fit(X[:200], y[:200])
    pool = X[200:]
    predicted = design.predict(pool)
    assert predicted.shape == (100, 1)
    assert np.corrcoef(predicted[:, 0], y[200:])[0, 1] > 0.5
    own = design.select(20, pool=pool)
    given = design.select(20, pool=pool, cheap=predicted)
    assert (own.ordered == given.ordered).all()
    assert own.indices.max() < 100


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_source_that_is_mostly_zero(share, problem):
    X, y = problem
    inflated = np.where(np.random.default_rng(0).random(len(y)) < share, 0.0, np.abs(y))
    chosen = SourceDesign(random_state=0).fit(X, inflated).select(40)
    # rows with a source of zero are no worse than others
    assert 0.5 * share < (inflated[chosen.indices] == 0).mean()
    assert (np.diff(chosen.diagnostics["objective"]) < 0).all()


def test_rho_is_learnt_from_pairs(problem):
    X, y = problem
    rng = np.random.default_rng(0)
    design = SourceDesign(random_state=0).fit(X, y)
    close = design.learn(y[:60], 3 * y[:60] + 1).rho2_
    assert close == pytest.approx((60 + 10 * 0.3) / 70, abs=1e-6)
    far = design.learn(y[:60], rng.normal(size=60)).rho2_
    assert far < 0.15
    before = design.rho2_
    assert design.learn(y[:2], y[:2]).rho2_ == before  # too few to tell
    with pytest.raises(SeedSelectError, match="give pairs"):
        design.learn(y[:3], y[:4])
    assert SourceDesign().fit(X).learn(y[:60], y[:60]).rho2_ == 0


@pytest.mark.parametrize(
    ("options", "call", "match"),
    [
        ({"rho2": 1.5}, lambda d, X, y: d.fit(X, y), "rho2=1.5"),
        ({"rho2": float("nan")}, lambda d, X, y: d.fit(X, y), "rho2=nan"),
        ({"n_candidates": 0}, lambda d, X, y: d.fit(X, y), "n_candidates=0"),
        ({}, lambda d, X, y: d.fit(np.ones((9, 2)), y[:9]), "columns are constant"),
        ({}, lambda d, X, y: d.fit(X, np.where(y > 1, np.nan, y)), "y_source contains NaN"),
        ({}, lambda d, X, y: d.fit(np.where(X > 1, np.nan, X), y), "X_source contains NaN"),
        ({}, lambda d, X, y: d.fit(X, y).select(301), "exceeds the 300 rows"),
        ({}, lambda d, X, y: d.fit(X, y).select(0), "at least one"),
        ({}, lambda d, X, y: d.fit(X, y).select(5, pool=X[:, :2]), "2 columns but the source 3"),
        ({}, lambda d, X, y: d.fit(X, y).select(5, pool=X[:0]), "the pool is empty"),
        ({}, lambda d, X, y: d.fit(X, y).select(5, cheap=y[:7]), "the pool has 300 rows"),
        ({}, lambda d, X, y: d.fit(X, y).select(5, cheap=y * np.nan), "cheap contains NaN"),
        ({}, lambda d, X, y: d.fit(X, y).select(5, pool=X * np.nan), "the pool contains NaN"),
        ({}, lambda d, X, y: d.fit(X, y).select(5, labeled=[400]), "outside the pool"),
        ({}, lambda d, X, y: d.fit(X, y).select(5, cost=-y), "costs must be positive"),
        ({}, lambda d, X, y: d.fit(X).select(5, cheap=y, labeled=X[:2] + 1), "source with labels"),
    ],
)
def test_mistakes_are_one_line(options, call, match, problem):
    with pytest.raises(SeedSelectError, match=match):
        call(SourceDesign(random_state=0, **options), *problem)


def test_the_fit_finds_the_length_of_a_process():
    rng = np.random.default_rng(1)
    X = rng.uniform(-2, 2, size=(250, 2))
    truth = GaussianKernel(1.0, 0.8, 0.04)
    covariance = truth(X, X) + truth.noise * np.eye(250)
    y = np.linalg.cholesky(covariance) @ rng.normal(size=(250, 4))
    found = fit_gaussian(X, y)
    assert found.length == pytest.approx(truth.length, rel=0.2)
    assert found.noise == pytest.approx(truth.noise, rel=0.3)
    assert truth.variance == 2.0


def test_labels_that_are_noise_fit_no_wild_process(problem):
    X = problem[0]
    rng = np.random.default_rng(0)
    start = GaussianKernel.unfitted(3)
    for labels in (rng.normal(size=(300, 1)), 1e-6 * X[:, :1], np.sign(X[:, :1])):
        found = fit_gaussian(X, (labels - labels.mean()) / labels.std())
        assert 0.49 * start.length < found.length < 2.01 * start.length
        assert 0.009 < found.noise < 0.31


def test_dask_memory_and_file_give_the_same_choice(tmp_path, problem):
    import dask.array

    X, y = problem
    np.save(tmp_path / "pool.npy", X)
    design = SourceDesign(random_state=0).fit(X[:100], y[:100])
    expected = design.select(12, pool=X).ordered
    for pool in (tmp_path / "pool.npy", dask.array.from_array(X, chunks=(70, 3))):
        assert (design.select(12, pool=pool).ordered == expected).all()


def test_a_pool_of_a_million_rows_fits_into_two_gigabytes():
    program = """
import resource
import numpy as np
from seedselect.design import SourceDesign

class Million:
    n, n_features = 10**6, 64
    rows = np.random.default_rng(0).normal(size=(4096, 64))
    def blocks(self, size):
        for start in range(0, self.n, size):
            yield self.rows[: min(size, self.n - start)] + start / self.n
    def take(self, indices):
        start = indices // 4096 * 4096
        return self.rows[indices % 4096] + (start / self.n)[:, None]

source = np.random.default_rng(1).normal(size=(300, 64))
design = SourceDesign(random_state=0, n_fit=100).fit(source, source[:, 0])
print(len(design.select(50, pool=Million(), cheap=np.arange(10**6) % 97)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    n, peak = done.stdout.split()
    assert n == "50", done.stderr
    assert int(peak) < 2 * 1024**2  # KiB
