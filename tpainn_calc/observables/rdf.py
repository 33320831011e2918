"""Radial distribution functions of a trajectory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tpainn_calc.base.arrays import Array
from tpainn_calc.base.errors import ConfigError, DataError
from tpainn_calc.observables.block_average import mean_and_error, split_blocks
from tpainn_calc.observables.trajectory import (
    cell_vectors,
    frame_range,
    reading_errors,
    select_element,
)

if TYPE_CHECKING:
    import MDAnalysis

__all__ = ["Rdf", "rdf"]


@dataclass(frozen=True)
class Rdf:
    """Radial distribution function.

    Attributes
    ----------
    value, error : float
        Height of the highest peak and its standard error.
    unit : str
        "1": g(r) has no unit.
    r, g, g_error : (B,) arrays
        Centres of the bins in Å, g(r), and the standard error of each bin.
    peak_r : float
        Where the highest peak is, in Å.
    pair : (str, str)
        Elements a and b.
    n_blocks : int
        Number of blocks the errors were taken from.
    """

    value: float
    error: float
    unit: str
    r: Array
    g: Array
    g_error: Array
    peak_r: float
    pair: tuple[str, str]
    n_blocks: int


def rdf(
    universe: MDAnalysis.Universe,
    a: str = "O",
    b: str = "O",
    r_max: float | None = None,
    n_bins: int = 150,
    *,
    n_blocks: int = 10,
    start: int = 0,
    stop: int | None = None,
    step: int = 1,
) -> Rdf:
    """Radial distribution function between two elements, by `MDAnalysis.analysis.rdf.InterRDF`.

    Normalised by the number of distinct pairs, so that an ideal gas has g = 1 for any number of
    atoms; intramolecular pairs are included.

    Parameters
    ----------
    universe : MDAnalysis.Universe
        Periodic in three directions, with elements.
    a, b : str
        Elements.
    r_max : float, optional
        Largest distance in Å; by default, and at most, half of the smallest spacing between
        opposite faces of the cell.
    n_bins : int
        Number of bins between 0 and `r_max`.
    n_blocks : int
        Number of blocks (at least 5) for the errors; fewer where there are fewer frames.
    start, stop, step : int
        Frames, as in a slice.

    Returns
    -------
    Rdf

    Raises
    ------
    ConfigError
        `r_max`, `n_bins` or `n_blocks` out of range.
    DataError
        Fewer than five frames, no periodic cell, or an element that is not there.
    """
    from MDAnalysis.analysis.rdf import InterRDF

    frames = frame_range(universe, start, stop, step)
    group_a, group_b = select_element(universe, a), select_element(universe, b)
    if a == b and len(group_a) < 2:
        raise DataError(f"one atom of {a} has no other {b} to be paired with")
    limit = float(
        (0.5 / np.linalg.norm(np.linalg.inv(cell_vectors(universe, frames)), axis=1)).min()
    )
    r_max = limit if r_max is None else float(r_max)
    # Cells are stored in float32.
    if not 0 < r_max <= limit * (1 + 1e-6):
        raise ConfigError(
            f"r_max must lie between 0 and half of the smallest cell height, {limit:.3f} Å, "
            f"got {r_max:g}"
        )
    if n_bins < 1:
        raise ConfigError(f"n_bins must be at least 1, got {n_bins}")
    blocks = split_blocks(frames, n_blocks)
    curves = []
    with reading_errors():
        for block in blocks:
            # With a = b, the exclusion leaves out each atom's distance of zero to itself.
            analysis = InterRDF(
                group_a,
                group_b,
                nbins=n_bins,
                range=(0.0, r_max),
                exclusion_block=(1, 1) if a == b else None,
            ).run(start=block.start, stop=block.stop, step=block.step)
            curves.append(analysis.results.rdf)
    g, g_error = mean_and_error(np.array(curves))
    r = np.array(analysis.results.bins, dtype=np.float64)
    peak = int(g.argmax())
    return Rdf(
        float(g[peak]),
        float(g_error[peak]),
        "1",
        r,
        g,
        g_error,
        float(r[peak]),
        (a, b),
        len(blocks),
    )
