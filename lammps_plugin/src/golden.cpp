/* SPDX-License-Identifier: GPL-2.0-only */

#include "golden.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <sstream>

namespace tpainn {

static constexpr double MAX_TOLERANCE = 0.01;

static std::vector<int64_t> indices(const DeployedFile &file, const std::string &name, int64_t n,
                                    int64_t end) {
  const at::Tensor t = file.tensor(name, at::kLong, {n});
  const auto *data = t.const_data_ptr<int64_t>();
  const std::vector<int64_t> values(data, data + t.numel());
  for (const int64_t value : values)
    if (value < 0 || value >= end) throw BadFile("is damaged: \"" + name + "\" is out of range");
  return values;
}

static std::vector<double> vectors(const DeployedFile &file, const std::string &name, int64_t n) {
  const at::Tensor t = file.tensor(name, at::kDouble, {n, 3});
  const auto *data = t.const_data_ptr<double>();
  return {data, data + t.numel()};
}

Golden read_golden(const DeployedFile &file, const ModelInfo &info) {
  Golden golden;
  golden.species = indices(file, "golden_species", -1, static_cast<int64_t>(info.elements.size()));
  const auto n_atom = static_cast<int64_t>(golden.species.size());
  if (n_atom == 0) throw BadFile("is damaged: its golden structure has no atoms");
  golden.centre = indices(file, "golden_centre", -1, n_atom);
  const auto n_edge = static_cast<int64_t>(golden.centre.size());
  golden.neighbour = indices(file, "golden_neighbour", n_edge, n_atom);
  golden.edge_vec = vectors(file, "golden_edge_vec", n_edge);
  golden.forces = vectors(file, "golden_forces", n_atom);
  golden.energy = file.number("golden_energy", -1e300, 1e300);
  golden.tolerance = file.number("golden_tolerance", 0, MAX_TOLERANCE);
  return golden;
}

namespace {

// Node n + k is a ghost of node k; rows are copied to and fro within this process.
class Ghosts : public StateExchange {
public:
  void forward(void *rows, const Graph &graph, size_t row_bytes) override {
    auto *bytes = static_cast<char *>(rows);
    std::memcpy(bytes + graph.n_centre * row_bytes, bytes, graph.n_centre * row_bytes);
  }
  void reverse(void *rows, const Graph &graph, size_t row_bytes, bool float64) override {
    if (float64)
      add(static_cast<double *>(rows), graph.n_centre * row_bytes / 8);
    else
      add(static_cast<float *>(rows), graph.n_centre * row_bytes / 4);
  }

private:
  template <typename Real>
  static void add(Real *rows, size_t size) {
    for (size_t k = 0; k < size; ++k) rows[k] += rows[size + k];
  }
};

double deviation(const Golden &golden, const Evaluate &evaluate, bool exchanged) {
  const auto n = static_cast<int64_t>(golden.species.size());
  std::vector<int64_t> species = golden.species, neighbour = golden.neighbour;
  std::vector<double> edge_vec = golden.edge_vec;
  if (exchanged) {
    species.insert(species.end(), golden.species.begin(), golden.species.end());
    for (int64_t &j : neighbour) j += n;
  }
  Graph graph;
  graph.n_centre = n;
  graph.n_node = static_cast<int64_t>(species.size());
  graph.n_edge = static_cast<int64_t>(golden.centre.size());
  graph.species = species.data();
  graph.centre = golden.centre.data();
  graph.neighbour = neighbour.data();
  graph.edge_vec = edge_vec.data();
  Ghosts ghosts;
  std::vector<double> energies, gradient;
  evaluate(graph, n, exchanged ? &ghosts : nullptr, energies, gradient);

  double energy = 0;
  for (const double e : energies) energy += e;
  std::vector<double> forces(3 * n);
  for (int64_t e = 0; e < graph.n_edge; ++e)
    for (int k = 0; k < 3; ++k) {
      forces[3 * golden.centre[e] + k] += gradient[3 * e + k];
      forces[3 * golden.neighbour[e] + k] -= gradient[3 * e + k];
    }
  double worst = 0;
  const auto take = [&](double difference) { // NaN is the worst of all
    const double size = std::abs(difference);
    worst = std::max(worst, std::isnan(size) ? std::numeric_limits<double>::infinity() : size);
  };
  take((energy - golden.energy) / static_cast<double>(n));
  for (size_t k = 0; k < forces.size(); ++k) take(forces[k] - golden.forces[k]);
  return worst;
}

} // namespace

void check_golden(const Golden &golden, const Evaluate &evaluate) {
  double scale = 1;
  for (const double f : golden.forces) scale = std::max(scale, std::abs(f));
  for (const bool exchanged : {false, true}) {
    const double worst = deviation(golden, evaluate, exchanged);
    if (worst <= golden.tolerance * scale) continue;
    std::ostringstream off;
    off << worst;
    throw BadFile("does not reproduce its golden values (off by " + off.str() + " eV/Å" +
                  (exchanged ? ", with ghosts" : "") +
                  "): the file is damaged or this installation computes wrongly");
  }
}

} // namespace tpainn
