"""Learning curves: chosen fairly, resumed identically."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tpainn_calc.base.schema import check_config, load_config
from tpainn_calc.base.tables import read_table
from tpainn_calc.errors import ConfigError, DataError
from training.study import curve
from training.study.config import CurveConfig
from training.study.curve import run_curve
from training.study.curve_figures import summarise

CURVE = """\
output: curve
data: {files: [data.extxyz], level: springs, block: 2, validation: 0.1, test: 0.1}
model: {name: springs, n_features: 8, n_blocks: 2, cutoff: 3.0, n_basis: 6}
optimizer: {max_steps: 20, batch_size: 4, validate_every: 10, warmup_steps: 2, ema_decay: 0.5}
curve:
  pretrained: pretrained/springs.safetensors
  sizes: [4, 8]
  seeds: [0, 1]
  learning_rates: [1.0e-3, 5.0e-3]
"""
TABLES = ("curve.csv", "metrics.csv")


@pytest.fixture
def config(pretrained: Path, data_file: Path) -> CurveConfig:
    folder = data_file.parent
    shutil.copytree(pretrained / "pretrained", folder / "pretrained")
    (folder / "curve.yaml").write_text(CURVE)
    return load_config(folder / "curve.yaml", CurveConfig)


def test_interrupted_curve_ends_with_the_same_tables(
    config: CurveConfig, data_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = data_file.parent
    folder = run_curve(config, base, progress=False)
    expected = {name: (folder / name).read_bytes() for name in TABLES}
    rows = read_table(folder / "curve.csv")
    assert len(rows) == 2 * 2 * 3  # arms, sizes; the grid on one seed, the best on the other
    assert sum(row["chosen"] for row in rows) == 2 * 2 * 2
    for arm in ("scratch", "tpainn"):
        for n in (4, 8):
            cell = [r for r in rows if r["arm"] == arm and r["n_train"] == n and r["seed"] == 0]
            best = min(cell, key=lambda r: r["val_loss"])
            assert best["chosen"]
            # the test set is looked at for the chosen rate alone
            assert [("test_forces_meV_per_A_mae" in r) for r in cell] == [r is best for r in cell]
    assert set(summarise(rows, "test_forces_meV_per_A_mae")["tpainn"]) == {4, 8}
    for name in ("curve.png", "convergence.png"):
        assert (folder / name).stat().st_size > 1000

    # the same again, killed in the middle of the third run
    again = config.model_copy(update={"output": "again"})
    calls = 0
    write = curve.write_model

    def kill(*arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(curve, "write_model", kill)
    with pytest.raises(KeyboardInterrupt):
        run_curve(again, base, progress=False)
    folder = run_curve(again, base, progress=False)
    assert {name: (folder / name).read_bytes() for name in TABLES} == expected
    with pytest.raises(ConfigError, match="another configuration"):
        run_curve(again.model_copy(update={"seed": 9}), base, progress=False)


def test_more_frames_than_there_are_is_said_at_once(config: CurveConfig, data_file: Path) -> None:
    section = config.curve.model_copy(update={"sizes": [4, 4000]})
    with pytest.raises(DataError, match="asks for 4000 frames; the training set holds"):
        run_curve(config.model_copy(update={"curve": section}), data_file.parent, progress=False)


def test_a_grid_may_grow_and_a_rate_that_diverges_loses(
    config: CurveConfig, data_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def with_rates(*rates: float) -> CurveConfig:
        section = config.curve.model_copy(update={"sizes": [4], "learning_rates": list(rates)})
        return config.model_copy(update={"curve": section})

    base = data_file.parent
    folder = run_curve(with_rates(1e-3), base, progress=False)
    first = (folder / "scratch-n4-seed0-lr0.001" / "model.safetensors").stat().st_mtime_ns
    assert "of the grid" not in caplog.text  # of one rate nothing can be said

    run_curve(with_rates(1e-3, 2e-3, 1e30), base, progress=False)
    assert (folder / "scratch-n4-seed0-lr0.001" / "model.safetensors").stat().st_mtime_ns == first
    rows = read_table(folder / "curve.csv")
    lost = [row for row in rows if row["learning_rate"] == 1e30]
    assert [(row["arm"], row["val_loss"], row["chosen"]) for row in lost] == [
        ("scratch", float("inf"), 0),
        ("tpainn", float("inf"), 0),
    ]
    assert sum(row["chosen"] for row in rows) == 4  # arms, seeds
    assert "scratch-n4-seed0-lr1e+30: training diverged" in caplog.text

    with pytest.raises(ConfigError, match=r"scratch-n4-seed0-lr1e\+30 diverged"):
        run_curve(with_rates(1e30), base, progress=False)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"sizes": [4, 0]}, r"curve\.sizes\.1: .* greater than or equal to 1"),
        ({"sizes": [4, 8, 4]}, r"curve\.sizes: 4 is there twice"),
        ({"seeds": [0, -1]}, r"curve\.seeds\.1"),
        ({"learning_rates": [1e-3, 0.001]}, r"curve\.learning_rates: 0\.001 is there twice"),
        ({"pretrained": {"scratch": "m"}}, r"scratch is the arm without a pretrained model"),
        ({"pretrained": {"a/b": "m"}}, r"curve\.pretrained"),
        ({"learning_rates": {"scratch": [1e-3]}}, r"one list, or one for each of scratch, tpainn"),
        ({"learning_rates": {"scratch": [], "tpainn": [1e-3]}}, r"curve\.learning_rates"),
        (
            {"learning_rates": {"scratch": [1e-3], "tpainn": [2e-3, 0.002]}},
            r"curve\.learning_rates\.tpainn: 0\.002 is there twice",
        ),
    ],
)
def test_points_that_cannot_be_run_are_refused(section: dict[str, Any], message: str) -> None:
    settings = yaml.safe_load(CURVE)
    settings["curve"] |= section
    with pytest.raises(ConfigError, match=message):
        check_config(settings, CurveConfig, "curve.yaml")


def test_arms_may_try_rates_of_their_own(config: CurveConfig, data_file: Path) -> None:
    rates = {"scratch": [2e-3, 4e-3], "tpainn": [1e-3]}
    section = config.curve.model_copy(update={"sizes": [4], "seeds": [0], "learning_rates": rates})
    folder = run_curve(
        config.model_copy(update={"curve": section}), data_file.parent, progress=False
    )
    tried: dict[str, list[float]] = {"scratch": [], "tpainn": []}
    for row in read_table(folder / "curve.csv"):
        tried[row["arm"]].append(row["learning_rate"])
    assert tried == rates


def test_several_pretrained_models_are_arms(config: CurveConfig, data_file: Path) -> None:
    base = data_file.parent
    points = {"sizes": [4], "seeds": [0], "learning_rates": [1e-3]}
    section = config.curve.model_copy(update=points)
    folder = run_curve(config.model_copy(update={"curve": section}), base, progress=False)
    first = {row["arm"]: row for row in read_table(folder / "curve.csv")}
    assert isinstance(section.pretrained, str)

    # an arm may come later, and one that is there begins where it began
    tuned = str(folder.resolve() / "tpainn-n4-seed0-lr0.001" / "model.safetensors")
    arms = {"tpainn": section.pretrained, "chain": tuned}
    more = section.model_copy(update={"pretrained": arms})
    run_curve(config.model_copy(update={"curve": more}), base, progress=False)
    rows = {row["arm"]: row for row in read_table(folder / "curve.csv")}
    assert set(rows) == {"scratch", "tpainn", "chain"}
    assert rows["tpainn"] == first["tpainn"]
    assert rows["chain"]["val_loss"] != rows["tpainn"]["val_loss"]

    swapped = section.model_copy(update={"pretrained": {"tpainn": tuned}})
    with pytest.raises(ConfigError, match="pretrained model: pretrained_sha256"):
        run_curve(config.model_copy(update={"curve": swapped}), base, progress=False)


def test_the_edge_of_the_grid_is_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    curve._warn_of_edge([1e-3, 4e-3, 8e-3], 4e-3, "scratch, N = 10")
    assert not caplog.text
    curve._warn_of_edge([1e-3, 4e-3, 8e-3], 8e-3, "scratch, N = 10")
    assert "scratch, N = 10: the best learning rate, 0.008, is the largest" in caplog.text
