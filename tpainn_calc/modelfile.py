"""The model file: one safetensors file with the weights and a JSON manifest in its header.

Loading runs no code. The manifest says what the potential is, what it was trained on and how good
it is, and holds *golden* energies and forces of a small structure, which every consumer computes
again when it loads the file: a model that loads gives the numbers that its authors saw.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ase import Atoms
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from tpainn_calc import ops
from tpainn_calc._version import __version__
from tpainn_calc.base.errors import ModelFileError, StructureError, did_you_mean
from tpainn_calc.base.files import write_atomically
from tpainn_calc.graph import Graph
from tpainn_calc.potential import Hyperparameters, Potential, predict

SCHEMA_VERSION = 1
_log = logging.getLogger(__name__)

METADATA_KEY = "tpainn"
MODELS_FOLDER = Path(__file__).parent / "models"
# agreement with the golden values: energies relative to atoms (eV), forces (eV/Å)
GOLDEN_TOLERANCE = {torch.float32: 5e-4, torch.float64: 1e-5}

# intervals of the filter tables: their error stays below that of the network's arithmetic
N_KNOTS = {torch.float32: 512, torch.float64: 2048}

Kernel = Literal["auto", "fused", "plain"]


class Golden(BaseModel):
    """A small structure with the energy and forces that the model gave when it was written."""

    model_config = ConfigDict(extra="forbid")

    symbols: list[str]
    positions: list[list[float]]
    cell: list[list[float]]
    pbc: list[bool]
    energy: float
    forces: list[list[float]]

    def atoms(self) -> Atoms:
        """The structure."""
        return Atoms(self.symbols, positions=self.positions, cell=self.cell, pbc=self.pbc)


class Manifest(BaseModel):
    """What a model file says of itself.

    Attributes
    ----------
    name, description, level_of_theory, citation, license : str
    hyperparameters : dict
        See :class:`tpainn_calc.potential.Hyperparameters`.
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
    golden : Golden
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
    shortest_distances: dict[str, float] = Field(default_factory=dict)
    code_version: str = __version__
    citation: str = "arXiv:2603.24752 (T-PaiNN), arXiv:2102.03150 (PaiNN)"
    license: str = ""
    golden: Golden


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
    path = Path(model)
    if path.is_file():
        return path
    shipped = MODELS_FOLDER / f"{model}.safetensors"
    if shipped.is_file():
        return shipped
    names = shipped_models()
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
    with path.open("rb") as opened:
        is_archive = opened.read(4) == b"PK\x03\x04"
    if is_archive:
        raise ModelFileError(
            f"{path} is an archive, perhaps an exported model (.pt), which serves LAMMPS and C++; "
            "give the model file (.safetensors) that it was made from"
        )
    try:
        with safe_open(str(path), framework="pt") as handle:
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
    return parse_manifest(header, path)


def load_model(
    model: str | os.PathLike[str],
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    kernel: Kernel = "auto",
    check: bool = True,
) -> tuple[Potential, Manifest]:
    """Load a potential, ready for inference.

    Parameters
    ----------
    model : path or str
        Model file, or name of a shipped potential.
    dtype : torch.dtype, optional
        float32 or float64 for the network; by default what the file holds.
    device : torch.device or str
    kernel : {"auto", "fused", "plain"}
        ``fused`` is the compiled operator, ``plain`` PyTorch with exact filters, ``auto`` the
        former where it can be built and runs on `device`.
    check : bool
        Compute the golden values and compare.

    Raises
    ------
    ModelFileError
        If the file cannot be read, or does not reproduce its golden values.
    """
    path = find_model(model)
    manifest = read_manifest(path)
    fused = choose_kernel(kernel, device)
    potential = _potential_of(path, manifest, dtype, device, fused)
    try:
        if check:
            check_golden(potential, manifest, path)
    except ModelFileError as error:
        if not fused or kernel == "fused" or torch.device(device).type == "cpu":
            raise
        # GPUs differ, and a file that is damaged fails again below
        _log.warning("plain PyTorch is used on %s: with the fused kernel, %s", device, error)
        return load_model(model, dtype, device, "plain", check)
    return potential, manifest


def _potential_of(
    path: Path,
    manifest: Manifest,
    dtype: torch.dtype | None,
    device: torch.device | str,
    fused: bool,
) -> Potential:
    try:
        # files written before norm_epsilon was a hyperparameter
        hyperparameters = Hyperparameters(**{"norm_epsilon": 1e-8, **manifest.hyperparameters})
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: hyperparameters do not make a potential: {error}") from None
    stored = _dtype(manifest.dtype, path)
    potential = Potential(hyperparameters, fused, N_KNOTS[dtype or stored]).set_dtype(stored)
    _load_weights(potential, path)
    if dtype is not None:
        potential.set_dtype(dtype)
    potential.requires_grad_(False)
    return potential.to(device).freeze()


