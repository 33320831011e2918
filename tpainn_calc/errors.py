"""The exceptions that a caller may want to catch, under their public name."""

from tpainn_calc.base.errors import (
    BuildError,
    BusyError,
    ConfigError,
    DataError,
    DivergedError,
    ModelFileError,
    StructureError,
    TPaiNNError,
)

__all__ = [
    "BuildError",
    "BusyError",
    "ConfigError",
    "DataError",
    "DivergedError",
    "ModelFileError",
    "StructureError",
    "TPaiNNError",
]
