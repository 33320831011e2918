"""Model file → TorchScript, for LAMMPS and other C++ programs.

The exported module has ``forward(species, centre, neighbour, edge_vec)`` → per-atom energies, and
the same cut into ``connect``, ``embed``, ``layer(k, ...)`` and ``readout`` for programs that
exchange the states of ghost atoms between blocks. ``manifest.json`` is among its extra files.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from tpainn_calc import ops
from tpainn_calc.base.errors import ModelFileError
from tpainn_calc.base.files import write_atomically
from tpainn_calc.graph import Graph
from tpainn_calc.modelfile import Kernel, Manifest, load_model, parse_manifest
from tpainn_calc.potential import Potential, predict

MANIFEST_FILE = "manifest.json"
# the exported and the eager model differ by rounding alone
EXPORT_TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@contextmanager
def _torchscript() -> Iterator[None]:
    """Use TorchScript without torch's announcement, to the user's terminal, of its successor."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".torch.jit.*is deprecated")
        yield


def export_model(
    model: str | os.PathLike[str],
    path: str | os.PathLike[str],
    dtype: torch.dtype | None = None,
    kernel: Kernel = "auto",
) -> Manifest:
    """Export a model file (or a shipped potential) to TorchScript, and check what was written.

    Parameters
    ----------
    model : path or str
        Model file or name of a shipped potential.
    path : path
        File to write, usually ``NAME.pt``; written atomically.
    dtype : torch.dtype, optional
        float32 or float64 for the network; by default what the model file holds.
    kernel : {"auto", "fused", "plain"}
        A ``fused`` export needs ``tpainn::message``, which the LAMMPS plugin brings; a ``plain``
        one runs on any libtorch.

    Raises
    ------
    ModelFileError
        If the model cannot be read, or the exported file does not give the eager model's numbers.
    """
    potential, manifest = load_model(model, dtype=dtype, kernel=kernel)
    stored = manifest.model_copy(update={"dtype": str(potential.dtype).removeprefix("torch.")})
    buffer = io.BytesIO()
    extra = {MANIFEST_FILE: stored.model_dump_json()}
    with _torchscript():
        torch.jit.save(torch.jit.script(potential), buffer, _extra_files=extra)
    unchecked = Path(path).with_name(f".{Path(path).name}.unchecked")
    try:
        write_atomically(unchecked, buffer.getvalue())
        exported, stored = load_exported(unchecked)
        _compare(potential, exported, stored, path)
        os.replace(unchecked, path)
    finally:
        unchecked.unlink(missing_ok=True)
    return stored


def load_exported(path: str | os.PathLike[str]) -> tuple[torch.jit.ScriptModule, Manifest]:
    """Load an exported model and its manifest.

    Raises
    ------
    ModelFileError
        If the file cannot be read as TorchScript, holds no manifest or one of a newer schema.
    """
    extra = {MANIFEST_FILE: ""}
    ops.load()  # fused exports call it; plain ones load without
    try:
        with _torchscript():
            module = torch.jit.load(str(path), _extra_files=extra)
    except (RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelFileError(f"{path} is not a readable exported model ({reason})") from None
    if not extra[MANIFEST_FILE]:
        raise ModelFileError(f"{path} is TorchScript, but not exported by T-PaiNN (no manifest)")
    return module, parse_manifest(extra[MANIFEST_FILE], path)


def _compare(
    potential: Potential,
    exported: torch.jit.ScriptModule,
    manifest: Manifest,
    path: str | os.PathLike[str],
) -> None:
    atoms = manifest.golden.atoms()
    graph = Graph.from_atoms(atoms, potential.elements, potential.cutoff)
    expected = predict(potential, graph)
    assert expected.forces is not None  # asked for: for the type checker
    differences = []
    for _ in range(3):  # TorchScript optimises at the second call: what users get comes after it
        got = predict(exported, graph)  # type: ignore[arg-type]  # same call signature
        assert got.forces is not None
        differences += [expected.energies - got.energies, (expected.forces - got.forces).flatten()]
    worst = float(torch.cat(differences).abs().max())  # NaN if there is one, unlike max()
    scale = max(1.0, float(expected.energies.abs().max()), float(expected.forces.abs().max()))
    if not worst <= EXPORT_TOLERANCE[potential.dtype] * scale:
        raise ModelFileError(f"{path}: the exported model is off the eager one by {worst:.2e}")
