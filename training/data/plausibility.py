"""Doubts about labels: other units, forces of the other sign, stress of the other sign.

Nothing here is proof, and nothing is refused: every doubt says what it rests on. Three things are
looked at, as far as the frames allow it; a run that is tuned has its pretrained model as a fourth.

* Work: between two similar frames the energy changes by −½ (F₁ + F₂)·Δx, exactly so where it is
  quadratic. The ratio of both sides tells the units of energy and forces from each other.
* Bonds: a bond that is shorter than the mean of its kind pushes its atoms apart, and bonds of
  hydrogen to C, N and O have force constants of 20 to 80 eV/Å² in every molecule.
* Pressure: a structure that is compressed wants to expand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from tpainn_calc.base.arrays import Array
from tpainn_calc.base.errors import StructureError
from tpainn_calc.base.frames import results_of
from tpainn_calc.neighbors import neighbors

#: Frames that are looked at, and the fewest that a doubt rests on.
MOST, FEWEST = 300, 10
_KCAL, _KJ, _HARTREE, _BOHR = 23.0605, 96.4853, 27.2114, 0.529177
_TOLERANCE = 0.2  # of the logarithm: frames are not close enough for an exact ratio
#: Change of the energy over the work of the forces, and what it says of their units.
_ENERGY_OVER_WORK = {
    _KCAL: "energies look like kcal/mol beside forces in eV/Å",
    1 / _KCAL: "forces look like kcal/mol/Å beside energies in eV",
    _KJ: "energies look like kJ/mol beside forces in eV/Å",
    _HARTREE / _BOHR: "forces look like Hartree/Bohr beside energies in eV",
    1 / _HARTREE: "energies look like Hartree beside forces in eV/Å",
    1 / _BOHR: "labels look like Hartree and Hartree/Bohr",
}
#: Force constants of bonds to hydrogen, eV/Å², and the units in which others would lie there.
_STIFFNESS = (20.0, 80.0)
_FORCE_UNITS = {_KCAL: "kcal/mol/Å", _KJ: "kJ/mol/Å", _BOHR / _HARTREE: "Hartree/Bohr"}
_STRESS_UNITS = {160.2177: "GPa", 1602.177: "kbar", 1602177.0: "bar"}
_BOND = 1.4  # Å, to hydrogen
_NEAR = 3.5  # Å


def doubts(frames: Sequence[Atoms]) -> list[str]:
    """Doubts about the labels of frames, one line each.

    Parameters
    ----------
    frames : sequence of ase.Atoms
        Labelled; up to :data:`MOST` are looked at, in their order.
    """
    some = [frames[k] for k in range(min(len(frames), MOST))]
    found = [_doubt_of_work(some), *_doubts_of_bonds(some), _doubt_of_pressure(some)]
    return [line for line in found if line]


def doubts_beside(
    forces: tuple[Array, Array], stress: tuple[Array, Array], model: str
) -> list[str]:
    """Doubts about labels beside a model's own forces and stress, one line each.

    Parameters
    ----------
    forces : (ndarray, ndarray)
        Labels and the model's, eV/Å.
    stress : (ndarray, ndarray)
        Likewise, eV/Å³ (frames, 3, 3); none without labels. Their means are left out: two levels
        of theory may well differ in the sign of the pressure.
    model : str
        Its name.
    """
    label, said = (part - part.mean(axis=0) if len(part) else part for part in stress)
    found = (
        _doubt_beside("forces", forces[0].ravel(), forces[1].ravel(), _FORCE_UNITS, model),
        _doubt_beside("stress", label.ravel(), said.ravel(), _STRESS_UNITS, model),
    )
    return [line for line in found if line]


def _doubt_beside(what: str, label: Array, said: Array, units: dict[float, str], model: str) -> str:
    if len(label) < 3 * FEWEST:
        return ""
    slope, correlation = ratio(label, said)
    sure = f"(correlation {correlation:.2f} with {model} over {len(label)} numbers)"
    if correlation < -0.5:
        return f"{what} of the other sign, it seems {sure}"
    if correlation < 0.7:
        return ""
    # two levels of theory differ, but not by tens of times
    factor = min([1.0, *units], key=lambda known: abs(np.log(slope / known)))
    if factor == 1 or abs(np.log(slope / factor)) > np.log(2):
        return ""
    return f"{what} in {units[factor]}, it seems: {slope:.3g} times those of the model {sure}"


def ratio(label: Array, expected: Array) -> tuple[float, float]:
    """Slope of `label` over `expected` through the origin, and their correlation about it."""
    dot, xx, yy = float(label @ expected), float(expected @ expected), float(label @ label)
    if xx == 0 or yy == 0:
        return float("nan"), 0.0
    return dot / xx, dot / float(np.sqrt(xx * yy))


def _doubt_of_work(frames: Sequence[Atoms]) -> str:
    changes, work = [], []
    for one, two in pairwise(frames):
        a, b = results_of(one), results_of(two)
        if "forces" not in a or "forces" not in b or not _similar(one, two):
            continue
        step, _ = find_mic(two.positions - one.positions, one.cell, one.pbc)
        if np.abs(step).max() < 0.5:
            changes.append(b["energy"] - a["energy"])
            work.append(-0.5 * float(((a["forces"] + b["forces"]) * step).sum()))
    slope, correlation = ratio(np.array(changes), np.array(work))
    if len(work) < FEWEST or abs(correlation) < 0.8:
        return ""
    sure = f"(correlation {abs(correlation):.2f} over {len(work)} pairs of frames)"
    if slope < 0:
        return f"forces look like −F: the energy rises along them {sure}"
    factor = min([1.0, *_ENERGY_OVER_WORK], key=lambda known: abs(np.log(slope / known)))
    if factor == 1 or abs(np.log(slope / factor)) > _TOLERANCE:
        return ""
    text = _ENERGY_OVER_WORK[factor]
    return f"{text}: energy changes are {slope:.3g} times the work of the forces {sure}"


def _similar(one: Atoms, two: Atoms) -> bool:
    return np.array_equal(one.numbers, two.numbers) and np.allclose(one.cell, two.cell)


def _doubts_of_bonds(frames: Sequence[Atoms]) -> Iterator[str]:
    lengths, pulls, owner = _nearest(frames)
    pooled, against, n_frames = [], 0, 0
    per_frame: dict[int, float] = defaultdict(float)
    for pair, r in lengths.items():
        x, y = np.array(r), np.array(pulls[pair])
        x, y = x - x.mean(), y - y.mean()
        pooled.append((x, y))
        for number, product in zip(owner[pair], x * y, strict=True):
            per_frame[number] += product
    if not pooled:
        return
    x, y = (np.concatenate(part) for part in zip(*pooled, strict=True))
    _, correlation = ratio(y, x)
    n_frames = len(per_frame)
    against = sum(value > 0 for value in per_frame.values())
    if n_frames >= FEWEST and correlation > 0.3 and against >= 0.9 * n_frames:
        yield (
            f"forces look like −F: short bonds pull, in {against} of {n_frames} frames "
            f"(correlation {correlation:.2f})"
        )
    bonds = [(np.array(r), np.array(pulls[p])) for p, r in lengths.items() if _is_hydride(p, r)]
    if not bonds or n_frames < FEWEST:
        return
    x = np.concatenate([r - r.mean() for r, _ in bonds])
    y = np.concatenate([f - f.mean() for _, f in bonds])
    slope, correlation = ratio(y, x)
    low, high = _STIFFNESS
    for factor, unit in _FORCE_UNITS.items():
        if abs(correlation) > 0.5 and low < abs(slope) / factor < high:
            yield (
                f"forces look like {unit}: bonds to hydrogen have a force constant of "
                f"{abs(slope):.3g} eV/Å², not {low:g} to {high:g} (correlation "
                f"{abs(correlation):.2f} over {len(x)} bonds)"
            )


def _is_hydride(pair: tuple[int, int], lengths: Sequence[float]) -> bool:
    return pair[0] == 1 and pair[1] in (6, 7, 8) and float(np.mean(lengths)) < _BOND


def _nearest(
    frames: Sequence[Atoms],
) -> tuple[
    dict[tuple[int, int], list[float]],
    dict[tuple[int, int], list[float]],
    dict[tuple[int, int], list[int]],
]:
    """Bond of every atom to its nearest neighbour: length, force that lengthens it, frame."""
    lengths, pulls, owner = defaultdict(list), defaultdict(list), defaultdict(list)
    for number, atoms in enumerate(frames):
        forces = results_of(atoms).get("forces")
        if forces is None:
            continue
        try:
            edges = neighbors(atoms.positions, atoms.cell, atoms.pbc, _NEAR)
        except StructureError:  # training will say what is wrong with it
            continue
        i, j, vector = edges.centre, edges.neighbour, edges.edge_vec
        d = np.linalg.norm(vector, axis=1)
        order = np.lexsort((d, i))
        _, first = np.unique(i[order], return_index=True)
        for k in order[first]:
            a, b = atoms.numbers[i[k]], atoms.numbers[j[k]]
            pair = (int(min(a, b)), int(max(a, b)))
            lengths[pair].append(float(d[k]))
            pulls[pair].append(float((forces[j[k]] - forces[i[k]]) @ vector[k] / d[k] / 2))
            owner[pair].append(number)
    return lengths, pulls, owner


def _doubt_of_pressure(frames: Sequence[Atoms]) -> str:
    volumes, tension = [], []
    for atoms in frames:
        stress = results_of(atoms).get("stress")
        if stress is not None and sorted(atoms.numbers) == sorted(frames[0].numbers):
            volumes.append(np.log(abs(atoms.cell.volume)))
            tension.append(float(stress[:3].mean()))
    if len(volumes) < FEWEST or np.ptp(volumes) < 0.03:
        return ""
    x, y = np.array(volumes), np.array(tension)
    _, correlation = ratio(y - y.mean(), x - x.mean())
    if correlation > -0.5:
        return ""
    return (
        "stress looks like that of the other sign: tension, which is positive, falls with the "
        f"volume (correlation {correlation:.2f} over {len(x)} frames)"
    )
