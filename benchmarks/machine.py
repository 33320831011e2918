"""The machine that a benchmark ran on: the first line of its table."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import torch


def machine() -> str:
    """Processor, GPU if any, cores, torch and system, in a line."""
    name = platform.processor() or platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text()
        name = re.findall(r"model name\s*:\s*(.*)", text)[0]
    except (OSError, IndexError):
        pass
    if torch.cuda.is_available():
        name += f", {torch.cuda.get_device_name()}"
    return f"{name}, {os.cpu_count()} cores, torch {torch.__version__}, {platform.system()}"
