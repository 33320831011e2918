"""The benchmark: statistics by hand, tasks, resuming, learners."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.active_learning import BenchmarkConfig, Task, run_benchmark
from benchmarks.active_learning import runner as runner_module
from benchmarks.active_learning.__main__ import main
from benchmarks.active_learning.classical import bond_additive_energy, spc_flexible
from benchmarks.active_learning.curves import Repetition
from benchmarks.active_learning.learners import KernelRidge, rmse
from benchmarks.active_learning.methods import METHODS
from benchmarks.active_learning.statistics import (
    aulc,
    compare,
    curve_areas,
    overall,
    paired_ratio,
    tuned_choice,
    verdict,
)
from benchmarks.active_learning.task import data_directory, principal_components
from benchmarks.active_learning.tasks import TASKS
from seedselect import SeedSelectError
from seedselect.frames.frame import Frame
from tpainn_calc.base.schema import load_config


def small_task(kind: str = "target transfer") -> Task:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    y = np.sin(X[:, 0]) + X[:, 1] ** 2
    if kind == "target transfer":
        return Task("toy", kind, X, y, X, y + 0.3 * X[:, 2], "toy")
    return Task("toy", kind, X, y, X + 0.5, np.sin(X[:, 0] + 0.5), "toy")


def small_config(**options) -> BenchmarkConfig:
    base = {
        "tasks": ["era5"],
        "methods": ["random", "diversity", "atbagging"],
        "repetitions": 2,
        "seed_sizes": [8, 16],
        "loop_seeds": [8],
        "rounds": 1,
        "pool_size": 100,
        "test_size": 50,
        "n_estimators": 10,
        "n_features": 64,
        "random_draws": 2,
    }
    return BenchmarkConfig.model_validate(base | options)


def test_area_under_a_curve():
    # A curve that falls linearly in ln n has its middle as mean.
    assert aulc(np.array([10, 100]), np.array([1.0, 0.5])) == pytest.approx(0.75)
    assert aulc(np.array([100, 10]), np.array([0.5, 1.0])) == pytest.approx(0.75)
    assert aulc(np.array([10, 20, 80]), np.full(3, 0.3)) == pytest.approx(0.3)


def test_paired_ratio_and_verdict():
    rng = np.random.default_rng(0)
    base = rng.uniform(0.5, 2.0, size=30)
    better = paired_ratio(0.9 * base * np.exp(0.01 * rng.normal(size=30)), base)
    assert better["ratio"] == pytest.approx(0.9, abs=0.01)
    assert verdict(better) == "win"
    assert better["wins"] == 1
    same = paired_ratio(base * np.exp(0.1 * rng.normal(size=30)), base)
    assert same["low"] < 1 < same["high"]
    assert verdict(same) == "tie"
    assert verdict(paired_ratio(1.2 * base, base)) == "loss"


def test_interval_covers_the_truth():
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(60):
        log = 0.05 + 0.2 * rng.normal(size=20)
        row = paired_ratio(np.exp(log), np.ones(20), seed)
        hits += row["low"] < np.exp(0.05) < row["high"]
    assert 50 <= hits <= 60


def test_comparison_by_hand():
    rows = []
    for method, factor in (("random", 1.0), ("atbagging", 0.8), ("diversity", 1.1)):
        for r in range(4):
            for n in (10, 100):
                for draw in range(2 if method == "random" else 1):
                    error = factor * (1 + 0.1 * r)
                    rows.append(
                        {"task": "era5" if r < 4 else "x", "protocol": "seed", "learner": "forest",
                         "method": method, "repetition": r, "draw": draw, "n": n, "rmse": error}
                    )  # fmt: skip
    table = compare(curve_areas(rows))
    ratios = {row["method"]: row["ratio"] for row in table}
    assert ratios == pytest.approx({"atbagging": 0.8, "diversity": 1.1})
    total = overall(table, ["era5"])
    assert (total["atbagging"]["win"], total["diversity"]["loss"]) == (1, 1)
    config = small_config(tuning_tasks=["era5"], tuned_methods=["atbagging", "diversity"])
    assert tuned_choice(table, config) == "atbagging"


@pytest.mark.parametrize("kind", ["target transfer", "feature shift"])
def test_every_method_gives_distinct_rows(kind):
    repetition = Repetition(small_task(kind), 0, small_config())
    for name in METHODS:
        rows = repetition._choose(name, 0, 12)
        assert len(set(rows.tolist())) == 12, name
        np.testing.assert_array_equal(rows, repetition._choose(name, 0, 12))


def test_splits_are_disjoint_and_shared():
    task = small_task()
    split = task.split(100, 50, np.random.default_rng(0))
    assert len(split.X_pool) == 100
    assert len(split.X_test) == 50
    pool = {row.tobytes() for row in split.X_pool}
    assert not pool & {row.tobytes() for row in split.X_test}
    np.testing.assert_array_equal(split.X_pool, split.X_source)
    a, b = (Repetition(task, 3, small_config()) for _ in range(2))
    np.testing.assert_array_equal(a.split.X_test, b.split.X_test)
    assert list(a.points()) == list(b.points())


def test_methods_do_not_see_the_labels_of_the_pool():
    """Control: scrambled pool labels change no choice."""
    task = small_task()
    other = Task("toy", task.kind, task.X, -task.y[::-1], task.source_X, task.source_y, "toy")
    a, b = Repetition(task, 0, small_config()), Repetition(other, 0, small_config())
    for name in METHODS:
        np.testing.assert_array_equal(a._choose(name, 0, 10), b._choose(name, 0, 10))


def test_a_run_resumes(tmp_path, monkeypatch):
    monkeypatch.setitem(runner_module.TASKS, "era5", small_task)
    config = small_config()
    part = run_benchmark(config, tmp_path, max_seconds=0.0001)
    files = sorted(tmp_path.glob("rows-*/*.csv"))
    assert len(files) == 1
    stamp = files[0].stat().st_mtime_ns
    whole = run_benchmark(config, tmp_path)
    assert files[0].stat().st_mtime_ns == stamp
    assert whole[: len(part)] == part
    assert run_benchmark(config, tmp_path) == whole
    assert len({row["repetition"] for row in whole}) == 2
    # Other settings do not mix with these rows.
    run_benchmark(small_config(rounds=0), tmp_path)
    assert len(list(tmp_path.glob("rows-*"))) == 2


def test_command_writes_tables_and_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(runner_module.TASKS, "era5", small_task)
    config = tmp_path / "b.yaml"
    config.write_text(
        "tasks: [era5]\nmethods: [random, diversity, atbagging]\nrepetitions: 2\n"
        "seed_sizes: [8, 16]\nloop_seeds: [8]\nrounds: 1\npool_size: 100\ntest_size: 50\n"
        "n_estimators: 10\nn_features: 64\n"
    )
    assert main([str(config), "-o", str(tmp_path / "out")]) == 0
    assert "AULC/random" in capsys.readouterr().out
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"areas.csv", "curves.csv", "curves.png", "ratios.csv", "ratios.png"} <= names
    assert main([str(config), "--dry-run"]) == 0
    config.write_text("tasks: [era6]\nmethods: [random]\n")
    assert main([str(config)]) == 2
    assert 'did you mean "era5"' in capsys.readouterr().err


EXAMPLES = Path(__file__).parents[2] / "examples" / "active_learning"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda p: p.stem)
def test_studies_fit_their_schema(path):
    assert load_config(path, BenchmarkConfig).repetitions >= 10


@pytest.mark.parametrize("kind", ["target transfer", "feature shift"])
@pytest.mark.parametrize("method", ["design", "v_optimal", "design_permuted"])
def test_designs_are_compared_too(kind, method):
    config = small_config(methods=["random", method], loop_seeds=[], rounds=0)
    repetition = Repetition(small_task(kind), 0, config)
    rows = repetition._choose(method, 0, 16)
    assert len(set(rows)) == 16
    assert (repetition._choose(method, 0, 8) == rows[:8]).all()
    others = [m for m in ("design", "v_optimal", "design_permuted") if m != method]
    assert all(set(repetition._choose(other, 0, 16)) != set(rows) for other in others)


def test_kernel_ridge_chooses_a_sensible_model():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 2))
    y = np.sin(2 * X[:, 0])
    model = KernelRidge(X.mean(axis=0), X.std(axis=0)).fit(X[:60], y[:60])
    assert rmse(model.predict(X[60:]), y[60:]) < 0.3 * y.std()
    noise = rng.normal(size=60)
    flat = KernelRidge(X.mean(axis=0), X.std(axis=0)).fit(X[:60], noise)
    assert flat.predict(X[60:]).std() < 0.8 * noise.std()


def test_flexible_water_forces_are_the_gradient(make_frames):
    frame = make_frames(1)[0]
    _, forces = spc_flexible(frame, cutoff=5.0)
    rng = np.random.default_rng(0)
    for atom in rng.choice(len(frame), 4, replace=False):
        for axis in range(3):
            values = []
            for sign in (1, -1):
                moved = frame.positions.copy()
                moved[atom, axis] += sign * 1e-5
                shifted = Frame(frame.numbers, moved, frame.cell, frame.pbc)
                values.append(spc_flexible(shifted, cutoff=5.0)[0])
            slope = (values[1] - values[0]) / 2e-5
            assert forces[atom, axis] == pytest.approx(slope, abs=2e-4)
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-9)


def test_bond_energies_add_up():
    # Methane: four C-H bonds of 413 kJ/mol.
    h = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * 1.09 / np.sqrt(3)
    frame = Frame(
        np.array([6, 1, 1, 1, 1]), np.vstack([[0, 0, 0], h]), np.zeros((3, 3)), np.zeros(3, bool)
    )
    assert bond_additive_energy(frame) == pytest.approx(-4 * 413 * 0.0103642688)


def test_principal_components_are_fixed_in_sign():
    rows = np.random.default_rng(0).normal(size=(50, 6))
    a, b = principal_components(rows, 3), principal_components(rows * 2.0, 3)
    np.testing.assert_allclose(a, b)
    assert (np.diff(a.std(axis=0)) <= 0).all()


def test_missing_data_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("TPAINN_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(SeedSelectError, match="TPAINN_DATA"):
        data_directory()


@pytest.mark.data
@pytest.mark.parametrize(("name", "rows"), [("era5", 7000), ("forbes", 1900), ("pm25", 20000)])
def test_tables_of_the_paper_load(name, rows):
    try:
        root = data_directory()
    except SeedSelectError as error:
        pytest.skip(str(error))
    if not Path(root, "era5").is_dir():
        pytest.skip(f"{root} holds no tabular data")
    task = TASKS[name]()
    assert len(task.X) >= rows
    assert np.isfinite(task.X).all()
    assert np.isfinite(task.y).all()
    assert task.y.std() > 0
    assert task.note.endswith(".")
