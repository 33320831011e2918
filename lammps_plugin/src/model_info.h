/* SPDX-License-Identifier: GPL-2.0-only

   What a deployed file says of its model. Free of libtorch. */

#ifndef TPAINN_MODEL_INFO_H
#define TPAINN_MODEL_INFO_H

#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace tpainn {

class DeployedFile;

struct ModelInfo {
  std::string path, name, dtype, level_of_theory, basis, envelope;
  std::string seal, teacher; // checksums of the model file, and of the model that it is a student of
  std::string device, kernel;        // as chosen here; the file names the kernel that it prefers
  std::vector<std::string> elements; // in the order of species indices
  std::vector<double> masses;        // of these elements, u
  double cutoff = 0;                 // Å
  double norm_epsilon = 0;
  int n_blocks = 0, n_features = 0, n_basis = 0;
  std::map<std::pair<std::string, std::string>, double> shortest; // Å, per pair of elements

  // of s and v of one atom
  size_t state_bytes() const { return 4 * n_features * (dtype == "float64" ? 8 : 4); }
};

// The only place where values that steer are read; all are checked against bounds there.
// Throws BadFile.
ModelInfo read_info(const DeployedFile &file);

} // namespace tpainn

#endif
