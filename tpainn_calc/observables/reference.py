"""Published observables of liquid water, to compare with."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "DENSITY_EXPERIMENT_300K",
    "DENSITY_REVPBE0_D3_300K",
    "GOO_XRAY_295K",
    "ReferenceDensity",
    "ReferenceRdf",
]


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


@dataclass(frozen=True)
class ReferenceDensity:
    """Published density to compare with.

    Attributes
    ----------
    label, citation : str
        Short name for a legend, and where the number comes from.
    value : float
        In g/cm³.
    level : str
        Level of theory of the potentials that it is meant for; empty for all.
    """

    label: str
    citation: str
    value: float
    level: str = ""


DENSITY_EXPERIMENT_300K = ReferenceDensity(
    label="experiment, 300 K",
    citation="IAPWS-95: W. Wagner, A. Pruß, J. Phys. Chem. Ref. Data 31, 387 (2002)",
    value=0.9966,
)
"""Liquid water at 300 K and 1 bar."""

DENSITY_REVPBE0_D3_300K = ReferenceDensity(
    label="revPBE0-D3, classical nuclei",
    citation=(
        "B. Cheng, E. A. Engel, J. Behler, C. Dellago, M. Ceriotti, "
        "Proc. Natl. Acad. Sci. USA 116, 1110 (2019)"
    ),
    value=0.940,
    level="revPBE0-D3",
)
"""A neural network of that functional at 300 K and 1 bar."""
