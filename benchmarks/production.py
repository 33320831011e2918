"""Nanoseconds a day of liquid water in LAMMPS: plain, with multiple time steps, and classical.

``python -m benchmarks.production`` runs 64 waters and replicas of their box at constant energy
and writes ``benchmarks/results/production.csv`` and ``.png``:

- ``plain``: the shipped potential, 0.5 fs;
- ``mts``: the same with its student, inner step 0.5 fs, outer step 2 fs (docs/mts.md);
- ``mts-heavy``: hydrogen of 3 u, inner step 1 fs, outer step 4 fs;
- ``fast``: the student alone, 0.5 fs;
- ``spcfw``: SPC/Fw with PPPM, 0.5 fs, cut-off 9 Å, relative accuracy 1e-4.

The codes run in turn, and the table has the median of ``--repeats`` turns. A core that is shared
with other work is allowed for: times are those of LAMMPS' loop, times the share of the cores that
it says to have had. Cores are threads for the networks and ranks for SPC/Fw.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import ase.io
from ase import Atoms

from benchmarks.machine import read_measurements, write_measurements
from lammps_plugin.respa import TimeSteps, respa_lines
from lammps_plugin.run import run_captured
from lammps_plugin.single_point import write_data
from tpainn_calc.export import export_model
from training.forcefields.water_model import WATER_MODELS, mass_lines

RESULTS = Path(__file__).parent / "results"
START = Path(__file__).parents[1] / "examples" / "quickstart" / "water64.extxyz"
#: evaluations of the plain potential, times atoms, that a run takes
WORK = 60_000
INPUT = """\
{setup}
replicate {replicas} {replicas} {replicas}
{masses}
{pair}
neigh_modify every 1 delay 0 check yes
velocity all create 300 1
fix 1 all nve
thermo_modify norm no
run {warm}
run {steps}
"""
NETWORK = "units metal\natom_style atomic\natom_modify map yes\nread_data network.data"


@dataclass(frozen=True)
class Code:
    """Way in which a code is run.

    Attributes
    ----------
    pair : str
        Pair style and time step.
    step : float
        fs, outer one.
    cost : float
        Of a step, in evaluations of the plain potential; sets the length of a run.
    hydrogen : float
        u.
    setup : str
        Lines of the input up to the data file.
    ranks : bool
        Whether cores are ranks and not threads.
    """

    pair: str
    step: float
    cost: float = 1.0
    hydrogen: float = 1.008
    setup: str = NETWORK
    ranks: bool = False

    def input(self, atoms: int, replicas: int) -> str:
        """LAMMPS input of a box of so many atoms."""
        steps = max(3, min(400, round(WORK / atoms / self.cost)))
        return INPUT.format(
            setup=self.setup,
            replicas=replicas,
            masses=mass_lines(self.hydrogen),
            pair=self.pair,
            warm=max(1, steps // 20),
            steps=steps,
        )


@dataclass(frozen=True)
class Row:
    """One measurement."""

    code: str
    atoms: int
    cores: int
    step_fs: float
    ms: float

    @property
    def ns_per_day(self) -> float:
        """Simulated time per day, ns."""
        return self.step_fs * 86.4 / self.ms


def plain(model: str, step: float) -> str:
    """Pair style and time step (fs) of a model by itself."""
    return f"pair_style tpainn range off\npair_coeff * * {model} O H\ntimestep {1e-3 * step}"


def several(outer: float, inner: float) -> str:
    """The same with multiple time steps."""
    steps = TimeSteps(outer, inner)
    return respa_lines(["full.pt"], "fast.pt", ["O", "H"], steps, "range off")


CODES = {
    "plain": Code(plain("full.pt", 0.5), 0.5),
    "mts": Code(several(2.0, 0.5), 2.0, cost=1.6),
    "mts-heavy": Code(several(4.0, 1.0), 4.0, cost=1.6, hydrogen=3.0),
    "fast": Code(plain("fast.pt", 0.5), 0.5, cost=0.13),
    "spcfw": Code("timestep 0.5", 0.5, cost=0.05, setup="include spcfw.in", ranks=True),
}


def write_spcfw(folder: Path, atoms: Atoms) -> None:
    """Write ``spcfw.data`` and ``spcfw.in``; the atoms are O, H, H, O, …"""
    m = WATER_MODELS["spcfw"]
    kcal, n = 1 / 4.184, len(atoms) // 3
    lines = ["SPC/Fw", "", f"{3 * n} atoms", f"{2 * n} bonds", f"{n} angles", "2 atom types"]
    lines += ["1 bond types", "1 angle types", ""]
    sides = zip("xyz", atoms.cell.lengths(), strict=True)
    lines += [f"0 {side} {axis}lo {axis}hi" for axis, side in sides]
    lines += ["", "Masses", "", "1 15.999", "2 1.008", "", "Atoms # full", ""]
    # molecules are whole, so that LAMMPS knows which images are bonded, and can replicate them
    whole = [atoms.positions[k - k % 3] + atoms.get_distance(k - k % 3, k, mic=True, vector=True)
             for k in range(3 * n)]  # fmt: skip
    for k, (x, y, z) in enumerate(whole):
        charge = m.oxygen_charge if k % 3 == 0 else -m.oxygen_charge / 2
        lines.append(f"{k + 1} {k // 3 + 1} {1 if k % 3 == 0 else 2} {charge} {x} {y} {z}")
    lines += ["", "Bonds", ""]
    lines += [f"{2 * k + h} 1 {3 * k + 1} {3 * k + 1 + h}" for k in range(n) for h in (1, 2)]
    lines += ["", "Angles", ""]
    lines += [f"{k + 1} 1 {3 * k + 2} {3 * k + 1} {3 * k + 3}" for k in range(n)]
    (folder / "spcfw.data").write_text("\n".join([*lines, ""]))
    (folder / "spcfw.in").write_text(
        "units real\natom_style full\nbond_style harmonic\nangle_style harmonic\n"
        # half of the smallest box is 6.3 Å: images are neighbours like others
        "pair_style lj/cut/coul/long 9.0\nkspace_style pppm 1e-4\n"
        "read_data spcfw.data\nspecial_bonds lj/coul 0 0 0\n"
        f"pair_coeff 1 1 {m.epsilon * kcal} {m.sigma * 10}\npair_coeff * 2 0 1\n"
        f"bond_coeff 1 {0.5 * m.bond_k * kcal / 100} {m.bond_length * 10}\n"
        f"angle_coeff 1 {0.5 * m.angle_k * kcal} {m.angle}\n"
    )


def prepare(folder: Path, model: str, fast: str) -> int:
    """Write data files and deployed models; number of atoms."""
    atoms = ase.io.read(START)
    write_data(folder / "network.data", atoms, ["O", "H"])
    write_spcfw(folder, atoms)
    export_model(model, folder / "full.pt")
    export_model(fast, folder / "fast.pt")
    return len(atoms)


def seconds_of(output: str, cores: int) -> tuple[float, int]:
    """Time of the last loop if all cores had been its own, and its steps."""
    loop = re.findall(r"Loop time of (\S+) on \d+ procs for (\d+) steps", output)[-1]
    used = re.findall(r"([\d.]+)% CPU use with (\d+) MPI tasks x (\S+)", output)[-1]
    share = float(used[0]) / 100 * int(used[1]) / cores
    return float(loop[0]) * min(1.0, share), int(loop[1])


def measure(name: str, folder: Path, atoms: int, replicas: int, cores: int) -> Row:
    """Run a code once, in a box of `replicas`³ times `atoms`."""
    code, total = CODES[name], atoms * replicas**3
    (folder / "in").write_text(code.input(total, replicas))
    ranks = cores if code.ranks else 1
    threads = {"OMP_NUM_THREADS": str(cores // ranks)}
    output = run_captured(folder / "in", ["-log", "none"], ranks, defaults=threads)
    seconds, steps = seconds_of(output, cores)
    return Row(name, total, cores, code.step, 1e3 * seconds / steps)


def measure_all(folder: Path, atoms: int, arguments: argparse.Namespace) -> Iterator[Row]:
    """Medians of all codes, sizes and numbers of cores."""
    for cores in arguments.cores:
        for replicas in arguments.replicas:
            turns = [
                [measure(name, folder, atoms, replicas, cores) for name in arguments.codes]
                for _ in range(arguments.repeats)
            ]
            for rows in zip(*turns, strict=True):
                yield replace(rows[0], ms=median(row.ms for row in rows))


def write(rows: list[Row], folder: Path) -> None:
    """Write table and figure, and print the ratios to the plain runs."""
    table = [{**asdict(row), "ns_per_day": row.ns_per_day} for row in rows]
    write_measurements(
        folder / "production.csv",
        [{k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()} for row in table],
    )
    draw(rows, folder / "production.png")


def read(path: Path) -> list[Row]:
    """Rows of a table."""
    return [
        Row(r["code"], int(r["atoms"]), int(r["cores"]), float(r["step_fs"]), float(r["ms"]))
        for r in read_measurements(path)
    ]


def describe(row: Row, rows: list[Row]) -> str:
    """Line for the terminal; a plain run of the same box before it makes the ratio."""
    text = (
        f"{row.code:10s} {row.atoms:6d} atoms {row.cores} core(s) {row.ms:9.3f} ms/step "
        f"{row.ns_per_day:8.4f} ns/day"
    )
    same = [r for r in rows if (r.code, r.atoms, r.cores) == ("plain", row.atoms, row.cores)]
    return text + (f" {row.ns_per_day / same[0].ns_per_day:7.2f} x plain" if same else "")


def draw(rows: list[Row], path: Path) -> None:
    """Draw ns/day over the number of atoms."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for cores in sorted({row.cores for row in rows}):
        for k, name in enumerate(CODES):
            points = [(r.atoms, r.ns_per_day) for r in rows if (r.code, r.cores) == (name, cores)]
            if points:
                axes.loglog(
                    *zip(*points, strict=True),
                    "-" if cores == 1 else "--",
                    marker="o",
                    color=f"C{k}",
                    label=f"{name}, {cores} core" + ("s" if cores > 1 else ""),
                )
    axes.set(xlabel="atoms (liquid water)", ylabel="simulated time per day / ns")
    sizes = sorted({row.atoms for row in rows})
    axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
    axes.tick_params(axis="x", which="minor", labelbottom=False)
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=140)


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser("benchmarks.production", description=__doc__)
    parser.add_argument("--model", default="water", help="model file or shipped name")
    parser.add_argument("--fast", default="water-fast", help="its student")
    parser.add_argument("--replicas", type=int, nargs="+", default=[1, 3], help="along an edge")
    parser.add_argument("--cores", type=int, nargs="+", default=[1])
    parser.add_argument("--codes", nargs="+", choices=CODES, default=list(CODES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    parser.add_argument("--redraw", action="store_true", help="the figure only, from the table")
    arguments = parser.parse_args()
    if arguments.redraw:
        draw(read(arguments.output / "production.csv"), arguments.output / "production.png")
        return 0
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        atoms = prepare(folder, arguments.model, arguments.fast)
        for row in measure_all(folder, atoms, arguments):
            rows.append(row)
            print(describe(row, rows), flush=True)
    write(rows, arguments.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
