"""Label by an ASE calculator: attempt after attempt, until one converges."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculatorError, CalculatorSetupError, SCFError

from tpainn_calc.base.errors import one_line
from tpainn_calc.base.frames import attach_results
from training.labels.engines.contract import EngineCrashed, Label, LabelFailed

#: Name of an attempt, and what makes its calculator.
Attempt = tuple[str, Callable[[], Any]]


def label_by_attempts(
    atoms: Atoms,
    attempts: Sequence[Attempt],
    level: str,
    stress: bool,
    of_the_frame: type[CalculatorError] = SCFError,
) -> Label:
    """Label a structure by the first attempt that succeeds.

    Parameters
    ----------
    atoms : ase.Atoms
    attempts : sequence of (str, callable)
        The first is the normal one; the name of a later one goes into the notes.
    level : str
    stress : bool
        Ask for the stress too.
    of_the_frame : type
        The error that says that the code works, but not for this structure.

    Raises
    ------
    LabelFailed
        If every attempt ends with an error of the calculator, and one with `of_the_frame`.
    EngineCrashed
        If the calculator cannot be set up, every attempt ends with other errors of its own, or
        one ends with any other error.
    """
    began = time.monotonic()
    reasons = []
    works = False
    for number, (name, make) in enumerate(attempts):
        try:
            energy, forces, tensor = compute(atoms, make(), stress)
        except CalculatorError as error:
            if isinstance(error, CalculatorSetupError) and not isinstance(error, of_the_frame):
                raise EngineCrashed(one_line(error)) from error
            works = works or isinstance(error, of_the_frame)
            reasons.append(f"{name}: {one_line(error)}")
            continue
        except (OSError, LabelFailed, EngineCrashed):
            raise
        except Exception as error:  # calculators raise what their parsers happen to meet
            raise EngineCrashed(f"{type(error).__name__}: {one_line(error)}") from error
        done = attach_results(bare(atoms), energy, forces, tensor)
        notes: dict[str, str | float] = {"fallback": name} if number else {}
        return Label(done, level, True, time.monotonic() - began, notes)
    if works:
        raise LabelFailed("; ".join(reasons))
    # a program that is missing, or that stopped: the frame may or may not be the reason
    raise EngineCrashed("; ".join(reasons))


def compute(
    atoms: Atoms, calculator: Any, stress: bool
) -> tuple[float, np.ndarray, np.ndarray | None]:
    """Energy (eV), forces (eV/Å) and, if asked for, stress (eV/Å³)."""
    work = bare(atoms)
    work.calc = calculator
    forces = work.get_forces()
    return work.get_potential_energy(), forces, work.get_stress() if stress else None


def bare(atoms: Atoms) -> Atoms:
    """Species, positions and cell, with the info but without calculator, velocities and tags."""
    copy = Atoms(atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    copy.info.update(atoms.info)
    return copy
