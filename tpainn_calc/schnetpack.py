"""Potentials from the weights of SchNetPack's PaiNN, by the names of its tensors.

Both programs implement the same equations (arXiv 2102.03150); what differs is how the weights are
stored. SchNetPack keeps the filters of all blocks in one layer and an embedding row per atomic
number, and takes the norm of the first half of its channel mixing where we take it of the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from ase.data import atomic_numbers
from torch import Tensor

from tpainn_calc.base.errors import ModelFileError
from tpainn_calc.hyperparameters import Basis, Hyperparameters
from tpainn_calc.potential import Potential

__all__ = ["potential_from_schnetpack"]

# what precedes the names in the state of a whole model and of its training task
_PREFIXES = ("model.", "representation.", "output_modules.0.")


def potential_from_schnetpack(
    state_dict: Mapping[str, Tensor],
    elements: Sequence[str],
    scale: float = 1.0,
    reference_energies: Mapping[str, float] | None = None,
    fused: bool = False,
) -> Potential:
    """Make a potential from the state of a SchNetPack 2.x PaiNN with an ``Atomwise`` readout.

    The numbers agree to rounding if the model was built with SiLU activations, a cosine cut-off,
    ``GaussianRBF`` (or ``BesselRBF``), ``epsilon=1e-8`` and a readout of two layers, all of which
    are SchNetPack's defaults. Activations and `epsilon` leave no trace in the state: they are the
    caller's to know.

    Parameters
    ----------
    state_dict : mapping of str to Tensor
        ``model.state_dict()`` of a ``NeuralNetworkPotential`` (names such as
        ``representation.filter_net.weight`` and ``output_modules.0.outnet.0.weight``), or those of
        its representation and of its ``Atomwise`` module merged into one mapping.
    elements : sequence of str
        Chemical symbols that the potential shall know; SchNetPack's embedding has a row for every
        atomic number, trained or not.
    scale : float
        Energy unit of the network in eV. SchNetPack's length unit must be Å.
    reference_energies : mapping of str to float, optional
        Energy in eV to be added per atom of an element: what SchNetPack's ``AddOffsets`` adds.
        Zero by default.
    fused : bool
        See :class:`tpainn_calc.potential.Potential`.

    Returns
    -------
    Potential
        In evaluation mode, in the type of the weights.

    Raises
    ------
    ModelFileError
        If a tensor is missing, unknown, of the wrong shape, or asks for what PaiNN here lacks;
        or if the state holds energy offsets and no `reference_energies` are given.
    """
    state = _without_prefixes(state_dict)
    offsets = [key for key in state if key.startswith("postprocessors.")]
    if reference_energies is None and any(state[key].ne(0).any() for key in offsets):
        raise ModelFileError(
            f"the state holds energy offsets ({', '.join(offsets)}), which are not read: pass "
            "reference_energies in eV per element"
        )
    embedding = _take(state, "embedding.weight")
    n_features = embedding.size(1)
    n_blocks = 0
    while f"mixing.{n_blocks}.mu_channel_mix.weight" in state:
        n_blocks += 1
    if n_blocks == 0:
        raise ModelFileError("not the state of a SchNetPack PaiNN: it has no mixing blocks")
    cutoff, basis, n_basis = _radial(state)
    hyperparameters = Hyperparameters(
        tuple(elements),
        n_features=n_features,
        n_blocks=n_blocks,
        cutoff=cutoff,
        n_basis=n_basis,
        basis=basis,
        envelope="cosine",
        norm_epsilon=1e-8,
    )
    rows = [atomic_numbers[symbol] for symbol in hyperparameters.elements]
    if max(rows) >= embedding.size(0):
        symbol = max(hyperparameters.elements, key=atomic_numbers.__getitem__)
        raise ModelFileError(
            f"the embedding ends at atomic number {embedding.size(0) - 1}: it has no {symbol}"
        )
    network = {
        "embedding.weight": embedding[rows],
        **_layers(state, {"outnet.0": "output.0", "outnet.1": "output.2"}),
    }
    filters = [_take(state, f"filter_net.{kind}") for kind in ("weight", "bias")]
    shared = filters[0].size(0) == 3 * n_features  # shared_filters=True
    for k in range(n_blocks):
        first = 0 if shared else 3 * n_features * k
        message, update = f"blocks.{k}.message", f"blocks.{k}.update"
        for kind, tensor in zip(("weight", "bias"), filters, strict=True):
            rows_of_block = tensor[first : first + 3 * n_features]
            network[f"{message}.filter.dense.{kind}"] = rows_of_block
        context, mixing = f"interactions.{k}.interatomic_context_net", f"mixing.{k}"
        names = {
            f"{context}.0": f"{message}.context.0",
            f"{context}.1": f"{message}.context.2",
            f"{mixing}.intraatomic_context_net.0": f"{update}.context.0",
            f"{mixing}.intraatomic_context_net.1": f"{update}.context.2",
        }
        network.update(_layers(state, names))
        normed, other = _take(state, f"{mixing}.mu_channel_mix.weight").chunk(2, dim=0)
        network[f"{update}.mix.weight"] = torch.cat([other, normed])
    unknown = sorted(set(state) - set(offsets))
    if unknown:
        raise ModelFileError(f"PaiNN has no use for the tensor {unknown[0]!r} of this state")

    potential = Potential(hyperparameters, fused=fused).set_dtype(embedding.dtype)
    _load(potential, network)
    potential.scale.fill_(scale)
    for symbol, energy in (reference_energies or {}).items():
        if symbol not in hyperparameters.elements:
            raise ModelFileError(f"reference energy of {symbol}, which is not among the elements")
        potential.reference_energies[hyperparameters.elements.index(symbol)] = energy
    # SchNetPack leaves the network's energy of isolated atoms where it is, ours is anchored
    isolated = potential.network_of_isolated_atoms().detach().to(torch.float64)
    potential.reference_energies.add_(isolated * potential.scale)
    return potential.eval()


def _without_prefixes(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    state = {}
    for key, tensor in state_dict.items():
        name = key
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        state[name] = tensor.detach().cpu()
    return state


def _take(state: dict[str, Tensor], name: str) -> Tensor:
    # popped, so that what nobody asked for is left over and can be refused
    try:
        return state.pop(name)
    except KeyError:
        raise ModelFileError(f"the state of SchNetPack's PaiNN lacks tensor {name!r}") from None


def _layers(state: dict[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    return {
        f"{ours}.{kind}": _take(state, f"{theirs}.{kind}")
        for theirs, ours in names.items()
        for kind in ("weight", "bias")
    }


def _radial(state: dict[str, Tensor]) -> tuple[float, Basis, int]:
    cutoff = float(_take(state, "cutoff_fn.cutoff"))
    if "radial_basis.freqs" in state:
        constants = _take(state, "radial_basis.freqs").double()
        basis: Basis = "bessel"
        n_basis = constants.numel()
        expected = torch.arange(1, n_basis + 1, dtype=torch.float64) * (torch.pi / cutoff)
    else:
        constants = _take(state, "radial_basis.offsets").double()
        widths = _take(state, "radial_basis.widths").double()
        basis = "gaussian"
        n_basis = constants.numel()
        expected = torch.linspace(0.0, cutoff, n_basis, dtype=torch.float64)
        if not torch.allclose(widths, expected[1].expand(n_basis), rtol=1e-5):
            raise ModelFileError("GaussianRBF: only widths equal to the spacing are supported")
    if not torch.allclose(constants, expected, rtol=1e-5, atol=1e-6):
        raise ModelFileError(
            f"the radial functions do not span 0 to the cut-off ({cutoff:g} Å) evenly"
        )
    return cutoff, basis, n_basis


def _load(potential: Potential, network: Mapping[str, Tensor]) -> None:
    expected = potential.network.state_dict()
    for name, tensor in network.items():
        if tensor.shape != expected[name].shape:
            raise ModelFileError(
                f"{name} would have shape {tuple(tensor.shape)} where "
                f"{tuple(expected[name].shape)} is needed"
            )
    potential.network.load_state_dict(dict(network))
