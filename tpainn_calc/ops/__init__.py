"""The compiled operator ``tpainn::message``, with the plain PyTorch path as the fallback.

``load()`` compiles it on first use (:mod:`tpainn_calc.compiler`); where that is impossible, one
log line says so and the networks run on plain PyTorch.
"""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import torch

from tpainn_calc.compiler import Library, compile_library, library_path
from tpainn_calc.errors import BuildError

_log = logging.getLogger(__name__)

OPS = Library(name="libtpainn_ops.so", sources=[Path(__file__).parent / "message.cpp"])


def ops_library(build: bool = True) -> Path:
    """Path of the compiled operators, compiled now if need be (and if `build`).

    Raises
    ------
    BuildError
        If they cannot be compiled.
    """
    return compile_library(OPS, _log.warning) if build else library_path(OPS)


@functools.cache
def load() -> bool:
    """Make ``torch.ops.tpainn`` available; True if it is, False if plain PyTorch must do."""
    try:
        torch.ops.load_library(str(ops_library()))
    except (BuildError, OSError) as error:
        _log.warning("fused kernels are off, plain PyTorch is used (slower): %s", error)
        return False
    return True