def save_model(
    path: str | os.PathLike[str],
    potential: Potential,
    golden_atoms: Atoms | None = None,
    **manifest: Any,
) -> Manifest:
    """Write a model file, atomically.

    Parameters
    ----------
    path : path
        Should end in ``.safetensors``.
    potential : Potential
    golden_atoms : ase.Atoms, optional
        Small structure for the golden values; a row of atoms of every element by default.
    **manifest
        Further fields of :class:`Manifest` (``name``, ``level_of_theory``, ...).

    Returns
    -------
    Manifest
        As written.
    """
    path = Path(path)
    atoms = golden_atoms if golden_atoms is not None else _golden_structure(potential.elements)
    fields = {
        "name": path.stem,
        "hyperparameters": asdict(potential.hyperparameters),
        "dtype": str(potential.dtype).removeprefix("torch."),
        "golden": _golden(potential, atoms),
        **manifest,
    }
    written = Manifest(**fields)
    tensors = {k: v.detach().cpu().contiguous() for k, v in potential.state_dict().items()}
    write_atomically(path, save(tensors, {METADATA_KEY: written.model_dump_json()}))
    return written


def check_golden(potential: Potential, manifest: Manifest, path: Path | str) -> float:
    """Compare with the golden values; return the largest deviation (eV/atom or eV/Å).

    Raises
    ------
    ModelFileError
        If they are missed by more than :data:`GOLDEN_TOLERANCE`.
    """
    try:
        atoms = manifest.golden.atoms()
        expected = np.array(manifest.golden.forces).reshape(len(atoms), 3)
        graph = Graph.from_atoms(atoms, potential.elements, potential.cutoff)
    except (ValueError, KeyError, StructureError) as error:
        raise ModelFileError(
            f"{path}: the golden structure is damaged ({type(error).__name__}: {error})"
        ) from None
    result = predict(potential, graph.to(potential.scale.device))
    assert result.forces is not None  # asked for: for the type checker
    d_energy = abs(result.energy.item() - manifest.golden.energy) / len(atoms)
    d_forces = np.abs(result.forces.cpu().numpy() - expected).max()
    worst = float(np.max([d_energy, d_forces]))  # unlike max(), lets no NaN through
    scale = max(1.0, float(np.abs(expected).max()))
    if not worst <= GOLDEN_TOLERANCE[potential.dtype] * scale:
        raise ModelFileError(
            f"{path} does not reproduce its golden values: off by {worst:.2e} (eV/atom or eV/Å); "
            "the file is damaged or this installation computes wrongly"
        )
    return worst


def choose_kernel(kernel: Kernel, device: torch.device | str) -> bool:
    """Whether to use the fused operator.

    Raises
    ------
    ModelFileError
        If ``kernel="fused"`` cannot be had.
    """
    if kernel not in ("auto", "fused", "plain"):
        raise ModelFileError(
            f"kernel {kernel!r} is not one of auto, fused, plain"
            f"{did_you_mean(str(kernel), ['auto', 'fused', 'plain'])}"
        )
    if kernel == "plain":
        return False
    available = ops.load(device)
    if kernel == "fused" and not available:
        raise ModelFileError(
            "kernel 'fused' could not be compiled (see the log line above); use kernel='plain' or "
            "'auto'"
        )
    return available


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
    except (ValueError, KeyError, TypeError) as error:
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


def _load_weights(potential: Potential, path: Path) -> None:
    expected = potential.state_dict()
    with safe_open(str(path), framework="pt") as handle:
        tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118
    for key in sorted(expected.keys() ^ tensors.keys()):
        where = "lacks" if key in expected else "has an unexpected"
        raise ModelFileError(f"{path} {where} tensor {key!r}: weights and manifest disagree")
    for key, tensor in tensors.items():
        if tensor.shape != expected[key].shape:
            raise ModelFileError(
                f"{path}: tensor {key!r} has shape {tuple(tensor.shape)}, the manifest says "
                f"{tuple(expected[key].shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise ModelFileError(f"{path}: tensor {key!r} holds non-finite numbers")
    potential.load_state_dict(tensors)


def _dtype(name: str, path: Path) -> torch.dtype:
    if name not in ("float32", "float64"):
        raise ModelFileError(f"{path}: dtype {name!r} is neither float32 nor float64")
    return torch.float32 if name == "float32" else torch.float64


def _golden_structure(elements: Sequence[str]) -> Atoms:
    # every element twice, in a bent row so that no force vanishes by symmetry
    symbols = [*elements, *elements]
    k = np.arange(len(symbols))
    positions = np.stack([1.1 * k, 0.9 * np.sin(1.3 * k), 0.7 * np.cos(0.8 * k)], axis=1)
    return Atoms(symbols, positions=positions)


def _golden(potential: Potential, atoms: Atoms) -> Golden:
    # in float64 and without tables, so that every type and kernel is held to the same numbers
    exact = Potential(potential.hyperparameters)
    exact.load_state_dict(potential.state_dict())
    exact.set_dtype(torch.float64).freeze()
    result = predict(exact, Graph.from_atoms(atoms, potential.elements, potential.cutoff))
    assert result.forces is not None  # asked for: for the type checker
    return Golden(
        symbols=atoms.get_chemical_symbols(),
        positions=atoms.positions.tolist(),
        cell=np.asarray(atoms.cell).tolist(),
        pbc=atoms.pbc.tolist(),
        energy=result.energy.item(),
        forces=result.forces.cpu().tolist(),
    )
