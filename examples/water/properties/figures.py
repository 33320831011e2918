"""Figure of the properties."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from examples.water.properties import experiment
from examples.water.properties.results import Property
from tpainn_calc.base.figures import save_figure
from tpainn_calc.observables import GOO_XRAY_295K, Diffusion, Rdf

COLOURS = {"OO": "#c8442b", "OH": "#2a6fbb", "HH": "#4a4a4a"}


def draw(
    rows: Sequence[Property],
    curves: Mapping[str, Rdf],
    msds: Mapping[int, Diffusion],
    path: Path,
) -> None:
    """Density over temperature, g(r) beside diffraction, and mean squared displacements.

    Parameters
    ----------
    rows : sequence of Property
    curves : mapping of str to Rdf
        By pair of elements.
    msds : mapping of int to Diffusion
        By number of waters.
    path : Path
        PNG and SVG are written.
    """
    panels = 3 if msds else 2
    figure = Figure(figsize=(3.7 * panels, 3.6), layout="constrained")
    axes = figure.subplots(1, panels)
    _densities(axes[0], rows)
    _rdfs(axes[1], curves)
    if msds:
        _displacements(axes[2], msds)
    save_figure(figure, path)


def _densities(axes: Axes, rows: Sequence[Property]) -> None:
    found = sorted((p.temperature, p.value, p.error) for p in rows if p.quantity == "density")
    t, value, error = zip(*found, strict=True)
    axes.errorbar(t, value, error, fmt="o", color=COLOURS["OO"], capsize=3, label="T-PaiNN")
    axes.plot(*zip(*sorted(experiment.DENSITY.items()), strict=True), "k--", lw=1,
              label="experiment")  # fmt: skip
    axes.set(xlabel="temperature / K", ylabel="density / (g/cm³)")
    axes.legend(frameon=False)


def _rdfs(axes: Axes, curves: Mapping[str, Rdf]) -> None:
    for pair, g in curves.items():
        axes.plot(g.r, g.g, color=COLOURS[pair], lw=1.2, label=f"$g_{{{pair}}}$")
    xray = GOO_XRAY_295K
    axes.plot(xray.r, xray.g, "k--", lw=1, label=f"$g_{{OO}}$, {xray.label}")
    # the molecule itself would hide the liquid
    axes.set(xlabel="r / Å", ylabel="g(r)", xlim=(1.3, 6.2), ylim=(0, 3.2))
    axes.legend(frameon=False, fontsize="small")


def _displacements(axes: Axes, msds: Mapping[int, Diffusion]) -> None:
    for (waters, d), style in zip(sorted(msds.items()), ("-", "--", ":"), strict=False):
        axes.plot(d.time, d.msd, style, color=COLOURS["OH"], label=f"{waters} waters")
    axes.set(xlabel="time / ps", ylabel="mean squared displacement of O / Å²")
    axes.legend(frameon=False)
