"""Molecular dynamics with a committee in LAMMPS: a folder per trajectory, with its input."""

from __future__ import annotations

import fcntl
import io
import subprocess
from collections.abc import Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from lammps_plugin.run import lammps_command, lammps_environment
from tpainn_calc.base.errors import DataError, TPaiNNError
from tpainn_calc.base.files import write_atomically
from tpainn_calc.export import export_model
from training.loop.config import MDStage
from training.loop.dynamics import DEVIATION, Start, Trajectory
from training.loop.waiting import Waiting

#: LAMMPS' random numbers take seeds up to 900,000,000; the number of the rank is added.
MAX_SEED = 899_000_000

#: Written by LAMMPS when a run is over.
FINISHED = "finished"

INPUT = """\
units           metal
atom_style      atomic
read_data       start.data
pair_style      tpainn deviation {every} deviation.out
pair_coeff      * * {models} {elements}
{masses}
timestep        {timestep_ps}
neigh_modify    every 1 delay 0 check yes
velocity        all create {temperature} {seed} mom yes rot yes dist gaussian
{ensemble}
fix             dev all pair {every} tpainn deviation 1
compute         worst all reduce max f_dev
variable        worst equal c_worst
# beyond the ceiling the network only guesses
fix             ceiling all halt {every} v_worst > {ceiling} error continue message yes
thermo          {every}
thermo_style    custom step temp pe press density
dump            frames all custom {every} dump.lammpstrj id type x y z
dump_modify     frames sort id format float %.10g first no
run             {steps}
print           "done" file {finished}
"""


def run_in_lammps(
    md: MDStage, starts: Sequence[Start], models: Sequence[Path], folder: Path
) -> list[Trajectory]:
    """Run trajectories, each in a folder of its own; those that are finished are read.

    Raises
    ------
    Waiting
        If they are run elsewhere and not all are there.
    TPaiNNError
        If LAMMPS ends before it has written a frame.
    """
    exported = export_committee(models, folder)
    places = [folder / f"run-{k:02d}" for k in range(len(starts))]
    for start, place in zip(starts, places, strict=True):
        prepare(md, start, exported, place)
    if md.where == "elsewhere":
        for place in places:
            note_break(place)
    missing = [place for place in places if not is_finished(place)]
    if missing and md.where == "elsewhere":
        raise Waiting(
            f"{len(missing)} trajectories wait, for 'tpainn-lammps run in.lammps' in each of "
            f"{', '.join(map(str, missing))}; then this command again"
        )
    for place in missing:
        run(place, md.ranks)
    return [collect(md, start, place) for start, place in zip(starts, places, strict=True)]


def export_committee(models: Sequence[Path], folder: Path) -> list[Path]:
    """Export the members once per round."""
    paths = [folder / f"member-{k}.pt" for k in range(len(models))]
    for model, path in zip(models, paths, strict=True):
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            export_model(model, path)
    return paths


def prepare(md: MDStage, start: Start, models: Sequence[Path], folder: Path) -> None:
    """Write the input of a trajectory; what is there already stays."""
    script = folder / "in.lammps"
    if script.is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    elements = sorted(set(start.atoms.get_chemical_symbols()))
    ase.io.write(
        folder / "start.data",
        Atoms(
            start.atoms.numbers,
            positions=start.atoms.get_positions(wrap=True),
            cell=start.atoms.cell,
            pbc=True,
        ),
        format="lammps-data",
        specorder=elements,
    )
    temperature, damping = start.temperature, 0.1
    seed = (start.seed - 1) % MAX_SEED + 1
    if md.pressure is None:
        ensemble = (
            f"fix             move all nve\n"
            f"fix             bath all langevin {temperature} {temperature} {damping} {seed}"
        )
    else:
        ensemble = (
            f"fix             move all npt temp {temperature} {temperature} 0.05 "
            f"iso {md.pressure} {md.pressure} 0.5"
        )
    masses = "\n".join(
        f"mass            {k + 1} {atomic_masses[atomic_numbers[e]]:.6g}"
        for k, e in enumerate(elements)
    )
    text = INPUT.format(
        every=md.every,
        models=" ".join(f"../{path.name}" for path in models),
        elements=" ".join(elements),
        masses=masses,
        timestep_ps=md.timestep / 1000,
        temperature=temperature,
        seed=seed,
        ensemble=ensemble,
        ceiling=md.ceiling,
        steps=md.steps,
        finished=FINISHED,
    )
    write_atomically(script, text.encode())


