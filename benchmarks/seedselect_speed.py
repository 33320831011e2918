"""Speed and memory of seedselect, in one run on one core.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/seedselect_speed.py

Compares the scores with a direct loop over rows (rows of the loop are timed on a sample and
scaled up), times the exact k-DPP on 100,000 and (with --million) 1,000,000 rows, and runs DPPy's
own k-DPP side by side where it can be imported. Times are processor seconds of one thread, which
other work on the machine does not change. Prints a table and writes it as JSON with -o.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from seedselect import LowRankKernel, NpyPool, RandomFourierFeatures, sample_kdpp
from seedselect.baselines import array_kernel
from seedselect.scores.divergence import gaussian_kl, joint_kl, local_kl, marginal_kl

MEMORY_LIMIT = 2.0e9


def seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return processor time (one thread: the wall time of an idle core) and result."""
    begin = time.process_time()
    result = function()
    return time.process_time() - begin, result


def direct_joint(predictions: np.ndarray, in_bag: np.ndarray, ridge: float) -> np.ndarray:
    """Joint divergence of every row with explicit (M, M) matrices: the O(N M^3) loop."""
    out = np.empty(len(in_bag))
    for row, seen in enumerate(in_bag):
        moments = []
        for group in (predictions[seen], predictions[~seen]):
            covariance = np.cov(group.T) + ridge * np.eye(predictions.shape[1])
            moments += [group.mean(axis=0), covariance]
        out[row] = gaussian_kl(*moments)
    return out


def time_scores(n: int = 2000, m: int = 300, t: int = 100, sample: int = 40) -> dict[str, float]:
    """Time the scores at N, M, T against the direct loop on `sample` rows."""
    rng = np.random.default_rng(0)
    at_probes, at_rows = rng.normal(size=(t, m)), rng.normal(size=(t, n))
    in_bag = rng.random((n, t)) < 0.632
    loop, direct = seconds(lambda: direct_joint(at_probes, in_bag[:sample], 1e-2))
    loop *= n / sample
    values = joint_kl(at_probes, in_bag, 1e-2)
    np.testing.assert_allclose(values[:sample], direct, rtol=1e-9)
    joint = min(seconds(lambda: joint_kl(at_probes, in_bag, 1e-2))[0] for _ in range(3))
    marginal = min(seconds(lambda: marginal_kl(at_probes, in_bag, 1e-2))[0] for _ in range(3))
    local = min(seconds(lambda: local_kl(at_rows, in_bag, 1e-2))[0] for _ in range(3))
    return {
        "direct_loop_s": loop,
        "joint_s": joint,
        "marginal_s": marginal,
        "local_s": local,
        "joint_ratio": loop / joint,
        "marginal_ratio": loop / marginal,
        "local_ratio": loop / local,
    }


def time_kdpp(n: int, columns: int = 32, d: int = 512, k: int = 100) -> dict[str, float]:
    """Time features, Gram matrix and an exact draw of k from n x d; peak memory of the process."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pool.npy"
        # Written block by block and not through a map, whose pages would count as memory, so
        # that making the pool does not set the peak.
        header = {"descr": "<f4", "fortran_order": False, "shape": (n, columns)}
        step = max(1, 1_600_000 // columns)
        with path.open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, header)
            for start in range(0, n, step):
                block = rng.normal(size=(min(step, n - start), columns))
                stream.write(block.astype("<f4").tobytes())
        sample = np.array(np.load(path, mmap_mode="r")[:5000])
        quality = rng.uniform(0.1, 1.0, size=n)
        features = RandomFourierFeatures(d, random_state=0).fit(sample)
        kernel = LowRankKernel(NpyPool(path), features, quality)
        gram, matrix = seconds(kernel.gram)
        eigen, spectrum = seconds(matrix.spectrum)
        draw, chosen = seconds(lambda: sample_kdpp(kernel, k, np.random.default_rng(1), spectrum))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
    return {
        "rows": n,
        "columns": columns,
        "features": d,
        "k": len(set(chosen.tolist())),
        "rank": spectrum.rank,
        "features_and_gram_s": gram,
        "eigen_s": eigen,
        "draw_s": draw,
        "total_s": gram + eigen + draw,
        "peak_memory_GB": peak / 1e9,
    }


def isolated(n: int, columns: int = 32) -> dict[str, Any]:
    """Run `time_kdpp` in a process of its own, whose peak memory is that of the draw alone."""
    command = [sys.executable, __file__, "--kdpp-only", str(n), "--columns", str(columns)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    values: dict[str, Any] = json.loads(done.stdout)
    return values | {"within_2_GB": values["peak_memory_GB"] * 1e9 < MEMORY_LIMIT}


def compare_dppy(python: str | None, n: int = 4000, d: int = 100, k: int = 50) -> dict[str, Any]:
    """Time DPPy's exact k-DPP on the same low-rank features, in the interpreter that has it."""
    script = f"""
import json, time
import numpy as np
from dppy.finite_dpps import FiniteDPP
features = np.random.default_rng(0).normal(size=({n}, {d})) / np.sqrt({d})
out = {{}}
for mode in ("GS", "KuTa12"):
    dpp = FiniteDPP("likelihood", L_gram_factor=features.T)
    begin = time.process_time()
    try:
        drawn = dpp.sample_exact_k_dpp(size={k}, mode=mode, random_state=0)
        out[mode + "_first_s"] = time.process_time() - begin
        begin = time.process_time()
        dpp.sample_exact_k_dpp(size={k}, mode=mode, random_state=1)
        out[mode + "_next_s"] = time.process_time() - begin
        out[mode + "_distinct"] = len(set(map(int, drawn)))
    except Exception as error:
        out[mode + "_error"] = f"{{type(error).__name__}}: {{error}}"[:160]
print(json.dumps(out))
"""
    features = np.random.default_rng(0).normal(size=(n, d)) / np.sqrt(d)
    kernel = array_kernel(features)
    first, spectrum = seconds(lambda: kernel.gram().spectrum())
    draw, _ = seconds(lambda: sample_kdpp(kernel, k, np.random.default_rng(0), spectrum))
    ours = {"rows": n, "features": d, "k": k, "ours_first_s": first + draw, "ours_next_s": draw}
    done = subprocess.run(
        [python or sys.executable, "-c", script], check=False, capture_output=True, text=True
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no output"]
        return ours | {"dppy": f"could not run: {lines[-1][:160]}"}
    return ours | {
        f"dppy_{key}": value for key, value in json.loads(done.stdout.splitlines()[-1]).items()
    }


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--million", action="store_true", help="also 1,000,000 rows (minutes)")
    parser.add_argument("--dppy-python", help="interpreter of an environment that holds DPPy")
    parser.add_argument("--kdpp-only", type=int, metavar="N", help="time one draw, print JSON")
    parser.add_argument("--columns", type=int, default=32, help="columns of that pool's rows")
    args = parser.parse_args()
    if args.kdpp_only:
        print(json.dumps(time_kdpp(args.kdpp_only, args.columns)))
        return
    results: dict[str, Any] = {"scores": time_scores(), "kdpp_100k": isolated(100_000)}
    if args.million:
        results["kdpp_1M"] = isolated(1_000_000)
        results["kdpp_1M_512_columns"] = isolated(1_000_000, 512)
    results["dppy"] = compare_dppy(args.dppy_python)
    for name, values in results.items():
        print(name)
        for key, value in values.items():
            print(
                f"  {key:<22} {value:.4g}" if isinstance(value, float) else f"  {key:<22} {value}"
            )
    if args.output:
        args.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
