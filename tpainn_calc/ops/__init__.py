"""The compiled operator ``tpainn::message``, with the plain PyTorch path as the fallback.

``load()`` compiles it on first use (:mod:`tpainn_calc.compiler`); where that is impossible, one
log line says so and the networks run on plain PyTorch. Its kernels for GPUs are compiled at run
time by NVRTC, which every CUDA build of torch brings.
"""

from __future__ import annotations

import functools
import logging
from pathlib import Path

import torch

from tpainn_calc.base.errors import BuildError
from tpainn_calc.compiler import Library, compile_library, library_path

_log = logging.getLogger(__name__)

_HERE = Path(__file__).parent
OPS = Library(
    name="libtpainn_ops.so",
    sources=[_HERE / "message.cpp", _HERE / "message_gpu.cpp", _HERE / "gpu.cpp"],
    headers=[_HERE / "message.h", _HERE / "gpu.h", _HERE / "message.cu"],
    flags=[f'-DTPAINN_KERNEL_SOURCE="{_HERE / "message.cu"}"'],
)


def ops_library(build: bool = True) -> Path:
    """Path of the compiled operators, compiled now if need be (and if `build`).

    Raises
    ------
    BuildError
        If they cannot be compiled.
    """
    return compile_library(OPS, _log.warning) if build else library_path(OPS)


def load(device: torch.device | str = "cpu") -> bool:
    """Make ``torch.ops.tpainn`` work on a device; False if plain PyTorch must do there."""
    device = torch.device(device)
    return _load() and (device.type == "cpu" or _load_kernels(device))


@functools.cache
def _load() -> bool:
    try:
        torch.ops.load_library(str(ops_library()))
    except (BuildError, OSError) as error:
        _log.warning("fused kernels are off, plain PyTorch is used (slower): %s", error)
        return False
    return True


@functools.cache
def _load_kernels(device: torch.device) -> bool:
    torch.empty(1, device=device)  # the device's context, which the kernels are loaded into
    with torch.cuda.device(device):
        problem = torch.ops.tpainn.gpu_problem()
    if problem:
        _log.warning("fused kernels are off on %s, plain PyTorch is used: %s", device, problem)
    return not problem
