"""Under which names a frame carries its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress

from tpainn_calc.base.errors import DataError, did_you_mean
from tpainn_calc.base.frames import FrameSequence, attach_results, results_of


@dataclass(frozen=True)
class LabelKeys:
    """Names of the labels in the files.

    Attributes
    ----------
    energy : str
        Info key, eV.
    forces : str
        Column of the atoms, eV/Å.
    stress : str
        Info key, eV/Å³: six numbers in Voigt order xx yy zz yz xz xy, or nine; tension positive.
    """

    energy: str = "energy"
    forces: str = "forces"
    stress: str = "stress"

    @property
    def usual(self) -> bool:
        """True if ASE reads labels of these names by itself."""
        return self == LabelKeys()

    def results(self, atoms: Atoms, where: str) -> dict[str, Any]:
        """Labels of a frame, as far as it carries them.

        Parameters
        ----------
        atoms : ase.Atoms
        where : str
            Named in the errors.

        Raises
        ------
        DataError
            If a label is no number, or has the wrong shape.
        """
        usual, found = results_of(atoms), {}
        for label, key in vars(self).items():
            stored = atoms.arrays if label == "forces" else atoms.info
            value = usual.get(label) if key == label else stored.get(key)
            if value is not None:
                found[label] = _checked(label, key, value, len(atoms), where)
        return found

    def relabel(self, atoms: Atoms, where: str) -> Atoms:
        """Give a frame the labels of these names, in place of those that it has."""
        return attach_results(atoms, **self.results(atoms, where))

    def missing(self, label: str, atoms: Atoms, setting: str) -> str:
        """Text about a frame without a label, with the other names that might be meant.

        Parameters
        ----------
        label : {"energy", "forces", "stress"}
        atoms : ase.Atoms
        setting : str
            What the user writes to name the key.
        """
        key = getattr(self, label)
        under = "" if key == label else f" under {key!r}"
        candidates = _candidates(label, atoms)
        if not candidates:
            return f"no {label}{under}; label every frame before training"
        close = did_you_mean(key, candidates)
        names = ", ".join(map(repr, candidates[:6]))
        return f"no {label}{under}, but {names}{close}; name the one that is meant by {setting}"


def _checked(label: str, key: str, value: Any, n_atoms: int, where: str) -> Any:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise DataError(f"{where}: {key} is {str(value)[:30]!r}, which is not a number")
    if label == "energy":
        if array.size != 1:
            raise DataError(f"{where}: {key} has {array.size} numbers; an energy is one")
        return float(array.reshape(()))
    if label == "forces":
        if array.shape != (n_atoms, 3):
            raise DataError(f"{where}: {key} has shape {array.shape}, not ({n_atoms}, 3)")
        return array.astype(float)
    if array.size == 9:
        return full_3x3_to_voigt_6_stress(array.reshape(3, 3).astype(float))
    if array.size != 6:
        raise DataError(f"{where}: {key} has {array.size} numbers; a stress has six, or nine")
    return array.reshape(6).astype(float)


def _candidates(label: str, atoms: Atoms) -> list[str]:
    """Names in a frame that have the shape of a label; those that sound like it come first."""
    if label == "forces":
        shape = (len(atoms), 3)
        names = [k for k, v in atoms.arrays.items() if v.shape == shape and k != "positions"]
    elif label == "energy":
        real = (k for k, v in atoms.info.items() if isinstance(v, Real) and v is not True)
        names = [k for k in real if k not in ("index", "source")]
    else:
        names = [k for k, v in atoms.info.items() if np.size(v) in (6, 9)]
    names = [str(name) for name in names]
    return sorted(names, key=lambda name: (label[:5] not in name.lower(), name))


class RelabelledFrames(FrameSequence):
    """Frames that carry their labels under names of their own, with the usual ones.

    Parameters
    ----------
    frames : sequence of ase.Atoms
    keys : LabelKeys
    name : str
        Of the file, for errors.
    """

    def __init__(self, frames: Sequence[Atoms], keys: LabelKeys, name: str) -> None:
        self.frames = frames
        self.keys = keys
        self.name = name

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, index: int) -> Atoms:
        """Frame by number, relabelled."""
        return self.keys.relabel(self.frames[index], f"{self.name}, frame {index}")
