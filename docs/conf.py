"""Configuration of the documentation site; ``make docs`` builds it."""

from __future__ import annotations

import sys
from pathlib import Path

from pygments.lexers.shell import BashLexer
from sphinx.application import Sphinx

from tpainn_calc import __version__

sys.path.insert(0, str(Path(__file__).parent))
import generate  # beside this file: Sphinx runs it as a script, not as part of a package

project = "T-PaiNN"
author = "T-PaiNN developers"
copyright = "T-PaiNN developers. MIT; lammps_plugin/src: GPL-2.0-only"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # the site shows its equations without an internet connection
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
# loose words of NumPy docstrings ("n", "Tensor (atoms, 3)") that name members of several classes
suppress_warnings = ["ref.python"]

html_theme = "furo"
html_title = f"T-PaiNN {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]

myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings name the types, without the bounds of configurations
napoleon_google_docstring = False
napoleon_use_ivar = True  # attributes of dataclasses are members already

copybutton_exclude = ".linenos, .gp, .go"


def setup(app: Sphinx) -> None:
    """Register what the pages need."""
    # no highlighter knows LAMMPS: comments, strings and ${variables} are those of a shell
    app.add_lexer("lammps", BashLexer)
    app.connect("builder-inited", write_generated_pages)
    app.connect("source-read", relink_page)


def write_generated_pages(app: Sphinx) -> None:
    """Write the pages that are not under version control."""
    generate.write_api()
    generate.write_studies()


def relink_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """Lead links to README files of the repository to their pages."""
    page = generate.DOCS / f"{docname}.md"
    if not docname.startswith(("api/", "studies/")):
        source[0] = generate.relink(source[0], page, page)
