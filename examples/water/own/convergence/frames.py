"""Make ``frames.extxyz``: eight small frames of liquid at three densities and of ice.

``python -m examples.water.own.convergence.frames``, a few minutes. q-SPC/Fw makes the liquid, and
molecular dynamics with the shipped potential gives it the geometry of a density functional.
"""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from examples.water.own.ice import ice_ih
from tpainn_calc import TPaiNNCalculator
from training.classical.dynamics import langevin
from training.classical.water import WaterSource

FRAMES = Path(__file__).with_name("frames.extxyz")
#: Density in g/cm³ and temperature in K of 16 waters.
LIQUID = ((0.9, 300), (0.9, 350), (1.0, 280), (1.0, 300), (1.0, 350), (1.1, 300))
#: K, of 16 waters at 0.924 g/cm³.
ICE = (100, 250)
SPACING = 1.0  # ps of molecular dynamics before the frame is taken


def liquid(density: float, temperature: float, seed: int) -> Atoms:
    """16 waters of q-SPC/Fw."""
    source = WaterSource(
        "q-spcfw", (16,), (temperature,), (density,), frames_per_point=1, equilibration=20.0
    )
    frame = next(source.frames(source.shards()[0], seed))
    if not isinstance(frame, Atoms):
        raise RuntimeError(frame)
    return Atoms(frame.symbols, frame.positions, cell=frame.cell, pbc=True)


def relaxed(atoms: Atoms, temperature: float, seed: int) -> Atoms:
    """The frame after some time with the shipped potential."""
    atoms.calc = TPaiNNCalculator("water")

    def compute(positions: np.ndarray) -> tuple[float, np.ndarray]:
        atoms.positions = positions
        return atoms.get_potential_energy(), atoms.get_forces()

    (positions,) = langevin(
        compute,
        atoms.positions.copy(),
        atoms.get_masses(),
        temperature=temperature,
        timestep=0.5,
        spacing=SPACING,
        n_frames=1,
        rng=np.random.default_rng(seed),
    )
    return Atoms(atoms.symbols, positions, cell=atoms.cell, pbc=True)


def main() -> None:
    """Write the frames."""
    starts = [
        (f"liquid-{rho:g}-{kelvin}K", liquid(rho, kelvin, seed), kelvin)
        for seed, (rho, kelvin) in enumerate(LIQUID)
    ]
    starts += [
        (f"ice-{kelvin}K", ice_ih((2, 1, 1), np.random.default_rng(kelvin)), kelvin)
        for kelvin in ICE
    ]
    frames = []
    for seed, (name, atoms, kelvin) in enumerate(starts):
        frame = relaxed(atoms, kelvin, seed)
        frame.info["name"] = name
        frames.append(frame)
        print(name, flush=True)
    ase.io.write(FRAMES, frames, format="extxyz")


if __name__ == "__main__":
    main()
