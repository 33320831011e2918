"""Longest outer time step that holds: water in LAMMPS, plain and with multiple time steps.

``python -m benchmarks.mts`` runs 64 waters with the shipped potential and its student at constant
energy, 50 ps (100,000 inner steps) for every outer step, then at 300 K and 1 bar, and writes
``benchmarks/results/mts.csv``. Runs that are in that file are not repeated (so begin another one
for other models): stop and go on at will, and add others to it by ``--ensembles``, ``--outer``,
``--inner`` and ``--hydrogen`` (its mass in u, taken from the oxygen atom). An outer step that
equals the inner one means the plain run.

``held`` is the time until the run ended or the water was hotter than 500 K. The drift is that of
the total energy, with the error of :func:`benchmarks.conservation.fit_drift`. The temperatures
of bands of wavenumbers come from the spectrum of the velocities: where the integrator resonates
with a vibration, its band heats up.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import resource
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import ase.io
import numpy as np

from benchmarks.conservation import fit_drift
from benchmarks.machine import machine, read_measurements
from benchmarks.production import RESULTS, START, plain, several
from lammps_plugin.run import LammpsError, run_captured
from tpainn_calc.base.arrays import Array
from tpainn_calc.export import export_model
from training.distill.remainder import force_spectrum
from training.forcefields.water_model import MOLAR_MASS, mass_lines

HOT = 500.0
#: how LAMMPS ends when atoms fly away
EXPLOSION = "Lost atoms|Non-numeric|not finite|on top of each other|out of range"
#: cm⁻¹: molecules in their cages, bending, stretching; lower where hydrogen is heavier
BANDS = {"cages": (0.0, 1200.0), "bend": (1200.0, 2600.0), "stretch": (2600.0, 4100.0)}
#: ps of velocities, and u Å²/ps² of one K per degree of freedom
WINDOW, KELVIN = 2.0, 0.83144626
ENSEMBLES = {
    "nve": "fix 1 all nve",
    "langevin": "fix 1 all nve\nfix 2 all langevin 300 300 {damp} 7 zero yes",
    "npt": "fix 1 all npt temp 300 300 0.05 iso 1 1 0.5",
}
INPUT = """\
units metal
atom_style atomic
atom_modify map yes
read_data data
{masses}
{pair}
neigh_modify every 1 delay 0 check yes
velocity all create 300 {seed} mom yes loop geom
fix 1 all nve
fix 2 all langevin 300 300 0.05 {seed} zero yes
thermo_modify norm no
run {equilibration}
unfix 2
unfix 1
reset_timestep 0
{ensemble}
variable hot equal c_thermo_temp
fix halt all halt {every} v_hot > {limit} error continue
thermo_style custom step temp etotal press density
thermo_modify norm no format float %.10g
thermo {every}
dump 1 all custom {frames} dump id type xu yu zu
dump_modify 1 sort id
run {first}
dump 2 all custom 1 velocities id vx vy vz
dump_modify 2 sort id format float %.6g
run {last}
"""


@dataclass(frozen=True)
class Run:
    """Run of the comparison: times in fs, `hydrogen` in u, `length` in ps."""

    ensemble: str
    outer: float
    inner: float
    hydrogen: float
    length: float

    def input(self, seed: int, damp: float) -> str:
        """LAMMPS input; it reads ``data``, ``full.pt`` and ``fast.pt``."""
        step = 1e-3 * self.outer
        every, window = math.ceil(0.02 / step), round(min(WINDOW, 0.5 * self.length) / step)
        return INPUT.format(
            masses=mass_lines(self.hydrogen),
            pair=self.pair(),
            seed=seed,
            equilibration=round(0.5 / step),
            ensemble=ENSEMBLES[self.ensemble].format(damp=damp),
            every=every,
            limit=HOT,
            frames=2 * every,
            first=round(self.length / step) - window,
            last=window,
        )

    def pair(self) -> str:
        """Pair style and time step."""
        if self.outer > self.inner:
            return several(self.outer, self.inner)
        return plain("full.pt", self.outer)


@dataclass(frozen=True)
class Result(Run):
    """Row of the table: a run, and what came of it.

    `held` is in ps, temperatures are in K, the drift is in eV/atom/ns, the fluctuation (rms, of the
    total energy about its slope) in meV/atom, the density in g/cm³, and `cpu` in s/ps.
    """

    held: float
    temperature: float = math.nan
    temperature_error: float = math.nan
    drift: float = math.nan
    drift_error: float = math.nan
    fluctuation: float = math.nan
    density: float = math.nan
    density_error: float = math.nan
    goo_peak: float = math.nan
    goo_error: float = math.nan
    cages: float = math.nan
    bend: float = math.nan
    stretch: float = math.nan
    cpu: float = math.nan


def measure(run: Run, models: tuple[str, str], seed: int = 1, damp: float = 0.2) -> Result:
    """Run LAMMPS in a folder of its own and look at what it wrote.

    Parameters
    ----------
    run : Run
    models : tuple of str
        Model files or names of shipped ones: the full one and its student.
    seed : int
    damp : float
        ps, of the Langevin thermostat.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ase.io.write(folder / "data", ase.io.read(START), format="lammps-data",
                     specorder=["O", "H"])  # fmt: skip
        for model, file in zip(models, ("full.pt", "fast.pt"), strict=True):
            export_model(model, folder / file)
        (folder / "in").write_text(run.input(seed, damp))
        before = _cpu()
        try:
            output = run_captured(folder / "in", ["-log", "none"])
        except LammpsError as error:
            if not re.search(EXPLOSION, str(error)):
                raise
            output = error.output
        return summarize(run, folder, output, _cpu() - before)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def summarize(run: Run, folder: Path, output: str, cpu: float) -> Result:
    """Averages over the run without its first fifth; a run that did not hold has only its time."""
    rows = thermo(output)
    time = 1e-3 * run.outer * rows[:, 0]
    held = float(time[-1]) if len(rows) else 0.0
    result = {**asdict(run), "held": round(held, 3)}
    if held < 0.99 * run.length or rows[-1, 1] > HOT:
        return Result(**result)
    n = len(ase.io.read(START))
    late = time > 0.2 * run.length
    drift = fit_drift(time, rows[:, 2] / n)
    slope = np.polyval(np.polyfit(time, rows[:, 2], 1), time)
    result |= dict(zip(("temperature", "temperature_error"), _mean(rows[late, 1]), strict=True))
    if run.ensemble == "nve":
        result |= {"drift": drift.slope, "drift_error": drift.error}
        result["fluctuation"] = 1e3 * float(np.std(rows[:, 2] - slope)) / n
    if run.ensemble == "npt":
        result |= dict(zip(("density", "density_error"), _mean(rows[late, 4]), strict=True))
    result |= _rdf_peak(folder / "dump", run.outer)
    result |= band_temperatures(folder / "velocities", run)
    return Result(**result, cpu=cpu / run.length)


