"""DFT frames of water that a selection saves against random choice.

    python benchmarks/seedselect_water_forces.py -o examples/active_learning

Source: SPC/Fw energies and rms forces. Target: DFT forces, learnt by an equivariant ridge
regression as a stand-in for a network. Writes water_forces.csv, water_savings.csv and
water_forces.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from benchmarks.active_learning.atomistic import REVPBE0, SCAN
from benchmarks.active_learning.classical import spc_flexible
from benchmarks.active_learning.curves import stream
from benchmarks.active_learning.figures import save
from benchmarks.active_learning.forces import (
    ForceRidge,
    NormalEquations,
    labels_needed,
    normal_equations,
)
from benchmarks.active_learning.methods import METHODS, Candidates
from benchmarks.active_learning.runner import read_rows, write_rows
from benchmarks.active_learning.statistics import paired_ratio, verdict
from benchmarks.active_learning.task import Split, data_file, principal_components
from seedselect.frames.atoms import iter_frames
from seedselect.frames.descriptors import LocalInvariants

SETS = {"revPBE0-D3": REVPBE0, "SCAN": SCAN}
SIZES = [2, 3, 5, 10, 20, 40, 80]
NAMES = [
    "random", "kmeans++", "facility", "max_det", "lcmd", "ensemble_covariance", "diversity",
    "score", "shuffled", "atbagging", "marginal", "aware_facility",
]  # fmt: skip
RANDOM_DRAWS = 4
TEST = 0.3


def load(name: str, limit: int) -> tuple[np.ndarray, np.ndarray, list[NormalEquations]]:
    """Return descriptors, classical labels and normal equations of up to `limit` frames."""
    keep = np.random.default_rng(0).permutation(1700)[:limit]
    rows, cheap, parts = [], [], []
    descriptor = LocalInvariants([1, 8])
    wanted = set(keep.tolist())
    frames = iter_frames(data_file(SETS[name]))
    for number, frame in enumerate(tqdm(frames, desc=name, unit="frame", disable=None)):
        if number not in wanted or frame.forces is None:
            continue
        if np.linalg.norm(frame.forces, axis=1).max() > 15.0 or not frame.info.get("intact", True):
            continue
        energy, forces = spc_flexible(frame)
        rows.append(descriptor(frame))
        cheap.append([energy / len(frame), np.sqrt((forces**2).mean())])
        parts.append(normal_equations(frame))
    return principal_components(np.array(rows)), np.array(cheap), parts


def curves(name: str, repetitions: int, limit: int) -> list[tuple]:
    """Return (set, method, repetition, draw, n, median, rmse) for all methods."""
    X, cheap, parts = load(name, limit)
    out = []
    for r in tqdm(range(repetitions), desc=f"{name} repetitions", disable=None):
        order = stream(name, r, "split").permutation(len(X))
        cut = int(TEST * len(X))
        test, pool = order[:cut], order[cut:]
        split = Split(X[pool], cheap[pool], X[pool], np.zeros(len(pool)), X[test], test, True)
        candidates = Candidates(split, 100, 256, int(stream(name, r, "committee").integers(2**31)))
        held = [parts[i] for i in test]
        mine = [parts[i] for i in pool]
        scale = np.sqrt(
            np.sum([p.matrix.diagonal() for p in mine], axis=0, dtype=float)
            / sum(p.components for p in mine)
        )
        for method in NAMES:
            for draw in range(RANDOM_DRAWS if method == "random" else 1):
                for n in SIZES:
                    rows = METHODS[method].choose(candidates, n, stream(name, r, method, draw, n))
                    model = ForceRidge(scale).fit([mine[i] for i in rows])
                    out.append((name, method, r, draw, n, *_errors(model, held)))
        full = ForceRidge(scale).fit(mine)
        out.append((name, "all frames", r, 0, len(mine), *_errors(full, held)))
    return out


def _errors(model: ForceRidge, held: list[NormalEquations]) -> tuple[float, float]:
    """Return the median error of a frame and the root-mean-square error of all frames."""
    errors = model.frame_errors(held)
    return float(np.median(errors)), float(np.sqrt((errors**2).mean()))


def means(rows: list[tuple], name: str, method: str) -> np.ndarray:
    """Return errors (repetitions, sizes), averaged over draws."""
    table: dict[tuple[int, int], list[float]] = {}
    for set_name, m, r, _, n, error, _ in rows:
        if (set_name, m) == (name, method):
            table.setdefault((r, n), []).append(error)
    repetitions = sorted({r for r, _ in table})
    return np.array([[np.mean(table[r, n]) for n in SIZES] for r in repetitions])


def savings(rows: list[tuple], name: str) -> list[tuple]:
    """Return, per method, the frames needed for what random reaches with 10 and 20."""
    base = means(rows, name, "random")
    out = []
    rng = np.random.default_rng(0)
    for method in NAMES:
        errors = means(rows, name, method)
        area = paired_ratio(errors.mean(axis=1), base.mean(axis=1))
        for at in (10, 20):
            column = SIZES.index(at)
            needed = labels_needed(np.array(SIZES), errors.mean(axis=0), base.mean(axis=0)[column])
            draws = []
            for _ in range(400):
                pick = rng.integers(len(errors), size=len(errors))
                goal = base[pick].mean(axis=0)[column]
                draws.append(labels_needed(np.array(SIZES), errors[pick].mean(axis=0), goal))
            low, high = np.quantile(draws, [0.025, 0.975], method="nearest")
            out.append(
                (name, method, at, needed, float(low), float(high), area["ratio"], area["low"],
                 area["high"], verdict(area) if method != "random" else "reference")
            )  # fmt: skip
    return out


def draw(table: Path, path: Path) -> None:
    """Draw the mean curves of ``water_forces.csv`` (intervals are in water_savings.csv)."""
    rows = read_rows(table)
    names = list(dict.fromkeys(row["set"] for row in rows))
    figure = Figure(figsize=(7.5 * len(names), 4.6), layout="constrained")
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for axis, name in zip(axes, names, strict=True):
        for number, method in enumerate(NAMES):
            mine = [r for r in rows if (r["set"], r["method"]) == (name, method)]
            wide = method in ("random", "atbagging", "diversity")
            axis.plot(
                [int(r["frames"]) for r in mine], [float(r["median_eV_per_A"]) for r in mine],
                lw=2.4 if wide else 1, marker="o", ms=3, ls="-" if number < 10 else "--",
                label=METHODS[method].label,
            )  # fmt: skip
        everything = [r for r in rows if (r["set"], r["method"]) == (name, "all frames")]
        axis.axhline(
            float(everything[0]["median_eV_per_A"]), c="0.6", ls=":", label="all frames of the pool"
        )
        axis.set(xscale="log", xlabel="labelled frames", title=f"water, {name}")
        axis.set_xticks(SIZES, [str(n) for n in SIZES])
        axis.minorticks_off()
    axes[0].set_ylabel("median rms force error of a frame / (eV/Å)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8)
    save(figure, path)


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/water_forces"))
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--frames", type=int, default=500)
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    rows = [row for name in args.sets for row in curves(name, args.repetitions, args.frames)]
    summary: dict[tuple, list[tuple[float, float]]] = {}
    for name, method, _, _, n, *errors in rows:
        summary.setdefault((name, method, n), []).append((errors[0], errors[1]))
    write_rows(
        args.output / "water_forces.csv",
        ["set", "method", "frames", "median_eV_per_A", "rmse_eV_per_A", "values"],
        [(*k, *(float(x) for x in np.mean(v, axis=0)), len(v)) for k, v in summary.items()],
    )
    table = [row for name in args.sets for row in savings(rows, name)]
    header = ["set", "method", "random_frames", "frames_needed", "low", "high", "area_ratio",
              "area_low", "area_high", "verdict"]  # fmt: skip
    write_rows(args.output / "water_savings.csv", header, table)
    draw(args.output / "water_forces.csv", args.output / "water_forces.png")
    for row in table:
        if row[2] == 10:
            print(f"{row[0]:12s} {row[1]:22s} {row[3]:6.1f} [{row[4]:.1f}, {row[5]:.1f}] frames "
                  f"for random's 10; area {row[6]:.3f} [{row[7]:.3f}, {row[8]:.3f}]")  # fmt: skip


if __name__ == "__main__":
    main()
