"""Figures in files and in pages."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tpainn_calc.base.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: PNG for a quick look, SVG for print.
SUFFIXES = (".png", ".svg")


def save_figure(
    figure: Figure, path: str | os.PathLike[str], suffixes: tuple[str, ...] = SUFFIXES
) -> list[Path]:
    """Write a figure in several formats, each in one piece.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : path
        Its ending, if it has one of `suffixes`, is replaced by each of them.
    suffixes : tuple of str
        Formats, such as ``".png"``.

    Returns
    -------
    list of Path
        What was written.
    """
    stem = Path(path)
    if stem.suffix in suffixes:
        stem = stem.with_suffix("")
    written = [stem.with_name(stem.name + suffix) for suffix in suffixes]
    for target in written:
        with replacing(target) as temporary:
            figure.savefig(temporary, dpi=150)
    return written


def image_tag(figure: Figure, caption: str) -> str:
    """HTML of a figure that is part of the page, not a file beside it.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    caption : str
        HTML, shown below.
    """
    text = io.BytesIO()
    figure.savefig(text, format="svg")
    data = base64.b64encode(text.getvalue()).decode()
    return (
        f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )
