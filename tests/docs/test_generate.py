"""The pages that the site makes by itself: API reference and studies."""

from __future__ import annotations

import importlib.util
import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def generate():
    specification = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("package", ["tpainn_calc", "lammps_plugin", "training", "seedselect"])
def test_every_public_name_is_in_the_reference(package, generate):
    shown = {id(getattr(m, n)) for m, names in generate.public_names(package, set()) for n in names}
    top = import_module(package)
    for info in pkgutil.walk_packages(top.__path__, f"{package}."):
        module = import_module(info.name)
        for name in getattr(module, "__all__", ()):
            assert id(getattr(module, name)) in shown, f"{info.name}.{name}"
    assert {id(getattr(top, name)) for name in top.__all__} <= shown


def test_no_object_is_shown_twice(generate):
    seen: set[int] = set()
    shown = [
        f"{module.__name__}.{name}"
        for package in generate.PACKAGES
        for module, names in generate.public_names(package, seen)
        for name in names
    ]
    assert "tpainn_calc.TPaiNNCalculator" in shown
    assert "tpainn_calc.calculator.TPaiNNCalculator" not in shown


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("../own/README.md", None),
        ("own/README.md", "own-water.md"),
        ("study/curve.png", "../../examples/water/study/curve.png"),
        ("../../docs/training.md", "../training.md"),
        ("https://arxiv.org/abs/2102.03150", "https://arxiv.org/abs/2102.03150"),
        ("#the-transfer-study", "#the-transfer-study"),
    ],
)
def test_links_of_a_readme_are_right_on_its_page(link, expected, generate):
    source = ROOT / "examples/water/README.md"
    page = generate.DOCS / "studies/water.md"
    text = generate.relink(f"[text]({link})", source, page)
    if expected is None:  # no such file: the build's own check tells
        expected = "../../examples/own/README.md"
    assert text == f"[text]({expected})"


def test_the_studies_have_no_link_that_leads_nowhere(generate):
    for name, source in generate.STUDIES.items():
        page = generate.DOCS / "studies" / f"{name}.md"
        pages = {generate.DOCS / "studies" / f"{other}.md" for other in generate.STUDIES}
        for link in re.findall(generate.LINK, generate.relink(source.read_text(), source, page)):
            target = (page.parent / link).resolve()
            assert target.exists() or target in pages, f"{source}: {link}"
