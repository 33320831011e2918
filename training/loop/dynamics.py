"""Molecular dynamics with a committee: what the next labels are picked from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from tpainn_calc.base.errors import ConfigError, StructureError
from tpainn_calc.base.files import write_atomically
from tpainn_calc.base.frames import read_extxyz, to_extxyz
from tpainn_calc.base.records import read_record, write_record
from training.classical.dynamics import langevin
from training.loop.committee import committee, largest_deviation
from training.loop.config import MDStage

#: Info key of the largest force deviation of a frame, eV/Å.
DEVIATION = "force_deviation"


@dataclass(frozen=True)
class Start:
    """A trajectory that is to be run.

    Attributes
    ----------
    atoms : ase.Atoms
        Where it starts.
    temperature : float
        K.
    seed : int
    """

    atoms: Atoms
    temperature: float
    seed: int


@dataclass(frozen=True)
class Trajectory:
    """Frames of a trajectory that may be picked.

    Attributes
    ----------
    frames : list of ase.Atoms
        Each with its largest force deviation under ``info["force_deviation"]``.
    ended : str
        Why it ended before its time, or nothing.
    """

    frames: list[Atoms]
    ended: str = ""


def make_starts(frames: Sequence[Atoms], md: MDStage, seed: tuple[int, ...]) -> list[Start]:
    """Draw where the trajectories of a round start."""
    rng = np.random.default_rng(seed)
    n = md.trajectories
    order = np.concatenate([rng.permutation(len(frames)) for _ in range(1 + n // len(frames))])
    return [
        Start(
            frames[int(order[k])],
            md.temperatures[k % len(md.temperatures)],
            int(rng.integers(1, 2**31 - 1)),
        )
        for k in range(n)
    ]


def check_frames(md: MDStage, frames: Sequence[Atoms]) -> None:
    """Refuse what cannot be sampled as it is asked for.

    Raises
    ------
    ConfigError
        If LAMMPS is needed and not all frames are periodic.
    """
    if all(bool(atoms.pbc.all()) for atoms in frames):
        return
    if md.engine == "lammps":
        raise ConfigError(
            "md.engine lammps: the frames are not periodic in three directions; use engine: ase"
        )
    if md.where == "elsewhere" or md.pressure is not None:
        raise ConfigError(
            "md: 'pressure' and 'where: elsewhere' need frames that are periodic in three "
            "directions, for LAMMPS"
        )


def uses_lammps(md: MDStage, frames: Sequence[Atoms]) -> bool:
    """Whether LAMMPS samples these frames."""
    if md.engine == "auto":
        return all(bool(atoms.pbc.all()) for atoms in frames)
    return md.engine == "lammps"


def run_in_ase(
    md: MDStage, starts: Sequence[Start], models: Sequence[Path], device: str, folder: Path
) -> list[Trajectory]:
    """Run trajectories in this process; those that a killed run finished are read."""
    done = []
    for k, start in enumerate(starts):
        record = folder / f"trajectory-{k:02d}.json"
        path = record.with_suffix(".extxyz")
        if not record.is_file():
            new = langevin_dynamics(md, start, models, device)
            write_atomically(path, to_extxyz(new.frames) if new.frames else b"")
            write_record(record, {"ended": new.ended})
        frames = read_extxyz(path) if path.stat().st_size else []
        ended = read_record(record, "remove it, and the trajectory is run again")["ended"]
        done.append(Trajectory(frames, str(ended)))
    return done


def langevin_dynamics(md: MDStage, start: Start, models: Sequence[Path], device: str) -> Trajectory:
    """Langevin dynamics at constant volume, driven by the committee's mean.

    Parameters
    ----------
    md : MDStage
    start : Start
    models : sequence of Path
    device : str
    """
    moving = Atoms(
        start.atoms.numbers,
        positions=start.atoms.positions,
        cell=start.atoms.cell,
        pbc=start.atoms.pbc,
    )
    moving.calc = committee(models, device)

    def compute(positions: np.ndarray) -> tuple[float, np.ndarray]:
        moving.positions = positions
        forces = moving.get_forces()
        return moving.get_potential_energy(), forces

    geometries: Iterator[np.ndarray] = langevin(
        compute,
        moving.positions.copy(),
        moving.get_masses(),
        temperature=start.temperature,
        timestep=md.timestep,
        spacing=1e-3 * md.every * md.timestep,
        n_frames=md.steps // md.every,
        rng=np.random.default_rng(start.seed),
    )
    frames: list[Atoms] = []
    try:
        for number, positions in enumerate(geometries):
            spread = moving.calc.results["forces_std"]  # of these positions: the last call's
            deviation = largest_deviation(spread, len(models))
            if not deviation <= md.ceiling:
                return Trajectory(frames, f"deviation {deviation:.2f} eV/Å after frame {number}")
            frame = Atoms(moving.numbers, positions=positions, cell=moving.cell, pbc=moving.pbc)
            frame.info[DEVIATION] = round(deviation, 6)
            frames.append(frame)
    except StructureError as error:
        return Trajectory(frames, str(error))
    return Trajectory(frames)
