"""Figures of observables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tpainn_calc.observables.density import Density
    from tpainn_calc.observables.diffusion import Diffusion
    from tpainn_calc.observables.rdf import Rdf
    from tpainn_calc.observables.reference import ReferenceRdf

__all__ = ["plot_density", "plot_msd", "plot_rdf"]


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
    figure, axes = _figure("time / ps", "MSD / Å²")
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
    figure, axes = _figure("frame", "density / (g/cm³)")
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
