"""Files that run code where they are trusted: each writes to a victim, a file beside them."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import torch
from torch import nn

from tpainn_calc.deployed import MANIFEST_FILE, SEAL, seal


class Spills(nn.Module):
    """Maps a file and writes into it: when it is unpickled, or when it is called."""

    def __init__(self, target: Path) -> None:
        super().__init__()
        self.target = str(target)
        self.training = False
        self.spilt = torch.zeros(8, dtype=torch.uint8)

    def forward(
        self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, d: torch.Tensor
    ) -> torch.Tensor:
        """Write."""
        return torch.from_file(self.target, True, 8, dtype=torch.uint8).fill_(65)

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.target, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.target = state[0]
        self.training = state[1]
        self.spilt = torch.from_file(self.target, True, 8, dtype=torch.uint8).fill_(65)


class Runs:
    """A Python pickle that starts a program."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (shell_line(self.target),)


def shell_line(target: Path) -> str:
    """A line for a shell that writes to a file."""
    return f"echo AAAA > {target}"


def records_of(archive: bytes) -> dict[str, bytes]:
    """Files in a zip archive by their names."""
    with zipfile.ZipFile(io.BytesIO(archive)) as file:
        return {name: file.read(name) for name in file.namelist()}


def archive_of(records: dict[str, bytes], sealed: bool = True) -> bytes:
    """A zip archive of records, sealed as the exporter would."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in records.items():
            if not (sealed and name.endswith(SEAL)):
                file.writestr(name, data)
    return seal(buffer.getvalue()) if sealed else buffer.getvalue()


def find_record(records: dict[str, bytes], ending: str) -> str:
    """Name of the record with an ending."""
    (found,) = (name for name in records if name.endswith(ending))
    return found


def spilling(target: Path) -> bytes:
    """An archive of TorchScript that writes when it is loaded."""
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(Spills(target)), buffer, _extra_files={MANIFEST_FILE: "{}"})
    return buffer.getvalue()


def spilling_layers(deployed: bytes, target: Path) -> bytes:
    """A deployed file whose linear layers are objects that write when they are unpickled."""
    records = records_of(deployed)
    evil = {k: v for k, v in records_of(spilling(target)).items() if "/code/" in k}
    data = find_record(records, "/data.pkl")
    linear = b"__torch__.torch.nn.modules.linear\nLinear"
    if linear not in records[data]:
        raise ValueError("the deployed file has no linear layers by that name")
    changed = records[data].replace(linear, f"__torch__.{__name__}\nSpills".encode())
    return archive_of(records | evil | {data: changed})


def spilling_methods(deployed: bytes, target: Path) -> bytes:
    """A deployed file whose methods all write first."""
    records = records_of(deployed)
    name = find_record(records, "tpainn_calc/torchscript.py")
    line = f'    _0 = torch.fill_(torch.from_file("{target}", True, 8, dtype=0), 65)\n    return '
    changed = records[name].decode().replace("    return ", line)
    if changed.count("from_file") <= 5:
        raise ValueError("the deployed file has no methods as they used to be written")
    return archive_of(records | {name: changed.encode()})


def running_pickle(deployed: bytes, target: Path) -> bytes:
    """A deployed file whose attributes are a Python pickle that starts a program."""
    records = records_of(deployed)
    data = pickle.dumps(Runs(target), protocol=2)
    return archive_of(records | {find_record(records, "/data.pkl"): data})


DEPLOYED = {
    "not sealed": lambda deployed, target: spilling(target),
    "sealed": lambda deployed, target: seal(spilling(target)),
    "layers": spilling_layers,
    "methods": spilling_methods,
    "pickle": running_pickle,
}
"""Deployed files by what runs in them; functions of a sound deployed file and the victim."""
