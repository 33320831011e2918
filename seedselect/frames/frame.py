"""One atomistic configuration as plain arrays."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tpainn_calc.base.arrays import Array

#: Positions and cells are rounded to this before hashing, in Angstrom.
HASH_RESOLUTION = 1e-4

#: Lengths beyond this are damage, and beyond what a hash can hold, in Angstrom.
LARGEST = 1e9


@dataclass(frozen=True)
class Frame:
    """Atoms, cell and, where known, labels.

    Attributes
    ----------
    numbers : int array (n,)
    positions : array (n, 3), Angstrom
    cell : array (3, 3), Angstrom, rows are lattice vectors; zeros where not periodic
    pbc : bool array (3,)
    energy : float or None, eV
    forces : array (n, 3) or None, eV/Angstrom
    info : dict
        Other values of the comment line.
    """

    numbers: NDArray[np.int64]
    positions: Array
    cell: Array
    pbc: NDArray[np.bool_]
    energy: float | None = None
    forces: Array | None = None
    info: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.numbers)

    def fault(self) -> str:
        """Say why the frame is no geometry; empty if it is one."""
        if not np.isfinite(self.positions).all():
            return "positions are not finite: drop it from the file"
        if not np.isfinite(self.cell).all():
            return "the cell is not finite: fix its Lattice, or drop it from the file"
        if np.abs(self.positions).max(initial=0.0) > LARGEST or np.abs(self.cell).max() > LARGEST:
            return f"lengths above {LARGEST:g} Angstrom: the file is damaged"
        if self.pbc.any():
            lengths = np.linalg.norm(self.cell[self.pbc], axis=1)
            if (lengths < 1e-6).any():
                return "periodic along a cell vector of length 0: fix its cell"
            unit = self.cell[self.pbc] / lengths[:, None]
            if np.linalg.det(unit @ unit.T) < 1e-8:
                return "cell vectors that lie in one plane or line: fix its cell"
        return ""

    @property
    def key(self) -> str:
        """Hash of species, positions, cell and periodicity: the frame's name in a campaign."""
        digest = hashlib.sha256()
        digest.update(np.asarray(self.numbers, dtype="<i4").tobytes())
        for values in (self.positions, self.cell):
            # +0.0 turns -0.0 into 0.0.
            digest.update((np.round(values / HASH_RESOLUTION) + 0.0).astype("<i8").tobytes())
        digest.update(np.asarray(self.pbc, dtype=np.uint8).tobytes())
        return digest.hexdigest()[:24]
