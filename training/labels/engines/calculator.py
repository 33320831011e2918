"""Any ASE calculator as an engine."""

from __future__ import annotations

import importlib
import tempfile
from typing import Any

import ase
from ase import Atoms

from tpainn_calc.base.errors import ConfigError
from training.labels.engines.attempts import label_by_attempts
from training.labels.engines.config import CalculatorConfig
from training.labels.engines.contract import Label


class CalculatorEngine:
    """The user's own code: VASP, ORCA, Quantum ESPRESSO, ...

    Calculators that write files do so in a folder of their own for every structure.

    Parameters
    ----------
    config : CalculatorConfig

    Raises
    ------
    ConfigError
        If there is no such calculator, or it refuses its arguments.
    """

    def __init__(self, config: CalculatorConfig) -> None:
        self.config = config
        self._make({}, None)  # a wrong path is said before anything runs

    @property
    def level(self) -> str:
        """As the configuration names it."""
        return self.config.level

    def describe(self) -> dict[str, Any]:
        """The calculator and its arguments."""
        return {"engine": f"ASE {ase.__version__}", **self.config.model_dump()}

    def label(self, atoms: Atoms) -> Label:
        """Label a structure."""
        changes = [{}, *self.config.fallback]
        with tempfile.TemporaryDirectory(prefix="tpainn-label-") as folder:
            attempts = [
                (f"fallback {k}" if k else "first", lambda c=c: self._make(c, folder))
                for k, c in enumerate(changes)
            ]
            wanted = self.config.stress and bool(atoms.pbc.all())
            return label_by_attempts(atoms, attempts, self.level, wanted)

    def _make(self, changes: dict[str, Any], folder: str | None) -> Any:
        arguments = {**self.config.arguments, **changes}
        calculator = make_calculator(self.config.calculator, arguments, "engine.calculator")
        if folder is not None and "directory" not in arguments and hasattr(calculator, "directory"):
            calculator.directory = folder
        return calculator

    def close(self) -> None:
        """Nothing is kept running."""


def make_calculator(path: str, arguments: dict[str, Any], key: str) -> Any:
    """Calculator of a dotted path, such as ``ase.calculators.emt.EMT``.

    Parameters
    ----------
    path : str
    arguments : dict
        Its keyword arguments.
    key : str
        Where the configuration names it, for the message.

    Raises
    ------
    ConfigError
        If there is no such class or factory, or it refuses its arguments.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)(**arguments)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(f"{key} {path!r}: {error}") from None
