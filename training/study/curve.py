"""Learning curves: scratch against T-PaiNN over the number of DFT frames, fairly.

All arms see the same nested subsets, the same validation set, the same budget of steps and a
grid of learning rates, of which each takes its best on the validation set, for every size.
The test set is looked at once, for the chosen learning rate.
"""

from __future__ import annotations

import logging
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tpainn_calc.base.errors import ConfigError, DataError, DivergedError
from tpainn_calc.base.frames import checksum
from tpainn_calc.base.records import read_record, record_once, write_record
from tpainn_calc.base.tables import read_table, write_table
from tpainn_calc.modelfile import find_model, load_model
from training.data.paths import expand_path
from training.data.run_data import RunData, read_run_data
from training.fit.evaluation import evaluate
from training.fit.model import write_model
from training.fit.trainer import train
from training.run_folder import run_folder
from training.study.config import CurveConfig, Point
from training.study.curve_figures import draw

_log = logging.getLogger(__name__)


def run_curve(config: CurveConfig, base: Path, progress: bool = True) -> Path:
    """Run every point of a learning curve, write the table and draw the figures.

    Run it again after an interruption: finished points are not repeated, one that was under way
    continues from its last checkpoint, and table and figures come out the same. So with more
    arms, sizes, seeds or learning rates. A rate at which training diverges loses.

    Parameters
    ----------
    config : CurveConfig
    base : Path
        Folder that relative paths refer to.
    progress : bool
        Show a progress bar over the runs.

    Returns
    -------
    Path
        The output folder: ``curve.csv`` (one line per run), ``metrics.csv`` (errors over steps),
        ``timing.json``, ``curve.png``, ``convergence.png``, and a folder per run.

    Raises
    ------
    ConfigError
        If the folder holds a curve of another configuration, or a chosen run diverged.
    BusyError
        If another process works in it.
    """
    output = expand_path(config.output, base)
    models = {arm: find_model(expand_path(p, base)) for arm, p in config.curve.starts.items()}
    with run_folder(output, config, partial(_record, config, output, models)):
        _fill(config, base, output, models, progress)
    return output


def _fill(
    config: CurveConfig, base: Path, output: Path, models: dict[str, Path], progress: bool
) -> None:
    data = read_run_data(
        config.data, base, forces=config.loss.forces > 0, stress=config.loss.stress > 0
    )
    largest = max(config.curve.sizes)
    if largest > len(data.split.train):
        raise DataError(
            f"curve.sizes asks for {largest} frames; the training set holds {len(data.split.train)}"
        )
    rows: list[dict[str, Any]] = []
    with tqdm(total=_n_runs(config), disable=not progress, unit="run") as bar:
        for n in config.curve.sizes:
            for arm in config.curve.arms:
                for row in _cell(config, base, output, data, models.get(arm), arm, n):
                    rows.append(row)
                    bar.update()
                    bar.set_postfix_str(f"{row['arm']} N={row['n_train']}")
    rows.sort(key=lambda r: (r["arm"], r["n_train"], r["seed"], r["learning_rate"]))
    write_table(output / "curve.csv", rows)
    write_table(output / "metrics.csv", list(_histories(output, rows)))
    draw(output)


def _n_runs(config: CurveConfig) -> int:
    c = config.curve
    grid = min(c.grid_seeds, len(c.seeds))
    rates = sum(len(c.rates(arm)) for arm in c.arms)
    return len(c.sizes) * (grid * rates + len(c.arms) * (len(c.seeds) - grid))


def _cell(
    config: CurveConfig,
    base: Path,
    output: Path,
    data: RunData,
    model: Path | None,
    arm: str,
    n_train: int,
) -> Iterator[dict[str, Any]]:
    c = config.curve
    first, others = c.seeds[: c.grid_seeds], c.seeds[c.grid_seeds :]
    rates = c.rates(arm)
    grid = [Point(arm, n_train, s, rate) for rate in rates for s in first]
    losses: dict[float, float] = dict.fromkeys(rates, 0.0)
    results = {}
    for point in grid:
        results[point] = _run(config, base, output, data, model, point)
        losses[point.learning_rate] += results[point]["val_loss"] / len(first)
    best = min(losses, key=lambda rate: (losses[rate], rate))
    _warn_of_edge(rates, best, f"{arm}, N = {n_train}")
    for point in [*grid, *(Point(arm, n_train, s, best) for s in others)]:
        result = results.get(point) or _run(config, base, output, data, model, point)
        chosen = point.learning_rate == best
        if chosen and not math.isfinite(result["val_loss"]):
            raise ConfigError(
                f"{point.key} diverged, and no better learning rate was found; put smaller ones "
                "into curve.learning_rates"
            )
        test = _test(output / point.key, data) if chosen else {}
        yield {**asdict(point), "chosen": int(chosen), **result, **test}


def _warn_of_edge(rates: list[float], best: float, cell: str) -> None:
    if len(rates) > 1 and best in (min(rates), max(rates)):
        side = "largest" if best == max(rates) else "smallest"
        _log.warning(
            "%s: the best learning rate, %g, is the %s of the grid; widen curve.learning_rates and "
            "run again, finished runs are kept",
            cell,
            best,
            side,
        )


def _run(
    config: CurveConfig, base: Path, output: Path, data: RunData, model: Path | None, point: Point
) -> dict[str, float]:
    folder = output / point.key
    done = folder / "validation.json"
    if done.is_file():
        return read_record(done)
    run = config.run(point, model)
    subset = data.subset(point.n_train, point.seed)
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    try:
        trained = train(run, base, folder, subset, progress=False)
    except DivergedError as error:  # a rate of the grid that is too large
        _log.warning("%s: %s", point.key, error)
        best = {"val_loss": math.inf}
    else:
        best = trained.best
        write_model(folder / "model.safetensors", run, subset, trained, {"set": "none"})
        seconds = {"seconds": round(time.monotonic() - began, 1), "steps": trained.steps}
        write_record(folder / "timing.json", seconds)
    write_record(done, best)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return best


def _test(folder: Path, data: RunData) -> dict[str, float]:
    done = folder / "test.json"
    if done.is_file():
        return read_record(done)
    potential, _ = load_model(folder / "model.safetensors")
    report = evaluate(potential, data.part("test"))
    result = {f"test_{name}": value for name, value in report.summary().items()}
    write_record(done, result)
    return result


def _histories(output: Path, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        if row["chosen"]:
            point = Point.of(row)
            for line in read_table(output / point.key / "metrics.csv"):
                yield {**line, **asdict(point)}  # the rate is that of the grid


def _record(config: CurveConfig, output: Path, models: dict[str, Path]) -> None:
    # arms, sizes, seeds and grid may grow later, and files may move: what is there stays valid
    settings = config.model_dump(mode="json", exclude={"output": True, "curve": True})
    records: dict[str, dict[str, Any]] = {"curve.json": {"config": settings}}
    for arm, model in models.items():
        records[f"pretrained-{arm}.json"] = {"pretrained_sha256": checksum(model)}
    for name, record in records.items():
        record_once(
            output / name,
            record,
            f"{output} holds a curve of another configuration or pretrained model: {{key}}; choose "
            "another output folder",
        )
