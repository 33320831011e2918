"""Energy, forces, pressure and per-atom sums depend neither on the ghost mode nor on the ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lammps_plugin.single_point import Setup, single_point
from tpainn_calc.errors import TPaiNNError

MODES = ["exchange", "extended"]


def assert_same(got, expected, tolerance=1e-6):
    n = len(expected.energies)
    assert got.energy / n == pytest.approx(expected.energy / n, abs=tolerance)
    np.testing.assert_allclose(got.energies, expected.energies, atol=tolerance)
    np.testing.assert_allclose(got.forces, expected.forces, atol=tolerance)
    np.testing.assert_allclose(got.virials, expected.virials, atol=10 * tolerance)
    np.testing.assert_allclose(got.centroid_virials, expected.centroid_virials, atol=10 * tolerance)
    np.testing.assert_allclose(got.stress, expected.stress, atol=tolerance)


@pytest.mark.parametrize("mode", MODES)
def test_modes_agree_on_one_rank(water_box, deployed, mode):
    # fold on one rank equals ASE: test_single_point.py
    expected = single_point(water_box, deployed)
    assert_same(single_point(water_box, deployed, Setup(options=f"ghosts {mode}")), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("grid", ["1 1 2", "2 2 1"])
@pytest.mark.parametrize("cell", ["orthogonal", "triclinic"])
def test_modes_agree_on_several_ranks(box, tilted, deployed, mode, grid, cell):
    atoms = box if cell == "orthogonal" else tilted
    ranks = int(np.prod([int(n) for n in grid.split()]))
    setup = Setup(ranks=ranks, options=f"ghosts {mode}", before=[f"processors {grid}"])
    assert_same(single_point(atoms, deployed, setup), single_point(atoms, deployed))


@pytest.mark.parametrize("kernel", ["fused", "plain"])
def test_float32_on_two_ranks(box, model_file, export, kernel):
    model = export(model_file, torch.float32, kernel)
    expected = single_point(box, export(model_file))
    got = single_point(box, model, Setup(ranks=2))
    assert "ghosts exchange (several ranks" in got.log
    np.testing.assert_allclose(got.forces, expected.forces, atol=2e-4)
    np.testing.assert_allclose(got.stress, expected.stress, atol=2e-4)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kernel", ["fused", "plain"])
def test_ranks_without_atoms(box, model_file, export, mode, kernel):
    # all atoms in one half of a long box: the other ranks own nothing and have no ghosts
    cluster = box[:12]
    cluster.set_cell(np.diag([60.0, 12.0, 12.0]))
    cluster.positions += 1.0
    model = export(model_file, kernel=kernel)
    setup = Setup(ranks=4, options=f"ghosts {mode}", before=["processors 4 1 1"])
    got = single_point(cluster, model, setup)
    assert_same(got, single_point(cluster, model))


def test_hybrid_on_two_ranks(box, deployed):
    d3 = "dispersion/d3 original pbe0 12.0 8.0"
    pair = [
        f"pair_style hybrid/overlay {d3} tpainn",
        "pair_coeff * * tpainn {model} {elements}",
        "pair_coeff * * dispersion/d3 {elements}",
    ]
    assert_same(
        single_point(box, deployed, Setup(pair=pair, ranks=2)),
        single_point(box, deployed, Setup(pair=pair)),
    )


@pytest.mark.parametrize("mode", MODES)
def test_null_on_two_ranks(box, deployed, mode):
    one = [
        "pair_style hybrid tpainn lj/cut 3.0",
        "pair_coeff * * tpainn {model} NULL O",
        "pair_coeff 1 * lj/cut 0.0 1.0",
    ]
    two = [one[0].replace("tpainn", f"tpainn ghosts {mode}"), *one[1:]]
    assert_same(
        single_point(box, deployed, Setup(pair=two, ranks=2)),
        single_point(box, deployed, Setup(pair=one)),
    )


def test_several_models_on_two_ranks(box, deployed, make_model, export):
    # unlike cut-offs: the neighbour list is that of the larger one
    models = [deployed, export(make_model("other", seed=3, cutoff=3.5))]
    expected = [single_point(box, model) for model in models]
    for ranks in (1, 2):
        got = single_point(box, models, Setup(ranks=ranks))
        np.testing.assert_allclose(got.forces, sum(e.forces for e in expected) / 2, atol=1e-6)
        np.testing.assert_allclose(got.stress, sum(e.stress for e in expected) / 2, atol=1e-6)
        np.testing.assert_allclose(got.energies, sum(e.energies for e in expected) / 2, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_newton_off_is_refused_where_it_would_be_wrong(box, deployed, mode):
    with pytest.raises(TPaiNNError, match="needs newton pair on"):
        single_point(box, deployed, Setup(options=f"ghosts {mode}", before=["newton off"]))
    assert_same(
        single_point(box, deployed, Setup(before=["newton off"])), single_point(box, deployed)
    )


def test_fold_on_two_ranks_is_refused(box, deployed):
    with pytest.raises(TPaiNNError, match="ghosts fold works on one MPI rank, here are 2"):
        single_point(box, deployed, Setup(options="ghosts fold", ranks=2))
