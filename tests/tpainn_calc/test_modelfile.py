"""Model files come back as they were written, or not at all and with one line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from safetensors import safe_open
from safetensors.torch import save_file

from tpainn_calc import manifest
from tpainn_calc.errors import ModelFileError
from tpainn_calc.graph import Graph
from tpainn_calc.modelfile import (
    METADATA_KEY,
    SCHEMA_VERSION,
    find_model,
    load_model,
    read_manifest,
    save_model,
    shipped_models,
)
from tpainn_calc.potential import predict


@pytest.fixture
def potential(make_potential):
    return make_potential(n_features=8)


@pytest.fixture
def model(potential, tmp_path) -> Path:
    path = tmp_path / "small.safetensors"
    save_model(path, potential, description="for tests", level_of_theory="none")
    return path


def parts(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Return the tensors and the manifest of a file, to be damaged; without the checksum.

    Files of older versions have none, and every check behind it must hold by itself.
    """
    with safe_open(str(path), framework="pt") as handle:
        tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118
        manifest = json.loads(handle.metadata()[METADATA_KEY])
    assert len(manifest.pop("sha256")) == 64
    return tensors, manifest


def write(path: Path, tensors, manifest) -> None:
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    save_file(tensors, str(path), {METADATA_KEY: text})


def refused(path, **options) -> str:
    """Return the message with which a file is refused."""
    with pytest.raises(ModelFileError) as caught:
        load_model(path, kernel="plain", **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# ---------------------------------------------------------------------- round trip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kernel", ["plain", "fused"])
def test_round_trip(make_potential, cluster, tmp_path, kernel, dtype):
    original = make_potential(kernel, dtype, n_features=8)
    path = tmp_path / "sub" / "model.safetensors"
    written = save_model(path, original, name="tiny", shortest_distances={"H-O": 0.9})
    loaded, manifest = load_model(path, kernel=kernel)
    assert manifest == read_manifest(path)
    assert manifest.model_dump_json() == written.model_dump_json()
    assert manifest.name == "tiny"
    assert manifest.schema_version == SCHEMA_VERSION
    assert loaded.hyperparameters == original.hyperparameters
    assert loaded.dtype == dtype
    assert loaded.network.fused == (kernel == "fused")
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    for name, tensor in original.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
        assert loaded.state_dict()[name].dtype == tensor.dtype
    graph = Graph.from_atoms(cluster(), loaded.elements, loaded.cutoff)
    before, after = (predict(p, graph) for p in (original, loaded))
    # a loaded float64 model has finer tables than a potential straight from the constructor
    finer = kernel == "fused" and dtype == torch.float64
    tolerance = 1e-4 if finer else 0.0
    torch.testing.assert_close(before.energies, after.energies, rtol=0, atol=tolerance)
    torch.testing.assert_close(before.forces, after.forces, rtol=0, atol=tolerance)


def test_loading_in_another_type(model, cluster):
    exact, _ = load_model(model, kernel="plain")
    single, _ = load_model(model, dtype=torch.float32, kernel="plain")
    assert exact.dtype == torch.float64
    assert single.dtype == torch.float32
    assert single.network.radial.constants.dtype == torch.float64
    assert torch.equal(single.reference_energies, exact.reference_energies)
    graph = Graph.from_atoms(cluster(), exact.elements, exact.cutoff)
    a, b = (predict(p, graph) for p in (exact, single))
    assert b.forces.dtype == torch.float64
    torch.testing.assert_close(a.forces, b.forces, rtol=0, atol=1e-4)
    assert not torch.equal(a.forces, b.forces)


def test_golden_structure_can_be_chosen(potential, tmp_path):
    atoms = Atoms(
        "HOCu", positions=[[0, 0, 0], [1.2, 0, 0], [0, 1.9, 0.3]], cell=[5, 6, 7], pbc=True
    )
    path = tmp_path / "model.safetensors"
    manifest = save_model(path, potential, golden_atoms=atoms)
    golden = manifest.golden.atoms()
    assert golden == atoms
    expected = predict(potential, Graph.from_atoms(atoms, potential.elements, potential.cutoff))
    assert manifest.golden.energy == pytest.approx(expected.energy.item())
    np.testing.assert_allclose(manifest.golden.forces, expected.forces)
    load_model(path, kernel="plain")


def test_default_golden_structure_holds_every_element_and_forces(model):
    golden = read_manifest(model).golden
    assert set(golden.symbols) == {"H", "O", "Cu"}
    assert np.abs(golden.forces).max(axis=1).min() > 1e-3


def test_manifest_needs_no_weights(model):
    """Cut off after the header, a file still fails to open: its sizes disagree."""
    manifest = read_manifest(model)
    assert manifest.description == "for tests"
    assert manifest.dtype == "float64"
    assert manifest.units["energy"] == "eV"
    assert manifest.hyperparameters["n_features"] == 8


def test_unknown_manifest_field_is_refused_on_writing(potential, tmp_path):
    with pytest.raises(ValueError, match="levl_of_theory"):
        save_model(tmp_path / "x.safetensors", potential, levl_of_theory="PBE")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- golden values


def test_changed_weights_are_noticed(model):
    tensors, manifest = parts(model)
    tensors["network.blocks.1.update.mix.weight"][0, 0] += 1.0
    write(model, tensors, manifest)
    assert "does not reproduce its golden values: off by" in refused(model)
    load_model(model, kernel="plain", check=False)


def test_changed_reference_energy_is_noticed(model):
    tensors, manifest = parts(model)
    tensors["reference_energies"][0] += 0.01
    write(model, tensors, manifest)
    assert "golden" in refused(model)


def test_changed_golden_values_are_noticed(model):
    tensors, manifest = parts(model)
    force = manifest["golden"]["forces"][1][2]
    for wrong, complaint in (
        (force + 1.0, "does not reproduce its golden values"),
        (float("nan"), "manifest entry 'golden.forces.1.2'"),
    ):
        manifest["golden"]["forces"][1][2] = wrong
        write(model, tensors, manifest)
        assert complaint in refused(model)


@pytest.mark.parametrize(
    "change",
    [
        {"symbols": ["H", "O"]},
        {"symbols": ["Xx"] * 6},
        {"symbols": ["He"] * 6},
        {"forces": [[0.0, 0.0, 0.0]]},
        {"forces": [[0.0, 0.0]] * 6},
        {"positions": [[0.0, 0.0, 0.0]] * 6},
        {"cell": [[0.0] * 3] * 3, "pbc": [True] * 3},
    ],
)
def test_damaged_golden_structure(model, change):
    tensors, manifest = parts(model)
    manifest["golden"].update(change)
    write(model, tensors, manifest)
    assert "golden" in refused(model)


# ---------------------------------------------------------------------- bad files


def test_missing_file(tmp_path):
    message = refused(tmp_path / "nothing.safetensors")
    assert "no model file" in message
    assert "nothing.safetensors" in message


def test_misspelt_shipped_model(tmp_path, monkeypatch, potential):
    monkeypatch.setattr(manifest, "MODELS_FOLDER", tmp_path)
    assert "shipped: none" in refused("watr")
    save_model(tmp_path / "water.safetensors", potential)
    save_model(tmp_path / "copper.safetensors", potential)
    assert shipped_models() == ["copper", "water"]
    message = refused("watr")
    assert "shipped: copper, water" in message
    assert message.endswith('(did you mean "water"?)')
    assert find_model("water") == tmp_path / "water.safetensors"
    assert load_model("copper", kernel="plain")[1].name == "copper"


def test_folder_is_not_a_model(tmp_path):
    assert "no model file" in refused(tmp_path)


@pytest.mark.parametrize("keep", [0, 3, 8, 100, 2000, -1])
def test_truncated_file(model, keep):
    model.write_bytes(model.read_bytes()[:keep])
    message = refused(model)
    assert "not a readable model file" in message
    assert "truncated" in message


@pytest.mark.parametrize("content", [b"\xff" * 300, b"name,energy\n1,2\n" * 40, b"\0" * 64])
def test_file_of_another_kind(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert "not a readable model file" in refused(path)


def test_archive_such_as_an_exported_model(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"a": 1}, path)
    assert "is an archive" in refused(path)


def test_foreign_safetensors(tmp_path):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.ones(3)}, str(path))
    assert "not of T-PaiNN" in refused(path)
    save_file({"weight": torch.ones(3)}, str(path), {"format": "pt"})
    assert "not of T-PaiNN" in refused(path)


