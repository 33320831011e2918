/* SPDX-License-Identifier: GPL-2.0-only

   Golden values: a small graph, with the energy and the forces that the model gave when its file
   was written. Who computes them again gets the numbers that the authors saw, or an error. */

#ifndef TPAINN_GOLDEN_H
#define TPAINN_GOLDEN_H

#include "deployed_file.h"
#include "exported_model.h"

#include <functional>
#include <vector>

namespace tpainn {

struct Golden {
  std::vector<int64_t> species, centre, neighbour;
  std::vector<double> edge_vec, forces; // Å, eV/Å
  double energy = 0;                    // eV
  double tolerance = 0;                 // eV per atom, or eV/Å
};

// Throws BadFile.
Golden read_golden(const DeployedFile &file, const ModelInfo &info);

// Evaluates a graph: energies of the first n nodes, and d(their sum)/d(edge_vec).
using Evaluate = std::function<void(const Graph &graph, int64_t n, StateExchange *exchange,
                                    std::vector<double> &energies, std::vector<double> &gradient)>;

// Computes the values as one rank does, and as several do: there every neighbour is a ghost, whose
// states are exchanged between the blocks. Throws BadFile if one of the two misses them.
void check_golden(const Golden &golden, const Evaluate &evaluate);

} // namespace tpainn

#endif
