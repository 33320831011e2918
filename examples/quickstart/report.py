"""The quickstart's report: figures and a page that shows them."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from tpainn_calc import __version__
from tpainn_calc.base.figures import image_tag, save_figure
from tpainn_calc.base.files import write_atomically
from tpainn_calc.manifest import Manifest, read_manifest
from tpainn_calc.observables import (
    DENSITY_EXPERIMENT_300K,
    DENSITY_REVPBE0_D3_300K,
    GOO_XRAY_295K,
    Density,
    Rdf,
    ReferenceDensity,
    ReferenceRdf,
    density,
    load_trajectory,
    plot_rdf,
    rdf,
)

#: Of nature, and of the functionals that a shipped potential was trained on.
DENSITIES = (DENSITY_REVPBE0_D3_300K, DENSITY_EXPERIMENT_300K)
#: Where the manifest keeps what long runs gave.
DENSITY = "density at 300 K and 1 bar"


@dataclass(frozen=True)
class Run:
    """A finished NPT run.

    Attributes
    ----------
    folder : Path
        Holds ``npt.dump``; the report goes here.
    thermo : dict of str to list of float
        Columns of LAMMPS' thermo output, metal units.
    n_atoms : int
    timestep_fs, wall_s : float
    force_difference : float
        LAMMPS − ASE at the first step, eV/Å.
    discard : float
        Fraction of the run that counts as equilibration.
    manifest : Manifest
        Of the potential.
    """

    folder: Path
    thermo: dict[str, list[float]]
    n_atoms: int
    timestep_fs: float
    wall_s: float
    force_difference: float
    discard: float
    manifest: Manifest = field(default_factory=lambda: read_manifest("water"))

    @property
    def references(self) -> list[ReferenceDensity]:
        """Densities to compare with: of the potential's long runs, its functional, and nature."""
        level = self.manifest.level_of_theory
        published = [r for r in DENSITIES if r.level in ("", level)]
        known = self.manifest.properties.get(DENSITY)
        if known is None:
            return published
        label = f"long runs ({known.value:.3f} ± {known.error:.3f})"
        return [ReferenceDensity(label, known.source, known.value), *published]

    @property
    def n_steps(self) -> int:
        """MD steps of the main run."""
        return int(self.thermo["Step"][-1] - self.thermo["Step"][0])

    @property
    def speed(self) -> float:
        """Atoms · steps per second."""
        return self.n_atoms * self.n_steps / self.wall_s

    @property
    def time_ps(self) -> np.ndarray:
        """Time of every line of thermo output."""
        return np.array(self.thermo["Step"]) * self.timestep_fs / 1000


def write_report(run: Run) -> list[str]:
    """Write figures, ``summary.json`` and ``report.html``; returns lines for the terminal.

    The page holds its figures and the input, so that it can be sent as one file.
    """
    universe = load_trajectory(
        run.folder / "npt.dump", timestep_fs=run.timestep_fs, elements=["O", "H"]
    )
    start = int(run.discard * universe.trajectory.n_frames)
    rho = density(universe, start=start)
    g = rdf(universe, "O", "O", start=start)
    figures = {
        "density": (_density_figure(run, rho), "Density over time"),
        "g_OO": (
            plot_rdf(g, GOO_XRAY_295K),
            "Oxygen–oxygen radial distribution function beside X-ray diffraction",
        ),
        "thermo": (_thermo_figure(run), "Temperature and potential energy over time"),
    }
    for name, (figure, _) in figures.items():
        save_figure(figure, run.folder / name)
    summary = _summary(run, rho, g)
    write_atomically(run.folder / "summary.json", json.dumps(summary, indent=1))
    page = _page(
        summary,
        [image_tag(figure, caption) for figure, caption in figures.values()],
        [*run.references, GOO_XRAY_295K],
        (run.folder / "npt.lammps").read_text(encoding="utf-8"),
    )
    write_atomically(run.folder / "report.html", page)
    return [f"{name}: {value}" for name, value in summary.items()]


