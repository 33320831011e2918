"""T-PaiNN: an interatomic potential with DFT quality, for ASE and LAMMPS."""

from tpainn_calc._version import __version__
from tpainn_calc.calculator import TPaiNNCalculator
from tpainn_calc.errors import TPaiNNError
from tpainn_calc.modelfile import load_model, read_manifest, save_model, shipped_models
from tpainn_calc.potential import Hyperparameters, Potential, predict

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
