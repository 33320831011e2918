"""Figures of observables, and a published curve to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .diffusion import Diffusion
    from .observables import Density, Rdf

__all__ = ["GOO_XRAY_295K", "ReferenceRdf", "plot_density", "plot_msd", "plot_rdf"]


@dataclass(frozen=True)
class ReferenceRdf:
    """Published radial distribution function to compare with.

    Attributes
    ----------
    label, citation : str
        Short name for a legend, and where the numbers come from.
    r, g : tuples of float
        Distances in Å and g(r).
    """

    label: str
    citation: str
    r: tuple[float, ...]
    g: tuple[float, ...]


# fmt: off
GOO_XRAY_295K = ReferenceRdf(
    label="X-ray, 295.1 K",
    citation=(
        "L. B. Skinner, C. Huang, D. Schlesinger, L. G. M. Pettersson, A. Nilsson, C. J. Benmore, "
        "J. Chem. Phys. 138, 074506 (2013); data set of L. B. Skinner, C. J. Benmore et al., "
        "J. Chem. Phys. 141, 214507 (2014)"
    ),
    r=(
        2.30, 2.40, 2.50, 2.55, 2.60, 2.65, 2.70, 2.75, 2.80, 2.85, 2.90, 2.95, 3.00, 3.10, 3.20,
        3.30, 3.40, 3.50, 3.60, 3.80, 4.00, 4.20, 4.40, 4.60, 4.80, 5.00, 5.20, 5.40, 5.60, 5.80,
        6.00, 6.25, 6.50, 6.75, 7.00, 7.25, 7.50, 7.75, 8.00,
    ),
    g=(
        0.000, 0.015, 0.240, 0.541, 0.990, 1.526, 2.040, 2.415, 2.570, 2.496, 2.248, 1.918, 1.599,
        1.177, 0.991, 0.889, 0.847, 0.849, 0.869, 0.934, 1.006, 1.068, 1.107, 1.108, 1.073, 1.012,
        0.949, 0.901, 0.884, 0.903, 0.944, 1.005, 1.047, 1.061, 1.050, 1.025, 0.998, 0.982, 0.979,
    ),
)
# fmt: on
"""Oxygen–oxygen g(r) of liquid water at ambient conditions; a few points, rounded."""


def plot_rdf(
    result: Rdf, reference: ReferenceRdf | None = None, path: str | Path | None = None
) -> Figure:
    """Draw g(r) with its error band, and a reference as points.

    Parameters
    ----------
    result : Rdf
        What `rdf` returned.
    reference : ReferenceRdf, optional
        For example `GOO_XRAY_295K`.
    path : path, optional
        Where to write the figure; the suffix gives the format.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = _figure("r / Å", f"g(r) {'–'.join(result.pair)}")
    axes.plot(result.r, result.g, color="C0", label="simulation")
    axes.fill_between(
        result.r, result.g - result.g_error, result.g + result.g_error, color="C0", alpha=0.3, lw=0
    )
    if reference is not None:
        axes.plot(reference.r, reference.g, "o", color="k", ms=3, mfc="none", label=reference.label)
        axes.legend(frameon=False)
    axes.axhline(1.0, color="0.8", lw=0.8, zorder=0)
    axes.set_xlim(0, result.r[-1])
    # Bonds within a molecule would flatten everything else.
    axes.set_ylim(0, min(1.1 * float((result.g + result.g_error).max()), 6.0))
    return _saved(figure, path)


def plot_msd(result: Diffusion, path: str | Path | None = None) -> Figure:
    """Draw the mean squared displacement with its error band and the range of the fit.

    Parameters
    ----------
    result : Diffusion
        What `diffusion` returned.
    path : path, optional
        Where to write the figure; the suffix gives the format.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = _figure("t / ps", "MSD / Å²")
    axes.plot(result.time, result.msd, color="C0")
    low, high = result.msd - result.msd_error, result.msd + result.msd_error
    axes.fill_between(result.time, low, high, color="C0", alpha=0.3, lw=0)
    axes.axvspan(*result.fit_range, color="0.9", zorder=0)
    axes.set_title(f"D = {result.value:.4f} ± {result.error:.4f} {result.unit}", fontsize="medium")
    return _saved(figure, path)


def plot_density(result: Density, path: str | Path | None = None) -> Figure:
    """Draw the density of every frame with the mean and its error.

    Parameters
    ----------
    result : Density
        What `density` returned.
    path : path, optional
        Where to write the figure; the suffix gives the format.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = _figure("frame", f"density / {result.unit}")
    axes.plot(result.series, color="C0", lw=0.8)
    axes.axhline(result.value, color="k", lw=1)
    if np.isfinite(result.error):
        low, high = result.value - result.error, result.value + result.error
        axes.axhspan(low, high, color="0.8", zorder=0)
    axes.set_title(f"{result.value:.4f} ± {result.error:.4f} {result.unit}", fontsize="medium")
    return _saved(figure, path)


def _figure(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    # A bare Figure leaves pyplot's global state and backend alone.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 3.5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure, axes


def _saved(figure: Figure, path: str | Path | None) -> Figure:
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
