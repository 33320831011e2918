"""The path of GPUs: edges are made by libtorch from positions. Run on the CPU here."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lammps_plugin.single_point import Setup, single_point


@pytest.mark.parametrize("kernel", ["fused", "plain"])
@pytest.mark.parametrize(
    ("ranks", "options"), [(1, ""), (1, "ghosts extended"), (2, ""), (2, "ghosts extended")]
)
def test_same_numbers(monkeypatch, tilted, model_file, export, kernel, ranks, options):
    model = export(model_file, torch.float64, kernel)
    expected = single_point(tilted, model)
    monkeypatch.setenv("TPAINN_GPU_PATH", "1")
    got = single_point(tilted, model, Setup(ranks=ranks, options=options))
    assert got.energy == pytest.approx(expected.energy, abs=1e-7)
    for name in ("forces", "energies", "stress", "virials", "centroid_virials"):
        np.testing.assert_allclose(getattr(got, name), getattr(expected, name), atol=1e-9)


def test_committee_and_hybrid(monkeypatch, box, make_model, export):
    models = [export(make_model(f"m{k}", seed=k, cutoff=4.0 - 0.5 * k)) for k in range(2)]
    pair = [
        "pair_style hybrid tpainn lj/cut 3.0",
        "pair_coeff * * tpainn {model} NULL O",
        "pair_coeff 1 * lj/cut 0.0 1.0",
    ]
    expected = single_point(box, models, Setup(pair=pair))
    monkeypatch.setenv("TPAINN_GPU_PATH", "1")
    for ranks in (1, 4):
        got = single_point(box, models, Setup(pair=pair, ranks=ranks))
        np.testing.assert_allclose(got.forces, expected.forces, atol=1e-9)
        np.testing.assert_allclose(got.virials, expected.virials, atol=1e-9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("kernel", ["fused", "plain"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_on_a_gpu(box, model_file, export, kernel, ranks):
    model = export(model_file, torch.float64, kernel)
    expected = single_point(box, model, Setup(options="device cpu"))
    got = single_point(box, model, Setup(options="device cuda", ranks=ranks))
    assert "device cuda:0" in got.log
    np.testing.assert_allclose(got.forces, expected.forces, atol=1e-6)
    np.testing.assert_allclose(got.stress, expected.stress, atol=1e-6)
