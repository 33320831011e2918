import gzip
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from tpainn_calc.errors import DataError
from training.data.batches import (
    FrameDataset,
    Memory,
    collate,
    shortest_distances,
)
from training.data.frames import read_frames
from training.data.sampler import StreamSampler


def test_round_trip_plain_and_gzipped(data_file: Path, frames: list[Atoms]) -> None:
    zipped = data_file.with_suffix(".extxyz.gz")
    with gzip.open(zipped, "wb") as handle:
        handle.write(data_file.read_bytes())
    for path in (data_file, zipped):
        read, rejected = read_frames(path)
        assert len(read) == len(frames)
        assert not rejected
        np.testing.assert_allclose(read[7].get_forces(), frames[7].get_forces(), atol=1e-7)


def test_large_forces_are_rejected_with_a_list(data_file: Path, frames: list[Atoms]) -> None:
    largest = np.array([np.linalg.norm(a.get_forces(), axis=1).max() for a in frames])
    limit = float(np.median(largest))
    read, rejected = read_frames(data_file, max_force=limit)
    assert len(read) + len(rejected) == len(frames)
    assert len(rejected) == int((largest > limit).sum())
    assert "exceeds max_force" in rejected[0]
    with pytest.raises(DataError, match="every frame was rejected"):
        read_frames(data_file, max_force=1e-6)


def write(path: Path, **labels: object) -> Path:
    atoms = Atoms("OH", positions=[[0, 0, 0], [0, 0, 1]])
    atoms.info.update({k: v for k, v in labels.items() if k == "level"})
    results = {k: v for k, v in labels.items() if k != "level"}
    atoms.calc = SinglePointCalculator(atoms, **results)
    ase.io.write(path, atoms, format="extxyz")
    return path


def test_bad_frames_are_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "x.extxyz"
    forces = np.zeros((2, 3))
    with pytest.raises(DataError, match="no data file"):
        read_frames(path)
    path.write_text("")
    with pytest.raises(DataError, match="holds no frames"):
        read_frames(path)
    path.write_text("2\nProperties=species:S:1:pos:R:3\nO 0 0\n")
    with pytest.raises(DataError, match="truncated in frame 0"):
        read_frames(path)
    with pytest.raises(DataError, match=r"frame 0: no forces"):
        read_frames(write(path, energy=1.0))
    with pytest.raises(DataError, match=r"frame 0: no energy"):
        read_frames(write(path, forces=forces))
    with pytest.raises(DataError, match="not finite"):
        read_frames(write(path, energy=1.0, forces=forces + np.nan))
    with pytest.raises(DataError, match="level of theory 'PBE' differs from 'BLYP'"):
        read_frames(write(path, energy=1.0, forces=forces, level="PBE"), level="BLYP")


def test_batches_are_the_structures_one_after_another(frames: list[Atoms]) -> None:
    data = FrameDataset(frames, ("H", "O"), 3.0)
    batch = collate([data[k] for k in range(5)])
    assert batch.graph.n_structures == 5
    assert batch.n_atoms.tolist() == [3] * 5
    assert batch.energy[3].item() == pytest.approx(frames[3].get_potential_energy())
    assert torch.isnan(batch.stress).all()  # no stress labels
    same = batch.graph.structure[batch.graph.centre] == batch.graph.structure[batch.graph.neighbour]
    assert same.all()


def test_batches_are_kept_while_there_is_room(frames: list[Atoms]) -> None:
    fresh = FrameDataset(frames, ("H", "O"), 3.0)
    memory = Memory(room=3 * fresh[0].n_bytes)
    data = FrameDataset(frames, ("H", "O"), 3.0, memory=memory)
    for _ in range(2):
        for k in range(6):
            assert torch.equal(data[k].graph.edge_vec, fresh[k].graph.edge_vec)
            assert torch.equal(data[k].forces, fresh[k].forces)
    assert [data[k] is data[k] for k in range(6)] == [True] * 3 + [False] * 3
    assert memory.room < fresh[0].n_bytes
    # training writes into what it gets
    collate([data[0]]).graph.edge_vec.zero_()
    assert torch.equal(data[0].graph.edge_vec, fresh[0].graph.edge_vec)


def test_forces_on_fixed_atoms_are_labels_too(frames: list[Atoms]) -> None:
    atoms, forces = frames[0].copy(), frames[0].get_forces()
    atoms.set_constraint(FixAtoms([1]))
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=forces)
    assert (atoms.get_forces()[1] == 0).all()
    assert np.array_equal(FrameDataset([atoms], ("H", "O"), 3.0)[0].forces, forces)


def test_shortest_distances(frames: list[Atoms]) -> None:
    data = FrameDataset(frames, ("H", "O"), 3.0)
    found = shortest_distances((data[k].graph for k in range(len(data))), ("H", "O"))
    assert set(found) == {"H-O", "H-H"}
    brute = min(min(a.get_distance(0, 1), a.get_distance(0, 2)) for a in frames)
    assert found["H-O"] == pytest.approx(brute, abs=1e-4)


def test_stream_depends_on_seed_and_round_alone() -> None:
    sampler = StreamSampler(n=7, per_round=5, seed=1)
    rounds = []
    for k in range(7):
        sampler.set_round(k)
        rounds.append(list(sampler))
    stream = [i for r in rounds for i in r]
    # five passes over seven frames, whatever the rounds
    for k in range(5):
        assert sorted(stream[7 * k : 7 * k + 7]) == list(range(7))
    again = StreamSampler(n=7, per_round=5, seed=1)
    again.set_round(4)
    assert list(again) == rounds[4]
    other = StreamSampler(n=7, per_round=5, seed=2)
    assert list(other) != rounds[0]
