"""SOAP descriptors through DScribe (extra ``tpainn[soap]``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from seedselect.errors import SeedSelectError
from seedselect.frames.atoms import to_atoms
from seedselect.frames.frame import Frame
from tpainn_calc.base.arrays import Array


class Soap:
    """Averaged smooth overlap of atomic positions of a frame.

    Parameters
    ----------
    elements : sequence of int
    cutoff : float, Angstrom
    n_max, l_max : int
    average : {"inner", "outer"}
    periodic : bool
        Respect the periodicity of every frame; False takes all frames as isolated.
    """

    def __init__(
        self,
        elements: Sequence[int],
        cutoff: float = 5.0,
        n_max: int = 6,
        l_max: int = 4,
        average: str = "inner",
        periodic: bool = True,
    ) -> None:
        try:
            from dscribe.descriptors import SOAP
        except ImportError as error:
            raise SeedSelectError(
                "SOAP needs DScribe: pip install 'tpainn[soap]', or use LocalInvariants"
            ) from error
        self._text = f"elements={list(elements)}, cutoff={cutoff}, n_max={n_max}, l_max={l_max}"
        options = {
            "species": list(elements),
            "r_cut": cutoff,
            "n_max": n_max,
            "l_max": l_max,
            "average": average,
        }
        # DScribe fixes periodicity per descriptor and refuses molecules without a cell when it
        # is on, whereas a source may hold both.
        self._isolated: Any = SOAP(periodic=False, **options)
        self._periodic: Any = SOAP(periodic=True, **options) if periodic else self._isolated

    def __repr__(self) -> str:
        return f"Soap({self._text})"

    def __call__(self, frame: Frame) -> Array:
        """Return the row of a frame.

        Raises
        ------
        SeedSelectError
            If DScribe refuses the frame (an element it was not made for, for example).
        """
        soap = self._periodic if frame.pbc.any() else self._isolated
        try:
            return np.asarray(soap.create(to_atoms(frame)), dtype=float).ravel()
        except ValueError as error:
            raise SeedSelectError(f"SOAP of a frame of {len(frame)} atoms: {error}") from error
