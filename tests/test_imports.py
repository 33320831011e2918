"""The import arrows, programs that are started included.

lammps_plugin -> tpainn_calc <- training; training -> lammps_plugin, seedselect; and seedselect ->
tpainn_calc.base, the ground floor.
"""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT: dict[str, set[str]] = {
    "tpainn": {"tpainn_calc"},
    "tpainn_calc": set(),
    "lammps_plugin": {"tpainn_calc"},
    "training": {"tpainn_calc", "lammps_plugin", "seedselect"},
    "seedselect": {"tpainn_calc"},
}
# Of tpainn_calc, seedselect knows what needs no torch.
GROUND_FLOOR = ("tpainn_calc.base", "tpainn_calc._version")
# seedselect also stays clear of the heavy libraries: no torch anywhere, ase only where frames are.
NOT_IN_SEEDSELECT = {"torch", "lightning", "MDAnalysis", "lammps"}
WITH_ASE = {"frames/atoms.py"}
# Our commands: a program that is started is an arrow too.
COMMANDS = {
    "tpainn": "tpainn_calc",
    "tpainn-lammps": "lammps_plugin",
    "tpainn-train": "training",
    "seedselect": "seedselect",
}


def imported(source: str, package: str) -> set[str]:
    """Dotted names of modules that a source text imports, at any depth, by whatever means."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "") if node.level == 0 else package
            names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and node.args:
            function = node.func
            called = getattr(function, "attr", getattr(function, "id", ""))
            first = node.args[0]
            if (
                called in {"import_module", "__import__", "importorskip"}
                and isinstance(first, ast.Constant)
                and isinstance(first.value, str)
            ):
                names.add(first.value)
    return names


def started(source: str) -> set[str]:
    """Packages whose commands a source text names: as a word, or after ``-m``."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value in COMMANDS and node.value != "tpainn":  # also the name of a project
                found.add(COMMANDS[node.value])
        elif isinstance(node, ast.List):
            words = [getattr(element, "value", None) for element in node.elts]
            if "-m" in words[:-1]:
                found.add(top(str(words[words.index("-m") + 1])))
    return found & set(MAY_IMPORT)


def top(module: str) -> str:
    return module.split(".")[0]


def violations(package: str, path: Path) -> set[str]:
    source = path.read_text(encoding="utf-8")
    ours = ({top(name) for name in imported(source, package)} | started(source)) & set(MAY_IMPORT)
    return ours - MAY_IMPORT[package] - {package}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_follow_the_arrows(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    wrong = {}
    for file in files:
        found = violations(package, file)
        if found:
            wrong[str(file.relative_to(ROOT))] = found
    assert not wrong


def imports_of(package: str) -> dict[str, set[str]]:
    """Modules of a package, and which of them each imports, inside functions too."""
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (ROOT / package).rglob("*.py")
    }
    found = {}
    for name, path in paths.items():
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names: set[str] = set()
        for node in nodes:
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inside = {f"{node.module}.{alias.name}" for alias in node.names}
                # from a package, either its modules or what its __init__ defines
                names |= inside & set(paths) or {node.module}
        found[name] = names & set(paths) - {name}
    return found


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_no_package_imports_in_a_circle(package):
    graph = imports_of(package)
    if package == "tpainn_calc":
        graph["tpainn_calc"] = set()  # hands on names when they are asked for
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_tests_follow_the_arrows_of_what_they_test(package):
    files = sorted((ROOT / "tests" / package).rglob("*.py"))
    wrong = {str(f.relative_to(ROOT)): v for f in files if (v := violations(package, f))}
    assert not wrong


def above_ground_floor(source: str) -> set[str]:
    names = {name for name in imported(source, "seedselect") if top(name) == "tpainn_calc"}
    return {n for n in names if n != "tpainn_calc" and not n.startswith(GROUND_FLOOR)} | (
        names & {"tpainn_calc"} if names == {"tpainn_calc"} else set()
    )


def test_seedselect_stands_on_the_ground_floor():
    for folder in ("seedselect", "tests/seedselect"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            assert not above_ground_floor(path.read_text(encoding="utf-8")), path


def test_seedselect_stays_light():
    for path in sorted((ROOT / "seedselect").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        names = {top(name) for name in imported(without_types(source), "seedselect")}
        name = str(path.relative_to(ROOT / "seedselect"))
        forbidden = NOT_IN_SEEDSELECT | (set() if name in WITH_ASE else {"ase"})
        assert not names & forbidden, path.relative_to(ROOT)


def without_types(source: str) -> str:
    """Source text without what only type checkers import."""
    tree = ast.parse(source)
    tree.body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING")
    ]
    return ast.unparse(tree)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import training.cli", {"training"}),
        ("from training import cli", {"training"}),
        ("def f():\n    from training.cli import main", {"training"}),
        ("from . import training", set()),
        ("import importlib\nimportlib.import_module('training.cli')", {"training"}),
        ("import torch\nfrom tpainn_calc.errors import DataError", set()),
        ("run(['tpainn-train', 'label'])", {"training"}),
        ("run([sys.executable, '-m', 'training.cli', 'label'])", {"training"}),
        ("shutil.which('tpainn-lammps')", {"lammps_plugin"}),
        ("print('run tpainn-train label')", set()),
    ],
)
def test_the_check_itself_sees_imports(source, expected, tmp_path):
    path = tmp_path / "module.py"
    path.write_text(source)
    assert violations("tpainn_calc", path) == expected


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("from tpainn_calc.base.files import sha256", False),
        ("from tpainn_calc.base import files", False),
        ("from tpainn_calc._version import __version__", False),
        ("from tpainn_calc.modelfile import load_model", True),
        ("from tpainn_calc import load_model", True),
        ("import tpainn_calc", True),
    ],
)
def test_the_check_itself_sees_the_floor(source, seen):
    assert bool(above_ground_floor(source)) is seen
