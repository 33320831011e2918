"""``tpainn-train keys``: the reference of all keys, made from the schemas and their docstrings."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tpainn_calc.base.schema import Section
from tpainn_calc.hyperparameters import Hyperparameters
from training.classical.config import ClassicalConfig
from training.distill.config import DistillConfig
from training.fit.config import AutotuneConfig, PretrainConfig, TrainingConfig
from training.labels.engines.config import LabelConfig
from training.loop.config import LoopConfig
from training.study.config import CurveConfig
from training.teachers.config import TeachersConfig

SCHEMAS: dict[str, type[BaseModel]] = {
    "scratch": TrainingConfig,
    "pretrain": PretrainConfig,
    "autotune": AutotuneConfig,
    "curve": CurveConfig,
    "classical": ClassicalConfig,
    "distill": DistillConfig,
    "loop": LoopConfig,
    "label": LabelConfig,
    "teachers": TeachersConfig,
}

_HEAD = """\
# All keys

Made by `tpainn-train keys > docs/configuration.md`. A key without a default must be given; ranges
hold at reading, before any work; a key that is not listed is refused. `tpainn-train init KIND`
writes a commented file to begin with.
"""

#: Keys that mean the same wherever they occur, as far as a docstring does not say more.
_EVERYWHERE = {
    "output": "Folder that is written; created.",
    "name": "Of the potential, and of its file.",
    "seed": "Makes every random choice the same again.",
    "device": "`auto`: a GPU where there is one.",
    "workers": "Processes of this machine.",
    "format": "`hdf5`: a store of shards, which may be larger than memory.",
    "max_force": "Frames with a larger force on any atom are left out and listed, eV/Å.",
    "min_distance": "Frames with two atoms closer than this are left out and listed, Å.",
    "validation": "Fraction of the frames that is validated on.",
    "block": "Consecutive frames that stay together in the split.",
    "size": "Members.",
    "steps": "Of every trajectory.",
    "frames": "Frames of every state point, structure or molecule.",
    "temperature": "Of the dynamics, K.",
    "temperatures": "Of the dynamics, K.",
    "densities": "Of the boxes, g/cm³.",
    "pressures": "bar; where there are any, boxes change their volume and start at `densities`.",
    "n_molecules": "Of the boxes.",
    "model": "Which parameters.",
    "labels": "Who labels the frames.",
    "spacing": "Time between frames, ps.",
    "equilibration": "Time before the first frame, ps.",
    "timestep": "Of the dynamics, fs.",
    "displacement": "Standard deviation of random displacements, Å.",
    "molecules_per_shard": "Molecules that one process takes at a time.",
    "structures_per_shard": "Structures that one process takes at a time.",
    "method": "Parametrisation.",
    "functional": "Exchange and correlation, with its dispersion.",
    "potential_file": "Of CP2K's folder of data.",
    "density_fitting": "Approximate Coulomb integrals, faster.",
    "charge": "Of the whole frame, e.",
    "stress": "Label the stress of periodic frames too.",
    "max_scf": "SCF steps of the first attempt.",
    "max_memory": "MB.",
}


def reference() -> str:
    """All keys of all configurations: default, range and meaning, as Markdown."""
    parts, seen = [_HEAD], set()
    for command, schema in SCHEMAS.items():
        what = "--engine FILE" if command == "label" else "FILE"
        parts.append(
            f"## `tpainn-train {command} {what}`\n\n{_summary(schema)}\n\n{_table(schema)}"
        )
        for path, section in _sections(schema):
            if section not in seen:
                seen.add(section)
                parts.append(f"### {command}: `{path}`\n\n{_summary(section)}\n\n{_table(section)}")
    return "\n".join(parts).rstrip() + "\n"


def meanings(schema: type[BaseModel]) -> dict[str, str]:
    """Meanings of a schema's keys, from its docstring and those that it is derived from."""
    found: dict[str, str] = {}
    for owner in (Hyperparameters, *reversed(schema.__mro__)):
        if owner is Hyperparameters or issubclass(owner, BaseModel):
            found |= _attributes(inspect.cleandoc(owner.__dict__.get("__doc__") or ""))
    return {name: found[name] for name in schema.model_fields if name in found}


def _attributes(doc: str) -> dict[str, str]:
    _, _, text = doc.partition("Attributes\n----------\n")
    text = re.split(r"\n\S.*\n-{3,}", text)[0]
    found = {}
    for entry in re.split(r"\n(?=\S)", text):
        head, _, body = entry.partition("\n")
        names, _, _ = head.partition(" : ")
        for name in names.split(", "):
            found[name.strip()] = " ".join(body.split())
    return {name: body for name, body in found.items() if body}


def _summary(schema: type[BaseModel]) -> str:
    doc = inspect.cleandoc(schema.__dict__.get("__doc__") or "")
    text = re.split(r"\n(?:Attributes|Raises)\n---", doc)[0]
    return _markdown(text.strip())


def _table(schema: type[BaseModel]) -> str:
    described = meanings(schema)
    properties = schema.model_json_schema()["properties"]
    rows = ["| key | default | values | meaning |", "|---|---|---|---|"]
    for name, field in schema.model_fields.items():
        if _is_tag(name, field):
            text = "Which of the sections this is."
        elif any(_models(field.annotation)):
            text = described.get(name, "See below.")
        else:
            text = described.get(name, _EVERYWHERE.get(name, ""))
        cells = (
            f"`{name}`",
            _default(field),
            _values(properties[name], field),
            _markdown(text),
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return ""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "its defaults"
    return "none" if value is None else f"`{json.dumps(value, ensure_ascii=False)}`"


def _values(found: dict[str, Any], field: FieldInfo) -> str:
    if any(_models(field.annotation)):
        return "section" if found.get("type") != "array" else "list of sections"
    options = [o for o in found.get("anyOf", [found]) if o.get("type") != "null"]
    return " or ".join(dict.fromkeys(_one(option) for option in options))


def _one(found: dict[str, Any]) -> str:
    if "const" in found:
        return f"`{found['const']}`"
    if "enum" in found:
        return ", ".join(f"`{value}`" for value in found["enum"])
    kind = {"integer": "whole number", "boolean": "true, false", "string": "text"}
    if found.get("type") == "array":
        return f"list of {_one(found['items'])}"
    if found.get("type") == "object":
        return "mapping"
    text = kind.get(found.get("type", ""), found.get("type", "any"))
    bounds = {
        "minimum": "≥ {}",
        "exclusiveMinimum": "> {}",
        "maximum": "≤ {}",
        "exclusiveMaximum": "< {}",
        "multipleOf": "multiple of {}",
    }
    ranges = [sign.format(_number(found[key])) for key, sign in bounds.items() if key in found]
    return ", ".join([text, *ranges])


def _number(value: float) -> str:
    return "2⁶³" if value == 2**63 else f"{value:g}"


def _sections(schema: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Sections of a schema with the keys that lead to them, outer ones first."""
    for name, field in schema.model_fields.items():
        for section in _models(field.annotation):
            kind = section.model_fields.get("kind")
            here = f"{path}{name}"
            if kind is not None and _is_tag("kind", kind):
                yield f"{here}: {{kind: {get_args(kind.annotation)[0]}}}", section
            else:
                yield here, section
            yield from _sections(section, f"{here}: ")


def _is_tag(name: str, field: FieldInfo) -> bool:
    return name == "kind" and field.is_required()


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    else:
        for part in get_args(annotation):
            yield from _models(part)


def _markdown(text: str) -> str:
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    return re.sub(r"``([^`]*)``", r"`\1`", text)
