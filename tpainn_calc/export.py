"""Model file → TorchScript, for LAMMPS and other C++ programs.

The exported module has ``forward(species, centre, neighbour, edge_vec)`` → per-atom energies, and
the same cut into ``connect``, ``embed``, ``layer(k, ...)`` and ``readout`` for programs that
exchange the states of ghost atoms between blocks; ``forces(gradient, edges, n)`` turns the gradient
by the edge vectors into forces. Typed attributes say what the model is, see
:class:`tpainn_calc.torchscript.Deployed`; ``manifest.json`` is among the extra files.

The LAMMPS plugin and :func:`load_exported` take attributes and weights from such a file and never
run its program, see :mod:`tpainn_calc.deployed`.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tpainn_calc.base.errors import ModelFileError
from tpainn_calc.base.files import replacing
from tpainn_calc.deployed import MANIFEST_FILE, load_deployed, seal
from tpainn_calc.graph import Graph
from tpainn_calc.manifest import Manifest
from tpainn_calc.modelfile import Kernel, load_model
from tpainn_calc.potential import Potential, predict
from tpainn_calc.torchscript import Deployed

__all__ = ["EXPORT_TOLERANCE", "MANIFEST_FILE", "export_model", "load_exported"]

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
    archive = io.BytesIO()
    with _torchscript():
        torch.jit.save(
            torch.jit.script(Deployed(potential, stored)),
            archive,
            _extra_files={MANIFEST_FILE: stored.model_dump_json()},
        )
        program = torch.jit.load(io.BytesIO(archive.getvalue()))
    _compare(potential, program, stored, path)
    with replacing(path) as unchecked:
        unchecked.write_bytes(seal(archive.getvalue()))
        _compare(potential, load_deployed(unchecked)[0], stored, path)
    return stored


def load_exported(path: str | os.PathLike[str]) -> tuple[torch.jit.ScriptModule, Manifest]:
    """Load an exported model and its manifest; its program is that of this package.

    The file is read as data, see :mod:`tpainn_calc.deployed`: nothing in it runs.

    Returns
    -------
    torch.jit.ScriptModule
        :class:`tpainn_calc.potential.Potential` with the weights of the file, in TorchScript.
    Manifest

    Raises
    ------
    ModelFileError
        If the file cannot be read, is damaged, is not ours, or of another schema.
    """
    potential, manifest = load_deployed(path)
    with _torchscript():
        return torch.jit.script(potential), manifest


def _compare(
    potential: Potential,
    exported: Potential | torch.jit.ScriptModule,
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
