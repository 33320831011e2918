"""QM9 as frames: equilibrium geometries with total energies, no forces."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator

from tpainn_calc.base.errors import DataError, one_line
from tpainn_calc.base.frames import FrameSequence

#: What zipfile and NumPy raise on archives that are damaged, or of another kind. A damaged header
#: may ask for a compression or an encryption that does not exist.
DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    zlib.error,
    zipfile.BadZipFile,
)
LEVEL = "B3LYP/6-31G(2df,p)"


class QM9Frames(FrameSequence):
    """Molecules of QM9 with the energy U0 in eV (Ramakrishnan et al., Sci. Data 1, 140022 (2014)).

    Parameters
    ----------
    path : Path
        Archive with ``id``, ``offset``, ``Z``, ``pos`` (Å) and ``u0`` (Hartree).

    Raises
    ------
    DataError
        If the file is missing or has another content.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise DataError(f"no data file {path}")
        try:
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as archive:
                names = ("id", "offset", "Z", "pos", "u0")
                self._columns = {name: archive[name] for name in names}
            _check_lengths(self._columns)
        except DAMAGED as error:
            raise DataError(f"{path} is not an archive of QM9: {one_line(error)}") from None

    @property
    def ids(self) -> np.ndarray:
        """Index of every molecule in the original set (molecules,)."""
        return np.asarray(self._columns["id"])

    def __len__(self) -> int:
        return len(self._columns["u0"])

    def read(self, index: int) -> Atoms:
        """Molecule by number."""
        c = self._columns
        begin, end = c["offset"][index : index + 2]
        atoms = Atoms(c["Z"][begin:end], positions=c["pos"][begin:end].astype(float))
        atoms.info.update(molecule=int(c["id"][index]), level=LEVEL)
        energy = float(c["u0"][index]) * units.Hartree
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
        return atoms


def _check_lengths(columns: dict[str, np.ndarray]) -> None:
    n, n_atoms = len(columns["u0"]), len(columns["Z"])
    shapes = {"id": (n,), "offset": (n + 1,), "Z": (n_atoms,), "pos": (n_atoms, 3), "u0": (n,)}
    for name, shape in shapes.items():
        if columns[name].shape != shape:
            raise ValueError(f"{name} has shape {columns[name].shape}, not {shape}")
        if columns[name].dtype.kind not in ("iuf" if name in ("pos", "u0") else "iu"):
            raise ValueError(f"{name} holds {columns[name].dtype}, not numbers")
    offset = columns["offset"]
    if offset[0] != 0 or offset[-1] != n_atoms or (np.diff(offset) < 1).any():
        raise ValueError("offset does not count atoms")
    if n_atoms and not (columns["Z"].min() >= 1 and columns["Z"].max() <= 118):
        raise ValueError("Z is not an atomic number")
