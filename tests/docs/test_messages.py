"""The troubleshooting page quotes messages that the code really has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/troubleshooting.md"
PACKAGES = ("tpainn_calc", "lammps_plugin", "training", "seedselect")
FOREIGN = {"Unrecognized pair style 'tpainn'"}  # LAMMPS' own
GAP = "…"  # what differs from case to case
QUOTED = [
    message
    for message in re.findall(r"^- `(.+)`\\$", PAGE.read_text(), flags=re.MULTILINE)
    if message not in FOREIGN
]


def texts_of(tree: ast.AST) -> Iterator[str]:
    """Every string of a module; what is formatted in is a gap."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"%[sd]", GAP, node.value)
        elif isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else GAP for p in node.values)
            yield "".join(str(part) for part in parts)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            yield "".join(texts_of(node.left)) + "".join(texts_of(node.right))


@pytest.fixture(scope="module")
def messages() -> list[str]:
    """All texts of our Python and C++ sources."""
    found: list[str] = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            found += texts_of(ast.parse(path.read_text()))
        for path in (ROOT / package).rglob("*.cpp"):
            joined = re.sub(r'"\s*\n\s*"', "", path.read_text())  # adjacent literals are one
            found += [
                text.replace(r"\"", '"').replace("{}", GAP)
                for text in re.findall(r'"((?:[^"\\\n]|\\.)*)"', joined)
            ]
    return found


def said_by(quoted: str, message: str) -> bool:
    """Whether the parts of `quoted` between its gaps stand in `message` in their order."""
    parts = [part.strip() for part in quoted.split(GAP)]
    return bool(re.search(".*".join(map(re.escape, filter(None, parts))), message, re.DOTALL))


def test_the_page_quotes_messages() -> None:
    assert len(QUOTED) > 40


@pytest.mark.parametrize("quoted", QUOTED)
def test_every_quoted_message_is_in_the_code(quoted: str, messages: list[str]) -> None:
    assert any(said_by(quoted, message) for message in messages)


def test_a_message_that_nothing_says_is_told(messages: list[str]) -> None:
    assert not any(said_by("cannot read … because it is … green", m) for m in messages)
