"""All of it, and a table: ``python -m benchmarks.fuzz --cases 3000``."""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.fuzz.mutations import Damage
from benchmarks.fuzz.sandbox import Ended, Verdict, run_child
from benchmarks.fuzz.targets import TARGETS
from tpainn_calc.base.tables import write_table

RESULTS = Path(__file__).parents[1] / "results"
#: Verdicts that are a fault of ours.
FAULTS = (Verdict.SILENT, Verdict.TRACEBACK, Verdict.CRASH, Verdict.HANG, Verdict.CODE)
#: s of processor time for one case.
SECONDS = 60


def run_case(name: str, number: int, folder: Path, sound: bool = False) -> tuple[Verdict, Ended]:
    """Run one case of a target; name and number fix it."""
    target, _ = TARGETS[name]
    rng = np.random.default_rng((zlib.crc32(name.encode()), number))
    case = target(folder, Damage(rng, sound))
    ended = run_child(case.body, folder, SECONDS)
    try:
        return ended.verdict(case.right), ended
    except Exception as error:  # results that cannot even be read
        print(f"{name} {number}: results cannot be judged: {error!r}")
        return Verdict.SILENT, ended


def check_sound(name: str) -> None:
    """A target that refuses sound input would find nothing.

    Raises
    ------
    RuntimeError
    """
    with tempfile.TemporaryDirectory(prefix="tpainn-fuzz-") as folder:
        verdict, ended = run_case(name, 0, Path(folder), sound=True)
    if verdict != Verdict.HARMLESS:
        raise RuntimeError(f"{name}: sound input is {verdict}: {ended.errors[-500:]}")


def run_target(
    name: str, numbers: range, keep: Path | None = None, progress: bool = True
) -> Counter[Verdict]:
    """Run cases of a target, print what went wrong, and keep the folders of those cases."""
    check_sound(name)
    counts: Counter[Verdict] = Counter()
    for number in tqdm(numbers, desc=f"{name:24s}", disable=not progress):
        folder = Path(tempfile.mkdtemp(prefix="tpainn-fuzz-"))
        verdict, ended = run_case(name, number, folder)
        counts[verdict] += 1
        if verdict in (*FAULTS, Verdict.BOUNDARY):
            last = (ended.errors.strip().splitlines() or ended.output.splitlines() or [""])[-1]
            tqdm.write(f"{verdict}: {name} {number} (signal {ended.signal}): {last[:200]}")
            if keep is not None:
                shutil.copytree(folder, keep / f"{name} {number}", dirs_exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
    return counts


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser("python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--keep", type=Path, help="folder for the files of faulty cases")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "fuzz.csv")
    arguments = parser.parse_args()
    began = time.monotonic()
    whole = sum(TARGETS[name][1] for name in arguments.targets)
    rows = []
    for name in arguments.targets:
        n = max(1, round(arguments.cases * TARGETS[name][1] / whole))
        counts = run_target(name, range(arguments.first, arguments.first + n), arguments.keep)
        rows.append({"target": name, "cases": n, **{v.value: counts[v] for v in Verdict}})
    total = {k: sum(row[k] for row in rows) for k in rows[0] if k != "target"}
    rows.append({"target": "all", **total})
    write_table(arguments.output, rows)
    for row in rows:
        print("  ".join(f"{value!s:>{max(8, len(name))}}" for name, value in row.items()))
    print("  ".join(rows[0]))
    print(f"{time.monotonic() - began:.0f} s, {arguments.output}")
    return int(any(total[fault.value] for fault in FAULTS))


if __name__ == "__main__":
    raise SystemExit(main())
