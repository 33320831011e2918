"""All of it, and a table: ``python -m benchmarks.fuzz --cases 3000``.

Each case is kept as soon as it is done: given again, the command goes on where it was, and runs
again what went wrong.
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.fuzz.journal import Journal
from benchmarks.fuzz.mutations import Damage
from benchmarks.fuzz.sandbox import Ended, Verdict, import_now, run_child
from benchmarks.fuzz.targets import TARGETS
from tpainn_calc.base.tables import write_table

RESULTS = Path(__file__).parents[1] / "results"
#: Verdicts that are a fault of ours.
FAULTS = (Verdict.SILENT, Verdict.TRACEBACK, Verdict.CRASH, Verdict.HANG, Verdict.CODE)
#: Whose files are kept, and which are run again.
TO_LOOK_AT = (*FAULTS, Verdict.BOUNDARY)
#: s of processor time for one case; none needs five.
SECONDS = 20


def run_case(name: str, number: int, folder: Path, sound: bool = False) -> tuple[Verdict, Ended]:
    """Run one case of a target; name and number fix it."""
    target, _ = TARGETS[name]
    rng = np.random.default_rng((zlib.crc32(name.encode()), number))
    case = target(folder, Damage(rng, sound))
    ended = run_child(case.body, folder, SECONDS)
    try:
        return ended.verdict(case.right, case.code_ran), ended
    except Exception as error:  # results that cannot even be read
        tqdm.write(f"{name} {number}: results cannot be judged: {error!r}")
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


def run_target(name: str, numbers: range, journal: Journal, keep: Path) -> Counter[Verdict]:
    """Run cases of a target, print what went wrong, and keep the folders of those cases."""
    waiting = [number for number in numbers if journal.get(name, number) is None]
    if waiting:
        check_sound(name)
    for number in tqdm(waiting, desc=f"{name:24s}"):
        kept = keep / f"{name} {number}"
        shutil.rmtree(kept, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix="tpainn-fuzz-"))
        verdict, ended = run_case(name, number, folder)
        if verdict in TO_LOOK_AT:
            last = (ended.errors.strip().splitlines() or ended.output.splitlines() or [""])[-1]
            tqdm.write(f"{verdict}: {name} {number} (signal {ended.signal}): {last[:200]}")
            shutil.copytree(folder, kept)
        shutil.rmtree(folder, ignore_errors=True)
        journal.add(name, number, verdict)
    return Counter(Verdict(journal.get(name, number)) for number in numbers)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser("python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=3000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument(
        "--work",
        type=Path,
        default=Path("runs/fuzz"),
        help="folder for results and for the files of faulty cases",
    )
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "fuzz.csv")
    arguments = parser.parse_args()
    began = time.monotonic()
    import_now()
    journal = Journal(arguments.work / "cases.csv", again=frozenset(TO_LOOK_AT))
    whole = sum(TARGETS[name][1] for name in arguments.targets)
    rows = []
    for name in arguments.targets:
        n = math.ceil(arguments.cases * TARGETS[name][1] / whole)
        numbers = range(arguments.first, arguments.first + n)
        counts = run_target(name, numbers, journal, arguments.work)
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
