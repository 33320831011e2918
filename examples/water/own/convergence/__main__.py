"""Is the label level converged?

``python -m examples.water.own.convergence [--jobs N] [--frames NAME ...] [--settings NAME ...]``
labels the frames of ``frames.extxyz`` with every setting of ``convergence.yaml``, writes
``convergence.csv`` and ``convergence.png``, and prints how far each setting is from the one that
it is compared with. It resumes: what was labelled is kept, and what the repository holds
(``records.json.gz``; ``--keep`` writes it, and the table and the figure, there) is not repeated.
"""

from __future__ import annotations

import gzip
import json
import multiprocessing
import shutil
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import ase.io
from ase import Atoms
from tqdm import tqdm

from examples.water.own.convergence.config import ConvergenceConfig, load_study
from examples.water.own.convergence.frames import FRAMES
from examples.water.own.convergence.measure import measure
from examples.water.own.convergence.report import collect, draw, report
from tpainn_calc.base.command import command_parser, run_command
from tpainn_calc.base.errors import DataError, check_choice
from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.records import read_record, write_record
from tpainn_calc.base.tables import read_table, write_table

RECORDS = Path(__file__).with_name("records.json.gz")


def main() -> int:
    """Entry point."""
    parser = command_parser("convergence", __doc__)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--frames", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--settings", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--keep", action="store_true", help="the results in the repository")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/own-convergence"))
    arguments = parser.parse_args()

    def body() -> None:
        study = load_study()
        frames = {atoms.info["name"]: atoms for atoms in ase.io.read(FRAMES, ":")}
        for name in arguments.frames or []:
            check_choice("frame", name, frames)
        for name in arguments.settings or []:
            check_choice("setting", name, study.settings)
        unpack(arguments.output)
        label_all(
            study,
            {name: frames[name] for name in arguments.frames or frames},
            arguments.settings or list(study.settings),
            arguments.output,
            arguments.jobs,
        )
        table = arguments.output / "convergence.csv"
        write_table(table, collect(study, frames, arguments.output))
        rows = read_table(table)
        if not rows:
            raise DataError(f"{arguments.output}: no frame has two settings to be compared yet")
        print(report(rows))
        draw(rows, table.with_suffix(".png"))
        if arguments.keep:
            pack(study, frames, arguments.output)

    return run_command(body)


def unpack(folder: Path) -> None:
    """Put the records of the repository where there are none yet."""
    if RECORDS.is_file():
        for name, record in json.loads(gzip.decompress(RECORDS.read_bytes())).items():
            path = folder / f"{name}.json"
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                write_record(path, record)


def pack(study: ConvergenceConfig, frames: Iterable[str], folder: Path) -> None:
    """Take records, table and figure into the repository."""
    records = {
        f"{setting}/{frame}": read_record(path)
        for setting in (*study.settings, *study.references)
        for frame in frames
        if (path := folder / setting / f"{frame}.json").is_file()
    }
    write_atomically(RECORDS, gzip.compress(json.dumps(records).encode(), mtime=0))
    for name in ("convergence.csv", "convergence.png"):
        shutil.copyfile(folder / name, RECORDS.with_name(name))


def label_all(
    study: ConvergenceConfig, frames: dict[str, Atoms], settings: list[str], folder: Path, jobs: int
) -> None:
    """Label what has no label yet, each in a process of its own."""
    todo = [
        (study.engine(setting), atoms, path)
        for frame, atoms in frames.items()
        for setting in settings
        if study.wants(setting, frame)
        and not (path := folder / setting / f"{frame}.json").is_file()
    ]
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(jobs, context, max_tasks_per_child=1) as pool,
        tqdm(total=len(todo), unit="label") as bar,
    ):
        for future in [pool.submit(measure, *task) for task in todo]:
            future.result()
            bar.update()


if __name__ == "__main__":
    raise SystemExit(main())