def is_finished(folder: Path) -> bool:
    """Whether a trajectory was run to its end, or broke."""
    return (folder / FINISHED).is_file() or (folder / "broken").is_file()


def run(folder: Path, ranks: int) -> None:
    """Run a trajectory from its start.

    A run that breaks, because atoms were lost for instance, is as good as one that met the
    ceiling: what it has written counts.

    Raises
    ------
    TPaiNNError
        If LAMMPS ends before it has written a frame.
    """
    command = lammps_command(["-in", "in.lammps"], ranks)
    environment = lammps_environment()
    with (folder / ".lock").open("w") as lock:
        # LAMMPS inherits the lock: what a killed loop has started is waited for, and then counts
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_finished(folder):
            return
        for name in ("dump.lammpstrj", "deviation.out"):
            (folder / name).unlink(missing_ok=True)
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            pass_fds=[lock.fileno()],
        )
    if done.returncode == 0 and is_finished(folder):
        return
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    reason = next((line for line in said if "rror" in line), said[-1] if said else "no output")
    _break(folder, reason)


def note_break(folder: Path) -> None:
    """Take a run that LAMMPS broke off elsewhere for what it has written."""
    log = folder / "log.lammps"
    if is_finished(folder) or not log.is_file():
        return
    said = log.read_text(errors="replace").splitlines()
    reason = next((line for line in said if line.startswith("ERROR")), None)
    if reason is not None:
        _break(folder, reason)


def _break(folder: Path, reason: str) -> None:
    dump = folder / "dump.lammpstrj"
    if not dump.is_file() or not dump.stat().st_size:
        raise TPaiNNError(f"LAMMPS in {folder}: {reason}")
    write_atomically(folder / "broken", f"{reason}\n".encode())


def collect(md: MDStage, start: Start, folder: Path) -> Trajectory:
    """Read the frames of a trajectory and their deviations.

    Raises
    ------
    DataError
        If its files are not whole.
    """
    elements = sorted(set(start.atoms.get_chemical_symbols()))
    try:
        deviations = np.loadtxt(folder / "deviation.out", ndmin=2)
        by_step = {int(row[0]): float(row[4]) for row in deviations}
        dumped = whole_frames((folder / "dump.lammpstrj").read_text())
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"{folder}: the run left no whole trajectory ({error})") from None
    broken = folder / "broken"
    ended = broken.read_text().strip() if broken.is_file() else ""
    frames: list[Atoms] = []
    for step, atoms in dumped:
        if step == 0:
            continue  # the start is labelled already
        deviation = by_step.get(step, np.inf)
        if not deviation <= md.ceiling:
            return Trajectory(frames, ended or f"deviation {deviation:.2f} eV/Å at step {step}")
        types = atoms.arrays.get("type", atoms.numbers)
        frame = Atoms(
            [elements[t - 1] for t in types], positions=atoms.positions, cell=atoms.cell, pbc=True
        )
        frame.info[DEVIATION] = round(deviation, 6)
        frames.append(frame)
    if not ended and len(frames) < md.steps // md.every:
        ended = f"ended after frame {len(frames)}"
    return Trajectory(frames, ended)


def whole_frames(text: str) -> list[tuple[int, Atoms]]:
    """Steps and frames of a dump; one that a broken run has not finished is left out."""
    mark = "ITEM: TIMESTEP\n"
    found = []
    for block in text.split(mark)[1:]:
        lines = block.splitlines()
        # step; heading, atoms; heading, three of the cell; heading, the atoms
        if len(lines) < 8 or len(lines) < 8 + int(lines[2]) or not block.endswith("\n"):
            break
        atoms = ase.io.read(io.StringIO(mark + block), format="lammps-dump-text")
        assert isinstance(atoms, Atoms)  # one frame: for the type checker
        found.append((int(lines[0]), atoms))
    return found
