"""T-PaiNN as an ASE calculator."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.outputs import Properties
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from tpainn_calc import ops
from tpainn_calc.base.errors import ConfigError, ModelFileError, StructureError, did_you_mean
from tpainn_calc.gpu_step import StepOnGPU
from tpainn_calc.graph import Graph, species_of
from tpainn_calc.modelfile import Kernel, Manifest, load_model
from tpainn_calc.neighbors import NeighborList, refuse_coincident
from tpainn_calc.potential import Potential, Prediction, predict
from tpainn_calc.training_range import RangeGuard, RangeMode

ModelName = str | os.PathLike[str]

_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_DERIVATIVES = frozenset({"forces", "stress", "stresses"})
# Atoms per evaluation in TPaiNNCalculator.batch, by fused kernel or not. Liquid water with F = 128
# takes 40 kB and 1.4 MB per atom: memory stays under 1.5 GB.
_BATCH_ATOMS = {True: 4096, False: 1024}


class TPaiNNCalculator(Calculator):
    """ASE calculator of a T-PaiNN potential, or of a committee of them.

    Units are ASE's: eV, Å, eV/Å, eV/Å³; stress is Voigt xx yy zz yz xz xy, tension positive.

    Parameters
    ----------
    model : path or str, or a sequence of these
        Model file, or name of a shipped potential (``"water"``). Several make a committee: results
        are the members' mean, and ``results`` also has ``energy_std`` (eV) and ``forces_std``
        (atoms, 3; eV/Å, per component), the sample standard deviations over the members.
    device : torch.device or str, optional
        CUDA where there is a GPU, else the CPU.
    dtype : torch.dtype or str, optional
        ``"float32"`` or ``"float64"`` for the network; by default what the model file holds.
        Geometry, energy sums and stress are float64 either way.
    skin : float
        Verlet skin of the neighbour list in Å; the list is rebuilt when an atom has moved by half
        of it.
    kernel : {"auto", "fused", "plain"}
        See :func:`tpainn_calc.modelfile.load_model`.
    range : {"warn", "stop", "off"}
        What to do where two atoms are closer than any in the training set, or an atom has another
        number of bonded neighbours than the training set's: log a warning, once per pair of
        elements; raise StructureError; or nothing. On a GPU, at rebuilds of the neighbour list.
    mixed_levels : bool
        Allow a committee of models that were trained on different levels of theory.

    Attributes
    ----------
    manifests : list of Manifest
        What every model says of itself.

    Raises
    ------
    ModelFileError
        If a model cannot be read, or the members of a committee differ in elements, cut-off or,
        unless `mixed_levels` is set, level of theory.
    ConfigError
        If `dtype`, `device` or `range` is not understood.

    Examples
    --------
    >>> atoms.calc = TPaiNNCalculator("water")          # doctest: +SKIP
    >>> atoms.get_potential_energy()                    # doctest: +SKIP
    """

    implemented_properties = [  # noqa: RUF012  # ASE reads it, nothing changes it
        "energy",
        "free_energy",
        "energies",
        "forces",
        "stress",
        "stresses",
    ]

    def __init__(
        self,
        model: ModelName | Sequence[ModelName],
        device: torch.device | str | None = None,
        dtype: torch.dtype | str | None = None,
        skin: float = 1.0,
        kernel: Kernel = "auto",
        range: RangeMode = "warn",
        mixed_levels: bool = False,
    ) -> None:
        super().__init__()
        models = [model] if isinstance(model, str | os.PathLike) else list(model)
        if not models:
            raise ConfigError("no model given: name a model file or a shipped potential")
        self.device = _device(device)
        self._potentials: list[Potential] = []
        self.manifests: list[Manifest] = []
        for name in models:
            potential, manifest = load_model(
                name, dtype=_dtype(dtype), device=self.device, kernel=kernel
            )
            self._potentials.append(potential)
            self.manifests.append(manifest)
        _check_committee(self._potentials, self.manifests, mixed_levels)
        self.elements = self._potentials[0].elements
        self.cutoff = self._potentials[0].cutoff
        self._guard = RangeGuard(self.manifests, self.elements, range)
        self._neighbors = NeighborList(self.cutoff, skin)
        on_gpu = self._potentials if self.device.type == "cuda" else []
        self._steps = [StepOnGPU(potential) for potential in on_gpu]
        self._numbers = np.empty(0, dtype=int)
        self._species = np.empty(0, dtype=np.int64)
        self._species_on_gpu = self._species

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute the properties asked for; ASE calls this."""
        properties = ["energy"] if properties is None else list(properties)
        if atoms is not None and self.atoms is not None and system_changes == ["positions"]:
            self.atoms.positions[:] = atoms.positions  # ASE's copy of all costs a percent or two
        else:
            super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None  # just set by ASE
        _require_cell(self.atoms, properties)
        if _DERIVATIVES & set(properties) and _has_volume(self.atoms):
            # costs next to nothing beside the forces, and NPT asks for both in turn
            properties.append("stress")
        if self._steps and "stresses" not in properties:
            predictions = self._step_on_gpu(self.atoms, "stress" in properties)
        else:
            graph = self._graph_now(self.atoms)
            self._guard.check(graph)
            predictions = self._predict(graph, properties)
        self.results = _results(predictions, 0, slice(None), self.atoms)

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Name what differs from the last calculation; ASE calls this.

        Compares exactly, whatever `tol`, and only what the energy depends on: ASE's own comparison
        takes a few percent of a force call on 192 atoms.
        """
        last = self.atoms
        if last is None:
            return list(all_changes)
        same = {
            "positions": np.array_equal(last.positions, atoms.positions),
            "numbers": np.array_equal(last.numbers, atoms.numbers),
            "cell": np.array_equal(last.cell.array, atoms.cell.array),
            "pbc": np.array_equal(last.pbc, atoms.pbc),
        }
        return [name for name, unchanged in same.items() if not unchanged]

    def batch(
        self, structures: Sequence[Atoms], properties: Sequence[str] = ("energy", "forces")
    ) -> list[dict[str, Any]]:
        """Evaluate many structures at once.

        Parameters
        ----------
        structures : sequence of ase.Atoms
        properties : sequence of str
            Any of `implemented_properties`.

        Returns
        -------
        list of dict
            The results of each structure, as in ``atoms.calc.results``.

        Raises
        ------
        StructureError
            If a structure cannot be evaluated; the message starts with its index.
        """
        for name in properties:
            if name not in self.implemented_properties:
                raise PropertyNotImplementedError(
                    f"{name!r} is not among {', '.join(self.implemented_properties)}"
                )
        results: list[dict[str, Any]] = []
        fused = all(potential.network.fused for potential in self._potentials)
        for chunk in _chunks(structures, _BATCH_ATOMS[fused]):
            for atoms in chunk:
                _require_cell(atoms, properties)
            graphs = [self._graph_of(a, len(results) + k) for k, a in enumerate(chunk)]
            for k, graph in enumerate(graphs):
                self._guard.check(graph, f"structure {len(results) + k}: ")
            predictions = self._predict(Graph.batch(graphs), properties)
            stop = np.cumsum([len(a) for a in chunk])
            results += [
                _results(predictions, k, slice(stop[k] - len(a), stop[k]), a)
                for k, a in enumerate(chunk)
            ]
        return results

    def export_properties(self) -> Properties:
        """Results for ASE's own use: without the deviations of a committee, unknown to ASE."""
        known = {k: v for k, v in self.results.items() if k in self.implemented_properties}
        return Properties(known)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # a process that unpickles a calculator may not have the operator yet
        if any(potential.network.fused for potential in state["_potentials"]):
            ops.load(state["device"])
        self.__dict__.update(state)
        self._species_on_gpu = np.empty(0, dtype=np.int64)  # nothing is there yet

    def _graph_of(self, atoms: Atoms, index: int) -> Graph:
        try:
            return Graph.from_atoms(atoms, self.elements, self.cutoff)
        except StructureError as error:
            raise StructureError(f"structure {index}: {error}") from None

    def _species_of(self, atoms: Atoms) -> np.ndarray:
        if not np.array_equal(atoms.numbers, self._numbers):
            self._species = species_of(atoms, self.elements)
            self._numbers = atoms.numbers.copy()
        return self._species

    def _graph_now(self, atoms: Atoms) -> Graph:
        species = self._species_of(atoms)
        if not any(potential.network.fused for potential in self._potentials):
            edges = self._neighbors.update(atoms)
            return Graph.from_edges(species, edges.centre, edges.neighbour, edges.edge_vec)
        # the same by the compiled operator, in a third of the time
        self._neighbors.refresh(atoms)
        pairs = self._neighbors.candidates
        arrays = (atoms.positions, pairs.centre, pairs.neighbour, pairs.offset)
        centre, neighbour, edge_vec, closest, squared = torch.ops.tpainn.edges_within(
            *(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays), self.cutoff
        )
        refuse_coincident(pairs, closest, squared)
        structure = torch.zeros(len(species), dtype=torch.int64)
        return Graph(torch.from_numpy(species), centre, neighbour, edge_vec, structure)

    def _step_on_gpu(self, atoms: Atoms, virial: bool) -> list[Prediction]:
        species = self._species_of(atoms)
        if self._neighbors.refresh(atoms) or species is not self._species_on_gpu:
            for step in self._steps:
                step.set_list(species, self._neighbors.candidates)
            self._species_on_gpu = species
            # every step would cost more than the step itself
            if not self._guard.idle:
                edges = self._neighbors.update(atoms)
                self._guard.check(
                    Graph.from_edges(species, edges.centre, edges.neighbour, edges.edge_vec)
                )
        return [step(atoms.positions, virial) for step in self._steps]

    def _predict(self, graph: Graph, properties: Sequence[str]) -> list[Prediction]:
        graph = graph if self.device.type == "cpu" else graph.to(self.device)
        # one backward pass gives all derivatives; the scatter of those not asked for is skipped
        derivatives = bool(_DERIVATIVES & set(properties))
        return [
            predict(
                potential,
                graph,
                forces=derivatives,
                virial="stress" in properties,
                virials="stresses" in properties,
            )
            for potential in self._potentials
        ]


