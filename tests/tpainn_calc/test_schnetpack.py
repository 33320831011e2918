"""Equal weights give the energies and forces of SchNetPack's PaiNN.

``schnetpack_reference.json`` was written by ``make_schnetpack_reference.py`` with SchNetPack
itself; here its weights are made once more by the same recipe.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from tpainn_calc.errors import ModelFileError
from tpainn_calc.graph import Graph
from tpainn_calc.modelfile import load_model, save_model
from tpainn_calc.potential import predict
from tpainn_calc.schnetpack import potential_from_schnetpack

REFERENCE = json.loads(Path(__file__).with_name("schnetpack_reference.json").read_text())
ELEMENTS = ("O", "C", "H")  # neither by atomic number nor by appearance


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """The state of SchNetPack's model."""
    rng = np.random.default_rng(REFERENCE["seed"])
    tensors = {
        name: torch.from_numpy(rng.standard_normal(shape) / np.sqrt(shape[-1]))
        for name, shape in sorted(REFERENCE["parameters"].items())
    }
    for name, values in REFERENCE["buffers"].items():
        tensors[name] = torch.tensor(values)
    return tensors


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kernel", ["plain", "fused"])
@pytest.mark.parametrize("structure", REFERENCE["structures"])
def test_energies_and_forces(state, structure, kernel, dtype, request):
    if kernel == "fused":
        request.getfixturevalue("fused")
    expected = REFERENCE["structures"][structure]
    atoms = Atoms(**{k: expected[k] for k in ("symbols", "positions", "cell", "pbc")})
    potential = potential_from_schnetpack(state, ELEMENTS, fused=kernel == "fused")
    assert potential.dtype == torch.float64
    potential.set_dtype(dtype)
    result = predict(potential, Graph.from_atoms(atoms, ELEMENTS, potential.cutoff))
    tolerance = 1e-5 if dtype == torch.float32 else 1e-6
    forces = np.array(expected["forces"])
    amplitude = max(1.0, np.abs(forces).max())
    assert np.abs(forces).max() > 0.1  # or there would be little to compare
    assert result.energy.item() == pytest.approx(expected["energy"], rel=tolerance, abs=tolerance)
    np.testing.assert_allclose(result.forces, forces, rtol=0, atol=tolerance * amplitude)


def test_potential_can_be_saved(state, tmp_path):
    potential = potential_from_schnetpack(
        state, ELEMENTS, scale=27.2, reference_energies={"H": -13.6, "O": -430.0}
    )
    path = tmp_path / "imported.safetensors"
    save_model(path, potential)
    loaded, manifest = load_model(path, kernel="plain")
    assert manifest.hyperparameters["basis"] == "gaussian"
    assert manifest.hyperparameters["envelope"] == "cosine"
    # the offsets, and what SchNetPack's network says of isolated atoms
    assert torch.equal(loaded.reference_energies, potential.reference_energies)
    bound = potential.reference_energies - torch.tensor([-430.0, 0.0, -13.6])
    alone = potential.network_of_isolated_atoms().double() * 27.2
    torch.testing.assert_close(bound, alone.detach(), rtol=1e-5, atol=1e-5)
    assert loaded.scale.item() == 27.2


def test_names_without_prefixes_and_of_a_training_task(state):
    bare = {
        k.removeprefix("representation.").removeprefix("output_modules.0."): state[k] for k in state
    }
    task = {f"model.{name}": tensor for name, tensor in state.items()}
    wanted = potential_from_schnetpack(state, ELEMENTS).state_dict()
    for other in (bare, task):
        got = potential_from_schnetpack(other, ELEMENTS).state_dict()
        assert all(torch.equal(got[name], wanted[name]) for name in wanted)


def test_bessel_functions_and_shared_filters(state):
    for kind in ("offsets", "widths"):
        del state[f"representation.radial_basis.{kind}"]
    frequencies = torch.arange(1, 21) * torch.pi / REFERENCE["cutoff"]
    state["representation.radial_basis.freqs"] = frequencies
    for kind in ("weight", "bias"):
        name = f"representation.filter_net.{kind}"
        state[name] = state[name][:96]
    potential = potential_from_schnetpack(state, ELEMENTS)
    assert potential.hyperparameters.basis == "bessel"
    filters = [block.message.filter.dense.weight for block in potential.network.blocks]
    assert all(torch.equal(f, state["representation.filter_net.weight"]) for f in filters)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"representation.filter_net.bias": None}, "lacks tensor 'filter_net.bias'"),
        ({"representation.electronic_embeddings.0.x": torch.ones(2)}, "no use for the tensor"),
        ({"output_modules.0.outnet.1.weight": torch.ones(2, 16)}, "would have shape"),
        ({"representation.cutoff_fn.cutoff": torch.tensor([6.0])}, "widths equal to the spacing"),
        ({"representation.radial_basis.offsets": torch.linspace(1, 5, 20)}, "do not span 0 to"),
        ({"postprocessors.0.mean": torch.tensor([-5.0])}, "pass reference_energies"),
        ({f"representation.mixing.{k}.mu_channel_mix.weight": None for k in range(3)}, "no mixing"),
    ],
)
def test_other_states_are_refused(state, change, complaint):
    for name, tensor in change.items():
        if tensor is None:
            del state[name]
        else:
            state[name] = tensor
    with pytest.raises(ModelFileError, match=complaint) as caught:
        potential_from_schnetpack(state, ELEMENTS)
    assert "\n" not in str(caught.value)


def test_elements_beyond_the_embedding_are_refused(state):
    with pytest.raises(ModelFileError, match="it has no Fm"):
        potential_from_schnetpack(state, ("H", "Fm"))


def test_reference_energy_of_an_absent_element_is_refused(state):
    with pytest.raises(ModelFileError, match="reference energy of Cu"):
        potential_from_schnetpack(state, ELEMENTS, reference_energies={"Cu": 1.0})
