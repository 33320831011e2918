"""Settings of a campaign; the keys of its YAML file are the options of `seedselect pick`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from seedselect.errors import SeedSelectError
from tpainn_calc.base.schema import Section, Seed


class PickSettings(Section):
    """How seeds are chosen.

    Attributes
    ----------
    n : int or None
        Frames or rows to choose; None takes what `budget` pays for.
    score : {"local", "marginal", "joint"}
    sampler : {"kdpp", "map", "random"}
        "random" draws uniformly, for test sets and controls.
    quality : {"score", "diversity"}
        "diversity" ignores the labels of the source.
    temper : float
    n_estimators : int or "auto"
    n_features : int
    length_factor : float
    dedup : float
        Rows closer than this fraction of the median distance to a kept one are dropped; 0 drops
        exact repetitions only.
    descriptor : str
        "default", "soap", or "package.module:callable".
    cutoff : float, Angstrom
    pooling : {"mean", "sum"}
    cost : {"none", "atoms", "atoms3"}
        Cost of a label: the same for all, atoms, or atoms cubed.
    cost_exponent : float
    budget : float or None
    targets : list of str
        Target columns of a CSV.
    drop : list of str
        Columns of a CSV to leave out.
    max_source : int
        The committee is fitted on at most this many source rows, drawn at random.
    seed : int
    """

    n: int | None = Field(None, ge=1)
    score: Literal["local", "marginal", "joint"] = "local"
    sampler: Literal["kdpp", "map", "random"] = "kdpp"
    quality: Literal["score", "diversity"] = "score"
    temper: float = Field(1.0, ge=0)
    n_estimators: int | Literal["auto"] = "auto"
    n_features: int = Field(512, ge=2, multiple_of=2)
    length_factor: float = Field(0.5, gt=0)
    dedup: float = Field(0.2, ge=0)
    descriptor: str = "default"
    cutoff: float = Field(6.0, gt=0)
    pooling: Literal["mean", "sum"] = "mean"
    cost: Literal["none", "atoms", "atoms3"] = "none"
    cost_exponent: float = Field(1.0, ge=0)
    budget: float | None = Field(None, gt=0)
    targets: list[str] = Field([])
    drop: list[str] = Field([])
    max_source: int = Field(20000, ge=2)
    seed: Seed = 0


def make_descriptor(settings: PickSettings, elements: Sequence[int]) -> Any:
    """Return the descriptor that the settings name.

    Raises
    ------
    SeedSelectError
        If a module or callable cannot be found, or SOAP is asked for sums.
    """
    name = settings.descriptor
    if name == "default":
        from seedselect.frames.descriptors import LocalInvariants

        angular = min(4.0, settings.cutoff)
        return LocalInvariants(
            elements, settings.cutoff, angular_cutoff=angular, pooling=settings.pooling
        )
    if name == "soap":
        from seedselect.frames.soap import Soap

        if settings.pooling != "mean":
            raise SeedSelectError(
                f"pooling={settings.pooling!r}: SOAP is averaged over atoms; use pooling 'mean' "
                "or the default descriptor"
            )
        return Soap(elements, cutoff=settings.cutoff)
    module, _, attribute = name.partition(":")
    if not attribute:
        raise SeedSelectError(
            f"descriptor={name!r}: use 'default', 'soap' or 'package.module:callable'"
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SeedSelectError(f"descriptor={name!r}: {error}") from error
    if not callable(found):
        raise SeedSelectError(f"descriptor={name!r} is not callable")
    return found


def label_costs(settings: PickSettings, sizes: np.ndarray) -> np.ndarray | None:
    """Return the cost of every row, or None when all cost the same."""
    if settings.cost == "none":
        return np.ones(len(sizes)) if settings.budget is not None else None
    return sizes if settings.cost == "atoms" else sizes**3
