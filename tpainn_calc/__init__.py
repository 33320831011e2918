"""T-PaiNN: an interatomic potential with DFT quality, for ASE and LAMMPS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpainn_calc._version import __version__
from tpainn_calc.base.lazy import public_names

if TYPE_CHECKING:
    from tpainn_calc.base.errors import TPaiNNError
    from tpainn_calc.calculator import TPaiNNCalculator
    from tpainn_calc.hyperparameters import Hyperparameters
    from tpainn_calc.manifest import read_manifest, shipped_models
    from tpainn_calc.modelfile import load_model, save_model
    from tpainn_calc.potential import Potential, predict

__all__ = [
    "Hyperparameters",
    "Potential",
    "TPaiNNCalculator",
    "TPaiNNError",
    "__version__",
    "load_model",
    "predict",
    "read_manifest",
    "save_model",
    "shipped_models",
]

# where each public name lives: torch is loaded with the first name that needs it, since the
# ground floor, on which all packages stand, is inside this one
_HOME = {
    "Hyperparameters": "hyperparameters",
    "Potential": "potential",
    "TPaiNNCalculator": "calculator",
    "TPaiNNError": "base.errors",
    "load_model": "modelfile",
    "predict": "potential",
    "read_manifest": "manifest",
    "save_model": "modelfile",
    "shipped_models": "manifest",
}

__getattr__, __dir__ = public_names(__name__, _HOME)
