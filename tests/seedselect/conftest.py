"""Shared references of the seedselect tests: exact enumeration and a test on counts."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chi2

from seedselect.frames.frame import Frame


def enumerate_kdpp(rows: np.ndarray, k: int) -> dict[tuple[int, ...], float]:
    """Probability of every subset of size k under det(L_S), L = rows rows'."""
    kernel = rows @ rows.T
    weights = {
        s: max(float(np.linalg.det(kernel[np.ix_(s, s)])), 0.0)
        for s in combinations(range(len(rows)), k)
    }
    total = sum(weights.values())
    return {s: w / total for s, w in weights.items()}


def chi_square_p(counts: Counter, law: dict[tuple[int, ...], float]) -> float:
    """p-value of observed COUNTS (not frequencies) against a law; rare cells are pooled."""
    draws = sum(counts.values())
    assert set(counts) <= set(law), "a subset was drawn that the law does not know"
    cells = sorted(law, key=lambda s: law[s])
    observed, expected, pooled_o, pooled_e = [], [], 0.0, 0.0
    for cell in cells:
        pooled_o += counts.get(cell, 0)
        pooled_e += law[cell] * draws
        if pooled_e >= 5:
            observed.append(pooled_o)
            expected.append(pooled_e)
            pooled_o = pooled_e = 0.0
    if pooled_e > 0 and observed:
        observed[-1] += pooled_o
        expected[-1] += pooled_e
    o, e = np.array(observed), np.array(expected)
    if len(o) < 2:
        return 1.0
    return float(chi2.sf(((o - e) ** 2 / e).sum(), len(o) - 1))


@pytest.fixture
def exact():
    """Return the enumeration of a k-DPP."""
    return enumerate_kdpp


@pytest.fixture
def count_test():
    """Return the chi-square test on counts."""
    return chi_square_p


@pytest.fixture
def regression():
    """Return a nonlinear regression problem (X, y) of 400 rows."""
    rng = np.random.default_rng(5)
    X = rng.normal(size=(400, 5))
    y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.1 * rng.normal(size=400)
    return X, y


def water_frame(rng: np.random.Generator, molecules: int = 6, box: float = 6.5) -> Frame:
    """Return a few water molecules on a jittered grid in a periodic box, with labels."""
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    positions, numbers = [], []
    for site in grid[:molecules]:
        oxygen = (site + 0.25) * box / 2 + 0.3 * rng.normal(size=3)
        axis = rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        other = np.cross(axis, rng.normal(size=3))
        other /= np.linalg.norm(other)
        half = np.deg2rad(52.0 + 3 * rng.normal())
        length = 0.98 + 0.03 * rng.normal(size=2)
        for sign, r in zip((1, -1), length, strict=True):
            positions.append(oxygen + r * (np.cos(half) * axis + sign * np.sin(half) * other))
            numbers.append(1)
        positions.append(oxygen)
        numbers.append(8)
    frame = Frame(np.array(numbers), np.array(positions), np.eye(3) * box, np.ones(3, dtype=bool))
    return replace(
        frame,
        energy=float(-10.0 * molecules + rng.normal()),
        forces=rng.normal(size=(3 * molecules, 3)),
    )


def water_frames(count: int, seed: int = 0) -> list[Frame]:
    """Return independent frames."""
    rng = np.random.default_rng(seed)
    return [water_frame(rng) for _ in range(count)]


def rotated(frame: Frame, rng: np.random.Generator) -> Frame:
    """Return the frame turned at random, cell and all."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return replace(frame, positions=frame.positions @ q.T, cell=frame.cell @ q.T)


@pytest.fixture
def make_frames():
    """Return the builder of independent water frames."""
    return water_frames


@pytest.fixture
def rotate():
    """Return the function that turns a frame at random."""
    return rotated


def forge_manifest(path: Path, change) -> None:
    """Change a manifest and give it the right checksum again."""
    content = json.loads(path.read_text())
    content.pop("checksum")
    change(content)
    text = json.dumps(content, sort_keys=True)
    content["checksum"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(content))


@pytest.fixture
def forged():
    """Return the function that changes a manifest behind the campaign's back."""
    return forge_manifest