def test_newer_schema(model):
    tensors, manifest = parts(model)
    manifest["schema_version"] = SCHEMA_VERSION + 1
    manifest["what_the_future_brings"] = 1
    write(model, tensors, manifest)
    message = refused(model)
    assert f"has schema {SCHEMA_VERSION + 1}, newer than {SCHEMA_VERSION}" in message
    assert "upgrade" in message


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "3", "{}", '{"schema_version": "one"}', '{"schema_version": null}'],
)
def test_damaged_json(model, text):
    tensors, _ = parts(model)
    write(model, tensors, text)
    assert "the manifest is damaged" in refused(model)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("golden", None, "'golden'"),
        ("name", 3, "'name'"),
        ("extra", 1, "'extra'"),
        ("dtype", "float16", "dtype 'float16'"),
        ("hyperparameters", {}, "hyperparameters do not make a potential"),
        ("hyperparameters", {"elements": ["H"], "n_atoms": 3}, "do not make a potential"),
        ("hyperparameters", {"elements": ["H", "H"]}, "do not make a potential"),
        ("hyperparameters", {"elements": 7}, "do not make a potential"),
        ("hyperparameters", {"elements": ["H"], "cutoff": "5"}, "do not make a potential"),
        ("hyperparameters", {"elements": ["H"], "n_features": 8.0}, "do not make a potential"),
        ("shortest_distances", {"H-O": float("nan")}, "'shortest_distances.H-O'"),
        ("coordination", {"O": {"H": {"radius": -1.0, "fewest": 2, "most": 2}}}, "O.H.radius"),
    ],
)
def test_wrong_manifest_entry(model, key, value, complaint):
    tensors, manifest = parts(model)
    manifest[key] = value
    write(model, tensors, manifest)
    assert complaint in refused(model)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("n_features", 10**9, "n_features should be less than or equal to"),
        ("n_features", 1024, "the manifest says 3 elements, 1024 features"),
        ("n_features", None, "n_features not given"),
        ("n_blocks", 10**9, "n_blocks should be less than or equal to"),
        ("n_blocks", 30, "3 elements, 8 features and 30 blocks"),
        ("n_basis", 10**9, "n_basis should be less than or equal to"),
        ("cutoff", float("inf"), "cutoff should be a finite number"),
        ("cutoff", 1e4, "cutoff should be less than or equal to"),
        ("cutoff", 1e-300, "cutoff should be greater than or equal to"),
        ("norm_epsilon", float("nan"), "norm_epsilon should be a finite number"),
        ("elements", "HOCu", "elements should be a list"),
        ("elements", [1, 2, 3], "elements should be a valid string"),
        ("elements", ["H", "O", "X"], "not a chemical symbol: X"),
        ("colour", "blue", "colour unknown"),
    ],
)
def test_every_hyperparameter_is_bounded(model, key, value, complaint):
    tensors, manifest = parts(model)
    manifest["hyperparameters"][key] = value
    if value is None:
        del manifest["hyperparameters"][key]
    write(model, tensors, manifest)
    assert complaint in refused(model)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("cell", [[0.05, 0, 0], [0, 0.05, 0], [0, 0, 0.05]], "neighbours"),
        ("cell", [[1e200, 0, 0], [0, 1e200, 0], [0, 0, 1e200]], "too large"),
        ("positions", [[0.0, 0.0]] * 6, "'golden.positions.0'"),
        ("positions", [[float("inf"), 0.0, 0.0]] * 6, "'golden.positions.0.0'"),
        ("symbols", ["H"] * 10**6, "'golden.symbols'"),
        ("energy", float("nan"), "'golden.energy'"),
    ],
)
def test_golden_structures_are_bounded(model, key, value, complaint):
    tensors, manifest = parts(model)
    manifest["golden"] |= {key: value, "pbc": [True] * 3}
    write(model, tensors, manifest)
    assert complaint in refused(model)