def thermo(output: str) -> Array:
    """Rows of the tables of the production run, each step once."""
    rows = {}
    for block in output.split("Step          Temp")[1:]:
        head, *lines = block.split("\n")
        if "Density" not in head:
            continue
        for line in lines:
            words = line.split()
            if len(words) != 5 or not words[0].isdigit():
                break
            rows[int(words[0])] = [float(word) for word in words]
    return np.array([rows[step] for step in sorted(rows)]).reshape(-1, 5)


def _mean(series: Array) -> tuple[float, float]:
    from tpainn_calc.observables.block_average import block_average

    average = block_average(series)
    return average.mean, average.error


def _rdf_peak(dump: Path, timestep: float) -> dict[str, float]:
    from tpainn_calc.observables import load_trajectory, rdf

    universe = load_trajectory(dump, timestep_fs=timestep, elements=["O", "H"])
    g = rdf(universe, "O", "O", start=universe.trajectory.n_frames // 5)
    return {"goo_peak": g.value, "goo_error": g.error}


def band_temperatures(dump: Path, run: Run) -> dict[str, float]:
    """Temperature of every band as if it had all hydrogen atoms' share of it in a plain run.

    Twice the kinetic energy of the hydrogen atoms in the band, over k and over their number of
    degrees of freedom: bands add up to the hydrogen atoms' temperature.
    """
    velocities = np.array(list(_frames(dump)))[:, :, 1:]
    types = ase.io.read(START).numbers == 1
    wavenumber, power = force_spectrum(velocities[:, types], run.outer)
    step = wavenumber[1] - wavenumber[0]
    wavenumber = wavenumber * np.sqrt(_reduced_mass(run.hydrogen) / _reduced_mass(1.008))
    found = {}
    for name, (low, high) in BANDS.items():
        chosen = (wavenumber >= low) & (wavenumber < high)
        found[name] = float(run.hydrogen * power[chosen].sum() * step / KELVIN)
    return found


def _reduced_mass(hydrogen: float) -> float:
    """Of an OH bond, u."""
    oxygen = MOLAR_MASS - 2 * hydrogen
    return oxygen * hydrogen / (oxygen + hydrogen)


def _frames(dump: Path) -> Iterator[Array]:
    lines = dump.read_text().splitlines()
    n = int(lines[3])
    for start in range(0, len(lines) - n, n + 9):
        frame = lines[start + 9 : start + 9 + n]
        yield np.array([line.split() for line in frame], dtype=float)


def append(path: Path, result: Result) -> None:
    """Add a row, with a head where the file is new."""
    new = not path.is_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as handle:
        writer = csv.DictWriter(handle, [f.name for f in fields(Result)], lineterminator="\n")
        if new:
            handle.write(f"# {machine()}\n")
            writer.writeheader()
        writer.writerow({k: v if isinstance(v, str) else f"{v:.5g}" for k, v in
                         asdict(result).items()})  # fmt: skip


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser("benchmarks.mts", description=__doc__)
    parser.add_argument("--model", default="water", help="model file or shipped name")
    parser.add_argument("--fast", default="water-fast", help="its student")
    parser.add_argument("--ensembles", nargs="+", choices=ENSEMBLES, default=["nve", "npt"])
    parser.add_argument("--outer", type=float, nargs="+", default=[0.5, 1, 2, 3, 4], help="fs")
    parser.add_argument("--inner", type=float, default=0.5, help="fs")
    parser.add_argument("--hydrogen", type=float, default=1.008, help="mass, u")
    parser.add_argument("--length", type=float, default=50.0, help="ps")
    parser.add_argument("--damp", type=float, default=0.2, help="of the Langevin thermostat, ps")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS / "mts.csv")
    arguments = parser.parse_args()
    models = (arguments.model, arguments.fast)
    for ensemble in arguments.ensembles:
        for outer in arguments.outer:
            run = Run(ensemble, outer, arguments.inner, arguments.hydrogen, arguments.length)
            key = [v if isinstance(v, str) else f"{v:.5g}" for v in asdict(run).values()]
            if any([row[name] for name in asdict(run)] == key
                   for row in read_measurements(arguments.output)):  # fmt: skip
                continue
            result = measure(run, models, arguments.seed, arguments.damp)
            append(arguments.output, result)
            print(" ".join(f"{k} {v if isinstance(v, str) else format(v, '.5g')}"
                           for k, v in asdict(result).items()), flush=True)  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
