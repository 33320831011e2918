"""Geometries for our own set, from molecular dynamics with a committee.

``python -m examples.water.own.sample ROUND MODEL MODEL ...`` runs the state points of
``sampling.yaml`` in LAMMPS with the models' mean and writes ``round-ROUND.extxyz.gz`` beside this
file. It resumes; trajectories are kept in ``runs/own-sampling``.

Liquids start from labelled frames, ice from random hydrogens that obey the ice rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Self

import ase.io
import numpy as np
from ase import Atoms
from pydantic import Field, model_validator
from tqdm import tqdm

from examples.water.own.ice import ice_ih
from examples.water.own.pack import FRAMES
from tpainn_calc.base.command import command_parser, run_command
from tpainn_calc.base.frames import write_extxyz
from tpainn_calc.base.schema import Positive, Section, load_config
from training.forcefields.water_model import MOLAR_MASS, VOLUME_AT_UNIT_DENSITY, whole_molecules
from training.loop.config import MDStage
from training.loop.dynamics import Start
from training.loop.lammps_dynamics import run_in_lammps

HERE = Path(__file__).parent
ICE_CELL = (2, 2, 1)


class Group(Section):
    """State points that are alike.

    Attributes
    ----------
    name : str
        ``liquid``, ``hot``, ``ice``, ``slab`` or another.
    temperatures : list of float
        K.
    pressures : list of float
        bar, constant; none: constant volume.
    densities : list of float
        g/cm³, of runs at constant volume.
    vacuum : float
        Å, along z: a slab.
    equilibration, spacing : float
        ps.
    frames : int
        Per state point.
    """

    name: str
    temperatures: list[Positive] = Field(min_length=1)
    pressures: list[float] = Field(default_factory=list)
    densities: list[Positive] = Field(default_factory=list)
    vacuum: float = 0.0
    equilibration: Positive
    spacing: Positive
    frames: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _constant_pressure_or_volume(self) -> Self:
        if self.pressures and (self.densities or self.vacuum):
            raise ValueError("give pressures, or densities or a vacuum")
        return self

    def points(self) -> Iterator[tuple[float, float | None, float | None]]:
        """Temperature (K), pressure (bar), density (g/cm³)."""
        for temperature in self.temperatures:
            yield from product([temperature], self.pressures or [None], self.densities or [None])


class SamplingConfig(Section):
    """All groups.

    Attributes
    ----------
    timestep : float
        fs.
    ceiling : float
        eV/Å: where members differ by more, a run ends.
    groups : list of Group
    """

    timestep: Positive = 0.5
    ceiling: Positive = 1.0
    groups: list[Group]


@dataclass(frozen=True)
class Point:
    """A trajectory: where it starts, and what its frames are called."""

    key: str
    group: Group
    temperature: float
    pressure: float | None
    start: Atoms

    def stage(self, config: SamplingConfig) -> MDStage:
        """Settings of the loop's dynamics for this trajectory."""
        g, every = self.group, round(1e3 * self.group.spacing / config.timestep)
        skipped = round(g.equilibration / g.spacing)
        return MDStage(
            engine="lammps",
            trajectories=1,
            temperatures=[self.temperature],
            pressure=self.pressure,
            steps=(skipped + g.frames) * every,
            timestep=config.timestep,
            every=every,
            ceiling=config.ceiling,
        )


def points_of(config: SamplingConfig, seed: int) -> Iterator[Point]:
    """Every trajectory of a round."""
    liquid = ase.io.read(FRAMES, ":")
    for number, group in enumerate(config.groups):
        for index, (temperature, pressure, density) in enumerate(group.points()):
            rng = np.random.default_rng((seed, number, index))
            key = f"{group.name}-T{temperature:g}"
            key += f"-p{pressure:g}" if pressure is not None else ""
            key += f"-rho{density:g}" if density is not None else ""
            if group.name == "ice":
                start = ice_ih(ICE_CELL, rng)
            else:
                start = liquid_start(liquid, density or 1.0, rng)
            if group.vacuum:
                start.wrap()  # molecules within the box, and then in one piece
                start.positions = whole_molecules(start)
                start.cell[2, 2] += group.vacuum
            yield Point(key, group, temperature, pressure, start)


def liquid_start(frames: list[Atoms], density: float, rng: np.random.Generator) -> Atoms:
    """A labelled frame of about that density (g/cm³), without its labels."""
    near = [atoms for atoms in frames if abs(density_of(atoms) - density) < 0.02]
    atoms = near[int(rng.integers(len(near)))]
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)


def density_of(atoms: Atoms) -> float:
    """g/cm³."""
    return float(
        atoms.get_masses().sum() / MOLAR_MASS * VOLUME_AT_UNIT_DENSITY / atoms.get_volume()
    )


def sample(config: SamplingConfig, models: list[Path], seed: int, folder: Path) -> list[Atoms]:
    """Run every trajectory that has not been run, and take its frames after equilibration.

    Where the committee loses its way (`ceiling`), the frames before count.
    """
    taken = []
    for point in tqdm(list(points_of(config, seed)), unit="trajectory"):
        start = Start(point.start, point.temperature, 1 + 1000 * seed + len(taken))
        (run,) = run_in_lammps(point.stage(config), [start], models, folder / point.key)
        if run.ended:
            tqdm.write(f"{point.key}: {run.ended}")
        equilibration = round(point.group.equilibration / point.group.spacing)
        for atoms in run.frames[equilibration:][: point.group.frames]:
            atoms.info |= {"group": point.group.name, "state_point": point.key, "round": seed}
            atoms.info["temperature"] = point.temperature
            if point.pressure is not None:
                atoms.info["pressure"] = point.pressure
            taken.append(atoms)
    return taken


def main() -> int:
    """Entry point."""
    parser = command_parser("sample", __doc__)
    parser.add_argument("round", type=int)
    parser.add_argument("models", type=Path, nargs="+", metavar="MODEL")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/own-sampling"))
    arguments = parser.parse_args()

    def body() -> None:
        config = load_config(HERE / "sampling.yaml", SamplingConfig)
        folder = arguments.output / f"round-{arguments.round}"
        frames = sample(config, arguments.models, arguments.round, folder)
        path = HERE / f"round-{arguments.round}.extxyz.gz"
        write_extxyz(path, frames)
        print(f"{len(frames)} frames: {path}")

    return run_command(body)


if __name__ == "__main__":
    raise SystemExit(main())