def test_missing_manifest_entry(model):
    tensors, manifest = parts(model)
    del manifest["golden"]
    write(model, tensors, manifest)
    assert "manifest entry 'golden'" in refused(model)


def test_wrong_tensors(model):
    tensors, manifest = parts(model)
    name = "network.blocks.0.message.context.0.weight"
    write(model, {**tensors, name: torch.zeros(8, 9)}, manifest)
    assert f"tensor {name!r} has shape (8, 9), the manifest says (8, 8)" in refused(model)
    write(model, {k: t for k, t in tensors.items() if k != name}, manifest)
    assert f"lacks tensor {name!r}" in refused(model)
    write(model, {**tensors, "network.extra": torch.zeros(1)}, manifest)
    assert "has an unexpected tensor 'network.extra'" in refused(model)
    for bad in (float("nan"), float("inf")):
        damaged = tensors[name].clone()
        damaged[1, 1] = bad
        write(model, {**tensors, name: damaged}, manifest)
        assert f"tensor {name!r} holds non-finite numbers" in refused(model)


def test_misspelt_kernel(model):
    with pytest.raises(ModelFileError, match=r'kernel \'fussed\' .* \(did you mean "fused"\?\)'):
        load_model(model, kernel="fussed")


# ---------------------------------------------------------------------- checksum


