"""A command on damaged input, and the sound input that is damaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule

from benchmarks.fuzz.mutations import TEXT, Damage
from benchmarks.fuzz.sandbox import Body, Ended
from tpainn_calc.base.errors import TPaiNNError
from tpainn_calc.base.frames import attach_results, read_extxyz, results_of, write_extxyz

#: eV per atom: beyond it no result is one.
ABSURD = 1e5


@dataclass(frozen=True)
class Case:
    """A command on damaged input.

    Attributes
    ----------
    body : callable
        The command, to be run in the case's folder.
    right : callable
        Whether results are right that came with exit code 0.
    code_ran : callable
        Whether the input ran code of its own.
    """

    body: Body
    right: Callable[[Ended], bool]
    code_ran: Callable[[], bool] = lambda: False


#: Makes the case of a seed in a folder that holds nothing else.
Target = Callable[[Path, Damage], Case]


def command(main: Callable[[Sequence[str]], int], *words: str) -> Body:
    """One of our commands as a function."""
    return lambda: main(words)


def water_box(n_side: int = 2) -> Atoms:
    """A few waters on a lattice, each turned in its own way."""
    atoms = Atoms(cell=[3.1 * n_side] * 3, pbc=True)
    for place in np.ndindex(n_side, n_side, n_side):
        water = molecule("H2O")
        water.rotate(137.0 * (1 + place[0] + 3 * place[1]), (1, 1 + place[2], 0.3), center="COM")
        water.translate(3.1 * np.array(place) - water.get_center_of_mass())
        atoms += water
    return atoms


@cache
def box_energy(n_side: int) -> float:
    """Energy of a :func:`water_box` by the shipped potential, eV."""
    from tpainn_calc.calculator import TPaiNNCalculator

    atoms = water_box(n_side)
    atoms.calc = TPaiNNCalculator("water")
    return float(atoms.get_potential_energy())


def labelled_frames(n: int) -> list[Atoms]:
    """Small frames with energy, forces and stress."""
    rng = np.random.default_rng(0)
    frames = []
    for k in range(n):
        atoms = water_box()
        atoms.rattle(0.05, seed=k)
        forces = rng.normal(size=(len(atoms), 3))
        attach_results(atoms, -10.0 * len(atoms) + k, forces, 0.01 * rng.normal(size=6))
        frames.append(atoms)
    return frames


def write_damaged(path: Path, frames: Sequence[Atoms], damage: Damage) -> None:
    """Write frames as extended XYZ and damage the file."""
    write_extxyz(path, frames)
    path.write_bytes(damage.of(path.read_bytes(), TEXT))


def energies(path: Path) -> list[float]:
    """Energies of the frames in a file; none if it cannot be read."""
    try:
        return [float(results_of(atoms)["energy"]) for atoms in read_extxyz(path)]
    except (TPaiNNError, KeyError):
        return []


def is_sane(path: Path) -> bool:
    """Whether a file has frames with finite energies that could be real."""
    try:
        frames = read_extxyz(path)
    except TPaiNNError:
        return False
    return all(
        abs(float(results_of(atoms).get("energy", np.nan))) < ABSURD * len(atoms)
        for atoms in frames
    )


def warned(ended: Ended) -> bool:
    """Whether the user was told that something is odd."""
    return "Å" in ended.errors or "warning" in ended.errors.lower()
