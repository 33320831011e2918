"""A deployed file (``NAME.pt``), read as data: nothing in it runs.

:func:`tpainn_calc.export.export_model` writes a TorchScript archive: a program, the weights, and
typed attributes that say what the model is. Who loads it with ``torch.jit.load`` runs its program,
and must trust it. This module, like the LAMMPS plugin, never opens the program. It checks the
SHA-256 over all records, reads attributes and tensors with an unpickler that makes nothing but
dictionaries, lists and tensors, and fills them into the network of this package.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tpainn_calc.base.errors import ModelFileError
from tpainn_calc.hyperparameters import Hyperparameters
from tpainn_calc.manifest import Manifest, parse_manifest
from tpainn_calc.modelfile import N_KNOTS, Kernel, check_golden, choose_kernel
from tpainn_calc.potential import Potential

SCHEMA = 2
"""Version of the layout, also known to lammps_plugin/src/deployed_file.cpp."""

MANIFEST_FILE = "manifest.json"
MANIFEST_RECORD = f"extra/{MANIFEST_FILE}"
SEAL = "extra/tpainn"
"""Record with ``schema N sha256 HEX``; the sum is over all other records."""

EXPORT_AGAIN = "export it again with: tpainn export MODEL NAME.pt"
# torch compresses the program only: a small file that unpacks to fill the memory is none of ours
_MAX_PROGRAM = 16 << 20
_MAX_ENTRIES = 100_000
# of a weight; golden values do not meet every knot of a table
_LARGEST = 1e10
_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "BoolStorage": "?",
}


@dataclass(frozen=True)
class DeployedFile:
    """Content of a deployed file.

    Attributes
    ----------
    attributes : dict of str to object
        Numbers, texts, lists and tensors by their dotted names, such as ``"cutoff"`` and
        ``"potential.network.embedding.weight"``.
    manifest : Manifest
        That of the model file which was exported.
    """

    attributes: dict[str, Any]
    manifest: Manifest


def seal(archive: bytes) -> bytes:
    """Return a TorchScript archive with the record that :func:`read_deployed` checks."""
    buffer = io.BytesIO(archive)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as file:
        root = file.namelist()[0].split("/", 1)[0]
        text = f"schema {SCHEMA} sha256 {_checksum(_records(file))}\n"
        # ZipInfo has a fixed date: one model, one file
        file.writestr(zipfile.ZipInfo(f"{root}/{SEAL}"), text)
    return buffer.getvalue()


def read_deployed(path: str | os.PathLike[str]) -> DeployedFile:
    """Read a deployed file as data.

    Raises
    ------
    ModelFileError
        If it cannot be read, is damaged, is not ours, or of another schema.
    """
    records = _sealed_records(path)
    try:
        attributes = _flatten(_Reader(records).load())
    except Exception as error:  # pickle raises whatever it runs into
        raise ModelFileError(f"{path} is damaged ({type(error).__name__}: {error})") from None
    manifest = parse_manifest(records[MANIFEST_RECORD].decode(), path)
    return DeployedFile(attributes, manifest)


def load_deployed(
    path: str | os.PathLike[str], kernel: Kernel | None = None
) -> tuple[Potential, Manifest]:
    """Load a deployed file into a potential, ready for inference.

    Parameters
    ----------
    path : path
    kernel : {"auto", "fused", "plain"}, optional
        By default the one that the file was exported for.

    Raises
    ------
    ModelFileError
        As :func:`read_deployed`; also if the golden values are not reproduced.
    """
    deployed = read_deployed(path)
    attributes, manifest = deployed.attributes, deployed.manifest
    try:
        shape = {field.name: attributes[field.name] for field in fields(Hyperparameters)}
        hyperparameters = Hyperparameters.from_record(shape)
        if hyperparameters != manifest.shape(path):
            raise ValueError("attributes and manifest disagree")
        dtype = {"float32": torch.float32, "float64": torch.float64}[attributes["dtype"]]
        fused = choose_kernel(kernel or attributes["kernel"], "cpu")
        potential = Potential(hyperparameters, fused, N_KNOTS[dtype]).set_dtype(dtype)
        potential.load_state_dict(_weights(potential, attributes))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{path} is damaged ({type(error).__name__}: {error})") from None
    potential.requires_grad_(False)
    potential.freeze()
    check_golden(potential, manifest, str(path))
    return potential, manifest


def _weights(potential: Potential, attributes: dict[str, Any]) -> dict[str, Tensor]:
    weights = {}
    for name, expected in potential.state_dict().items():
        value = attributes[f"potential.{name}"]
        if not isinstance(value, Tensor) or value.shape != expected.shape:
            raise ValueError(f"{name} is not of shape {tuple(expected.shape)}")
        if value.dtype != expected.dtype or not (value.abs() < _LARGEST).all():
            raise ValueError(f"{name} is of another type or not finite")
        weights[name] = value
    return weights


def _sealed_records(path: str | os.PathLike[str]) -> dict[str, bytes]:
    """All records, after their checksum was found right; nothing is interpreted before."""
    try:
        size = os.path.getsize(path)
        with zipfile.ZipFile(path) as file:
            if sum(item.file_size for item in file.infolist()) > size + _MAX_PROGRAM:
                raise ValueError("it is larger than itself")
            records = _records(file)
    except Exception as error:  # zipfile and zlib raise whatever they run into
        raise ModelFileError(f"{path} is not a readable exported model ({error})") from None
    if SEAL not in records:
        old = MANIFEST_RECORD in records
        raise ModelFileError(
            f"{path} was exported by an older version of T-PaiNN: {EXPORT_AGAIN}"
            if old
            else f"{path} was not exported by T-PaiNN; export a model file with: tpainn export "
            "MODEL NAME.pt"
        )
    found = re.fullmatch(rb"schema (\d{1,9}) sha256 ([0-9a-f]{64})\n", records[SEAL])
    if not found:
        raise ModelFileError(f"{path} is damaged: its seal is unreadable")
    schema = int(found.group(1))
    if schema > SCHEMA:
        raise ModelFileError(
            f"{path} is of schema {schema}, newer than {SCHEMA} that this version reads; upgrade "
            "tpainn"
        )
    if schema < SCHEMA:
        raise ModelFileError(f"{path} was exported by an older version of T-PaiNN: {EXPORT_AGAIN}")
    if found.group(2).decode() != _checksum(records):
        raise ModelFileError(
            f"{path} is damaged: its SHA-256 is not the one that it was written with; copy it "
            f"again, or {EXPORT_AGAIN}"
        )
    if not {MANIFEST_RECORD, "data.pkl"} <= records.keys():
        raise ModelFileError(f"{path} is damaged: it lacks its manifest or its data")
    return records


def _records(file: zipfile.ZipFile) -> dict[str, bytes]:
    names = file.namelist()
    records = {name.split("/", 1)[-1]: file.read(name) for name in names}
    if len(records) != len(names):
        raise ValueError("it has a record twice")
    return records


def _checksum(records: dict[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(records, key=str.encode):
        if name != SEAL:
            digest.update(f"{name}\n{len(records[name])}\n".encode())
            digest.update(records[name])
    return digest.hexdigest()


class _Inert:
    """Stands for every class that the file names; keeps what the file says of the object."""

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    """Makes numbers, texts, lists, dictionaries, tensors and :class:`_Inert`, and calls no more."""

    def __init__(self, records: dict[str, bytes]) -> None:
        super().__init__(io.BytesIO(records["data.pkl"]))
        self._records = records

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Inert
        allowed: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            # (value, type): lists and dictionaries keep what they hold
            ("torch.jit._pickle", "restore_type_tag"): lambda value, *_: value,
            **{
                ("torch.jit._pickle", f"build_{kind}list"): lambda value: value
                for kind in ("int", "double", "bool", "tensor")
            },
        }
        if (module, name) in allowed:
            return allowed[module, name]
        if module == "torch" and name in _DTYPES:
            return _Storage(_DTYPES[name])
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        kind, storage, key, device, size = pid
        if kind != "storage" or not isinstance(storage, _Storage) or device != "cpu":
            raise pickle.UnpicklingError("it has a foreign storage")
        # a copy: records are read-only
        values = np.frombuffer(self._records[f"data/{key}"], storage.dtype).copy()
        if len(values) != size:
            raise pickle.UnpicklingError("the sizes of a storage disagree")
        return torch.from_numpy(values)


@dataclass(frozen=True)
class _Storage:
    dtype: str


def _tensor(
    values: Tensor, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: object
) -> Tensor:
    if not isinstance(values, Tensor) or len(shape) != len(stride) or len(shape) > 8:
        raise pickle.UnpicklingError("a tensor is malformed")
    # strides of 0 would make much of little
    if min((offset, *shape, *stride), default=0) < 0 or math.prod(shape) > values.numel():
        raise pickle.UnpicklingError("a tensor is larger than its data")
    return values.as_strided(shape, stride, offset).contiguous()


def _flatten(root: object) -> dict[str, Any]:
    """Attributes of an object and of those inside it, by their dotted names."""
    attributes: dict[str, Any] = {}
    waiting = [("", root)]
    visited = 0
    while waiting:
        visited += 1
        if visited + len(waiting) > _MAX_ENTRIES:  # objects may hold one another, and so be endless
            raise ValueError("too many entries")
        name, value = waiting.pop()
        if not isinstance(value, _Inert):
            attributes[name] = value
        elif isinstance(value.state, dict):
            waiting += [(f"{name}.{key}".lstrip("."), item) for key, item in value.state.items()]
        else:
            raise TypeError("an object without attributes")
    return attributes
