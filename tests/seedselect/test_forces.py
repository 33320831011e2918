"""The force surrogate of the water study."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.active_learning.forces import (
    ForceRidge,
    force_design,
    labels_needed,
    normal_equations,
)


def test_predictions_turn_with_the_frame(make_frames):
    frame = make_frames(1)[0]
    q, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    turned = replace(frame, positions=frame.positions @ q.T, cell=frame.cell @ q.T)
    weights = np.random.default_rng(1).normal(size=force_design(frame).shape[1])
    forces = (force_design(frame) @ weights).reshape(-1, 3)
    again = (force_design(turned) @ weights).reshape(-1, 3)
    np.testing.assert_allclose(again, forces @ q.T, atol=1e-9)
    assert np.abs(forces).max() > 0.1


def test_ridge_learns_what_the_features_can_say(make_frames):
    from benchmarks.active_learning.classical import spc_flexible

    rng = np.random.default_rng(0)
    frames = make_frames(14)
    weights = 0.1 * rng.normal(size=force_design(frames[0]).shape[1])
    labelled = []
    for frame in frames:
        extra = (force_design(frame) @ weights).reshape(-1, 3)
        labelled.append(replace(frame, forces=spc_flexible(frame)[1] + extra))
    parts = [normal_equations(frame) for frame in labelled]
    scale = np.sqrt(np.mean([p.matrix.diagonal() / p.components for p in parts], axis=0))
    few = ForceRidge(scale, ridge=1e-5).fit(parts[:1]).frame_errors(parts[12:])
    many = ForceRidge(scale, ridge=1e-5).fit(parts[:12]).frame_errors(parts[12:])
    assert many.mean() < 0.5 * few.mean()
    size = np.sqrt([p.square / p.components for p in parts[12:]])
    assert (many < size).all()


def test_labels_needed_by_hand():
    sizes = np.array([10.0, 100.0])
    # Halfway down in ln error is halfway along in ln n.
    needed = labels_needed(sizes, np.array([1.0, 0.25]), 0.5)
    assert needed == pytest.approx(np.sqrt(1000))
    assert labels_needed(sizes, np.array([1.0, 0.25]), 2.0) == 10
    assert labels_needed(sizes, np.array([1.0, 0.25]), 0.1) == float("inf")


def test_frames_without_forces_are_refused(make_frames):
    with pytest.raises(ValueError, match="no forces"):
        normal_equations(replace(make_frames(1)[0], forces=None))
