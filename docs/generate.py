"""Pages of the site that are made from what the repository holds elsewhere.

``api/`` comes from the docstrings of every module that says by ``__all__`` what is public, and
``studies/`` from the README files of examples and benchmarks. Both folders are written anew by
every build and are not under version control.
"""

from __future__ import annotations

import os
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PACKAGES = ("tpainn_calc", "lammps_plugin", "training", "seedselect")
# members that scikit-learn and pydantic add to classes; their text belongs to those libraries
FOREIGN = ("set_fit_request", "set_predict_request", "set_score_request", "model_config")
# README files that the site shows, by the names of their pages
STUDIES = {
    "water": ROOT / "examples/water/README.md",
    "own-water": ROOT / "examples/water/own/README.md",
    "own-water-data": ROOT / "examples/water/data/README.md",
    "qm9": ROOT / "examples/qm9/README.md",
    "active-learning": ROOT / "examples/active_learning/README.md",
    "active-learning-tables": ROOT / "examples/active_learning/summary.md",
    "benchmarks": ROOT / "benchmarks/README.md",
}
LINK = re.compile(r"(?<=\]\()(?!https?:|#|mailto:)([^)#\s]+)")


def write_api() -> None:
    """Write ``api/PACKAGE.md`` for every package."""
    seen: set[int] = set()
    for package in PACKAGES:
        lines = [f"# {package}", ""]
        for module, names in public_names(package, seen):
            if module.__name__ != package:
                lines += [f"## {module.__name__}", ""]
            lines += ["```{eval-rst}", f".. automodule:: {module.__name__}"]
            # by what it leaves out, since autodoc takes ``:members: A, B`` for additions to __all__
            other = [*FOREIGN, *(n for n in module.__all__ if n not in names)]
            lines.append(f"   :exclude-members: {', '.join(other)}")
            parent, _, name = module.__name__.rpartition(".")
            if parent and getattr(import_module(parent), name) is not module:
                lines.append("   :no-index:")  # a function of the same name has the address
            lines += ["```", ""]
        write_page(DOCS / "api" / f"{package}.md", "\n".join(lines))


def public_names(package: str, seen: set[int]) -> Iterator[tuple[ModuleType, list[str]]]:
    """Modules of `package` with ``__all__``, and what each of them is the first to name.

    Packages come before modules: what both name is shown where users import it from. `seen`
    holds what was named before, and grows.
    """
    top = import_module(package)
    below = sorted(
        pkgutil.walk_packages(top.__path__, f"{package}."), key=lambda m: (not m.ispkg, m.name)
    )
    for name in (package, *(m.name for m in below)):
        module = import_module(name)
        members = {n: getattr(module, n) for n in getattr(module, "__all__", ())}
        names = [n for n, value in members.items() if id(value) not in seen]
        seen |= {id(value) for value in members.values()}
        if names:
            yield module, names


def write_studies() -> None:
    """Write ``studies/NAME.md`` from the README files of :data:`STUDIES`."""
    for name, source in STUDIES.items():
        page = DOCS / "studies" / f"{name}.md"
        write_page(page, relink(source.read_text(), source, page))


def relink(text: str, source: Path, page: Path) -> str:
    """Return `text` of the file `source` with relative links that are right on `page`.

    Links to a README that the site shows lead to its page; those to pages of the site stay
    inside it; any other leads to the file in the repository.
    """
    pages = {readme: DOCS / "studies" / f"{name}.md" for name, readme in STUDIES.items()}

    def replace(match: re.Match[str]) -> str:
        target = (source.parent / match[1]).resolve()
        return os.path.relpath(pages.get(target, target), page.parent)

    return LINK.sub(replace, text)


def write_page(page: Path, text: str) -> None:
    """Write `page`, unless it is there with this very text: Sphinx reads again what is new."""
    page.parent.mkdir(exist_ok=True)
    if not page.exists() or page.read_text() != text:
        page.write_text(text)
