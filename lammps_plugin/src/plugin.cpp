/* SPDX-License-Identifier: GPL-2.0-only

   Entry point of the plugin: tells LAMMPS about pair_style tpainn when the library is loaded. */

#include "lammpsplugin.h"
#include "pair_tpainn.h"

#include "error.h"
#include "lammps.h"

using namespace LAMMPS_NS;

static void *create_pair_tpainn(void *lmp) {
  return static_cast<Pair *>(new PairTPaiNN(static_cast<LAMMPS *>(lmp)));
}

extern "C" void lammpsplugin_init(void *lmp, void *handle, void *registrar) {
  auto *lammps = static_cast<LAMMPS *>(lmp);
#ifdef TPAINN_LAMMPS_VERSION
  // classes of another version have another layout: a crash, or worse, wrong numbers
  if (lammps->num_ver != TPAINN_LAMMPS_VERSION) {
    lammps->error->warning(
        FLERR,
        "pair_style tpainn is not available: built for LAMMPS {}, loaded into {}; run "
        "'tpainn-lammps build' in the environment of this LAMMPS",
        TPAINN_LAMMPS_VERSION, lammps->num_ver);
    return;
  }
#endif
  lammpsplugin_t plugin{};
  plugin.version = lammps->version;
  plugin.style = "pair";
  plugin.name = "tpainn";
  plugin.info = "T-PaiNN interatomic potential";
  plugin.author = "T-PaiNN developers";
  plugin.creator.v1 = &create_pair_tpainn;
  plugin.handle = handle;
  reinterpret_cast<lammpsplugin_registrar>(registrar)(&plugin, lmp);
}
