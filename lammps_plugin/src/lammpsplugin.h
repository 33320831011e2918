/* SPDX-License-Identifier: GPL-2.0-only

   What LAMMPS expects of a loadable plugin (interface "lammpsplugin", see the LAMMPS manual,
   "Plugins"). LAMMPS installs no such header, so the few lines of C are declared here: a plugin
   exports lammpsplugin_init(), fills one record per style and hands it to the function that it
   is given. Strings must outlive the plugin. */

#ifndef TPAINN_LAMMPSPLUGIN_H
#define TPAINN_LAMMPSPLUGIN_H

extern "C" {

typedef void *(*lammpsplugin_factory)(void *lmp);

struct lammpsplugin_t {
  const char *version; // version of LAMMPS that the plugin was made for
  const char *style;   // "pair", "fix", ...
  const char *name;
  const char *info;
  const char *author;
  union {
    lammpsplugin_factory v1;                  // pair styles and other classes
    void *(*v2)(void *lmp, int, char **args); // computes and fixes
  } creator;
  void *handle; // passed through from lammpsplugin_init()
};

typedef void (*lammpsplugin_registrar)(lammpsplugin_t *plugin, void *lmp);

void lammpsplugin_init(void *lmp, void *handle, void *registrar);
}

#endif
