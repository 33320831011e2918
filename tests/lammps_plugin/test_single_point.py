"""LAMMPS gives ASE's numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms

from lammps_plugin.single_point import Setup, single_point


def assert_same(got, expected, atoms: Atoms, tolerance: float = 1e-6) -> None:
    n = len(atoms)
    assert got.energy / n == pytest.approx(expected.energy.item() / n, abs=tolerance)
    np.testing.assert_allclose(got.energies, expected.energies.numpy(), atol=tolerance)
    np.testing.assert_allclose(got.forces, expected.forces.numpy(), atol=tolerance)
    virials = expected.virials.numpy()
    symmetric = 0.5 * (virials + virials.transpose(0, 2, 1))
    np.testing.assert_allclose(got.virials, symmetric, atol=10 * tolerance)
    np.testing.assert_allclose(got.centroid_virials, virials, atol=10 * tolerance)
    if atoms.pbc.all():
        stress = -expected.virial[0].numpy() / atoms.get_volume()
        np.testing.assert_allclose(got.stress, stress, atol=tolerance)


@pytest.mark.parametrize("kernel", ["fused", "plain"])
def test_equals_ase_in_any_cell(water_box, model_file, export, reference, kernel):
    got = single_point(water_box, export(model_file, kernel=kernel))
    expected = reference(water_box, kernel=kernel)
    assert np.abs(expected.forces.numpy()).max() > 0.1  # a test of something
    assert_same(got, expected, water_box)


@pytest.mark.parametrize("kernel", ["fused", "plain"])
def test_equals_ase_in_float32(box, model_file, export, reference, kernel):
    got = single_point(box, export(model_file, torch.float32, kernel))
    expected = reference(box, kernel=kernel, dtype=torch.float64)
    np.testing.assert_allclose(got.forces, expected.forces.numpy(), atol=2e-4)


def test_molecule_without_periodicity(box, deployed, reference):
    atoms = box[:9]
    atoms.pbc = False
    assert_same(single_point(atoms, deployed), reference(atoms), atoms)


@pytest.mark.parametrize("elements", [("O", "H"), ("H", "O"), ("H", "O", "H")])
def test_types_in_any_order(box, deployed, reference, elements):
    assert_same(single_point(box, deployed, Setup(elements=elements)), reference(box), box)


def test_atoms_of_one_element_only(box, deployed, reference):
    hydrogens = box[[a.symbol == "H" for a in box]]
    got = single_point(hydrogens, deployed, Setup(elements=("O", "H")))
    assert_same(got, reference(hydrogens), hydrogens)


def test_units_real(tilted, deployed, reference):
    got = single_point(tilted, deployed, Setup(units="real"))
    expected = reference(tilted)
    n = len(tilted)
    assert got.energy / n == pytest.approx(expected.energy.item() / n, rel=1e-6)
    np.testing.assert_allclose(got.forces, expected.forces.numpy(), atol=1e-6)
    stress = -expected.virial[0].numpy() / tilted.get_volume()
    np.testing.assert_allclose(got.stress, stress, atol=1e-6)


def test_tags_need_not_be_consecutive(box, deployed, reference):
    # atom IDs 3, 6, 9, ...: delete two thirds of a doubled structure
    expected = reference(box[[a.symbol == "O" for a in box]])
    setup = Setup(
        pair=[
            "group hydrogen type 1",
            "delete_atoms group hydrogen compress no",
            "pair_style tpainn",
            "pair_coeff * * {model} {elements}",
        ]
    )
    got = single_point(box, deployed, setup)
    np.testing.assert_allclose(got.forces, expected.forces.numpy(), atol=1e-6)


D3 = "dispersion/d3 original pbe0 12.0 8.0"


def test_overlay_with_dispersion_is_the_sum_of_its_parts(box, deployed):
    elements = ["H", "O"]
    d3 = single_point(box, deployed, Setup(pair=[f"pair_style {D3}", "pair_coeff * * H O"]))
    alone = single_point(box, deployed)
    both = single_point(
        box,
        deployed,
        Setup(
            elements=elements,
            pair=[
                f"pair_style hybrid/overlay tpainn {D3}",
                "pair_coeff * * tpainn {model} {elements}",
                "pair_coeff * * dispersion/d3 H O",
            ],
        ),
    )
    assert both.energy == pytest.approx(alone.energy + d3.energy, abs=1e-6)
    np.testing.assert_allclose(both.forces, alone.forces + d3.forces, atol=1e-8)
    assert np.abs(d3.stress).max() > 1e-4
    np.testing.assert_allclose(both.stress, alone.stress + d3.stress, atol=1e-8)


def test_null_in_hybrid_leaves_the_type_to_another_style(box, deployed, reference):
    # the hydrogens feel a Lennard-Jones wall only, the oxygens the model only
    oxygens = [a.symbol == "O" for a in box]
    expected = reference(box[oxygens])
    got = single_point(
        box,
        deployed,
        Setup(
            pair=[
                "pair_style hybrid tpainn lj/cut 3.0",
                "pair_coeff * * tpainn {model} NULL O",
                "pair_coeff 1 * lj/cut 0.0 1.0",
            ]
        ),
    )
    np.testing.assert_allclose(got.forces[oxygens], expected.forces.numpy(), atol=1e-6)
    assert got.energy == pytest.approx(expected.energy.item(), abs=1e-6)
    np.testing.assert_allclose(got.energies[np.logical_not(oxygens)], 0.0)


def test_two_instances_in_one_hybrid(box, make_model, export, deployed):
    other = export(make_model("other", seed=7, cutoff=3.5))
    parts = [single_point(box, model) for model in (deployed, other)]
    both = single_point(
        box,
        deployed,
        Setup(
            pair=[
                "pair_style hybrid/overlay tpainn tpainn",
                "pair_coeff * * tpainn 1 {model} {elements}",
                f'pair_coeff * * tpainn 2 "{other}" {{elements}}',
            ]
        ),
    )
    np.testing.assert_allclose(both.forces, parts[0].forces + parts[1].forces, atol=1e-8)
    np.testing.assert_allclose(both.stress, parts[0].stress + parts[1].stress, atol=1e-8)
