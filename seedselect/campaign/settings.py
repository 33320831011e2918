"""Settings of a campaign; the keys of its YAML file are the options of `seedselect pick`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from seedselect.errors import SeedSelectError
from tpainn_calc.base.schema import Section, Seed


class PickSettings(Section):
    """Settings of a selection.

    Attributes
    ----------
    n : int or None
        Frames or rows to choose; None takes what `budget` pays for.
    method : {"auto", "design", "atbagging"}
        "auto" chooses the first round by expected-error design, unless an option is given that only
        ATBagging has, and the later ones by ATBagging's acquisition.
    score : {"local", "marginal", "joint"}
    sampler : {"kdpp", "map", "random"}
        "random" draws uniformly, for test sets and controls.
    quality : {"score", "diversity"}
        "diversity" ignores the labels of the source.
    form : {"tempered", "published"}
        "published" takes the score as the published method does.
    temper : float or None
        Exponent of the score; None is 0.25 for the score of the source and 1 for other qualities.
    floor : float
        Smallest quality that the score gives.
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
    method: Literal["auto", "design", "atbagging"] = "auto"
    score: Literal["local", "marginal", "joint"] = "local"
    sampler: Literal["kdpp", "map", "random"] = "kdpp"
    quality: Literal["score", "diversity"] = "score"
    form: Literal["tempered", "published"] = "tempered"
    temper: float | None = Field(None, ge=0)
    floor: float = Field(0.3, gt=0, le=1)
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


#: Options that only ATBagging has.
ATBAGGING_OPTIONS = ("score", "sampler", "quality", "form", "temper", "floor", "cost_exponent")


@dataclass(frozen=True)
class Method:
    """Method by which a round is chosen, and the reason.

    Attributes
    ----------
    name : {"design", "atbagging"}
    reason : str
    """

    name: str
    reason: str


def method_of(settings: PickSettings, first: bool) -> Method:
    """Return the method of a round, and why it is the one.

    Parameters
    ----------
    settings : PickSettings
        As they were given: what was not given is not among its set fields.
    first : bool
        Whether it is the first round.

    Raises
    ------
    SeedSelectError
        If the design is asked for, with options that it does not have.
    """
    asked = [name for name in ATBAGGING_OPTIONS if name in settings.model_fields_set]
    option = "" if not asked else f"--{asked[0].replace('_', '-')}"
    if settings.method == "design":
        if first and asked:
            raise SeedSelectError(
                f"{option} is an option of ATBagging: leave it out, or use --method atbagging"
            )
        return Method("design", "as --method asks for")
    if settings.method == "atbagging":
        return Method("atbagging", "as --method asks for")
    if not first:
        return Method("atbagging", "the default for later rounds")
    if asked:
        return Method(
            "atbagging", f"because of {option}; without such options it is an expected-error design"
        )
    return Method("design", "the default for a first round")


def labels_needed(settings: PickSettings) -> bool:
    """Tell whether the first round rests on labels of the source."""
    return method_of(settings, first=True).name == "atbagging" and settings.quality == "score"


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
