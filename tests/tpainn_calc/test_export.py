"""Exported models are the eager ones, carry their manifest, and are checked when written."""

from __future__ import annotations

import copy
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tpainn_calc.deployed import seal
from tpainn_calc.errors import ModelFileError
from tpainn_calc.export import MANIFEST_FILE, export_model, load_exported
from tpainn_calc.graph import Graph
from tpainn_calc.modelfile import load_model, read_manifest, save_model
from tpainn_calc.potential import predict


@pytest.fixture
def model(make_potential, tmp_path) -> Path:
    path = tmp_path / "small.safetensors"
    save_model(path, make_potential(n_features=8), description="for tests")
    return path


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kernel", ["plain", "fused"])
def test_exported_is_eager(model, cluster, crystal, tmp_path, request, kernel, dtype):
    if kernel == "fused":
        request.getfixturevalue("fused")
    path = tmp_path / "exported.pt"
    written = export_model(model, path, dtype=dtype, kernel=kernel)
    module, manifest = load_exported(path)
    assert manifest == written
    assert manifest.dtype == str(dtype).removeprefix("torch.")
    assert manifest.golden == read_manifest(model).golden
    assert manifest.description == "for tests"
    eager, _ = load_model(model, dtype=dtype, kernel=kernel)
    assert module.cutoff == eager.cutoff
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    # several calls with graphs of other sizes: TorchScript specialises after the first ones
    for atoms in (cluster(), cluster(5), crystal("small"), cluster(1), crystal("triclinic")):
        graph = Graph.from_atoms(atoms, eager.elements, eager.cutoff)
        wanted, got = (predict(p, graph, virial=True) for p in (eager, module))
        for name in ("energies", "forces", "virial"):
            a, b = getattr(wanted, name), getattr(got, name)
            amplitude = max(1.0, a.abs().max().item())
            assert (a - b).abs().max().item() <= tolerance * amplitude


@pytest.mark.parametrize("kernel", ["plain", "fused"])
def test_block_by_block(model, cluster, tmp_path, request, kernel):
    if kernel == "fused":
        request.getfixturevalue("fused")
    path = tmp_path / "exported.pt"
    export_model(model, path, kernel=kernel)
    module, _ = load_exported(path)
    g = Graph.from_atoms(cluster(), ("H", "O", "Cu"), module.cutoff)
    whole = module(g.species, g.centre, g.neighbour, g.edge_vec)
    edges = module.connect(g.centre, g.neighbour, g.edge_vec, g.n_atoms, g.n_atoms)
    s, v = module.embed(g.species)
    for k in range(3):
        s, v = module.layer(k, s, v, edges)
    torch.testing.assert_close(module.readout(s, g.species), whole, rtol=1e-12, atol=1e-12)


def test_other_programs_may_run_it(model, cluster, tmp_path):
    """The program of the file, for hosts that trust it: energies, and forces from the gradient."""
    path = tmp_path / "exported.pt"
    export_model(model, path, kernel="plain")
    program = torch.jit.load(str(path))
    eager, _ = load_model(model, kernel="plain")
    g = Graph.from_atoms(cluster(), eager.elements, eager.cutoff)
    wanted = predict(eager, g)
    edge_vec = g.edge_vec.requires_grad_(True)
    edges = program.connect(g.centre, g.neighbour, edge_vec, g.n_atoms, g.n_atoms)
    energies = program.energies(g.species, edges)
    (gradient,) = torch.autograd.grad(energies.sum(), edge_vec)
    torch.testing.assert_close(energies, wanted.energies)
    torch.testing.assert_close(program.forces(gradient, edges, g.n_atoms), wanted.forces)
    assert program.elements == list(eager.elements)
    assert program.cutoff == eager.cutoff


def test_manifest_can_be_read_without_this_package(model, tmp_path):
    path = tmp_path / "exported.pt"
    export_model(model, path, kernel="plain")
    extra = {MANIFEST_FILE: ""}
    torch.jit.load(str(path), _extra_files=extra)
    manifest = json.loads(extra[MANIFEST_FILE])
    assert manifest["hyperparameters"]["elements"] == ["H", "O", "Cu"]
    assert manifest["name"] == "small"


@pytest.mark.parametrize("error", [0.01, float("nan")])
def test_wrong_numbers_are_noticed(model, tmp_path, monkeypatch, error):
    """As if TorchScript had spoilt a weight."""
    script = torch.jit.script

    def spoilt(deployed):
        other = copy.deepcopy(deployed)
        other.potential.network.output[0].bias += error
        return script(other)

    monkeypatch.setattr(torch.jit, "script", spoilt)
    with pytest.raises(ModelFileError, match="the exported model is off the eager one by"):
        export_model(model, tmp_path / "exported.pt", kernel="plain")


def test_bad_files(model, tmp_path):
    def refused(path: Path) -> str:
        with pytest.raises(ModelFileError) as caught:
            load_exported(path)
        message = str(caught.value)
        assert "\n" not in message
        assert path.name in message
        return message

    assert "not a readable exported model" in refused(tmp_path / "missing.pt")
    assert "not a readable exported model" in refused(model)
    good = tmp_path / "good.pt"
    export_model(model, good, kernel="plain")
    cut = tmp_path / "cut.pt"
    for keep in (0, 10, len(good.read_bytes()) // 2, -1):
        cut.write_bytes(good.read_bytes()[:keep])
        assert "not a readable exported model" in refused(cut)

    foreign = tmp_path / "foreign.pt"
    module = torch.jit.script(torch.nn.Linear(2, 2))
    torch.jit.save(module, str(foreign))
    assert "was not exported by T-PaiNN" in refused(foreign)
    # before files were sealed
    torch.jit.save(module, str(foreign), _extra_files={MANIFEST_FILE: "{}"})
    assert "exported by an older version of T-PaiNN: export it again with" in refused(foreign)
    manifest = json.loads(read_manifest(model).model_dump_json())
    for text, complaint in [
        ("{", "damaged"),
        ("[1]", "damaged"),
        (json.dumps(manifest | {"schema_version": 99}), "newer"),
        (json.dumps({k: manifest[k] for k in manifest if k != "golden"}), "'golden'"),
    ]:
        archive = io.BytesIO()
        torch.jit.save(module, archive, _extra_files={MANIFEST_FILE: text})
        foreign.write_bytes(seal(archive.getvalue()))
        assert complaint in refused(foreign)


def test_nothing_is_left_after_a_failure(model, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    folder.mkdir()

    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="no space left"):
        export_model(model, folder / "exported.pt", kernel="plain")
    assert list(folder.iterdir()) == []


def test_two_exports_to_one_name(make_potential, tmp_path):
    """The file is one of the two, whole, and nothing else is left."""
    models = []
    for seed in range(2):
        torch.manual_seed(seed)
        models.append(tmp_path / f"m{seed}.safetensors")
        save_model(models[-1], make_potential(n_features=8))
    path = tmp_path / "out" / "exported.pt"
    code = (
        "import sys; from tpainn_calc.export import export_model;"
        "export_model(sys.argv[1], sys.argv[2], kernel='plain')"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(model), str(path)]) for model in models
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    assert load_exported(path)[1].name in ("m0", "m1")
    assert list(path.parent.iterdir()) == [path]


def test_bad_model_file_is_refused(tmp_path):
    with pytest.raises(ModelFileError, match="no model file"):
        export_model(tmp_path / "missing.safetensors", tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []
