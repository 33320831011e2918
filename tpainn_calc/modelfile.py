"""The model file: one safetensors file with the weights and a JSON manifest in its header.

Loading runs no code. The manifest (:mod:`tpainn_calc.manifest`) says what the potential is, what it
was trained on and how good it is. It holds a checksum, and *golden* energies and forces of a small
structure, which every consumer computes again when it loads the file: a model that loads gives the
numbers that its authors saw.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from ase import Atoms
from safetensors.torch import save

from tpainn_calc import ops
from tpainn_calc.base.errors import ModelFileError, StructureError, did_you_mean
from tpainn_calc.base.files import write_atomically
from tpainn_calc.graph import Graph
from tpainn_calc.hyperparameters import Hyperparameters
from tpainn_calc.manifest import (
    METADATA_KEY,
    SCHEMA_VERSION,
    Golden,
    Manifest,
    check_seal,
    find_model,
    parse_manifest,
    read_header,
    read_manifest,
    read_tensors,
    shipped_models,
)
from tpainn_calc.potential import Potential, predict

__all__ = [
    "METADATA_KEY",
    "SCHEMA_VERSION",
    "Golden",
    "Kernel",
    "Manifest",
    "check_golden",
    "choose_kernel",
    "find_model",
    "load_model",
    "parse_manifest",
    "read_manifest",
    "save_model",
    "shipped_models",
]

_log = logging.getLogger(__name__)

# agreement with the golden values: energies relative to atoms (eV), forces (eV/Å)
GOLDEN_TOLERANCE = {torch.float32: 5e-4, torch.float64: 1e-5}

# intervals of the filter tables: their error stays below that of the network's arithmetic
N_KNOTS = {torch.float32: 512, torch.float64: 2048}

Kernel = Literal["auto", "fused", "plain"]


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
    header = read_header(path)
    manifest = parse_manifest(header, path)
    tensors = read_tensors(path)
    if not check_seal(header, tensors, path):
        _log.warning("%s has no checksum: an older version of tpainn wrote it", path)
    fused = choose_kernel(kernel, device)
    potential = _potential_of(manifest, tensors, path, dtype, fused).to(device).freeze()
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
    manifest: Manifest,
    tensors: Mapping[str, np.ndarray],
    path: Path,
    dtype: torch.dtype | None,
    fused: bool,
) -> Potential:
    shape = manifest.shape(path)
    stored = _dtype(manifest.dtype, path)
    _check_size(tensors, shape, path)
    potential = Potential(shape, fused, N_KNOTS[dtype or stored]).set_dtype(stored)
    _load_weights(potential, tensors, path)
    if dtype is not None:
        potential.set_dtype(dtype)
    potential.requires_grad_(False)
    return potential


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
    tensors = {k: v.detach().cpu().contiguous() for k, v in potential.state_dict().items()}
    arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
    written, text = Manifest(**fields).sealed(arrays)
    write_atomically(path, save(tensors, {METADATA_KEY: text}))
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


def _check_size(tensors: Mapping[str, np.ndarray], shape: Hyperparameters, path: Path) -> None:
    """Hold the manifest against what the file really contains, before memory is asked for."""
    blocks = {name.split(".")[2] for name in tensors if name.startswith("network.blocks.")}
    embedding = tensors.get("network.embedding.weight", np.empty((0, 0))).shape
    expected = (len(shape.elements), shape.n_features)
    if (embedding, len(blocks)) != (expected, shape.n_blocks):
        raise ModelFileError(
            f"{path}: the manifest says {expected[0]} elements, {expected[1]} features and "
            f"{shape.n_blocks} blocks, the weights have an embedding of {embedding} and "
            f"{len(blocks)} blocks"
        )


def _load_weights(potential: Potential, tensors: Mapping[str, np.ndarray], path: Path) -> None:
    expected = potential.state_dict()
    for key in sorted(expected.keys() ^ tensors.keys()):
        where = "lacks" if key in expected else "has an unexpected"
        raise ModelFileError(f"{path} {where} tensor {key!r}: weights and manifest disagree")
    for key, tensor in tensors.items():
        if tensor.shape != expected[key].shape:
            raise ModelFileError(
                f"{path}: tensor {key!r} has shape {tensor.shape}, the manifest says "
                f"{tuple(expected[key].shape)}"
            )
        if not np.isfinite(tensor).all():
            raise ModelFileError(f"{path}: tensor {key!r} holds non-finite numbers")
    potential.load_state_dict({key: torch.from_numpy(t) for key, t in tensors.items()})


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
