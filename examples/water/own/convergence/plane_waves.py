"""The limit that basis sets go to: a frame of the study in plane waves, by ABINIT.

``python -m examples.water.own.convergence.plane_waves FRAME ...``, then the study again, which
shows the setting ``plane-waves`` beside the others. ``apt-get install abinit`` first; half an hour
of one core for each frame. An output of ABINIT that is there is not computed again.

The pseudopotentials are CP2K's ``GTH-PBE``, from its data (``apt-get install cp2k-data``), so that
nothing but the basis differs. ABINIT computes without dispersion; its share is the difference of
two labels of CP2K, with and without, for which the smallest basis will do.

A basis of plane waves grows with the cell, so that the stress at a finite cut-off lacks
-2/(3 V) dE/d ln(cut-off) of the pressure (Francis and Payne, J. Phys.: Condens. Matter 2, 4395
(1990)). The slope comes from two cut-offs, and belongs to the mean of their pressures; of what is
left the change of the slope between the two tells the order, some 10 MPa.
"""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.units import Bohr, Hartree

from examples.water.own.convergence.dimer import CP2K_DATA
from examples.water.own.convergence.frames import FRAMES
from tpainn_calc.base.command import command_parser, run_command
from tpainn_calc.base.errors import ConfigError, DataError, check_choice
from tpainn_calc.base.records import write_record
from training.labels.engines.config import CP2KConfig
from training.labels.engines.factory import make_engine

SETTING = "plane-waves"
CUTOFFS = (120.0, 135.0)  # of the wave functions, Hartree

#: revPBE (14), one k point with real wave functions, LOBPCG (114), forces to 2 meV/Å.
INPUT = """ndtset 2
ecut1 {cutoffs[0]}
ecut2 {cutoffs[1]}
getwfk2 -1
pp_dirpath "{folder}"
pseudos "H.gth, O.gth"
ntypat 2
znucl 1 8
acell {cell[0]:.10f} {cell[1]:.10f} {cell[2]:.10f}
natom {natom}
typat {types}
xred
{positions}
nband {bands}
occopt 1
ixc 14
kptopt 0
nkpt 1
kpt 0 0 0
istwfk 2
nsym 1
chksymbreak 0
wfoptalg 114
nline 6
nstep 60
toldff 4e-5
diemac 2.0
diemix 0.8
optforces 1
optstress 1
prtden 0
prteig 0
prtgsr 0
"""


def pseudopotential(symbol: str, text: str) -> str:
    """ABINIT's format 2 (Goedecker-Teter-Hutter) of an entry of CP2K's file ``POTENTIAL``.

    Parameters
    ----------
    symbol : str
        Element whose ``GTH-PBE`` has no more than one projector for s, and none with p: H, O.
    text : str
        Of the file. Lines of an entry: name; electrons per l; r_loc, number and values of C_i;
        number of l with a projector or a radius for one; for each of them r, number and h.
    """
    _, electrons, local, _, *rest = text.split(f"\n{symbol} GTH-PBE-q", 1)[1].splitlines()
    valence = sum(map(int, electrons.split()))
    radius, _, *coefficients = local.split()
    projectors = [line.split() for line in itertools.takewhile(lambda x: x[0] == " ", rest)]
    s, p = [*projectors, ["0.0", "0"], ["0.0", "0"]][:2]
    lines = [
        f"{symbol} GTH-PBE-q{valence}",
        f"{atomic_numbers[symbol]} {valence} 0",
        f"2 11 {max(len(projectors) - 1, 0)} 0 2001 0",
        f"{radius} {' '.join(coefficients)} 0.0 0.0",
        f"{s[0]} {s[2] if s[1] == '1' else 0.0} 0.0",
        f"{p[0]} 0.0",
    ]
    return "\n".join(lines) + "\n"


