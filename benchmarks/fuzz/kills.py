"""Kills, full disks, little memory and two processes at once: nothing may be lost.

``python -m benchmarks.fuzz.kills`` runs every command once undisturbed, then disturbs it in all
these ways, starts it again, and compares what it leaves with what the undisturbed run left.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.build import molecule
from tqdm import tqdm

from benchmarks.fuzz.__main__ import RESULTS
from benchmarks.fuzz.sandbox import BOUNDARY
from benchmarks.fuzz.targets import CLASSICAL, TRAINING, labelled_frames
from tpainn_calc.base.frames import attach_results, read_extxyz, write_extxyz
from tpainn_calc.base.tables import write_table


@dataclass(frozen=True)
class Job:
    """A command that may be given again until it is done.

    Attributes
    ----------
    prepare : callable
        Puts its input into a folder.
    words : callable
        Command in that folder, which may depend on what is there.
    left : callable
        What it leaves, to be compared.
    """

    prepare: Callable[[Path], None]
    words: Callable[[Path], list[str]]
    left: Callable[[Path], object]


def _training(folder: Path) -> None:
    write_extxyz(folder / "frames.extxyz", labelled_frames(10))
    text = TRAINING.replace("max_steps: 4", "max_steps: 40")
    (folder / "c.yaml").write_text(text.replace("validate_every: 2", "validate_every: 5"))


def _train_words(folder: Path) -> list[str]:
    resume = ["--resume"] if (folder / "run").is_dir() else []
    return ["training.cli", "scratch", "c.yaml", "--quiet", *resume]


def _bytes(*patterns: str) -> Callable[[Path], object]:
    return lambda folder: {
        str(path.relative_to(folder)): path.read_bytes()
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
    }


def _classical(folder: Path) -> None:
    names = ["H2O", "CH4", "C2H6", "CH3OH", "NH3", "C2H4"]
    write_extxyz(folder / "start.extxyz", [molecule(name) for name in names])
    text = CLASSICAL.replace("frames: 2", "frames: 60").replace("per_shard: 2", "per_shard: 1")
    (folder / "c.yaml").write_text(text)


def _pool(folder: Path) -> None:
    write_extxyz(folder / "pool.extxyz", labelled_frames(16))


def _chosen(folder: Path) -> object:
    manifest = json.loads((folder / "c" / "manifest.json").read_text())
    rounds = {p.name: p.read_bytes() for p in (folder / "c" / "rounds").iterdir()}
    return manifest["entries"], rounds, (folder / "c" / "selected.extxyz").read_bytes()


def _picked(folder: Path) -> None:
    _pool(folder)
    subprocess.run([sys.executable, "-m", *PICK], cwd=folder, check=True, capture_output=True)


def _with_labels(folder: Path) -> None:
    _picked(folder)
    frames = read_extxyz(folder / "c" / "selected.extxyz")
    for k, atoms in enumerate(frames):
        attach_results(atoms, -1.0 * k, np.zeros((len(atoms), 3)))
    write_extxyz(folder / "labels.extxyz", frames)


def _ingested(folder: Path) -> None:
    _with_labels(folder)
    subprocess.run([sys.executable, "-m", *INGEST], cwd=folder, check=True, capture_output=True)


def _labels(folder: Path) -> object:
    frames = read_extxyz(folder / "c" / "labelled.extxyz")
    return [
        (atoms.info["frame_hash"], atoms.calc.results["energy"], atoms.get_forces().tolist())
        for atoms in frames
    ]


PICK = ["seedselect.cli", "pick", "pool.extxyz", "-n", "5", "-o", "c"]
INGEST = ["seedselect.cli", "ingest", "c", "labels.extxyz"]
NEXT = ["seedselect.cli", "next", "c", "-n", "3"]
LABEL = ["training.cli", "label", "c", "--engine", "tblite", "--quiet"]

JOBS = {
    "training": Job(_training, _train_words, _bytes("run/tiny.safetensors", "run/metrics.csv")),
    "classical": Job(
        _classical,
        lambda folder: ["training.cli", "classical", "c.yaml", "--quiet"],
        _bytes("frames/*.h5"),
    ),
    "pick": Job(_pool, lambda folder: PICK, _chosen),
    "ingest": Job(_with_labels, lambda folder: INGEST, _bytes("c/labels.extxyz")),
    "next": Job(_ingested, lambda folder: NEXT, _chosen),
    "label": Job(_picked, lambda folder: LABEL, _labels),
}


def start(job: Job, folder: Path, limits: Callable[[], None] | None = None) -> subprocess.Popen:
    """The command as a process of its own group; its stderr is kept in the folder."""
    with (folder / "stderr").open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", *job.words(folder)],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=limits,  # no threads here
        )


def finish(job: Job, folder: Path) -> int:
    """Give the command until it ends by itself; its exit code."""
    return start(job, folder).wait(3600)


def kill(job: Job, folder: Path, seconds: float) -> None:
    """Start the command and kill it, and all that it started, after some time."""
    process = start(job, folder)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def full_disk(job: Job, folder: Path, size: int) -> bool:
    """Files may not grow beyond a size; whether the command said so in one line."""

    def limits() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return _says(start(job, folder, limits), folder)


def little_memory(job: Job, folder: Path, size: int) -> bool:
    """Address space of a size; libraries may die of it, but nothing may be lost."""
    start(
        job, folder, lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size))
    ).wait(3600)  # fmt: skip
    return True


def two_at_once(job: Job, folder: Path) -> bool:
    """Both started together: one is done, and the other is too, or says that it waits for none."""
    first, second = start(job, folder), start(job, folder)
    codes = {first.wait(3600), second.wait(3600)}
    return 0 in codes and codes <= {0, 2}


def _says(process: subprocess.Popen, folder: Path) -> bool:
    code = process.wait(3600)
    errors = (folder / "stderr").read_text(errors="replace")
    return code == 0 or (
        code == 2 and "Traceback" not in errors and BOUNDARY not in errors and "error" in errors
    )


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser("python -m benchmarks.fuzz.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="of all jobs together")
    parser.add_argument("--others", type=int, default=4, help="per job and kind")
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "fuzz-kills.csv")
    arguments = parser.parse_args()
    per_job = -(-arguments.kills // len(arguments.jobs))
    rows = [_disturb(name, per_job, arguments.others, arguments.seed) for name in arguments.jobs]
    total = {k: sum(row[k] for row in rows) for k in rows[0] if k != "job"}
    rows.append({"job": "all", **total})
    write_table(arguments.output, rows)
    print("  ".join(rows[0]))
    for row in rows:
        print("  ".join(f"{value!s:>{len(name)}}" for name, value in row.items()))
    return int(total["lost"] > 0 or total["unsaid"] > 0)


def _disturb(name: str, kills: int, others: int, seed: int) -> dict[str, int | str]:
    job = JOBS[name]
    rng = np.random.default_rng((seed, *name.encode()))
    row: dict[str, int | str] = {"job": name}
    counts = dict.fromkeys(("kills", "full disks", "little memory", "pairs", "lost", "unsaid"), 0)
    with tempfile.TemporaryDirectory(prefix="tpainn-kills-") as place:
        sound = Path(place) / "sound"
        origin = Path(place) / "origin"
        origin.mkdir()
        job.prepare(origin)
        shutil.copytree(origin, sound)
        began = time.monotonic()
        if finish(job, sound) != 0:
            raise RuntimeError(f"{name}, undisturbed: {(sound / 'stderr').read_text()[-500:]}")
        seconds = time.monotonic() - began
        expected = job.left(sound)
        largest = max(p.stat().st_size for p in sound.rglob("*") if p.is_file())
        plan = [("kills", kills), ("full disks", others), ("little memory", others)]
        plan.append(("pairs", others))
        for kind, n in plan:
            for number in tqdm(range(n), desc=f"{name}: {kind}"):
                folder = Path(place) / f"{kind} {number}"
                shutil.copytree(origin, folder)
                if kind == "kills":
                    kill(job, folder, float(rng.uniform(0.2, 1.0)) * seconds)
                    said = True
                elif kind == "full disks":
                    said = full_disk(job, folder, int(rng.integers(64, largest)))
                elif kind == "little memory":
                    said = little_memory(job, folder, int(rng.uniform(0.5, 3.0) * 2**30))
                else:
                    said = two_at_once(job, folder)
                counts[kind] += 1
                counts["unsaid"] += not said
                code = finish(job, folder) if kind != "pairs" else 0
                done_before = name in ("pick", "next") and code == 2  # it had ended already
                kept = (code == 0 or done_before) and job.left(folder) == expected
                if not kept or not said:
                    text = (folder / "stderr").read_text(errors="replace")
                    tqdm.write(f"{name}, {kind} {number}: code {code}, same: {kept}: {text[-300:]}")
                counts["lost"] += not kept
                shutil.rmtree(folder)
    return {**row, **counts}


if __name__ == "__main__":
    raise SystemExit(main())
