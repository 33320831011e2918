"""Kills, full disks, little memory and two processes at once: nothing may be lost.

``python -m benchmarks.fuzz.kills`` runs every command once undisturbed, then disturbs it in all
these ways, starts it again, and compares what it leaves with what the undisturbed run left.
Given again, it goes on where it was, and runs again what went wrong.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.build import molecule
from tqdm import tqdm

import seedselect.cli
import training.cli
from benchmarks.fuzz.__main__ import RESULTS
from benchmarks.fuzz.cases import command, labelled_frames
from benchmarks.fuzz.journal import Journal
from benchmarks.fuzz.sandbox import BOUNDARY, Body, Ended, end_child, import_now, start_child
from benchmarks.fuzz.targets import CLASSICAL, CLUSTER, LOOP, TRAINING
from tpainn_calc.base.errors import TPaiNNError
from tpainn_calc.base.frames import attach_results, read_extxyz, write_extxyz
from tpainn_calc.base.tables import write_table
from tpainn_calc.manifest import read_tensors

#: s on the clock, on a busy machine, for any of the commands.
LONGEST = 600


@dataclass(frozen=True)
class Job:
    """A command that may be given again until it is done.

    Attributes
    ----------
    prepare : callable
        Puts its input into a folder.
    body : callable
        The command in that folder, which may depend on what is there.
    left : callable
        What it leaves, to be compared.
    once : bool
        Whether the command, given again after it was done, does something more.
    share : float
        Of the usual number of disturbances; less where it takes long.
    """

    prepare: Callable[[Path], None]
    body: Callable[[Path], Body]
    left: Callable[[Path], object]
    once: bool = False
    share: float = 1.0


# ---------------------------------------------------------------------------- jobs


def _training(folder: Path) -> None:
    write_extxyz(folder / "frames.extxyz", labelled_frames(10))
    text = TRAINING.replace("max_steps: 4", "max_steps: 40")
    (folder / "c.yaml").write_text(text.replace("validate_every: 2", "validate_every: 5"))


def _train(folder: Path) -> Body:
    resume = ["--resume"] if (folder / "run").is_dir() else []
    return command(training.cli.main, "scratch", "c.yaml", "--quiet", *resume)


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


def _picked(folder: Path) -> None:
    _pool(folder)
    _do(PICK, folder)


def _with_labels(folder: Path) -> None:
    _picked(folder)
    frames = read_extxyz(folder / "c" / "selected.extxyz")
    for k, atoms in enumerate(frames):
        attach_results(atoms, -1.0 * k, np.zeros((len(atoms), 3)))
    write_extxyz(folder / "labels.extxyz", frames)


def _ingested(folder: Path) -> None:
    _with_labels(folder)
    _do(INGEST, folder)


def _do(body: Body, folder: Path) -> None:
    with tempfile.TemporaryDirectory() as prints:
        ended = end_child(start_child(body, folder, prints=Path(prints)), Path(prints), LONGEST)
    if ended.code != 0:
        raise RuntimeError(f"undisturbed: {ended.errors[-500:]}")


def _chosen(folder: Path) -> object:
    manifest = json.loads((folder / "c" / "manifest.json").read_text())
    rounds = {p.name: p.read_bytes() for p in (folder / "c" / "rounds").iterdir()}
    return manifest["entries"], rounds, (folder / "c" / "selected.extxyz").read_bytes()


def _labels(folder: Path) -> object:
    frames = read_extxyz(folder / "c" / "labelled.extxyz")
    return [
        (atoms.info["frame_hash"], atoms.calc.results["energy"], atoms.get_forces().tolist())
        for atoms in frames
    ]


def _loop(folder: Path) -> None:
    (folder / "start.xyz").write_text(CLUSTER)
    (folder / "c.yaml").write_text(LOOP)


def _loop_left(folder: Path) -> object:
    entries = json.loads((folder / "run" / "campaign" / "manifest.json").read_text())["entries"]
    picks = [(e["key"], e["round"], e["order"], e["quality"]) for e in entries]
    weights = {  # their manifests hold the time of day
        str(path.relative_to(folder)): {k: v.tobytes() for k, v in read_tensors(path).items()}
        for path in sorted(folder.glob("run/**/*.safetensors"))
    }
    names = ("run/round-*/labelled.extxyz", "run/round-*/candidates.extxyz", "run/rounds.csv")
    return picks, weights, _bytes(*names)(folder)


PICK = command(seedselect.cli.main, "pick", "pool.extxyz", "-n", "5", "-o", "c")
INGEST = command(seedselect.cli.main, "ingest", "c", "labels.extxyz")
NEXT = command(seedselect.cli.main, "next", "c", "-n", "3")
LABEL = command(training.cli.main, "label", "c", "--engine", "tblite", "--quiet")
SAMPLE = command(training.cli.main, "classical", "c.yaml", "--quiet")
LOOP_ROUND = command(training.cli.main, "loop", "c.yaml", "--quiet")

JOBS = {
    "training": Job(_training, _train, _bytes("run/tiny.safetensors", "run/metrics.csv")),
    "classical": Job(_classical, lambda folder: SAMPLE, _bytes("frames/*.h5")),
    "pick": Job(_pool, lambda folder: PICK, _chosen, once=True),
    "ingest": Job(_with_labels, lambda folder: INGEST, _bytes("c/labels.extxyz")),
    "next": Job(_ingested, lambda folder: NEXT, _chosen, once=True),
    "label": Job(_picked, lambda folder: LABEL, _labels),
    "loop": Job(_loop, lambda folder: LOOP_ROUND, _loop_left, share=0.5),
}

# ---------------------------------------------------------------------------- disturbances


@dataclass(frozen=True)
class Sound:
    """An undisturbed run.

    Attributes
    ----------
    origin, folder : Path
        Before and after it.
    seconds : float
        That it took.
    left : object
    """

    origin: Path
    folder: Path
    seconds: float
    left: object

    @property
    def bytes_written(self) -> int:
        """By which the folder grew."""
        return _size(self.folder) - _size(self.origin)

    @property
    def largest_file(self) -> int:
        """In bytes."""
        return max(p.stat().st_size for p in self.folder.rglob("*") if p.is_file())


def undisturbed(job: Job, place: Path) -> Sound:
    """Run a job in a folder."""
    origin, folder = place / "origin", place / "sound"
    origin.mkdir()
    job.prepare(origin)
    shutil.copytree(origin, folder)
    began = time.monotonic()
    _do(job.body(folder), folder)
    return Sound(origin, folder, time.monotonic() - began, job.left(folder))


def _size(folder: Path) -> int:
    return sum(-(-p.stat().st_size // 4096) * 4096 for p in folder.rglob("*") if p.is_file())


#: Disturbs a job in a folder; prints go to another. Whether the command behaved.
Disturb = Callable[[Job, Path, Path, Sound, np.random.Generator], bool]


def kill(job: Job, folder: Path, prints: Path, sound: Sound, rng: np.random.Generator) -> bool:
    """Kill the command, and all that it started, at some time."""
    child = start_child(job.body(folder), folder, prints=prints)
    end_child(child, prints, float(rng.uniform(0.0, 1.0)) * sound.seconds)
    return True


def full_disk(job: Job, folder: Path, prints: Path, sound: Sound, rng: np.random.Generator) -> bool:
    """Fill the disk (see :func:`disk`); afterwards there is room again."""
    room = _size(folder) + int(rng.uniform(0.0, 1.0) * sound.bytes_written)
    _resize(folder, room)
    said = _says(_run(job, folder, prints))
    _resize(folder, DISK)
    return said


def size_limit(
    job: Job, folder: Path, prints: Path, sound: Sound, rng: np.random.Generator
) -> bool:
    """Let no file grow beyond a size."""
    size = int(rng.integers(1024, max(2048, sound.largest_file)))

    def limits() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return _says(_run(job, folder, prints, limits))


def little_memory(
    job: Job, folder: Path, prints: Path, sound: Sound, rng: np.random.Generator
) -> bool:
    """Leave little more memory than was taken by the imports; libraries may die of it."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + int(2 ** rng.uniform(22, 29))

    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (size, size))

    ended = _run(job, folder, prints, limits)
    return not ended.timed_out and (ended.code != 2 or _says(ended))


