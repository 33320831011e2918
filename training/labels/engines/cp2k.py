"""CP2K, kept running as a shell behind ASE's calculator: DFT, and its networks for water."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import SCFError, all_changes
from ase.calculators.cp2k import CP2K
from ase.units import Rydberg

from tpainn_calc.base.errors import ConfigError, one_line
from training.labels.engines.attempts import label_by_attempts
from training.labels.engines.config import CP2KConfig, CP2KNNPConfig
from training.labels.engines.contract import EngineCrashed, Label, LabelFailed
from training.labels.engines.cp2k_input import dft_input, nnp_input

INSTALL = "apt-get install cp2k cp2k-data (Debian, Ubuntu), or conda install -c conda-forge cp2k"

#: CP2K 2023.1 with two OpenMP threads now and then returns forces wrong by tens of eV/Å beside the
#: right energy. Ranks (in `command`) and jobs are safe.
ONE_THREAD = "env OMP_NUM_THREADS=1 "

#: ASE's own part of the input, emptied: it would add DFT sections to a network.
NO_DFT: dict[str, Any] = {
    "basis_set": None,
    "basis_set_file": None,
    "potential_file": None,
    "pseudo_potential": None,
    "cutoff": None,
    "max_scf": None,
    "poisson_solver": None,
    "xc": None,
}


class CheckedCP2K(CP2K):
    """ASE's calculator, which also says whether the SCF converged and why CP2K stopped.

    Parameters
    ----------
    self_consistent : bool
        Whether there is an SCF to be checked.
    **arguments
        Of :class:`ase.calculators.cp2k.CP2K`.
    """

    def __init__(self, *, self_consistent: bool, **arguments: Any) -> None:
        self._self_consistent = self_consistent
        super().__init__(**arguments)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Compute energy, forces and stress; a failed SCF is an error."""
        output = Path(f"{self.label}.out")
        before = output.stat().st_size if output.is_file() else 0
        try:
            with warnings.catch_warnings():
                words = shlex.split((self.command or "").removeprefix(ONE_THREAD))
                if len(words) == 1:  # ASE warns of a launcher's pipes
                    warnings.filterwarnings("ignore", "ASE may stall")
                super().calculate(atoms, properties, system_changes)
        except (AssertionError, OSError, ValueError) as error:  # the shell is gone
            text = _tail(output, before)
            if "NOT converged" in text:
                raise SCFError(_scf_report(text)) from error
            raise EngineCrashed(f"CP2K: {_abort_message(text) or one_line(error)}") from error
        if self._self_consistent:
            text = _tail(output, before)
            if "NOT converged" in text or not re.search(r"SCF (run|loop) converged in", text):
                self.results = {}
                raise SCFError(_scf_report(text))

    def close(self) -> None:
        """End the shell, however it is."""
        with contextlib.suppress(AssertionError, OSError, ValueError):
            super().close()


def _tail(path: Path, start: int) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as stream:
        stream.seek(start if start < path.stat().st_size else 0)
        return stream.read().decode(errors="replace")


def _scf_report(text: str) -> str:
    steps = re.findall(r"^ +(\d+) +\S+.* (\d\.\d+(?:E-?\d+)?) +-?\d+\.\d+ +\S+ *$", text, re.M)
    if not steps:
        return "SCF not converged"
    return f"SCF not converged after {steps[-1][0]} steps (change {steps[-1][1]})"


def _abort_message(text: str) -> str:
    """Message in CP2K's box of asterisks."""
    _, mark, rest = text.partition("[ABORT]")
    if not mark:
        return ""
    lines = [line.strip(" *\\/_|") for line in rest.splitlines()[:8]]
    return " ".join(line for line in lines if line and not line.startswith(("O/", "/|")))


class _CP2KShell:
    """Start of CP2K, and its files."""

    def __init__(self, command: str, data: str | None) -> None:
        self.command = command
        words = [w for w in shlex.split(command) if "=" not in w and not w.startswith("-")]
        programs = [words[0], *(w for w in words[1:] if "cp2k" in Path(w).name)] if words else []
        for program in programs or [command]:
            if shutil.which(program) is None:
                raise ConfigError(f"engine cp2k: there is no program {program!r}: {INSTALL}")
        if data is not None and not (Path(data) / "dftd3.dat").is_file():
            raise ConfigError(f"engine.data {data}: not CP2K's folder of data (no dftd3.dat)")
        self.data = data
        self._folder: str | None = None
        self._calculators: dict[str, CheckedCP2K] = {}

    def calculator(self, name: str, **arguments: Any) -> CheckedCP2K:
        """Calculator of a name, started when it is first needed."""
        if name not in self._calculators:
            self._environment()
            if self._folder is None:
                self._folder = tempfile.mkdtemp(prefix="tpainn-cp2k-")
            try:
                self._calculators[name] = CheckedCP2K(
                    command=ONE_THREAD + self.command,
                    label=str(Path(self._folder) / f"frame{len(self._calculators)}"),
                    print_level="LOW",
                    **arguments,
                )
            except (AssertionError, RuntimeError, ValueError) as error:
                raise EngineCrashed(
                    f"{self.command!r} does not start: {one_line(error)}; try it by hand"
                ) from error
        return self._calculators[name]

    def _environment(self) -> None:
        """Set what CP2K reads, for this process and what it starts."""
        if self.data is not None:
            os.environ["CP2K_DATA_DIR"] = self.data
        for name in ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"):
            os.environ.setdefault(name, "1")

    def version(self) -> str:
        """First line of ``cp2k --version``."""
        program = next((w for w in shlex.split(self.command) if "cp2k" in Path(w).name), "")
        folder, name = Path(shutil.which(program) or "").parent, Path(program).name
        binary = folder / name.replace("cp2k_shell", "cp2k")
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(
                [str(binary), "--version"], capture_output=True, text=True, timeout=120, check=False
            )
            first = done.stdout.strip().splitlines()[:1]
            return first[0].strip() if first else "CP2K"
        return "CP2K"

    def close(self) -> None:
        for calculator in self._calculators.values():
            calculator.close()
        self._calculators = {}
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None