def test_no_flipped_bit_goes_unnoticed(model):
    whole = model.read_bytes()
    rng = np.random.default_rng(17)
    header = 8 + int.from_bytes(whole[:8], "little")
    # the header, with the manifest, is a small part of the file and is tried as often
    bits = [*rng.integers(0, 8 * header, 150), *rng.integers(8 * header, 8 * len(whole), 150)]
    for bit in bits:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        model.write_bytes(damaged)
        refused(model, check=False)
    model.write_bytes(whole)
    load_model(model, kernel="plain")


@pytest.mark.parametrize("amount", [1e-3, 1e-9])
def test_an_altered_reference_energy_is_refused(model, amount):
    tensors, _ = parts(model)
    tensors["reference_energies"][1] += amount
    with safe_open(str(model), framework="pt") as handle:
        text = handle.metadata()[METADATA_KEY]
    write(model, tensors, text)
    assert "sha256 differs" in refused(model)


def test_an_altered_manifest_is_refused(model):
    tensors, _ = parts(model)
    with safe_open(str(model), framework="pt") as handle:
        text = handle.metadata()[METADATA_KEY]
    write(model, tensors, text.replace('"none"', '"CCSD(T)"'))
    assert "sha256 differs" in refused(model)
    write(model, tensors, text.replace(',"sha256"', ', "sha256"'))  # as good as none, but there
    assert "sha256 differs" in refused(model)


def test_a_file_without_checksum_loads_with_a_note(model, caplog):
    load_model(model, kernel="plain")
    assert not caplog.records
    write(model, *parts(model))
    load_model(model, kernel="plain")
    (record,) = caplog.records
    assert "has no checksum: an older version of tpainn wrote it" in record.getMessage()


def test_shipped_models_have_a_checksum(caplog):
    for name in shipped_models():
        load_model(name, kernel="plain")
    assert not caplog.records


# ---------------------------------------------------------------------- writing


def test_writing_is_atomic(model, potential, monkeypatch):
    before = model.read_bytes()

    def fail(*_):
        raise OSError("no space left on device")

    for function in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, fail)
            with pytest.raises(OSError, match="no space left"):
                save_model(model, potential, description="second")
        assert model.read_bytes() == before
        assert [p.name for p in model.parent.iterdir()] == [model.name]
    save_model(model, potential, description="second")
    assert read_manifest(model).description == "second"
    assert [p.name for p in model.parent.iterdir()] == [model.name]


def test_written_files_can_be_read_by_others(model):
    assert model.stat().st_mode & 0o777 == 0o644


def test_same_potential_gives_the_same_file(model, potential, tmp_path):
    again = tmp_path / "again.safetensors"
    save_model(again, potential, name="small", description="for tests", level_of_theory="none")
    assert again.read_bytes() == model.read_bytes()
