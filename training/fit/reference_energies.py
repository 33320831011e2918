"""Per-element reference energies, fitted by least squares.

Total energies of different methods differ by 10²–10⁴ eV per atom, so every level of theory gets
its own reference energies; what is left for the network is of the order of a bond.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tpainn_calc.base.errors import DataError


@dataclass(frozen=True)
class ReferenceFit:
    """Result of :func:`fit_reference_energies`.

    Attributes
    ----------
    elements : tuple of str
    energies : ndarray (elements,)
        eV per atom.
    rank : int
        Independent compositions; below the number of elements the single energies are not
        determined (only their combinations are), which is harmless for these compositions.
    rms_before, rms_after : float
        Root mean square energy per atom of the set, before and after subtraction, eV.
    """

    elements: tuple[str, ...]
    energies: np.ndarray
    rank: int
    rms_before: float
    rms_after: float

    @property
    def determined(self) -> bool:
        """True if every single reference energy is determined by the data."""
        return self.rank == len(self.elements)

    def describe(self) -> str:
        """A line for people."""
        values = ", ".join(
            f"{e} {x:.4f}" for e, x in zip(self.elements, self.energies, strict=True)
        )
        line = (
            f"reference energies (eV): {values}; rms energy per atom "
            f"{self.rms_before:.4f} -> {self.rms_after:.4f} eV"
        )
        if not self.determined:
            line += (
                f" (only {self.rank} independent composition(s) for {len(self.elements)} "
                "elements: the minimum-norm solution, exact for these compositions only)"
            )
        return line


def fit_reference_energies(
    composition: np.ndarray, energy: np.ndarray, elements: Sequence[str]
) -> ReferenceFit:
    """Least-squares fit of one energy per element.

    Parameters
    ----------
    composition : ndarray (frames, elements)
        Atoms of each element.
    energy : ndarray (frames,)
        Total energies in eV.
    elements : sequence of str

    Raises
    ------
    DataError
        If there are no frames.
    """
    if len(energy) == 0:
        raise DataError("no frames to fit reference energies to")
    n_atoms = composition.sum(axis=1)
    # per atom, so that large structures do not outweigh small ones
    fractions, per_atom = composition / n_atoms[:, None], energy / n_atoms
    solution, _, rank, _ = np.linalg.lstsq(fractions, per_atom, rcond=1e-10)
    residual = per_atom - fractions @ solution
    return ReferenceFit(
        tuple(elements),
        solution,
        int(rank),
        float(np.sqrt(np.mean(per_atom**2))),
        float(np.sqrt(np.mean(residual**2))),
    )


def reference_table(
    elements: Sequence[str],
    levels: Mapping[str, np.ndarray],
    residuals: Sequence[np.ndarray],
    counts: np.ndarray,
    fit: ReferenceFit,
) -> str:
    """Reference energies of two levels, side by side, and what they leave unexplained.

    Parameters
    ----------
    elements : sequence of str
    levels : mapping of str to ndarray (elements,)
        eV per atom, at each level.
    residuals : sequence of ndarray (frames,)
        Error of the energies of the new level with either set of reference energies, eV.
    counts : ndarray (frames, elements)
        Composition.
    fit : ReferenceFit
        Of the new level.
    """
    n_atoms = counts.sum(axis=1)
    width = max(14, *(len(name) for name in levels))
    rows = ["reference energies (eV)".ljust(28) + "".join(f"  {n:>{width}s}" for n in levels)]
    for k, element in enumerate(elements):
        values = "".join(f"  {e[k]:{width}.4f}" for e in levels.values())
        rows.append(f"  {element:26s}{values}")
    errors = [float(np.sqrt(np.mean((r / n_atoms) ** 2))) for r in residuals]
    values = "".join(f"  {e:{width}.4f}" for e in errors)
    rows.append("  rms error, eV/atom".ljust(28) + values)
    if not fit.determined:
        rows.append(
            f"  ({fit.rank} independent composition(s) for {len(elements)} elements: only their "
            "combinations are determined)"
        )
    return "\n".join(rows)
