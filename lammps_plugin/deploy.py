"""Model files as LAMMPS reads them, exported once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tpainn_calc.base.files import sha256

if TYPE_CHECKING:
    import torch

    from tpainn_calc.modelfile import Kernel


def export_once(
    model: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    dtype: torch.dtype | None = None,
    kernel: Kernel = "auto",
) -> Path:
    """Export a model file into a folder, unless that holds its export already.

    Parameters
    ----------
    model : path or str
        Model file or name of a shipped potential.
    folder : path
        Gets ``NAME-CHECKSUM.pt``; the checksum is that of the model file.
    dtype, kernel
        See :func:`tpainn_calc.export.export_model`.

    Returns
    -------
    Path
        The exported model. One of an older version of T-PaiNN, or a damaged one, is replaced.

    Raises
    ------
    ModelFileError
        If the model cannot be read or exported.
    """
    from tpainn_calc.base.errors import ModelFileError
    from tpainn_calc.deployed import read_deployed
    from tpainn_calc.export import export_model
    from tpainn_calc.modelfile import find_model

    source = find_model(model)
    kind = "" if dtype is None else f"-{str(dtype).removeprefix('torch.')}"
    kind += "" if kernel == "auto" else f"-{kernel}"
    path = Path(folder) / f"{source.stem}-{sha256(source)[:12]}{kind}.pt"
    if path.is_file():
        try:
            read_deployed(path)
            return path
        except ModelFileError:
            pass  # written anew below
    export_model(source, path, dtype, kernel)
    return path