def two_at_once(
    job: Job, folder: Path, prints: Path, sound: Sound, rng: np.random.Generator
) -> bool:
    """Start two: one is done, and the other is too, or says that it waits for none."""
    children = [start_child(job.body(folder), folder, prints=prints) for _ in range(2)]
    codes = {end_child(child, prints, LONGEST).code for child in children}
    return 0 in codes and codes <= {0, 2}


FULL_DISKS = "full disks"
KINDS: dict[str, Disturb] = {
    "kills": kill,
    FULL_DISKS: full_disk,
    "size limits": size_limit,
    "little memory": little_memory,
    "pairs": two_at_once,
}


def _run(job: Job, folder: Path, prints: Path, limits: Callable[[], None] = lambda: None) -> Ended:
    return end_child(start_child(job.body(folder), folder, limits, prints), prints, LONGEST)


def _says(ended: Ended) -> bool:
    return ended.code == 0 or (
        ended.code == 2
        and "Traceback" not in ended.errors
        and BOUNDARY not in ended.errors
        and "error" in ended.errors
    )


#: Bytes of a disk with room.
DISK = 256 * 2**20


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Make a folder a disk of its own."""
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tpainn-kills", str(folder)], check=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _resize(folder: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


# ---------------------------------------------------------------------------- all of them


def disturb(name: str, kind: str, number: int, sound: Sound, place: Path) -> str:
    """Disturb a job, give it again, and say what became of it: kept, lost or unsaid."""
    job = JOBS[name]
    rng = np.random.default_rng((zlib.crc32(f"{name} {kind}".encode()), number))
    folder, prints = place / "disturbed", place / "prints"
    folder.mkdir()
    prints.mkdir()
    with disk(folder) if kind == FULL_DISKS else nullcontext():
        shutil.copytree(sound.origin, folder, dirs_exist_ok=True)
        said = KINDS[kind](job, folder, prints, sound, rng)
        code: int | None = 0
        if not (job.once and _left(job, folder) == sound.left):
            code = _run(job, folder, prints).code
        kept = code == 0 and _left(job, folder) == sound.left
        if not (kept and said):
            errors = (prints / "stderr").read_text(errors="replace")
            tqdm.write(
                f"{name}, {kind} {number}: code {code}, same: {kept}, said: {said}: {errors[-500:]}"
            )
    shutil.rmtree(folder)
    shutil.rmtree(prints)
    return "lost" if not kept else "kept" if said else "unsaid"


def _left(job: Job, folder: Path) -> object:
    try:
        return job.left(folder)
    except (OSError, ValueError, KeyError, TPaiNNError):
        return None


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser("python -m benchmarks.fuzz.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="of all jobs together")
    parser.add_argument("--others", type=int, default=4, help="per job and kind")
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=list(JOBS))
    parser.add_argument("--work", type=Path, default=Path("runs/fuzz"), help="folder for results")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "fuzz-kills.csv")
    arguments = parser.parse_args()
    import_now()
    journal = Journal(arguments.work / "kills.csv", again=frozenset({"lost", "unsaid"}))
    shares = sum(JOBS[name].share for name in arguments.jobs)
    rows: list[dict[str, int | str]] = []
    for name in arguments.jobs:
        share = JOBS[name].share
        numbers = dict.fromkeys(KINDS, math.ceil(arguments.others * share))
        numbers[FULL_DISKS] *= os.geteuid() == 0  # who else may mount one?
        numbers["kills"] = math.ceil(arguments.kills * share / shares)
        results = _disturb_all(name, numbers, journal)
        rows.append({"job": name, **numbers, **{r: results.count(r) for r in ("lost", "unsaid")}})
    total = {k: sum(int(row[k]) for row in rows) for k in rows[0] if k != "job"}
    rows.append({"job": "all", **total})
    write_table(arguments.output, rows)
    print("  ".join(rows[0]))
    for row in rows:
        print("  ".join(f"{value!s:>{len(name)}}" for name, value in row.items()))
    return int(total["lost"] > 0 or total["unsaid"] > 0)


def _disturb_all(name: str, numbers: dict[str, int], journal: Journal) -> list[str]:
    cases = [(kind, k) for kind, n in numbers.items() for k in range(n)]
    waiting = [(kind, k) for kind, k in cases if journal.get(f"{name}, {kind}", k) is None]
    with tempfile.TemporaryDirectory(prefix="tpainn-kills-") as place:
        sound = undisturbed(JOBS[name], Path(place)) if waiting else None
        for kind, k in tqdm(waiting, desc=name):
            assert sound is not None
            journal.add(f"{name}, {kind}", k, disturb(name, kind, k, sound, Path(place)))
    return [journal.get(f"{name}, {kind}", k) or "" for kind, k in cases]


if __name__ == "__main__":
    raise SystemExit(main())
