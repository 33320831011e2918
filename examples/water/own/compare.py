"""The gain by ATBagging: force error over DFT labels, against frames picked at random.

``python -m examples.water.own.compare [--steps N] [--output FOLDER]`` tunes the classical model in
``examples/water/data`` on the first N labels of either arm, and tests on random frames. It resumes;
a finished run is not repeated.

Half of the random frames are the test set and the other half the random arm, and then the other
way round, so that every random frame is tested on once. Nothing is chosen by a validation set: all
runs have the same steps and end with their averaged weights.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from examples.water.own.pack import DATA, FRAMES
from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.schema import load_config
from tpainn_calc.base.tables import read_table, write_table
from tpainn_calc.modelfile import load_model
from training.data.frames import Frames, read_frames
from training.data.run_data import RunData
from training.data.split import Split
from training.fit.config import AutotuneConfig
from training.fit.evaluation import evaluate
from training.fit.model import write_model
from training.fit.sections import TuneSection
from training.fit.trainer import train
from training.study.config import CurveConfig
from training.study.curve_figures import plain_ticks

MODEL = DATA / "water-iamoeba.safetensors"
SIZES = (4, 8, 16, 30, 60)
SEEDS = (0, 1, 2)
RATE = 4.0e-3
CURVE = load_config(Path(__file__).with_name("curve.yaml"), CurveConfig)
LEVEL = CURVE.data.level
COLUMNS = {
    "forces_meV_per_A_mae": "force MAE / (meV/Å)",
    "energy_meV_per_atom_mae": "energy MAE / (meV/atom)",
    "stress_MPa_mae": "stress MAE / MPa",
}


@dataclass(frozen=True)
class Arm:
    """Frames that training may use in this order, and those to test on."""

    name: str
    fold: int
    order: np.ndarray
    tests: tuple[tuple[int, np.ndarray], ...]

    def train(self, n: int, seed: int) -> np.ndarray:
        """The first `n`; at random, every seed has an order of its own."""
        if self.name == "picked":
            return self.order[:n]
        return np.random.default_rng((seed, self.fold)).permutation(self.order)[:n]


def arms_of(frames: Sequence) -> Iterator[Arm]:
    """The picked arm, and the random one for either half of the random frames."""
    name = np.array([atoms.info["arm"] for atoms in frames])
    random, picked = (np.flatnonzero(name == arm) for arm in ("random", "picked"))
    halves = random[::2], random[1::2]
    yield Arm("picked", 0, picked, ((0, halves[0]), (1, halves[1])))
    for fold, (test, rest) in enumerate((halves, halves[::-1])):
        yield Arm("random", fold, rest, ((fold, test),))


def config_of(steps: int, seed: int) -> AutotuneConfig:
    """One run: as the T-PaiNN arm of ``curve.yaml``, but validated only when it is over."""
    optimizer = CURVE.optimizer.model_copy(
        update={"learning_rate": RATE, "max_steps": steps, "validate_every": steps}
    )
    return AutotuneConfig(
        output="run",
        seed=seed,
        data=CURVE.data,
        loss=CURVE.loss,
        optimizer=optimizer,
        tune=TuneSection(start=str(MODEL)),
    )


def run(frames: Frames, arm: Arm, n: int, seed: int, steps: int, folder: Path) -> list[dict]:
    """Tune, and test on every test set of the arm."""
    done = folder / "test.json"
    if done.is_file():
        return json.loads(done.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    config = config_of(steps, seed)
    chosen = arm.train(n, seed)
    # what is validated on chooses nothing: there is one validation, and it is the last step
    data = RunData(frames, Split(chosen, chosen[:1], chosen[:0]), {FRAMES.name: ""})
    trained = train(config, folder, folder, data, False)
    write_model(folder / "model.safetensors", config, data, trained, {"set": "none"})
    potential, _ = load_model(folder / "model.safetensors")
    rows = []
    for fold, test in arm.tests:
        errors = evaluate(potential, frames.select(test)).summary()
        point = {"arm": arm.name, "n": n, "fold": fold, "seed": seed}
        rows.append(point | {name: errors[name] for name in COLUMNS})
    write_atomically(done, json.dumps(rows).encode())
    return rows


def draw(table: Path) -> None:
    """Error over labels: mean and range of seeds, both halves of the test set averaged."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    rows = read_table(table)
    for axis, (column, label) in zip(axes, COLUMNS.items(), strict=True):
        for arm, style in (("random", "o--"), ("picked", "s-")):
            sizes, mean, low, high = _over_seeds(rows, arm, column)
            name = {"random": "at random", "picked": "ATBagging"}[arm]
            (line,) = axis.plot(sizes, mean, style, label=name)
            axis.fill_between(sizes, low, high, alpha=0.2, color=line.get_color())
        axis.set(xscale="log", yscale="log", xlabel="DFT labels", ylabel=label)
        plain_ticks(axis, SIZES)
        axis.grid(alpha=0.3, which="both")
    axes[0].legend(frameon=False)
    figure.savefig(table.with_suffix(".png"), dpi=150)


def _over_seeds(rows: list[dict], arm: str, column: str) -> tuple[np.ndarray, ...]:
    found: dict[int, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["arm"] == arm:
            found[int(row["n"])][int(row["seed"])].append(row[column])
    sizes = sorted(found)
    seeds = [[np.mean(values) for values in found[n].values()] for n in sizes]
    return (
        np.array(sizes),
        np.array([np.mean(s) for s in seeds]),
        np.array([min(s) for s in seeds]),
        np.array([max(s) for s in seeds]),
    )


def report(table: Path) -> None:
    """Print the table, and the ratio of the arms."""
    rows = read_table(table)
    for column, label in COLUMNS.items():
        print(f"{label}: mean of seeds (smallest to largest)")
        random = _over_seeds(rows, "random", column)
        picked = _over_seeds(rows, "picked", column)
        for n, mean, low, high in zip(*picked, strict=True):
            line = f"  N = {n:3d}  ATBagging {mean:6.2f} ({low:.2f} to {high:.2f})"
            for k in np.flatnonzero(random[0] == n):
                line += f"  random {random[1][k]:6.2f} ({random[2][k]:.2f} to {random[3][k]:.2f})"
                line += f"  ratio {random[1][k] / mean:.2f}"
            print(line)


def main() -> None:
    """Run what is missing, write the table, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--output", type=Path, default=Path("runs/own-compare"))
    arguments = parser.parse_args()
    logging.getLogger("training").setLevel(logging.WARNING)
    frames, _ = read_frames(FRAMES, LEVEL)
    rows = []
    for arm in arms_of(frames):
        for n in (n for n in SIZES if n <= len(arm.order)):
            for seed in SEEDS:
                name = f"{arm.name}-fold{arm.fold}-n{n}-seed{seed}-{arguments.steps}"
                rows += run(frames, arm, n, seed, arguments.steps, arguments.output / name)
                print(f"{name}: {rows[-1]['forces_meV_per_A_mae']:.1f} meV/Å", flush=True)
    table = arguments.output / "compare.csv"
    write_table(table, rows)
    report(table)
    draw(table)


if __name__ == "__main__":
    main()
