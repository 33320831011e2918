"""The range of a training set, and the warnings about structures beyond it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from tpainn_calc import Hyperparameters, Potential, TPaiNNCalculator, save_model
from tpainn_calc.errors import ConfigError, StructureError
from tpainn_calc.graph import Graph
from tpainn_calc.manifest import Coordination
from tpainn_calc.training_range import coordination_of, merge_coordination

ELEMENTS = ("H", "O")


def waters(n: int, seed: int, sigma: float = 0.03) -> Atoms:
    """A periodic box of `n` ** 3 waters that shake about their shape."""
    rng = np.random.default_rng(seed)
    places = 3.1 * np.stack(np.meshgrid(*[np.arange(n)] * 3), axis=-1).reshape(-1, 3)
    box = Atoms(cell=[3.1 * n] * 3, pbc=True)
    for place in places:
        one = molecule("H2O")
        one.rotate(rng.uniform(0, 360), rng.normal(size=3))
        one.translate(place)
        box += one
    box.positions += rng.normal(0, sigma, (len(box), 3))
    return box


def graph(atoms: Atoms) -> Graph:
    return Graph.from_atoms(atoms, ELEMENTS, 4.0)


def test_coordination_of_water():
    found = coordination_of([graph(waters(2, seed)) for seed in range(20)], ELEMENTS)
    counts = {(a, b): (c.fewest, c.most) for a in found for b, c in found[a].items()}
    assert counts == {
        ("H", "H"): (0, 0),
        ("H", "O"): (1, 1),
        ("O", "H"): (2, 2),
        ("O", "O"): (0, 0),
    }
    # between the bond at 0.97 Å and the hydrogen bond
    assert 1.1 < found["O"]["H"].radius < 1.5
    assert found["O"]["H"].radius == found["H"]["O"].radius


def test_batches_count_as_their_structures():
    graphs = [graph(waters(2, seed)) for seed in range(3)]
    assert coordination_of([Graph.batch(graphs)], ELEMENTS) == coordination_of(graphs, ELEMENTS)


def test_rare_counts_are_left_out_and_others_are_not():
    ion = Atoms("OH3", [[0, 0, 0], [1, 0, 0], [-0.5, 0.85, 0], [-0.5, -0.85, 0.2]])
    ordinary = [graph(waters(3, seed)) for seed in range(40)]  # 1,080 oxygen atoms
    assert coordination_of([*ordinary, graph(ion)], ELEMENTS)["O"]["H"].most == 2
    assert coordination_of([*ordinary, *[graph(ion)] * 3], ELEMENTS)["O"]["H"].most == 3


def test_elements_without_atoms_are_left_out():
    assert coordination_of([], ELEMENTS) == {}
    assert set(coordination_of([graph(molecule("H2"))], ELEMENTS)) == {"H"}


def test_merging_widens():
    def one(radius, fewest, most):
        return {"O": {"H": Coordination(radius=radius, fewest=fewest, most=most)}}

    assert merge_coordination(one(1.2, 2, 2), one(1.3, 1, 3)) == one(1.2, 1, 3)
    assert merge_coordination(one(1.2, 2, 2), {}) == one(1.2, 2, 2)
    assert merge_coordination({}, one(1.2, 2, 2)) == one(1.2, 2, 2)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    graphs = [graph(waters(2, seed)) for seed in range(5)]
    path = tmp_path_factory.mktemp("model") / "ranged.safetensors"
    save_model(
        path,
        Potential(Hyperparameters(ELEMENTS, n_features=8, n_blocks=1, cutoff=4.0)),
        shortest_distances={"H-O": 0.8, "H-H": 1.2, "O-O": 2.3},
        coordination=coordination_of(graphs, ELEMENTS),
    )
    return path


STRANGERS = {
    "H3O+": Atoms("OH3", [[0, 0, 0], [1, 0, 0], [-0.5, 0.85, 0], [-0.5, -0.85, 0.2]]),
    "OH-": Atoms("OH", [[0, 0, 0], [0, 0, 0.97]]),
    "H2": molecule("H2"),
    "O2": molecule("O2"),
}
EXPECTED = {
    "H3O+": "atom 0 (O) has 3 H within 1.",
    "OH-": "atom 0 (O) has 1 H within 1.",
    "H2": "atoms 0 and 1 are 0.737 Å apart, closer than any H-H pair of the training set (1.200 Å)",
    "O2": "atoms 0 and 1 are 1.246 Å apart, closer than any O-O pair of the training set (2.300 Å)",
}


@pytest.mark.parametrize("kernel", ["plain", "fused"])
@pytest.mark.parametrize("name", STRANGERS)
def test_strangers_are_noticed_once(model, name, kernel, caplog):
    calculator = TPaiNNCalculator(model, kernel=kernel)
    atoms = STRANGERS[name].copy()
    calculator.get_potential_energy(atoms)
    messages = [r.getMessage() for r in caplog.records]
    assert any(EXPECTED[name] in m for m in messages), messages
    assert all(r.levelno == logging.WARNING for r in caplog.records)
    atoms.positions[0, 0] += 0.01
    calculator.get_potential_energy(atoms)
    assert len(caplog.records) == len(messages)


def test_neighbours_of_a_stranger_are_named(model, caplog):
    box = waters(2, 3, sigma=0.0)
    box += Atoms(
        "H", [box.positions[9] - (box.get_distances(9, [10, 11], vector=True).sum(0)) * 0.8]
    )
    assert box.symbols[9] == "O"
    TPaiNNCalculator(model).get_potential_energy(box)
    (message,) = [r.getMessage() for r in caplog.records if "has 3 H" in r.getMessage()]
    assert "atom 9 (O) has 3 H" in message
    assert "(atoms 10, 11, 24), in the training set it has 2" in message


def test_water_passes(model, caplog):
    calculator = TPaiNNCalculator(model, range="stop")
    for seed in (100, 101):
        calculator.get_potential_energy(waters(2, seed))
    calculator.batch([waters(2, 102), molecule("H2O")])
    assert not caplog.records


def test_stop_and_off(model, caplog):
    with pytest.raises(StructureError, match=r"atom 0 .O. has 3 H within"):
        TPaiNNCalculator(model, range="stop").get_potential_energy(STRANGERS["H3O+"])
    with pytest.raises(StructureError, match="structure 1: atoms 0 and 1 are"):
        TPaiNNCalculator(model, range="stop").batch([molecule("H2O"), STRANGERS["O2"]])
    TPaiNNCalculator(model, range="off").get_potential_energy(STRANGERS["O2"])
    assert not caplog.records
    with pytest.raises(ConfigError, match="range='wran' is unknown"):
        TPaiNNCalculator(model, range="wran")


@pytest.mark.parametrize("name", STRANGERS)
def test_the_shipped_potential_knows_water(name):
    calculator = TPaiNNCalculator("water", range="stop")
    calculator.get_potential_energy(molecule("H2O"))
    with pytest.raises(StructureError):
        calculator.get_potential_energy(STRANGERS[name])
