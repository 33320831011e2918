"""The record of a campaign: what was chosen, from what, how, and by which versions."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import sklearn
from pydantic import ConfigDict, ValidationError

from seedselect.errors import SeedSelectError
from tpainn_calc.base.schema import Section

SCHEMA = 1


class InputFile(Section):
    """A file that a campaign was made from.

    Attributes
    ----------
    path : str
        Relative to the campaign directory.
    sha256 : str
    rows : int
    """

    path: str
    sha256: str
    rows: int


class Entry(Section):
    """One chosen row.

    Attributes
    ----------
    key : str
        Hash of the frame or table row.
    pool_row : int
    round : int
    order : int
        Place in the labelling order of its round, from 0.
    quality, inclusion_probability, weight, cost, information : float
    quality_kind : str
    failed : bool
        Its label could not be computed.
    pool : str
        Input that `pool_row` counts in; empty for the pool that the campaign began with.
    """

    key: str
    pool_row: int
    round: int
    order: int
    quality: float
    quality_kind: str
    inclusion_probability: float
    weight: float
    cost: float
    information: float
    failed: bool = False
    pool: str = ""


class Round(Section):
    """What a call of pick or next did."""

    round: int
    date: str
    n: int
    seed: int
    reliability: float
    rank: int | None
    length_scale: float | None
    n_labelled: int
    n_pending: int


class Manifest(Section):
    """The whole record; see the attributes of its parts."""

    model_config = ConfigDict(frozen=False)

    schema_version: int = SCHEMA
    kind: str
    settings: dict[str, Any]
    inputs: dict[str, InputFile]
    duplicates_dropped: int
    versions: dict[str, str]
    rounds: list[Round]
    entries: list[Entry]

    def to_text(self) -> str:
        """Return the file's text: the record and its checksum."""
        content = self.model_dump()
        return json.dumps({**content, "checksum": _checksum(content)}, indent=1) + "\n"


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def versions() -> dict[str, str]:
    """Return the versions that may change a result."""
    try:
        own = version("tpainn")
    except PackageNotFoundError:
        own = "unknown"
    return {
        "tpainn": own,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
    }


def read_manifest(directory: Path) -> Manifest:
    """Return the manifest of a campaign.

    Raises
    ------
    SeedSelectError
        Missing, unreadable, of another schema, or changed since it was written: it is refused and
        left as it is.
    """
    path = directory / "manifest.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SeedSelectError(
            f"{directory}: no manifest.json; is this a campaign? Start one with 'seedselect pick'"
        ) from error
    except (OSError, ValueError) as error:
        raise SeedSelectError(
            f"{path}: corrupted ({error}); it is left as it is: restore it from a copy"
        ) from error
    if not isinstance(content, dict):
        raise SeedSelectError(f"{path}: corrupted (not an object); restore it from a copy")
    if content.get("schema_version") != SCHEMA:
        raise SeedSelectError(
            f"{path}: schema {content.get('schema_version')!r}, this version reads {SCHEMA}"
        )
    stated = content.pop("checksum", None)
    if stated != _checksum(content):
        raise SeedSelectError(
            f"{path}: corrupted (checksum differs); it is left as it is: restore it from a copy"
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise SeedSelectError(f"{path}: corrupted at {where}; restore it from a copy") from error
