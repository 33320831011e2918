"""Hydrogen bonds by basis set: the force between two waters, by PySCF.

``python -m examples.water.own.convergence.dimer [SET ...]``. A dimer is small enough for every
basis set of the study, also for those with diffuse functions, which fail or take too long in the
liquid. The sets and the pseudopotentials are CP2K's (``apt-get install cp2k-data``); PySCF comes
with ``pip install 'tpainn[labels]'``.

The force is -dE/dR at R = 2.75 Å, with rigid molecules: repulsive if positive. A level whose force
is too small holds molecules together, and makes the liquid too dense.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import units

from tpainn_calc.base.command import command_parser, run_command
from tpainn_calc.base.errors import ConfigError, check_choice

#: File of CP2K's data, and the names for oxygen and hydrogen.
SETS = {
    "tzv2p": ("GTH_BASIS_SETS", "TZV2P-GTH", "TZV2P-GTH"),
    "qzv3p": ("GTH_BASIS_SETS", "QZV3P-GTH", "QZV3P-GTH"),
    "aug-qzv3p": ("GTH_BASIS_SETS", "aug-QZV3P-GTH", "aug-QZV3P-GTH"),
    "cc-tzv2p": ("HFX_BASIS", "cc-TZV2P-GTH", "cc-TZV2P-GTH"),
    "cc-qzv3p-on-o": ("HFX_BASIS", "cc-QZV3P-GTH", "cc-TZV2P-GTH"),
    "cc-qzv3p": ("HFX_BASIS", "cc-QZV3P-GTH", "cc-QZV3P-GTH"),
    "molopt-tzv2p": ("BASIS_MOLOPT", "TZV2P-MOLOPT-GTH", "TZV2P-MOLOPT-GTH"),
    "molopt-uzh-tzv2p": (
        "BASIS_MOLOPT_UZH",
        "TZV2P-MOLOPT-PBE-GTH-q6",
        "TZV2P-MOLOPT-PBE-GTH-q1",
    ),
}
#: CP2K's folder of basis sets and pseudopotentials.
CP2K_DATA = Path(os.environ.get("CP2K_DATA_DIR", "/usr/share/cp2k"))
DISTANCES = (2.70, 2.80)  # Å
O_H, ANGLE = 0.985, np.radians(105.5)  # Å: as in the liquid
TILT = np.radians(55.0)


def dimer(distance: float) -> list[tuple[str, tuple[float, float, float]]]:
    """Two waters, one hydrogen of the first on the line between the oxygens (Å)."""
    half = np.array([np.cos(ANGLE / 2), np.sin(ANGLE / 2)]) * O_H
    axis = half[0] * np.array([np.cos(TILT), -np.sin(TILT), 0.0])
    acceptor = np.array([distance, 0.0, 0.0])
    return [
        ("O", (0.0, 0.0, 0.0)),
        ("H", (O_H, 0.0, 0.0)),
        ("H", (O_H * np.cos(ANGLE), O_H * np.sin(ANGLE), 0.0)),
        ("O", (distance, 0.0, 0.0)),
        ("H", tuple(acceptor + axis + [0.0, 0.0, half[1]])),
        ("H", tuple(acceptor + axis - [0.0, 0.0, half[1]])),
    ]


def basis_of(data: Path, file: str, element: str, name: str) -> Any:
    """A basis set of CP2K's data as PySCF has it."""
    from pyscf.gto.basis import parse_cp2k

    lines = (data / file).read_text().splitlines()
    for k, line in enumerate(lines):
        words = line.split()
        if words[:1] == [element] and name in words[1:]:
            own, at = [line, lines[k + 1]], k + 2
            for _ in range(int(lines[k + 1])):
                end = at + 1 + int(lines[at].split()[3])  # a heading, and its exponents
                own += lines[at:end]
                at = end
            return parse_cp2k.parse("\n".join(["#BASIS SET", *own, "#END"]))
    raise ConfigError(f"{data / file}: no basis set {name} for {element}")


def energy(distance: float, basis: Mapping[str, Any]) -> tuple[float, int]:
    """Energy by revPBE (eV; dispersion is the same for all sets), and number of functions."""
    from pyscf import dft, gto

    molecule = gto.M(
        atom=dimer(distance), basis=dict(basis), pseudo="gth-pbe", unit="Angstrom", verbose=0
    )
    method = dft.RKS(molecule)
    method.xc = "GGA_X_PBE_R,GGA_C_PBE"
    method.conv_tol = 1e-10
    found = method.kernel()
    if not method.converged:
        raise ConfigError(f"no self-consistency at {distance} Å")
    return float(found) * units.Hartree, int(molecule.nao)


def main() -> int:
    """Entry point."""
    parser = command_parser("dimer", __doc__)
    parser.add_argument("sets", nargs="*", metavar="SET", help=", ".join(SETS))
    parser.add_argument(
        "--data",
        type=Path,
        default=CP2K_DATA,
        help="CP2K's folder of basis sets",
    )
    arguments = parser.parse_args()

    def body() -> None:
        print(
            "| basis set | functions | CPU s | energy, eV | force, meV/Å |\n|---|---|---|---|---|"
        )
        for name in arguments.sets or SETS:
            check_choice("basis set", name, SETS)
            file, oxygen, hydrogen = SETS[name]
            began = time.process_time()
            basis = {
                "O": basis_of(arguments.data, file, "O", oxygen),
                "H": basis_of(arguments.data, file, "H", hydrogen),
            }
            (near, n), (far, _) = (energy(r, basis) for r in DISTANCES)
            force = 1e3 * (near - far) / (DISTANCES[1] - DISTANCES[0])
            seconds = time.process_time() - began
            print(f"| {name} | {n} | {seconds:.0f} | {far:.3f} | {force:.1f} |", flush=True)

    return run_command(body)


if __name__ == "__main__":
    raise SystemExit(main())