def _summary(run: Run, rho: Density, g: Rdf) -> dict[str, str]:
    duration = run.n_steps * run.timestep_fs / 1000
    manifest = run.manifest
    temperature = np.array(run.thermo["Temp"])[int(run.discard * len(run.thermo["Temp"])) :]
    converged = "" if rho.converged else " (a short run: the error is a lower bound)"
    known = manifest.properties.get(DENSITY)
    apart = {}
    if known is not None:
        bars = abs(rho.value - known.value) / np.hypot(rho.error, known.error)
        apart = {"density − that of long runs": f"{bars:.1f} error bars"}
    return {
        "density": f"{rho.value:.3f} ± {rho.error:.3f} g/cm³{converged}",
        **apart,
        **{f"density, {r.label}": f"{r.value:.3f} g/cm³" for r in run.references},
        "first peak of g_OO": f"{g.value:.2f} ± {g.error:.2f} at {g.peak_r:.2f} Å",
        f"first peak of g_OO, {GOO_XRAY_295K.label}": f"{max(GOO_XRAY_295K.g):.2f} at "
        f"{_peak_position():.2f} Å",
        "temperature": f"{temperature.mean():.0f} K",
        "speed": f"{run.speed:,.0f} atoms·steps/s, {1000 * run.wall_s / run.n_steps:.1f} ms/step",
        "length": f"{duration:.1f} ps ({run.n_steps:,} steps of {run.timestep_fs} fs, "
        f"{run.n_atoms} atoms; the first {100 * run.discard:.0f} % discarded)",
        "LAMMPS − ASE, first-step forces": f"at most {run.force_difference:.1e} eV/Å",
        "potential": f"{manifest.name}, {manifest.level_of_theory}, tpainn {__version__}",
    }


def _peak_position() -> float:
    return float(np.asarray(GOO_XRAY_295K.r)[np.argmax(GOO_XRAY_295K.g)])


def _density_figure(run: Run, rho: Density) -> Figure:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.plot(run.time_ps, run.thermo["Density"], color="#2a6fbb", lw=1)
    begin = run.discard * run.time_ps[-1]
    axes.axvspan(0, begin, color="0.92", label="equilibration")
    axes.hlines(rho.value, begin, run.time_ps[-1], color="#c8442b", label="mean ± error")
    axes.fill_between(
        [begin, run.time_ps[-1]],
        rho.value - rho.error,
        rho.value + rho.error,
        color="#c8442b",
        alpha=0.25,
    )
    for reference, style in zip(run.references, ("--", ":", "-."), strict=False):
        axes.axhline(reference.value, color="0.3", lw=1, ls=style, label=reference.label)
    axes.set(xlabel="time / ps", ylabel="density / (g/cm³)", xlim=(0, run.time_ps[-1]))
    figure.legend(frameon=False, fontsize="small", ncols=2, loc="outside upper center")
    return figure


def _thermo_figure(run: Run) -> Figure:
    figure = Figure(figsize=(6, 4.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    top.plot(run.time_ps, run.thermo["Temp"], color="#c8442b", lw=1)
    top.axhline(300, color="0.6", lw=1, ls="--")
    top.set_ylabel("temperature / K")
    energy = np.array(run.thermo["PotEng"])
    bottom.plot(run.time_ps, 1000 * (energy - energy.mean()) / run.n_atoms, color="#2a6fbb", lw=1)
    bottom.set(
        xlabel="time / ps",
        ylabel="potential energy − mean\n/ (meV/atom)",
        xlim=(0, run.time_ps[-1]),
    )
    return figure


def _page(
    summary: dict[str, str],
    figures: list[str],
    references: Sequence[ReferenceDensity | ReferenceRdf],
    lammps_input: str,
) -> str:
    rows = "\n".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in summary.items()
    )
    sources = "\n".join(
        f"<li>{html.escape(r.label)}: {html.escape(r.citation)}</li>" for r in references
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>T-PaiNN: NPT water</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; }}
table {{ border-collapse: collapse; }} th {{ text-align: left; padding-right: 2rem; }}
td, th {{ border-bottom: 1px solid #ddd; padding-top: .3rem; padding-bottom: .3rem; }}
figure {{ margin: 2rem 0; }} img {{ max-width: 100%; }} figcaption {{ color: #555; }}
pre {{ background: #f6f6f6; padding: 1rem; overflow-x: auto; }}
</style></head><body>
<h1>Liquid water, NPT, 300 K and 1 bar</h1>
<p>LAMMPS with <code>pair_style tpainn</code>, made by <code>make quickstart</code>.</p>
<table>{rows}</table>
{"".join(figures)}
<h2>References</h2>
<ul>{sources}</ul>
<details><summary>LAMMPS input</summary><pre>{html.escape(lammps_input)}</pre></details>
</body></html>
"""
