"""GFN1-xTB and GFN2-xTB by tblite: semi-empirical, not DFT."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from typing import Any

from ase import Atoms
from ase.calculators.calculator import CalculatorError

from tpainn_calc.base.errors import ConfigError
from training.labels.engines.attempts import label_by_attempts
from training.labels.engines.config import TBLiteConfig
from training.labels.engines.contract import Label

#: What is tried where the SCF does not converge: a more strongly damped mixer, more steps.
FALLBACKS: list[tuple[str, dict[str, Any]]] = [
    ("damping 0.2, 1000 steps", {"mixer_damping": 0.2, "max_iterations": 1000}),
    ("damping 0.05, 2000 steps", {"mixer_damping": 0.05, "max_iterations": 2000}),
]


class TBLiteEngine:
    """Molecules and periodic systems, with stress.

    Every structure has a calculator of its own: none starts from another one's wave function, so
    that a label does not depend on what was labelled before.

    Parameters
    ----------
    config : TBLiteConfig
    """

    def __init__(self, config: TBLiteConfig) -> None:
        if importlib.util.find_spec("tblite") is None:
            raise ConfigError(
                "engine tblite is not installed: pip install 'tpainn[labels]' (or: tblite)"
            )
        self.config = config

    @property
    def level(self) -> str:
        """Method, and what differs from its usual settings."""
        c = self.config
        temperature = f", {c.electronic_temperature:g} K" if c.electronic_temperature != 300 else ""
        return f"{c.method} (tblite{temperature})" + (f" charge {c.charge:+d}" if c.charge else "")

    def describe(self) -> dict[str, Any]:
        """Version and settings."""
        version = importlib.metadata.version("tblite")
        return {"engine": f"tblite {version}", **self.config.model_dump()}

    def label(self, atoms: Atoms) -> Label:
        """Label a structure."""
        first = {"max_iterations": self.config.max_iterations}
        attempts = [
            (name, lambda changes=changes: self._calculator(changes))
            for name, changes in [(f"{first['max_iterations']} steps", first), *FALLBACKS]
        ]
        stress = bool(atoms.pbc.all())
        return label_by_attempts(atoms, attempts, self.level, stress, CalculatorError)

    def _calculator(self, changes: dict[str, Any]) -> Any:
        from tblite.ase import TBLite

        c = self.config
        return TBLite(
            method=c.method,
            accuracy=c.accuracy,
            electronic_temperature=c.electronic_temperature,
            charge=c.charge,
            verbosity=0,
            **changes,
        )

    def close(self) -> None:
        """Nothing is kept running."""
