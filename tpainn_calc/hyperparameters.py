"""Hyperparameters: the one list of what fixes the shape of a potential, with its bounds.

Configuration files, the network, the manifest of a model file and the check of its shape all take
names, types, bounds and defaults from here. It is free of torch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_type_hints

from ase.data import atomic_numbers
from pydantic import Field, TypeAdapter, ValidationError

Basis = Literal["bessel", "gaussian"]
Envelope = Literal["cosine", "polynomial"]
BASES: tuple[str, ...] = get_args(Basis)
ENVELOPES: tuple[str, ...] = get_args(Envelope)

# The upper bounds are far beyond any use. A damaged or hostile file must not make a program ask
# for more memory, or compute for longer, than its size warrants.
Features = Annotated[int, Field(ge=2, le=2048, multiple_of=2)]
Blocks = Annotated[int, Field(ge=1, le=32)]
Cutoff = Annotated[float, Field(ge=0.1, le=50, allow_inf_nan=False)]
BasisSize = Annotated[int, Field(ge=2, le=512)]
NormEpsilon = Annotated[float, Field(gt=0, le=1e3, allow_inf_nan=False)]


@dataclass(frozen=True)
class Hyperparameters:
    """Everything that fixes the shape of a potential.

    Attributes
    ----------
    elements : tuple of str
        Chemical symbols, in the order of `species` indices.
    n_features : int
        Channels of the scalars, and of the vectors, of every atom; even.
    n_blocks : int
        Message-passing blocks; every one widens what an atom feels by a cut-off.
    cutoff : float
        Distance beyond which atoms do not see each other directly, Å.
    n_basis : int
        Radial functions that a distance is expanded in.
    basis : {"bessel", "gaussian"}
        Kind of the radial functions.
    envelope : {"cosine", "polynomial"}
        Function that takes the messages to zero at the cut-off.
    norm_epsilon : float
        Added to the squared norm of the vectors under the root, so that it stays smooth at zero.

    Raises
    ------
    ValueError
        With every value that is out of its bounds or of another type.
    """

    elements: tuple[str, ...]
    n_features: Features = 64
    n_blocks: Blocks = 3
    cutoff: Cutoff = 5.0
    n_basis: BasisSize = 20
    basis: Basis = "bessel"
    envelope: Envelope = "polynomial"
    norm_epsilon: NormEpsilon = 1e-3

    def __post_init__(self) -> None:
        if not isinstance(self.elements, str):
            object.__setattr__(self, "elements", tuple(self.elements))
        problems = []
        for name, adapter in _checks().items():
            value = getattr(self, name)
            try:
                # strict: a text that looks like a number is not one
                adapter.validate_python(value, strict=True)
            except ValidationError as error:
                problem = error.errors()[0]["msg"].removeprefix("Input ")
                problems.append(f"{name} {problem}, not {value!r}")
        if problems:
            raise ValueError("; ".join(problems))
        if not self.elements or len(set(self.elements)) != len(self.elements):
            raise ValueError(f"elements must be distinct and not empty: {self.elements}")
        # atomic number 0 is ASE's dummy atom
        unknown = [e for e in self.elements if not atomic_numbers.get(e)]
        if unknown:
            raise ValueError(f"not a chemical symbol: {', '.join(map(str, unknown))}")

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Hyperparameters:
        """Hyperparameters of a manifest, where nothing may be left to a default.

        Raises
        ------
        ValueError
            If an entry is absent, unknown or out of its bounds.
        """
        record = {"norm_epsilon": 1e-8, **record}  # files older than this hyperparameter
        names = [field.name for field in fields(cls)]
        absent = [name for name in names if name not in record]
        unknown = [str(name) for name in record if name not in names]
        if absent:
            raise ValueError(f"{', '.join(absent)} not given")
        if unknown:
            raise ValueError(f"{', '.join(unknown)} unknown")
        if not isinstance(record["elements"], list | tuple):
            raise ValueError(f"elements should be a list, not {record['elements']!r}")
        return cls(**record)


@cache
def _checks() -> dict[str, TypeAdapter[Any]]:
    hints = get_type_hints(Hyperparameters, include_extras=True)
    return {name: TypeAdapter(hint) for name, hint in hints.items()}
