"""The machine that a benchmark ran on, and tables that begin with it."""

from __future__ import annotations

import csv
import os
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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


def write_measurements(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV file whose first line is a comment, the machine; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as handle:
        handle.write(f"# {machine()}\n")
        writer = csv.DictWriter(handle, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_measurements(path: Path) -> list[dict[str, str]]:
    """Rows of such a file; none where there is no file."""
    if not path.is_file():
        return []
    with path.open() as handle:
        return list(csv.DictReader(line for line in handle if not line.startswith("#")))
