"""Geometries of the test block: the liquid at 300 K and 1 bar, where the potential is used.

``python -m examples.water.own.test_block MODEL`` runs 32 waters in LAMMPS and writes frames at
equal distances as ``test.extxyz.gz`` beside this file; ``--waters 64`` writes ``size.extxyz.gz``:
is a potential that has seen 32 waters as good in a larger box? Both are labelled like the rounds
(``campaign.py``), and never trained on. It can be interrupted.
"""

from __future__ import annotations

from pathlib import Path

from ase import Atoms

from examples.water.own.campaign import HELD_OUT, HERE
from examples.water.properties.runs import Run, finish, read, runs_folder
from tpainn_calc.base.command import command_parser, run_command
from tpainn_calc.base.errors import ConfigError
from tpainn_calc.base.frames import write_extxyz
from tpainn_calc.observables.trajectory import spread, structures

#: Names of the files by the number of waters.
BLOCKS = {32: "test", 64: "size"}


def main() -> int:
    """Entry point."""
    parser = command_parser("test_block", __doc__)
    parser.add_argument("model", help="model file or shipped name")
    parser.add_argument("--waters", type=int, choices=sorted(BLOCKS), default=32)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--ps", type=float, default=75.0, help="of the run, its start included")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/own-test-block"))
    arguments = parser.parse_args()

    def body() -> None:
        run = Run(arguments.waters, 300.0, arguments.ps, pressure=1.0, outer=0.5, inner=0.5)
        with runs_folder(arguments.output, arguments.model):
            finish([run], arguments.output)
            frames = draw(run, arguments.output, arguments.frames)
        path = HERE / f"{BLOCKS[arguments.waters]}.extxyz.gz"
        write_extxyz(path, frames)
        print(f"{len(frames)} frames: {path}")

    return run_command(body)


def draw(run: Run, folder: Path, count: int) -> list[Atoms]:
    """Frames of a finished run, from the middle of equal parts after its start.

    Raises
    ------
    ConfigError
        If the run has fewer.
    """
    universe, first = read(run, folder)
    total = len(universe.trajectory)
    if not 0 < count <= total - first:
        raise ConfigError(f"--frames {count}: the run has {total - first} after its start")
    frames = structures(universe, spread(first, total, count))
    group = BLOCKS[run.waters]
    for atoms in frames:
        atoms.info |= {"group": group, "state_point": run.name, "round": HELD_OUT[group]}
        atoms.info |= {"temperature": run.temperature, "pressure": run.pressure}
    return frames


if __name__ == "__main__":
    raise SystemExit(main())