def _check_committee(
    potentials: Sequence[Potential], manifests: Sequence[Manifest], mixed_levels: bool
) -> None:
    first = potentials[0]
    for potential in potentials[1:]:
        if (potential.elements, potential.cutoff) != (first.elements, first.cutoff):
            raise ModelFileError(
                "the members of a committee must share elements and cut-off: "
                f"{first.elements}, {first.cutoff} Å and "
                f"{potential.elements}, {potential.cutoff} Å differ"
            )
    levels = sorted({m.level_of_theory or "unknown" for m in manifests})
    if len(levels) > 1 and not mixed_levels:
        raise ModelFileError(
            f"the members of a committee are of different levels of theory ({', '.join(levels)}), "
            "whose energies have no common zero: take models of one level, or set "
            "mixed_levels=True if their mean means something to you"
        )


def _results(
    predictions: Sequence[Prediction], structure: int, rows: slice, atoms: Atoms
) -> dict[str, Any]:
    """Results of one structure of a batch: the mean over the members, and their spread."""
    energy = _stack([p.energy for p in predictions])[:, structure]
    mean = float(_mean(energy))
    results: dict[str, Any] = {
        "energy": mean,
        "free_energy": mean,
        "energies": _mean(_stack([p.energies for p in predictions])[:, rows]),
    }
    forces = _stack([p.forces for p in predictions])
    if len(forces):
        results["forces"] = _mean(forces[:, rows])
    if len(predictions) > 1:
        results["energy_std"] = float(energy.std(ddof=1))
        if len(forces):
            results["forces_std"] = forces[:, rows].std(axis=0, ddof=1)
    virial = _stack([p.virial for p in predictions])
    if len(virial):
        results["stress"] = _voigt(-_mean(virial[:, structure]) / atoms.cell.volume)
    virials = _stack([p.virials for p in predictions])
    if len(virials):
        results["stresses"] = _voigt(-_mean(virials[:, rows]) / atoms.cell.volume)
    return results


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the members of a committee; of one it is as it is."""
    return values[0] if len(values) == 1 else values.mean(axis=0)


def _stack(values: Sequence[Tensor | None]) -> np.ndarray:
    return np.array([v.cpu().numpy() for v in values if v is not None])


def _voigt(stress: np.ndarray) -> np.ndarray:
    symmetric = 0.5 * (stress + np.swapaxes(stress, -1, -2))
    return full_3x3_to_voigt_6_stress(symmetric)


def _has_volume(atoms: Atoms) -> bool:
    return bool(atoms.pbc.all()) and atoms.cell.rank == 3


def _require_cell(atoms: Atoms, properties: Sequence[str]) -> None:
    if {"stress", "stresses"} & set(properties) and not _has_volume(atoms):
        raise PropertyNotImplementedError(
            "stress needs a cell that is periodic in three directions; set atoms.cell and "
            f"atoms.pbc (here: pbc {atoms.pbc.tolist()}, {atoms.cell.rank} cell vectors)"
        )


def _chunks(structures: Sequence[Atoms], limit: int) -> list[list[Atoms]]:
    chunks: list[list[Atoms]] = []
    size = limit
    for atoms in structures:
        if not chunks or size + len(atoms) > limit:
            chunks.append([])
            size = 0
        chunks[-1].append(atoms)
        size += len(atoms)
    return chunks


def _device(device: torch.device | str | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ConfigError(
            f"device {device!r} is not understood; use 'cpu', 'cuda' or 'cuda:N'"
            f"{did_you_mean(str(device), ['cpu', 'cuda'])}"
        ) from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"device {str(device)!r}: this torch ({torch.__version__}) sees no GPU; use 'cpu', or "
            "install a CUDA build of torch"
        )
    return chosen


def _dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    if dtype is None or dtype in _DTYPES.values():
        return dtype  # type: ignore[return-value]
    if isinstance(dtype, str) and dtype in _DTYPES:
        return _DTYPES[dtype]
    raise ConfigError(
        f"dtype {dtype!r} is neither float32 nor float64{did_you_mean(str(dtype), _DTYPES)}"
    )
