"""Density, radial distribution functions and diffusion of a trajectory, each with an error bar.

The functions take an MDAnalysis Universe, for example from `load_trajectory`; ``start``, ``stop``
and ``step`` select frames as in Python slices (``start`` is where equilibration ends). Errors are
standard errors (one sigma) of means over blocks of the trajectory.
"""

from tpainn_calc.observables.block_average import BlockAverage, block_average
from tpainn_calc.observables.density import Density, density
from tpainn_calc.observables.diffusion import Diffusion, diffusion, yeh_hummer_correction
from tpainn_calc.observables.figures import plot_density, plot_msd, plot_rdf
from tpainn_calc.observables.rdf import Rdf, rdf
from tpainn_calc.observables.reference import (
    DENSITY_EXPERIMENT_300K,
    DENSITY_REVPBE0_D3_300K,
    GOO_XRAY_295K,
    ReferenceDensity,
    ReferenceRdf,
)
from tpainn_calc.observables.trajectory import load_trajectory

__all__ = [
    "DENSITY_EXPERIMENT_300K",
    "DENSITY_REVPBE0_D3_300K",
    "GOO_XRAY_295K",
    "BlockAverage",
    "Density",
    "Diffusion",
    "Rdf",
    "ReferenceDensity",
    "ReferenceRdf",
    "block_average",
    "density",
    "diffusion",
    "load_trajectory",
    "plot_density",
    "plot_msd",
    "plot_rdf",
    "rdf",
    "yeh_hummer_correction",
]
