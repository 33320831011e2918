"""Structures that a command is given, and the labels that they carry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tpainn_calc.base.errors import DataError, StructureError, one_line

if TYPE_CHECKING:
    from ase import Atoms

_EXTXYZ = (".xyz", ".extxyz")


def read_structures(path: Path) -> Iterator[Atoms]:
    """All structures of a file, one after the other.

    Raises
    ------
    StructureError, DataError
        If there is no such file, it is not readable, or it holds no structure.
    """
    if "\0" in str(path) or not path.is_file():
        name = str(path)
        raise StructureError(f"no structure file {name if name.isprintable() else repr(name)}")
    if Path(path.name.removesuffix(".gz")).suffix in _EXTXYZ:
        from tpainn_calc.base.frames import iter_extxyz

        return iter_extxyz(path)
    return _read_ase(path)


def _read_ase(path: Path) -> Iterator[Atoms]:
    import ase.io

    try:
        frames = ase.io.read(path, ":")
    except Exception as error:  # ASE raises whatever its parsers happen to meet
        raise StructureError(
            f"{path} is not a structure that ASE can read: {one_line(error)}"
        ) from None
    if not frames:
        raise StructureError(f"{path} holds no structure")
    yield from frames


def labels_of(atoms: Atoms, where: str) -> dict[str, Any]:
    """Energy, forces and stress that a structure came with, checked to be numbers.

    Raises
    ------
    DataError
        If one is no number or not finite.
    """
    import numpy as np

    from tpainn_calc.base.frames import results_of

    labels = {}
    for name, value in results_of(atoms).items():
        if name not in ("energy", "forces", "stress"):
            continue
        array = np.asarray(value)
        if array.dtype.kind not in "fiu":
            raise DataError(f"{where}: its label {name}={value!r} is not a number")
        if not np.isfinite(array).all():
            raise DataError(f"{where}: its label {name} is not finite; leave the label out")
        labels[name] = array
    return labels
