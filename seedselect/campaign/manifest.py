"""The record of a campaign: what was chosen, from what, how, and by which versions."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from seedselect.campaign.settings import PickSettings
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
        Of the file, or of the checksums of several.
    rows : int
    more : list of str
        Files that are read after it.
    """

    path: str
    sha256: str
    rows: int
    more: list[str] = Field([])


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
    """Record of a call of pick or next.

    Attributes
    ----------
    method, reason : str
        How the rows were chosen, and why so; empty in campaigns of older versions.
    rho2, label_share : float or None
        Of a design: the share of the target's variance that the source was expected to explain,
        and the share of the expected gain that the source's labels made.
    notes : list of str
        What to be warned of.
    """

    round: int
    date: str
    n: int
    seed: int
    reliability: float | None
    rank: int | None
    length_scale: float | None
    n_labelled: int
    n_pending: int
    method: str = ""
    reason: str = ""
    rho2: float | None = None
    label_share: float | None = None
    notes: list[str] = Field([])


class Manifest(Section):
    """The whole record; see the attributes of its parts."""

    model_config = ConfigDict(frozen=False)

    schema_version: int = SCHEMA
    kind: Literal["frames", "table"]
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
    found = {"python": platform.python_version()}
    for name in ("tpainn", "numpy", "scipy", "scikit-learn"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


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
        manifest = Manifest.model_validate(content)
        PickSettings.model_validate(manifest.settings)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise SeedSelectError(f"{path}: corrupted at {where}; restore it from a copy") from error
    fault = _contradiction(manifest)
    if fault:
        raise SeedSelectError(f"{path}: corrupted ({fault}); restore it from a copy")
    return manifest


def _contradiction(manifest: Manifest) -> str:
    """Say where the parts of a manifest do not fit together; empty if they do."""
    numbers = [record.round for record in manifest.rounds]
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        return "its rounds are not numbered 1, 2, ..."
    if "source" not in manifest.inputs:
        return "it names no source"
    keys = [entry.key for entry in manifest.entries]
    if len(set(keys)) < len(keys):
        return "a row was chosen twice"
    first = "pool" if "pool" in manifest.inputs else "source"
    for entry in manifest.entries:
        pool = manifest.inputs.get(entry.pool or first)
        if pool is None or not 0 <= entry.pool_row < pool.rows:
            return f"{entry.key} is in none of its pools"
    for record in manifest.rounds:
        mine = sorted(entry.order for entry in manifest.entries if entry.round == record.round)
        if len(mine) != record.n or mine != list(range(len(mine))):
            return f"round {record.round} is not complete"
    if len(keys) != sum(record.n for record in manifest.rounds):
        return "a chosen row belongs to no round"
    return ""
