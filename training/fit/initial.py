"""The potential before its first step: fresh weights, or a pretrained model at a new level."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols

from tpainn_calc import ops
from tpainn_calc.base.errors import ConfigError
from tpainn_calc.base.frames import checksum, results_of
from tpainn_calc.graph import Graph
from tpainn_calc.modelfile import Manifest, find_model, load_model, read_manifest
from tpainn_calc.potential import Hyperparameters, Potential, predict
from training.fit.reference_energies import ReferenceFit, fit_reference_energies, reference_table
from training.fit.sections import SHAPE, ModelSection, TunedModelSection, TuneSection


@dataclass
class InitialState:
    """A potential that is ready to be trained.

    Attributes
    ----------
    potential : Potential
    reference : ReferenceFit
        Of the level of theory that it will be trained on.
    method : str
        ``scratch``, ``pretrain`` or ``autotune``.
    rates : dict of str to float
        Factor on the learning rate of each parameter.
    previous : Manifest, optional
        Of the model that it starts from.
    table : str
        Reference energies before and after, for people.
    source : dict
        Name, level and sha256 of the model that it starts from, or of the teacher.
    """

    potential: Potential
    reference: ReferenceFit
    method: str
    table: str
    rates: dict[str, float] = field(default_factory=dict)
    previous: Manifest | None = None
    source: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Totals:
    """Totals over the frames that a start needs, from one pass over them.

    Attributes
    ----------
    elements : tuple of str
        Chemical symbols that occur, by atomic number.
    counts : ndarray (frames, elements)
        Atoms of each of them.
    energy : ndarray (frames,)
        eV.
    forces_rms : float, optional
        Root mean square of the force components, eV/Å; None without forces.
    """

    elements: tuple[str, ...]
    counts: np.ndarray
    energy: np.ndarray
    forces_rms: float | None

    @classmethod
    def of(cls, frames: Iterable[Atoms]) -> Totals:
        """Read every frame once."""
        numbers, energy, squares, components = [], [], 0.0, 0
        for atoms in frames:
            found = results_of(atoms)
            numbers.append(np.bincount(atoms.numbers))
            energy.append(found["energy"])
            if "forces" in found:
                squares += float((found["forces"] ** 2).sum())
                components += found["forces"].size
        counts = np.zeros((len(numbers), max(map(len, numbers), default=0)))
        for row, of_frame in zip(counts, numbers, strict=True):
            row[: len(of_frame)] = of_frame
        present = np.flatnonzero(counts.any(axis=0))
        return cls(
            tuple(chemical_symbols[z] for z in present),
            counts[:, present],
            np.array(energy, dtype=float),
            float(np.sqrt(squares / components)) if components else None,
        )

    def composition(self, elements: Sequence[str]) -> np.ndarray:
        """Atoms of each of `elements` per frame, (frames, elements)."""
        columns = dict(zip(self.elements, self.counts.T, strict=True))
        none = np.zeros(len(self.counts))
        return np.stack([columns.get(e, none) for e in elements], axis=1)


def fresh_potential(
    model: ModelSection, frames: Sequence[Atoms], method: str, device: str
) -> InitialState:
    """Random weights; reference energies and energy scale fitted to `frames`.

    Parameters
    ----------
    model : ModelSection
    frames : sequence of ase.Atoms
        Training frames.
    method : str
        Of the run.
    device : {"auto", "cpu", "cuda"}
        Where it will be trained.

    Raises
    ------
    ConfigError
        If ``model`` does not fit the data or makes no network.
    """
    totals = Totals.of(frames)
    elements = tuple(model.elements) if model.elements else totals.elements
    missing = set(totals.elements) - set(elements)
    if missing:
        raise ConfigError(f"model.elements lacks {', '.join(sorted(missing))}, which the data hold")
    shape = model.model_dump(include=set(SHAPE) - {"elements"})
    try:
        hyperparameters = Hyperparameters(elements=elements, **shape)
    except ValueError as error:
        raise ConfigError(f"model: {error}") from None
    potential = Potential(hyperparameters, fused=_fused(device))
    potential.set_dtype(torch.float64 if model.dtype == "float64" else torch.float32)
    counts = totals.composition(elements)
    reference = fit_reference_energies(counts, totals.energy, elements)
    potential.reference_energies.copy_(torch.from_numpy(reference.energies))
    potential.scale.fill_(_energy_scale(totals, totals.energy - counts @ reference.energies))
    return InitialState(potential, reference, method, reference.describe())


def pretrained_potential(
    model: TunedModelSection,
    tune: TuneSection,
    level: str,
    frames: Sequence[Atoms],
    method: str,
    device: str,
) -> InitialState:
    """The weights of a pretrained model, with reference energies of the level of `frames`.

    The reference energies are fitted to what the pretrained network leaves unexplained, so the
    potential starts without a mean error; network and energy scale stay as they are.

    Parameters
    ----------
    model : TunedModelSection
        Shape that it must have, as far as there is one.
    tune : TuneSection
        Which model, and which of its weights are trained.
    level : str
        Level of theory of `frames`.
    frames : sequence of ase.Atoms
        Training frames.
    method : str
        Of the run.
    device : {"auto", "cpu", "cuda"}
        Where it will be trained.

    Raises
    ------
    ConfigError
        If no model is named; if it has other elements, cut-off or size than the data or the
        configuration ask for; if a part to freeze does not exist or nothing is left to train.
    """
    if tune.start is None:
        raise ConfigError("no model to start from: give --from MODEL or 'tune: start'")
    path = find_model(tune.start)
    potential, manifest = load_model(path, kernel="auto" if _fused(device) else "plain")
    _check_shape(model, potential.hyperparameters, path)
    totals = Totals.of(frames)
    unknown = set(totals.elements) - set(potential.elements)
    if unknown:
        raise ConfigError(
            f"{path} knows {', '.join(potential.elements)}, but the data hold "
            f"{', '.join(sorted(unknown))} too: pretrain on frames with all elements"
        )
    energy, counts = totals.energy, totals.composition(potential.elements)
    before = potential.reference_energies.numpy().copy()
    network = _energies(potential, frames) - counts @ before
    reference = fit_reference_energies(counts, energy - network, potential.elements)
    levels = (f"{manifest.level_of_theory} (before)", f"{level} (after)")
    table = reference_table(
        potential.elements,
        dict(zip(levels, (before, reference.energies), strict=True)),
        [energy - network - counts @ e for e in (before, reference.energies)],
        counts,
        reference,
    )
    potential.reference_energies.copy_(torch.from_numpy(reference.energies))
    potential.requires_grad_(True).train()
    rates = learning_rates(potential, tune)
    for key, parameter in potential.named_parameters():
        parameter.requires_grad_(rates[key] > 0)
    source = describe_model(path)
    return InitialState(potential, reference, method, table, rates, manifest, source)


def describe_model(model: str | os.PathLike[str]) -> dict[str, Any]:
    """Name, level and checksums of a model file, as model files made from it record them.

    ``sha256`` is that of the file, ``seal`` the one in its manifest, which deployed files carry.
    """
    path = find_model(model)
    manifest = read_manifest(path)
    return {
        "name": manifest.name,
        "level": manifest.level_of_theory,
        "sha256": checksum(path),
        "seal": manifest.sha256,
    }


def learning_rates(potential: Potential, tune: TuneSection) -> dict[str, float]:
    """Factor on the learning rate of every parameter; zero where it is frozen.

    Raises
    ------
    ConfigError
        If a part to freeze does not exist, or nothing is left to train.
    """
    n_blocks = potential.hyperparameters.n_blocks
    parts = ["embedding", *(f"block{k}" for k in range(n_blocks)), "readout"]
    wrong = [part for part in tune.freeze if part not in parts]
    if wrong:
        raise ConfigError(f"tune.freeze: no part {wrong[0]!r}; there are {', '.join(parts)}")
    frozen = set(parts[:-1]) if tune.readout_only else set()
    frozen |= set(tune.freeze)
    if frozen == set(parts):
        raise ConfigError("tune.freeze leaves nothing to train")
    rates = {}
    for name, _ in potential.named_parameters():
        _, kind, *rest = name.split(".")  # network.blocks.0.message...
        part = {"output": "readout", "blocks": f"block{rest[0]}"}.get(kind, kind)
        depth = len(parts) - 1 - parts.index(part)
        rates[name] = 0.0 if part in frozen else tune.layer_decay**depth
    return rates


def _check_shape(model: TunedModelSection, found: Hyperparameters, path: Path) -> None:
    for name in SHAPE:
        asked = getattr(model, name)
        has = getattr(found, name)
        same = set(asked or ()) == set(has) if name == "elements" else asked == has
        if asked is not None and not same:
            raise ConfigError(
                f"model.{name} is {asked}, but {path} was trained with {_plain(has)}: weights fit "
                "one shape only; leave the key out, or pretrain with that shape"
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _fused(device: str) -> bool:
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    # on GPUs the operator's derivatives for training have been run in an emulator only
    return not on_gpu and ops.load()


def _energy_scale(totals: Totals, residual: np.ndarray) -> float:
    # total energies scatter with composition; forces tell the natural scale
    if totals.forces_rms is not None:
        return max(totals.forces_rms, 1e-6)
    # without forces: as if atoms contributed independently to what the references leave
    return max(float(np.sqrt(np.mean(residual**2 / totals.counts.sum(axis=1)))), 1e-6)


def _energies(potential: Potential, frames: Sequence[Atoms]) -> np.ndarray:
    values = []
    for atoms in frames:
        graph = Graph.from_atoms(atoms, potential.elements, potential.cutoff)
        values.append(predict(potential, graph, forces=False).energy.item())
    return np.array(values)
