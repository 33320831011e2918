"""Arrays computed from a file, kept beside other caches of the user and never stale."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

import seedselect
from tpainn_calc.base.arrays import Array
from tpainn_calc.base.files import replacing, sha256

ROOT = Path(seedselect.__file__).parents[1]

#: Sources whose change makes cached descriptors and classical labels stale.
CODE = (
    "seedselect/frames/descriptors.py",
    "seedselect/frames/neighbors.py",
    "benchmarks/active_learning/atomistic.py",
    "benchmarks/active_learning/classical.py",
)


def cache_directory() -> Path:
    """Return $SEEDSELECT_CACHE, else seedselect/ in the user's cache directory."""
    named = os.environ.get("SEEDSELECT_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "seedselect"


def save_arrays(path: Path, arrays: dict[str, Array]) -> None:
    """Write an npz file atomically."""
    with replacing(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]


def cached_arrays(
    path: Path, name: str, compute: Callable[[Path], dict[str, Array]]
) -> dict[str, Array]:
    """Return ``compute(path)``, from disk when the file and the code below are unchanged."""
    code = hashlib.sha256("".join(sha256(ROOT / part) for part in CODE).encode()).hexdigest()
    target = cache_directory() / f"{name}-{sha256(path)[:12]}-{code[:8]}.npz"
    if target.is_file():
        with np.load(target, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    arrays = compute(path)
    save_arrays(target, arrays)
    return arrays
