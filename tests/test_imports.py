"""The import arrows: lammps_plugin -> tpainn_calc <- training; seedselect stands alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT: dict[str, set[str]] = {
    "tpainn_calc": set(),
    "lammps_plugin": {"tpainn_calc"},
    "training": {"tpainn_calc"},
    "seedselect": set(),
}
# seedselect also stays clear of the heavy libraries: no torch anywhere, ase only in its io.
NOT_IN_SEEDSELECT = {"torch", "lightning", "MDAnalysis", "lammps"}


def imported(source: str, package: str) -> set[str]:
    """Top-level names that a source text imports, at any depth of nesting, with `import_module`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0] if node.level == 0 else package)
        elif isinstance(node, ast.Call) and node.args:
            function = node.func
            called = getattr(function, "attr", getattr(function, "id", ""))
            first = node.args[0]
            if (
                called in {"import_module", "__import__", "importorskip"}
                and isinstance(first, ast.Constant)
                and isinstance(first.value, str)
            ):
                names.add(first.value.split(".")[0])
    return names


def violations(package: str, path: Path) -> set[str]:
    ours = imported(path.read_text(encoding="utf-8"), package) & set(MAY_IMPORT)
    return ours - MAY_IMPORT[package] - {package}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_follow_the_arrows(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    wrong = {str(f.relative_to(ROOT)): v for f in files if (v := violations(package, f))}
    assert not wrong


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_tests_follow_the_arrows_of_what_they_test(package):
    files = sorted((ROOT / "tests" / package).rglob("*.py"))
    wrong = {str(f.relative_to(ROOT)): v for f in files if (v := violations(package, f))}
    assert not wrong


def test_seedselect_stays_light():
    for path in sorted((ROOT / "seedselect").rglob("*.py")):
        names = imported(path.read_text(encoding="utf-8"), "seedselect")
        forbidden = NOT_IN_SEEDSELECT | (set() if path.stem == "io" else {"ase"})
        assert not names & forbidden, path.relative_to(ROOT)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import training.cli", {"training"}),
        ("from training import cli", {"training"}),
        ("def f():\n    from training.cli import main", {"training"}),
        ("from . import training", set()),
        ("import importlib\nimportlib.import_module('training.cli')", {"training"}),
        ("import torch\nfrom tpainn_calc.errors import DataError", set()),
    ],
)
def test_the_check_itself_sees_imports(source, expected, tmp_path):
    path = tmp_path / "module.py"
    path.write_text(source)
    assert violations("tpainn_calc", path) == expected
