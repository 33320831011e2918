"""Measured properties of liquid water at 1 bar, to compare with."""

from __future__ import annotations

#: kg/m³ → g/cm³, by temperature (K). IAPWS-95: W. Wagner, A. Pruß, J. Phys. Chem. Ref. Data 31,
#: 387 (2002), from package iapws 1.5; below 273.16 K the liquid is supercooled, and extrapolated.
DENSITY = {
    270: 0.99954,
    285: 0.99952,
    300: 0.99656,
    320: 0.98943,
    335: 0.98223,
    350: 0.97373,
    370: 0.96059,
}
#: 1/GPa, 300 K; IAPWS-95.
COMPRESSIBILITY = 0.4505
#: mPa·s, 300 K; IAPWS 2008.
VISCOSITY = 0.8537
#: kJ/mol, 300 K, of the saturated liquid; IAPWS-95.
VAPORISATION = 43.91
#: Å²/ps, 298.15 K; M. Holz, S. R. Heil, A. Sacco, Phys. Chem. Chem. Phys. 2, 4740 (2000).
DIFFUSION = 0.2299
