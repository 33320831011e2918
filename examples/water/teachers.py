"""How near are the classical water models to DFT? Forces on liquid frames of the DFT set.

``python -m examples.water.teachers`` prints root-mean-square differences and correlations.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list

from training.data.frames import read_frames
from training.data.paths import expand_path
from training.forcefields.water import label_water

DATA = "${TPAINN_DATA}/water_revpbe0d3_csi2024/water_revpbe0d3_csi2024.extxyz.gz"
MODELS = ("q-spcfw", "spcfw", "iamoeba")
N_FRAMES = 10


def in_order(atoms: Atoms) -> np.ndarray | None:
    """Indices that order the atoms O, H, H; None if a molecule has come apart."""
    i, j = neighbor_list("ij", atoms, 1.4)
    order = []
    for oxygen in np.flatnonzero(atoms.numbers == 8):
        hydrogens = j[(i == oxygen) & (atoms.numbers[j] == 1)]
        if len(hydrogens) != 2:
            return None
        order += [oxygen, *hydrogens]
    return np.array(order) if len(set(order)) == len(atoms) else None


def main() -> None:
    """Print the table."""
    frames, _ = read_frames(expand_path(DATA, Path.cwd()), "revPBE0-D3")
    liquid = [a for a in frames if "liq" in a.info["set"]]
    reference, forces = [], {model: [] for model in MODELS}
    for atoms in liquid[:: len(liquid) // (4 * N_FRAMES)]:
        order = in_order(atoms)
        cell = np.asarray(atoms.cell)
        if order is None or not np.allclose(cell, np.diag(np.diag(cell))):
            continue
        reference.append(atoms.get_forces()[order])
        for model in MODELS:
            forces[model].append(label_water(atoms[order], model).get_forces())
        if len(reference) == N_FRAMES:
            break
    dft = np.concatenate(reference)
    print(f"{len(reference)} frames, rms DFT force {1e3 * np.sqrt((dft**2).mean()):.0f} meV/Å")
    for model in MODELS:
        got = np.concatenate(forces[model])
        rms = 1e3 * np.sqrt(((got - dft) ** 2).mean())
        correlation = np.corrcoef(got.ravel(), dft.ravel())[0, 1]
        print(f"{model:8s} rms difference {rms:5.0f} meV/Å, correlation {correlation:.3f}")


if __name__ == "__main__":
    main()
