"""Neighbours and descriptors: against brute force, invariances, faults."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from seedselect import SeedSelectError
from seedselect.campaign.settings import PickSettings, make_descriptor
from seedselect.frames.descriptors import AtomicFeatures, LocalInvariants, describe, elements_of
from seedselect.frames.frame import HASH_RESOLUTION, Frame
from seedselect.frames.neighbors import neighbor_pairs


def brute_force_distances(frame: Frame, cutoff: float) -> np.ndarray:
    """All pair distances by explicit images, far more of them than needed."""
    out = []
    for shift in np.ndindex(9, 9, 9):
        offset = (np.array(shift) - 4) * frame.pbc @ frame.cell
        if not frame.pbc.any() and shift != (4, 4, 4):
            continue
        delta = frame.positions[None] + offset - frame.positions[:, None]
        r = np.linalg.norm(delta, axis=2)
        out.append(r[(r < cutoff) & (r > 1e-9)])
    return np.sort(np.concatenate(out))


@pytest.mark.parametrize(
    "cell",
    [np.eye(3) * 6.5, np.array([[6.5, 0, 0], [2.5, 6.0, 0], [-1.0, 1.5, 5.0]]), np.eye(3) * 3.1],
)
def test_pairs_equal_brute_force(cell, make_frames):
    frame = replace(make_frames(1)[0], cell=cell)
    i, j, vector, distance = neighbor_pairs(frame, 5.0)
    np.testing.assert_allclose(np.sort(distance), brute_force_distances(frame, 5.0), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(vector, axis=1), distance)
    fractional = (frame.positions[i] + vector - frame.positions[j]) @ np.linalg.inv(cell)
    np.testing.assert_allclose(fractional, np.round(fractional), atol=1e-8)


def test_pairs_of_molecules_and_slabs(make_frames):
    frame = make_frames(1)[0]
    free = replace(frame, pbc=np.zeros(3, dtype=bool))
    np.testing.assert_allclose(
        np.sort(neighbor_pairs(free, 4.0)[3]), brute_force_distances(free, 4.0)
    )
    slab = replace(frame, pbc=np.array([True, True, False]))
    flat = replace(slab, cell=np.diag([6.5, 6.5, 0.0]))
    expected = np.sort(neighbor_pairs(replace(slab, cell=np.diag([6.5, 6.5, 99.0])), 4.0)[3])
    np.testing.assert_allclose(np.sort(neighbor_pairs(flat, 4.0)[3]), expected)


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_invariance(pooling, make_frames, rotate):
    rng = np.random.default_rng(1)
    frame, other = make_frames(2)
    descriptor = LocalInvariants([1, 8], pooling=pooling)
    row = descriptor(frame)
    order = rng.permutation(len(frame))
    same = {
        "rotation": rotate(frame, rng),
        "translation": replace(frame, positions=frame.positions + np.array([1.0, -2.0, 30.0])),
        "permutation": replace(
            frame, positions=frame.positions[order], numbers=frame.numbers[order]
        ),
    }
    for changed in same.values():
        np.testing.assert_allclose(descriptor(changed), row, rtol=1e-8, atol=1e-8)
    # Control: another frame is told apart.
    assert np.abs(descriptor(other) - row).max() > 0.05


def test_angles_are_seen():
    """Equal distances, different angle: radial parts agree, angular parts do not."""
    rows = []
    for degrees in (60.0, 100.0, 140.0):
        a = np.deg2rad(degrees)
        positions = np.array([[0, 0, 0], [1, 0, 0], [np.cos(a), np.sin(a), 0]])
        frame = Frame(np.array([8, 1, 1]), positions, np.zeros((3, 3)), np.zeros(3, dtype=bool))
        rows.append(LocalInvariants([1, 8]).atoms(frame)[0])
    n_radial = 16
    np.testing.assert_allclose(rows[0][:n_radial], rows[1][:n_radial])
    assert np.abs(rows[0][n_radial:] - rows[1][n_radial:]).max() > 0.01
    assert np.abs(rows[1][n_radial:] - rows[2][n_radial:]).max() > 0.01


def test_smooth_at_the_cutoff():
    def row(r):
        frame = Frame(
            np.array([8, 8]),
            np.array([[0, 0, 0], [r, 0, 0.0]]),
            np.zeros((3, 3)),
            np.zeros(3, dtype=bool),
        )
        return LocalInvariants([8])(frame)

    assert np.abs(row(6.0 - 1e-4) - row(6.0 + 1e-4)).max() < 1e-6
    assert np.abs(row(4.0 - 1e-4) - row(4.0 + 1e-4)).max() < 1e-3


def test_useful_for_water(make_frames):
    """The descriptor carries a pair energy that it was not told about."""
    from sklearn.linear_model import RidgeCV

    rng = np.random.default_rng(0)
    frames = make_frames(120)
    X = describe(frames, LocalInvariants([1, 8]))
    y = np.array([(1 / neighbor_pairs(f, 5.0)[3] ** 2).sum() for f in frames])
    X = (X - X.mean(axis=0)) / np.maximum(X.std(axis=0), 1e-9)
    model = RidgeCV(np.geomspace(1e-3, 1e3, 7)).fit(X[:80], y[:80])
    assert model.score(X[80:], y[80:]) > 0.6
    # Control: the same rows in another order know nothing.
    wrong = RidgeCV(np.geomspace(1e-3, 1e3, 7)).fit(X[:80], rng.permutation(y[:80]))
    assert wrong.score(X[80:], y[80:]) < 0.2


def test_atomic_features_are_pooled(make_frames):
    frame = make_frames(1)[0]
    pooled = AtomicFeatures(lambda f: f.numbers[:, None].astype(float), [1, 8])(frame)
    # Composition 2/3 and 1/3, means 1 and 8, no deviation.
    np.testing.assert_allclose(pooled, [2 / 3, 1 / 3, 1, 8, 0, 0], atol=1e-12)
    with pytest.raises(SeedSelectError, match="atomic features have shape"):
        AtomicFeatures(lambda f: np.zeros((2, 3)), [1, 8])(frame)


def test_any_callable_and_its_faults(make_frames):
    frames = make_frames(3)
    assert describe(frames, lambda f: f.positions.mean(axis=0)).shape == (3, 3)
    with pytest.raises(SeedSelectError, match="not finite"):
        describe(frames, lambda f: [np.nan])
    sizes = iter((1, 2, 3))
    with pytest.raises(SeedSelectError, match="same number"):
        describe(frames, lambda f: np.ones(next(sizes)))


def test_strange_elements_and_positions(make_frames):
    frame = make_frames(1)[0]
    assert elements_of([frame], [replace(frame, numbers=frame.numbers + 1)]) == [1, 2, 8, 9]
    with pytest.raises(SeedSelectError, match="element 8"):
        LocalInvariants([1])(frame)
    broken = replace(frame, positions=np.full_like(frame.positions, np.nan))
    with pytest.raises(SeedSelectError, match="not finite"):
        LocalInvariants([1, 8])(broken)
    with pytest.raises(SeedSelectError, match="length 0"):
        LocalInvariants([1, 8])(replace(frame, cell=np.zeros((3, 3))))


@pytest.mark.parametrize(
    "options", [{"elements": []}, {"cutoff": -1}, {"angular_cutoff": 9.0}, {"pooling": "max"}]
)
def test_bad_options(options):
    with pytest.raises(SeedSelectError):
        LocalInvariants(**({"elements": [1]} | options))


def test_soap_is_optional(make_frames):
    from seedselect.frames.soap import Soap

    try:
        import dscribe  # noqa: F401
    except ImportError:
        with pytest.raises(SeedSelectError, match=r"tpainn\[soap\]"):
            Soap([1, 8])
        return
    soap = Soap([1, 8], n_max=2, l_max=2)
    frames = make_frames(2)
    assert describe(frames, soap).shape[0] == 2
    molecule = replace(frames[0], cell=np.zeros((3, 3)), pbc=np.zeros(3, dtype=bool))
    assert soap(molecule).shape == soap(frames[0]).shape
    assert not np.allclose(soap(molecule), soap(frames[0]))
    with pytest.raises(SeedSelectError, match="SOAP"):
        Soap([1], n_max=2, l_max=2)(frames[0])


def test_soap_refuses_pooling_that_it_has_not():
    settings = PickSettings(descriptor="soap", pooling="sum")
    with pytest.raises(SeedSelectError, match="pooling"):
        make_descriptor(settings, [1, 8])


def test_hash_names_a_geometry(make_frames):
    frame, other = make_frames(2)
    assert frame.key != other.key
    # in the middle of a cell of the grid that positions are rounded to
    on_grid = HASH_RESOLUTION * np.round(frame.positions / HASH_RESOLUTION)
    frame = replace(frame, positions=on_grid)
    assert frame.key == replace(frame, energy=None, forces=None, info={"a": 1}).key
    assert frame.key == replace(frame, positions=frame.positions + 1e-7).key
    assert frame.key != replace(frame, positions=frame.positions + 1e-2).key
    assert frame.key != replace(frame, cell=frame.cell * 1.01).key