def compute(atoms: Atoms, folder: Path) -> str:
    """ABINIT's output for a frame with an orthorhombic cell, at both cut-offs."""
    output = folder / "frame.abo"
    if not output.is_file() or "Calculation completed" not in output.read_text():
        shutil.rmtree(folder, ignore_errors=True)  # ABINIT keeps an older output
        folder.mkdir(parents=True)
        potentials = (CP2K_DATA / "POTENTIAL").read_text()
        for symbol in ("H", "O"):
            (folder / f"{symbol}.gth").write_text(pseudopotential(symbol, potentials))
        positions = "\n".join(
            "{:.12f} {:.12f} {:.12f}".format(*x) for x in atoms.get_scaled_positions()
        )
        text = INPUT.format(
            cutoffs=CUTOFFS,
            folder=folder.resolve(),
            cell=atoms.cell.lengths() / Bohr,
            natom=len(atoms),
            types=" ".join("1" if symbol == "H" else "2" for symbol in atoms.symbols),
            positions=positions,
            bands=4 * len(atoms) // 3,
        )
        (folder / "frame.abi").write_text(text)
        with (folder / "log").open("w") as log:
            subprocess.run(["abinit", "frame.abi"], cwd=folder, stdout=log, stderr=log, check=False)
    text = output.read_text() if output.is_file() else ""
    if "Calculation completed" not in text:
        raise DataError(f"{folder}: ABINIT did not end; its words are in {folder / 'log'}")
    return text


def energies(text: str) -> np.ndarray:
    """Total energies (eV) at both cut-offs."""
    return np.array([float(x) for x in re.findall(r"etotal\d +(\S+)", text)]) * Hartree


def stresses(text: str) -> np.ndarray:
    """Stress (eV/Å³; xx, yy, zz, yz, xz, xy) at both cut-offs, without correction."""
    lines = re.findall(r"^  sigma\(\d \d\)= +(\S+)  sigma\(\d \d\)= +(\S+)", text, re.M)
    pairs = np.array(lines, float).reshape(len(CUTOFFS), -1, 3, 2)[:, 0]  # each is printed twice
    return pairs.transpose(0, 2, 1).reshape(len(CUTOFFS), 6) * Hartree / Bohr**3


def forces_of(text: str, count: int) -> np.ndarray:
    """Forces (eV/Å) at the higher cut-off."""
    lines = text.split("cartesian forces (hartree/bohr) at end:")[-1].splitlines()
    return np.array([line.split()[1:4] for line in lines[1 : 1 + count]], float) * Hartree / Bohr


def dispersion(atoms: Atoms) -> dict[str, np.ndarray]:
    """Energy, forces and stress of D3: revPBE-D3 less revPBE, whatever the basis."""
    parts = []
    for functional in ("revPBE-D3", "revPBE"):
        engine = make_engine(
            CP2KConfig(kind="cp2k", functional=functional, basis="DZVP-GTH", cutoff=120)
        )
        try:
            parts.append(engine.label(atoms).atoms.calc.results)
        finally:
            engine.close()
    return {
        key: np.asarray(parts[0][key] - parts[1][key]) for key in ("energy", "forces", "stress")
    }


def record(atoms: Atoms, folder: Path) -> dict[str, Any]:
    """Label in plane waves, with the keys that `measure` writes of a setting of CP2K."""
    text = compute(atoms, folder)
    energy = energies(text)
    slope = (energy[1] - energy[0]) / np.log(CUTOFFS[1] / CUTOFFS[0])
    both = stresses(text)
    pressure = -both[:, :3].mean() - 2 / (3 * atoms.get_volume()) * slope
    stress = both[1]
    stress[:3] -= stress[:3].mean() + pressure
    d3 = dispersion(atoms)
    forces = forces_of(text, len(atoms)) + d3["forces"]
    return {
        "level": f"revPBE-D3(0) plane waves {2 * CUTOFFS[1]:g} Ry (ABINIT)",
        "energy": float(energy[1] + d3["energy"]),
        "forces": (forces - forces.mean(axis=0)).tolist(),
        "stress": (stress + d3["stress"]).tolist(),
        "net_force": float(np.linalg.norm(forces.sum(axis=0))),
        "cpu_seconds": float(re.findall(r"Overall time.*cpu= +(\S+)", text)[-1]),
    }


def main() -> int:
    """Entry point."""
    parser = command_parser("plane_waves", __doc__)
    parser.add_argument("frames", nargs="+", metavar="FRAME")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/own-convergence"))
    arguments = parser.parse_args()

    def body() -> None:
        if shutil.which("abinit") is None:
            raise ConfigError("there is no program 'abinit': apt-get install abinit")
        frames = {atoms.info["name"]: atoms for atoms in ase.io.read(FRAMES, ":")}
        for name in arguments.frames:
            check_choice("frame", name, frames)
            folder = arguments.output / SETTING
            write_record(folder / f"{name}.json", record(frames[name], folder / name))
            print(folder / f"{name}.json")

    return run_command(body)


if __name__ == "__main__":
    raise SystemExit(main())
