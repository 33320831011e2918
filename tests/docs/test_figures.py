"""Axes of all figures name quantity and unit in one way: ``time / ps``, ``force / (eV/Å)``."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("tpainn_calc", "lammps_plugin", "training", "seedselect", "examples", "benchmarks")
SETTERS = ("set_xlabel", "set_ylabel", "supxlabel", "supylabel")
UNIT = r"(?:[mµkM]?eV|Å|nm|[fpnm]?s|min|[MG]Pa|K|g|cm|atom|ns|GFLOP|GB|nats|day|%)[²³⁻¹]*"
HAS_UNIT = re.compile(rf"(?<![\w=]){UNIT}(?:/{UNIT})*\)?$")
RIGHT = re.compile(rf"\s/ (?:{UNIT}|\({UNIT}/{UNIT}\)|\(\({UNIT}/{UNIT}\)[²³] {UNIT}\))$")


def texts(node: ast.AST) -> Iterator[str]:
    """Ends of the strings that an expression may be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr) and node.values:
        yield from texts(node.values[-1])


def labels_of(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", "")
            arguments = node.args[:1] if name in SETTERS else []
            arguments += [k.value for k in node.keywords if k.arg in ("xlabel", "ylabel")]
            arguments += node.args if getattr(node.func, "id", "") == "_figure" else []
            for argument in arguments:
                yield from texts(argument)


LABELS = {
    (str(path.relative_to(ROOT)), label)
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
    for label in labels_of(path.read_text(encoding="utf-8"))
}


def test_there_are_labels():
    assert len(LABELS) > 25
    assert ("examples/quickstart/report.py", "time / ps") in LABELS


def is_right(label: str) -> bool:
    return not HAS_UNIT.search(label) or bool(RIGHT.search(label))


@pytest.mark.parametrize(("place", "label"), sorted(LABELS))
def test_units_stand_behind_a_stroke(place, label):
    assert is_right(label), f"{place}: {label}"


def test_other_ways_are_seen():
    for label in ("forces, meV/Å", "time (ps)", "time in ps", "E / meV/atom", "E / (meV / atom)"):
        assert not is_right(label), label
