"""The manifest: what a model file says of itself, readable without torch.

A model file is one safetensors file; its manifest is JSON in the header. The manifest ends with a
checksum over itself and all tensors, so that neither can change unnoticed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from ase import Atoms
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from safetensors import SafetensorError, safe_open

from tpainn_calc._version import __version__
from tpainn_calc.base.errors import ModelFileError, did_you_mean
from tpainn_calc.hyperparameters import Hyperparameters

SCHEMA_VERSION = 2  # 1 had no properties
METADATA_KEY = "tpainn"
MODELS_FOLDER = Path(__file__).parent / "models"

_SEALED = re.compile(r'(\{.*),"sha256":"([0-9a-f]{64})"\}', re.DOTALL)
# of a golden structure, which is small by its purpose: every consumer computes it at every load
_GOLDEN_ATOMS = 1000
_Vector = Annotated[list[FiniteFloat], Field(min_length=3, max_length=3)]


class Golden(BaseModel):
    """A small structure with the energy and forces that the model gave when it was written."""

    model_config = ConfigDict(extra="forbid")

    symbols: list[str] = Field(min_length=1, max_length=_GOLDEN_ATOMS)
    positions: list[_Vector] = Field(max_length=_GOLDEN_ATOMS)
    cell: Annotated[list[_Vector], Field(min_length=3, max_length=3)]
    pbc: Annotated[list[bool], Field(min_length=3, max_length=3)]
    energy: FiniteFloat
    forces: list[_Vector] = Field(max_length=_GOLDEN_ATOMS)

    def atoms(self) -> Atoms:
        """The structure."""
        return Atoms(self.symbols, positions=self.positions, cell=self.cell, pbc=self.pbc)


class Coordination(BaseModel):
    """Range of the number of neighbours of one element around another, in the training set.

    Attributes
    ----------
    radius : float
        Neighbours nearer than this count, Å: between bonds and the next shell.
    fewest, most : int
        Over all atoms of the training set.
    """

    model_config = ConfigDict(extra="forbid")

    radius: Annotated[float, Field(gt=0, le=50, allow_inf_nan=False)]
    fewest: int = Field(ge=0)
    most: int = Field(ge=0)


class MeasuredProperty(BaseModel):
    """What the potential gives for something that can be measured.

    Attributes
    ----------
    value, error : float
        And standard error.
    unit : str
    source : str
        Command and length of run that it comes from.
    """

    model_config = ConfigDict(extra="forbid")

    value: FiniteFloat
    error: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    unit: str
    source: str = ""


class Manifest(BaseModel):
    """Record that a model file carries: its making, errors and range.

    Attributes
    ----------
    name, description, level_of_theory, citation, license : str
    hyperparameters : dict
        See :class:`tpainn_calc.hyperparameters.Hyperparameters`.
    dtype : str
        Type of the stored network weights.
    reference_energies : dict of str to (dict of str to float)
        Per level of theory: energy of the isolated atom of each element in eV, as fitted.
    training : dict
        Data sets (with sha256), sizes, seeds, configuration.
    errors : dict
        Held-out errors, with what they were measured on.
    shortest_distances : dict of str to float
        Smallest distance (Å) of every element pair in the training set, keys like ``"H-O"``.
    coordination : dict of str to (dict of str to Coordination)
        ``coordination["O"]["H"]`` counts the hydrogen atoms around an oxygen atom.
    properties : dict of str to MeasuredProperty
        Such as ``"density at 300 K and 1 bar"``.
    golden : Golden
    sha256 : str
        Of the manifest up to here and all tensors; empty in files of older versions.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    schema_version: int = SCHEMA_VERSION
    name: str
    description: str = ""
    hyperparameters: dict[str, Any]
    dtype: str
    units: dict[str, str] = Field(
        default_factory=lambda: {"energy": "eV", "length": "Å", "forces": "eV/Å"}
    )
    level_of_theory: str = ""
    reference_energies: dict[str, dict[str, float]] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    errors: dict[str, Any] = Field(default_factory=dict)
    shortest_distances: dict[str, Annotated[float, Field(ge=0, le=50)]] = Field(
        default_factory=dict
    )
    coordination: dict[str, dict[str, Coordination]] = Field(default_factory=dict)
    properties: dict[str, MeasuredProperty] = Field(default_factory=dict)
    code_version: str = __version__
    citation: str = "arXiv:2603.24752 (T-PaiNN), arXiv:2102.03150 (PaiNN)"
    license: str = ""
    golden: Golden
    sha256: str = ""

    def shape(self, path: str | os.PathLike[str]) -> Hyperparameters:
        """Hyperparameters, checked; `path` is named in the errors.

        Raises
        ------
        ModelFileError
            If one is absent, unknown or out of its bounds.
        """
        try:
            return Hyperparameters.from_record(self.hyperparameters)
        except (TypeError, ValueError) as error:
            raise ModelFileError(
                f"{path}: hyperparameters do not make a potential: {error}"
            ) from None

    @property
    def teacher(self) -> str:
        """Checksum of the model that this one was distilled from; empty if it was not."""
        if self.training.get("method") != "distill":
            return ""
        start = self.training.get("start")
        return str(start.get("seal", "")) if isinstance(start, dict) else ""

    def sealed(self, tensors: Mapping[str, np.ndarray]) -> tuple[Manifest, str]:
        """Copy with a checksum over itself and `tensors`, and its JSON text."""
        text = self.model_dump_json(exclude={"sha256"})
        digest = _digest(text, tensors)
        return self.model_copy(update={"sha256": digest}), f'{text[:-1]},"sha256":"{digest}"}}'