def basis_name(basis: str | dict[str, str]) -> str:
    """Name of a basis set; one for all elements if they differ in the valence charge alone."""
    if isinstance(basis, str):
        return basis
    names = {element: re.sub(r"-q\d+$", "", name) for element, name in sorted(basis.items())}
    if len(set(names.values())) == 1:
        return next(iter(names.values()))
    return ",".join(f"{element}:{name}" for element, name in names.items())


class CP2KEngine:
    """Density functional theory of periodic frames.

    Every frame starts from atomic densities, not from the frame before, so that its label does
    not depend on the order.

    Parameters
    ----------
    config : CP2KConfig
    """

    def __init__(self, config: CP2KConfig) -> None:
        self.config = config
        self._shell = _CP2KShell(config.command, config.data)

    @property
    def level(self) -> str:
        """Functional, basis, grid."""
        c = self.config
        charge = f" charge {c.charge:+d}" if c.charge else ""
        functional = c.functional.replace("-D3", "-D3(0)")
        potential = f" {c.pseudopotential}" if c.pseudopotential else ""
        grid = f"{c.cutoff:g}/{c.relative_cutoff:g} Ry"
        return f"{functional} {basis_name(c.basis)}{potential} {grid}{charge} (CP2K)"

    def describe(self) -> dict[str, Any]:
        """Version, settings and the input."""
        return {
            "engine": self._shell.version(),
            **self.config.model_dump(),
            "input": dft_input(self.config, self.config.scf),
        }

    def label(self, atoms: Atoms) -> Label:
        """Label a periodic frame."""
        if not atoms.pbc.all():
            raise LabelFailed("not periodic in three directions: use pyscf or tblite for molecules")
        order = {"diagonalization": ["diagonalization", "ot", "slow"]}.get(
            self.config.scf, ["ot", "diagonalization", "slow"]
        )
        attempts = [(scf, lambda scf=scf: self._calculator(scf)) for scf in order]
        label = label_by_attempts(atoms, attempts, self.level, self.config.stress)
        forces = label.atoms.calc.results["forces"]
        net = forces.sum(axis=0)
        if self.config.remove_net_force:
            label.atoms.calc.results["forces"] = forces - net / len(forces)
        notes = {**label.notes, "net_force": float(np.linalg.norm(net))}
        return Label(label.atoms, label.level, label.converged, label.seconds, notes)

    def _calculator(self, scf: str) -> CheckedCP2K:
        c = self.config
        calculator = self._shell.calculator(
            scf,
            self_consistent=True,
            inp=dft_input(c, scf),
            xc=None,
            cutoff=c.cutoff * Rydberg,
            max_scf=None,  # part of dft_input
            basis_set=c.basis if isinstance(c.basis, str) else None,
            basis_set_file=c.basis_file,
            potential_file=c.potential_file,
            pseudo_potential=c.pseudopotential
            or ("GTH-BLYP" if c.functional == "BLYP-D3" else "GTH-PBE"),
            charge=c.charge,
            stress_tensor=c.stress,
        )
        calculator.reset()  # forget the frame before
        return calculator

    def close(self) -> None:
        """End CP2K."""
        self._shell.close()


class CP2KNNPEngine:
    """A committee of eight networks for liquid water, trained on revPBE0-D3: not DFT.

    Schran, Brezina and Marsalek, J. Chem. Phys. 153, 104105 (2020). One CP2K stays and takes
    frame after frame; its energies have a zero of their own.

    Parameters
    ----------
    config : CP2KNNPConfig
    """

    def __init__(self, config: CP2KNNPConfig) -> None:
        self.config = config
        self._shell = _CP2KShell(config.command, config.data)

    @property
    def level(self) -> str:
        """A network, and whose."""
        return "revPBE0-D3 neural-network committee, not DFT (CP2K, bulkH2O-jcp2020-cnnp)"

    def describe(self) -> dict[str, Any]:
        """Version and settings."""
        return {
            "engine": self._shell.version(),
            **self.config.model_dump(),
            "citation": "Schran, Brezina, Marsalek, J. Chem. Phys. 153, 104105 (2020)",
        }

    def label(self, atoms: Atoms) -> Label:
        """Label a periodic frame of water."""
        if not atoms.pbc.all():
            raise LabelFailed("not periodic in three directions: the networks are for the liquid")
        others = sorted(set(atoms.symbols) - {"H", "O"})
        if others:
            raise LabelFailed(f"contains {others[0]}: the networks know water only")
        return label_by_attempts(
            atoms, [("committee", self._calculator)], self.level, self.config.stress
        )

    def _calculator(self) -> CheckedCP2K:
        return self._shell.calculator(
            "committee",
            self_consistent=False,
            force_eval_method="NNP",
            inp=nnp_input(),
            stress_tensor=self.config.stress,
            **NO_DFT,
        )

    def close(self) -> None:
        """End CP2K."""
        self._shell.close()
