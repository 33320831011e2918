/* SPDX-License-Identifier: GPL-2.0-only */

#include "model_info.h"

#include "deployed_file.h"

#include <algorithm>
#include <cctype>

namespace tpainn {

// Far from anything sensible; beyond them LAMMPS would hang or run out of memory. Those of
// tpainn_calc/hyperparameters.py.
static constexpr double MIN_CUTOFF = 0.1, MAX_CUTOFF = 50.0; // Å
static constexpr double MAX_EPSILON = 1e3;
static constexpr int MAX_BLOCKS = 32, MAX_FEATURES = 2048, MAX_BASIS = 512;
static constexpr size_t MAX_ELEMENTS = 120;

static std::string one_of(const DeployedFile &file, const std::string &name,
                          const std::vector<std::string> &allowed) {
  const std::string word = file.text(name);
  if (std::find(allowed.begin(), allowed.end(), word) == allowed.end())
    throw BadFile("is damaged: \"" + name + "\" is unknown");
  return word;
}

static bool is_symbol(const std::string &text) {
  return (text.size() == 1 || text.size() == 2) && std::isupper(static_cast<unsigned char>(text[0])) &&
         (text.size() == 1 || std::islower(static_cast<unsigned char>(text[1])));
}

ModelInfo read_info(const DeployedFile &file) {
  ModelInfo info;
  info.name = file.text("name");
  info.level_of_theory = file.text("level_of_theory");
  info.seal = file.text("seal");
  info.teacher = file.text("teacher");
  info.dtype = one_of(file, "dtype", {"float32", "float64"});
  info.kernel = one_of(file, "kernel", {"fused", "plain"});
  info.basis = one_of(file, "basis", {"bessel", "gaussian"});
  info.envelope = one_of(file, "envelope", {"cosine", "polynomial"});
  info.cutoff = file.number("cutoff", MIN_CUTOFF, MAX_CUTOFF);
  info.norm_epsilon = file.number("norm_epsilon", 1e-300, MAX_EPSILON);
  info.n_blocks = static_cast<int>(file.integer("n_blocks", 1, MAX_BLOCKS));
  info.n_features = static_cast<int>(file.integer("n_features", 2, MAX_FEATURES));
  info.n_basis = static_cast<int>(file.integer("n_basis", 2, MAX_BASIS));
  info.elements = file.texts("elements");
  for (size_t k = 0; k < info.elements.size(); ++k)
    if (!is_symbol(info.elements[k]) ||
        std::find(info.elements.begin(), info.elements.begin() + k, info.elements[k]) !=
            info.elements.begin() + k)
      throw BadFile("is damaged: \"elements\" are not distinct chemical symbols");
  if (info.elements.empty() || info.elements.size() > MAX_ELEMENTS)
    throw BadFile("is damaged: it knows no element, or too many");
  info.masses = file.numbers("masses");
  if (info.masses.size() != info.elements.size() ||
      !std::all_of(info.masses.begin(), info.masses.end(), [](double m) { return m > 0 && m < 1e3; }))
    throw BadFile("is damaged: \"masses\" are not those of its elements");
  const std::vector<std::string> pairs = file.texts("pairs");
  const std::vector<double> distances = file.numbers("shortest_distances");
  if (pairs.size() != distances.size())
    throw BadFile("is damaged: \"pairs\" and \"shortest_distances\" differ in length");
  for (size_t k = 0; k < pairs.size(); ++k) {
    const size_t dash = pairs[k].find('-');
    if (dash == std::string::npos || !(distances[k] >= 0 && distances[k] <= MAX_CUTOFF))
      throw BadFile("is damaged: \"shortest_distances\" of \"" + pairs[k] + "\"");
    const std::string a = pairs[k].substr(0, dash), b = pairs[k].substr(dash + 1);
    info.shortest[{a, b}] = info.shortest[{b, a}] = distances[k];
  }
  return info;
}

} // namespace tpainn
