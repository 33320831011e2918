"""Figures in files and in pages."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ElementTree

import pytest
from matplotlib.figure import Figure

from tpainn_calc.base.figures import image_tag, save_figure


@pytest.fixture
def figure() -> Figure:
    figure = Figure()
    figure.subplots().plot([0, 1], [1, 0])
    return figure


@pytest.mark.parametrize("name", ["density", "density.png", "density.svg"])
def test_every_format_is_written(figure, tmp_path, name):
    written = save_figure(figure, tmp_path / "new" / name)
    assert [path.name for path in written] == ["density.png", "density.svg"]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    assert ElementTree.parse(written[1]).getroot().tag.endswith("svg")
    assert sorted((tmp_path / "new").iterdir()) == written  # no temporary file is left


def test_a_dot_in_the_name_stays(figure, tmp_path):
    assert [p.name for p in save_figure(figure, tmp_path / "T=0.5")] == ["T=0.5.png", "T=0.5.svg"]


def test_a_tag_needs_no_file(figure):
    tag = image_tag(figure, "Density over time")
    (source,) = re.findall(r'src="data:image/svg[+]xml;base64,([^"]*)"', tag)
    assert ElementTree.fromstring(base64.b64decode(source)).tag.endswith("svg")
    assert "<figcaption>Density over time</figcaption>" in tag