def shipped_models() -> list[str]:
    """Names of the potentials that come with the package."""
    return sorted(path.stem for path in MODELS_FOLDER.glob("*.safetensors"))


def find_model(model: str | os.PathLike[str]) -> Path:
    """Path of a model file, given a path or the name of a shipped potential.

    Raises
    ------
    ModelFileError
        If there is neither.
    """
    names = shipped_models()
    if "\0" not in str(model):  # no path has one
        path = Path(model)
        if path.is_file():
            return path
        if str(model) in names:
            return MODELS_FOLDER / f"{model}.safetensors"
    raise ModelFileError(
        f"no model file {str(model)!r} and no shipped potential of that name; shipped: "
        f"{', '.join(names) or 'none'}{did_you_mean(str(model), names)}"
    )


def read_manifest(model: str | os.PathLike[str]) -> Manifest:
    """Read the manifest of a model file (or shipped potential) without its weights.

    Raises
    ------
    ModelFileError
        Missing, truncated, corrupt or foreign file, or one of a newer schema.
    """
    path = find_model(model)
    return parse_manifest(read_header(path), path)


def read_header(path: Path) -> str:
    """JSON text of the manifest in a model file.

    Raises
    ------
    ModelFileError
        Truncated, corrupt or foreign file.
    """
    with path.open("rb") as opened:
        is_archive = opened.read(4) == b"PK\x03\x04"
    if is_archive:
        raise ModelFileError(
            f"{path} is an archive, perhaps an exported model (.pt), which serves LAMMPS and C++; "
            "give the model file (.safetensors) that it was made from"
        )
    try:
        with safe_open(str(path), framework="numpy") as handle:
            header = (handle.metadata() or {}).get(METADATA_KEY)
    except (SafetensorError, OSError, UnicodeDecodeError) as error:
        raise ModelFileError(
            f"{path} is not a readable model file ({error}); it may be truncated: copy it again"
        ) from None
    if header is None:
        raise ModelFileError(
            f"{path} is a safetensors file, but not of T-PaiNN: its header has no "
            f"{METADATA_KEY!r} entry; write model files with tpainn_calc.save_model or tpainn-train"
        )
    return str(header)


def parse_manifest(header: str, path: str | os.PathLike[str]) -> Manifest:
    """Read a manifest from its JSON text; `path` is named in the errors.

    Raises
    ------
    ModelFileError
        Damaged manifest, or one of a newer schema.
    """
    try:
        fields = json.loads(header)
        version = int(fields["schema_version"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ModelFileError(f"{path}: the manifest is damaged ({error})") from None
    if version > SCHEMA_VERSION:
        raise ModelFileError(
            f"{path} has schema {version}, newer than {SCHEMA_VERSION} that this version "
            f"({__version__}) reads; upgrade tpainn"
        )
    try:
        return Manifest(**fields)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise ModelFileError(f"{path}: manifest entry {where!r}: {problem['msg']}") from None


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a model file.

    Raises
    ------
    ModelFileError
        If one is of a type that no model file has.
    """
    try:
        with safe_open(str(path), framework="numpy") as handle:
            return {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError) as error:
        raise ModelFileError(f"{path}: the weights cannot be read ({error})") from None


def check_seal(header: str, tensors: Mapping[str, np.ndarray], path: Path) -> bool:
    """Compare the checksum in a manifest's text with what it covers; false if there is none.

    Raises
    ------
    ModelFileError
        If manifest or weights are not those that the checksum was taken of.
    """
    sealed = _SEALED.fullmatch(header)
    if sealed is None and not parse_manifest(header, path).sha256:
        return False
    if sealed is None or _digest(f"{sealed[1]}}}", tensors) != sealed[2]:
        raise ModelFileError(
            f"{path}: weights or manifest are not those that were written (sha256 differs); the "
            "file was damaged or altered: copy it again, or write it anew with save_model"
        )
    return True


def _digest(text: str, tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()
