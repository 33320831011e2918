"""Force fields of molecules: gradients, fallback, what is rejected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ase.build
import ase.io
import numpy as np
import pytest
from ase import Atoms

from tpainn_calc.errors import DataError
from training.classical.contract import Rejected
from training.classical.molecules import MoleculeSource
from training.forcefields.molecules import bonded

pytest.importorskip("rdkit")

SMILES = "CCO\nc1ccccc1O\nB1OCO1\nC1CC\n"  # the third needs UFF, the last is none


@pytest.fixture
def source(tmp_path: Path) -> MoleculeSource:
    path = tmp_path / "molecules.smi"
    path.write_text(SMILES)
    return MoleculeSource(path, frames_per_molecule=3, spacing=0.02)


def test_gradients_are_those_of_the_energy(source: MoleculeSource) -> None:
    rng = np.random.default_rng(0)
    for member, name in enumerate(SMILES.split()[:3]):
        from training.forcefields.molecules import MoleculeField

        field = MoleculeField(source._molecule(member, name, rng))
        start = field.minimise()
        for _ in range(2):  # a field that was used before, at another geometry
            x = start + rng.normal(0, 0.1, start.shape)
            _, forces = field.compute(x)
            for index in [(0, 0), (2, 1), (4, 2)]:
                step = np.zeros_like(x)
                step[index] = 1e-5
                slope = (field.compute(x + step)[0] - field.compute(x - step)[0]) / 2e-5
                assert forces[index] == pytest.approx(-slope, abs=1e-5)


def test_frames_say_their_force_field_and_failures_are_listed(source: MoleculeSource) -> None:
    (shard,) = source.shards()
    found = list(source.frames(shard, seed=0))
    frames = [f for f in found if isinstance(f, Atoms)]
    fields = {f.info["molecule"]: f.info["force_field"] for f in frames}
    assert fields == {"CCO": "MMFF94", "c1ccccc1O": "MMFF94", "B1OCO1": "UFF"}
    assert len(frames) == 9
    (failure,) = (f for f in found if isinstance(f, Rejected))
    assert failure.reason == "molecule C1CC: not a valid SMILES"
    # thermal energy, not a minimum: 3N-6 modes with kT/2 each, give or take
    assert all(np.abs(f.get_forces()).max() > 0.3 for f in frames)
    again = [f for f in source.frames(shard, seed=0) if isinstance(f, Atoms)]
    assert all(np.array_equal(a.positions, b.positions) for a, b in zip(frames, again, strict=True))


def test_structures_get_bonds_from_their_geometry(tmp_path: Path) -> None:
    path = tmp_path / "two.xyz"
    ase.io.write(path, [ase.build.molecule("CH3CONH2"), ase.build.molecule("C6H6")])
    source = MoleculeSource(
        path, frames_per_molecule=2, sampling="displacement", exclude=("two-0",)
    )
    (shard,) = source.shards()
    frames = list(source.frames(shard, seed=1))
    assert [f.get_chemical_formula() for f in frames if isinstance(f, Atoms)] == ["C6H6"] * 2
    with pytest.raises(DataError, match=r"bonding|several molecules"):
        bonded(Atoms("HeHe", positions=[[0, 0, 0], [0, 0, 5]]))


def test_every_nth_molecule_of_a_list(source: MoleculeSource) -> None:
    thinned = replace(source, every=2, per_shard=1)
    assert [shard.options["members"] for shard in thinned.shards()] == [[0], [2]]
    assert [t.options["members"] for t in replace(thinned, first=1).shards()] == [[1], [3]]
