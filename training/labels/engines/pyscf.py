"""Density functional theory of molecules by PySCF."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import time
from typing import Any

import numpy as np
from ase import Atoms
from ase.units import Bohr, Hartree

from tpainn_calc.base.errors import ConfigError, one_line
from tpainn_calc.base.frames import attach_results
from training.labels.engines.attempts import bare
from training.labels.engines.config import PySCFConfig
from training.labels.engines.contract import EngineCrashed, Label, LabelFailed

#: Exponents of d functions in Gaussian's 6-31G(2df,p), of all elements of QM9 but hydrogen;
#: PySCF has others. Those of f and of hydrogen's p functions agree.
GAUSSIAN_D = (1.6, 0.4)
QM9_ELEMENTS = ("H", "C", "N", "O", "F")


class PySCFEngine:
    """Closed shells restricted, an odd electron unrestricted; energy and analytic gradient.

    Parameters
    ----------
    config : PySCFConfig
    """

    def __init__(self, config: PySCFConfig) -> None:
        if importlib.util.find_spec("pyscf") is None:
            raise ConfigError(
                "engine pyscf is not installed: pip install 'tpainn[labels]' (or: pyscf)"
            )
        self.config = config

    @property
    def level(self) -> str:
        """Functional, basis, grid."""
        c = self.config
        basis = "6-31G(2df,p)" if c.basis == "qm9" else c.basis
        fitting = " density fitting" if c.density_fitting else ""
        charge = f" charge {c.charge:+d}" if c.charge else ""
        return f"{c.functional.upper()}/{basis} grid {c.grid}{fitting}{charge} (PySCF)"

    def describe(self) -> dict[str, Any]:
        """Version and settings."""
        version = importlib.metadata.version("pyscf")
        return {"engine": f"PySCF {version}", **self.config.model_dump()}

    def label(self, atoms: Atoms) -> Label:
        """Label a molecule."""
        if atoms.pbc.any():
            raise LabelFailed("periodic: pyscf labels molecules; use cp2k or tblite")
        if self.config.basis == "qm9":
            others = sorted(set(atoms.symbols) - set(QM9_ELEMENTS))
            if others:
                raise LabelFailed(
                    f"contains {others[0]}: basis qm9 is for {', '.join(QM9_ELEMENTS)}"
                )
        began = time.monotonic()
        try:
            field, notes = self._converged(self.mean_field(atoms))
            gradient = field.nuc_grad_method().run(verbose=0).de
        except (OSError, LabelFailed):
            raise
        except Exception as error:  # libraries below PySCF raise what they happen to meet
            raise EngineCrashed(f"{type(error).__name__}: {one_line(error)}") from error
        forces = -np.asarray(gradient) * Hartree / Bohr
        notes["net_force"] = float(np.linalg.norm(forces.sum(axis=0)))
        done = attach_results(bare(atoms), field.e_tot * Hartree, forces)
        return Label(done, self.level, True, time.monotonic() - began, notes)

    def _converged(self, field: Any) -> tuple[Any, dict[str, str | float]]:
        field.kernel()
        if field.converged:
            return field, {}
        second = field.newton().set(max_cycle=50, verbose=0)
        second.kernel(field.mo_coeff, field.mo_occ)
        if not second.converged:
            raise LabelFailed(
                f"SCF not converged after {self.config.max_cycle} steps, nor by second-order SCF"
            )
        return second, {"fallback": "second-order SCF"}

    def mean_field(self, atoms: Atoms) -> Any:
        """PySCF's Kohn-Sham object of a molecule."""
        from pyscf import dft, gto

        c = self.config
        molecule = gto.M(
            atom=list(zip(atoms.get_chemical_symbols(), atoms.positions / Bohr, strict=True)),
            unit="Bohr",
            basis=gaussian_basis(set(atoms.symbols)) if c.basis == "qm9" else c.basis,
            cart=c.basis == "qm9",
            charge=c.charge,
            spin=(int(atoms.numbers.sum()) - c.charge) % 2,
            verbose=0,
            max_memory=c.max_memory,
        )
        field = (dft.UKS if molecule.spin else dft.RKS)(molecule, xc=c.functional)
        if c.density_fitting:
            field = field.density_fit()
        if c.basis == "qm9":
            field = with_pure_f(field)
        return field.set(
            conv_tol=c.conv_tol, max_cycle=c.max_cycle, grids=field.grids.set(level=c.grid)
        )

    def close(self) -> None:
        """Nothing is kept running."""


def gaussian_basis(elements: set[str]) -> dict[str, Any]:
    """6-31G(2df,p) with Gaussian's exponents, by element."""
    from pyscf import gto

    basis = {}
    for element in elements:
        shells = gto.basis.load("6-31g(2df,p)", element)
        d = iter(GAUSSIAN_D)
        basis[element] = [[2, [next(d), 1.0]] if shell[0] == 2 else shell for shell in shells]
    return basis


def with_pure_f(field: Any) -> Any:
    """Restrict a Cartesian mean field to pure (7) f functions; d functions stay Cartesian (6).

    PySCF has all functions Cartesian or all pure; Gaussian's 6-31G(2df,p) mixes them. All
    orbitals are sought in the space of the mixed set, through the matrix that PySCF
    orthogonalises the basis with, so that energy, DIIS and gradient follow.
    """
    import pyscf.lib

    class PureF:
        __name_mixin__ = "PureF"

        def check_linear_dependency(self, s: np.ndarray, verbose: Any = None) -> np.ndarray:
            mixed = mixed_functions(self.mol)  # type: ignore[attr-defined]
            values, vectors = np.linalg.eigh(mixed.T @ s @ mixed)
            return mixed @ (vectors / np.sqrt(values))

        def _eigh(
            self, h: np.ndarray, s: np.ndarray, overwrite: bool = False, x: Any = None
        ) -> tuple[np.ndarray, np.ndarray]:
            x = self.check_linear_dependency(s) if x is None else x
            return super()._eigh(h, s, overwrite, x)  # type: ignore[misc]

    return pyscf.lib.set_class(field.copy(), (PureF, type(field)))


def mixed_functions(molecule: Any) -> np.ndarray:
    """Cartesian s, p and d and pure f functions, in terms of Cartesian ones, (cart, mixed)."""
    import scipy.linalg
    from pyscf import gto

    blocks = []
    for shell in range(molecule.nbas):
        ell = molecule.bas_angular(shell)
        size = (ell + 1) * (ell + 2) // 2
        block = gto.cart2sph(ell) if ell > 2 else np.eye(size)
        blocks += [block] * molecule.bas_nctr(shell)
    return scipy.linalg.block_diag(*blocks)
