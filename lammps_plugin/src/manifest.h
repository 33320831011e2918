/* SPDX-License-Identifier: GPL-2.0-only

   manifest.json of an exported model: what the potential is, and its golden values. */

#ifndef TPAINN_MANIFEST_H
#define TPAINN_MANIFEST_H

#include "exported_model.h"

#include <array>

namespace tpainn {

// A small structure with the energy (eV) and forces (eV/Å) that the model gave when it was written.
struct Golden {
  std::vector<int64_t> species;
  std::vector<std::array<double, 3>> positions, forces;
  std::array<std::array<double, 3>, 3> cell{};
  std::array<bool, 3> pbc{};
  double energy = 0;
};

// Throws std::exception if the text is not a manifest of this project.
void read_manifest(const std::string &text, ModelInfo &info, Golden &golden);

// All edges shorter than the cut-off, periodic images included, by brute force.
struct GoldenEdges {
  std::vector<int64_t> centre, neighbour;
  std::vector<double> edge_vec;
};
GoldenEdges edges_of(const Golden &golden, double cutoff);

} // namespace tpainn

#endif
