/* SPDX-License-Identifier: GPL-2.0-only */

#include "manifest.h"

#include "json_text.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace tpainn {

using Vector = std::array<double, 3>;

static constexpr int SCHEMA_VERSION = 1;

static void parse(const Json &j, ModelInfo &info, Golden &golden) {
  const Json &h = j.at("hyperparameters");
  info.name = j.at("name").string();
  info.dtype = j.at("dtype").string();
  const Json *level = j.find("level_of_theory");
  info.level_of_theory = level ? level->string() : "";
  info.elements = h.at("elements").strings();
  info.cutoff = h.at("cutoff").number();
  info.n_blocks = h.at("n_blocks").integer();
  info.n_features = h.at("n_features").integer();
  if (const Json *distances = j.find("shortest_distances")) {
    for (const std::string &key : distances->keys()) {
      const size_t dash = key.find('-');
      if (dash == std::string::npos) continue;
      const std::string a = key.substr(0, dash), b = key.substr(dash + 1);
      info.shortest[{a, b}] = info.shortest[{b, a}] = distances->at(key).number();
    }
  }
  const Json &g = j.at("golden");
  for (const std::string &symbol : g.at("symbols").strings()) {
    const auto found = std::find(info.elements.begin(), info.elements.end(), symbol);
    if (found == info.elements.end()) throw std::runtime_error("golden structure: foreign element");
    golden.species.push_back(found - info.elements.begin());
  }
  golden.positions = g.at("positions").vectors();
  golden.forces = g.at("forces").vectors();
  const std::vector<Vector> cell = g.at("cell").vectors();
  const std::vector<Json> &pbc = g.at("pbc").array();
  if (cell.size() != 3 || pbc.size() != 3 || golden.positions.size() != golden.species.size() ||
      golden.forces.size() != golden.species.size())
    throw std::runtime_error("golden structure: sizes differ");
  for (int k = 0; k < 3; ++k) {
    golden.cell[k] = cell[k];
    golden.pbc[k] = pbc[k].boolean();
  }
  golden.energy = g.at("energy").number();
}

void read_manifest(const std::string &text, ModelInfo &info, Golden &golden) {
  if (text.empty())
    throw std::runtime_error("it is TorchScript, but not exported by T-PaiNN (no manifest); "
                             "export a model file with: tpainn export MODEL NAME.pt");
  bool newer = false;
  try {
    const Json manifest = Json::parse(text);
    newer = manifest.at("schema_version").integer() > SCHEMA_VERSION;
    if (!newer) parse(manifest, info, golden);
  } catch (const std::runtime_error &error) {
    throw std::runtime_error(std::string("its manifest is damaged: ") + error.what());
  }
  if (newer) throw std::runtime_error("its schema is newer than this plugin; upgrade tpainn");
}

static Vector cross(const Vector &a, const Vector &b) {
  return {a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]};
}

static double dot(const Vector &a, const Vector &b) {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

GoldenEdges edges_of(const Golden &golden, double cutoff) {
  GoldenEdges edges;
  const auto &positions = golden.positions;
  const size_t n = positions.size();
  std::array<int, 3> images{0, 0, 0};
  for (int k = 0; k < 3; ++k) {
    if (!golden.pbc[k]) continue;
    const Vector normal = cross(golden.cell[(k + 1) % 3], golden.cell[(k + 2) % 3]);
    const double height = std::abs(dot(golden.cell[k], normal)) / std::sqrt(dot(normal, normal));
    // positions need not be wrapped: allow for their spread along this axis
    double low = 0, high = 0;
    for (size_t i = 0; i < n; ++i) {
      const double p = dot(positions[i], normal) / dot(golden.cell[k], normal);
      low = i ? std::min(low, p) : p;
      high = i ? std::max(high, p) : p;
    }
    images[k] = static_cast<int>(std::ceil(cutoff / height + high - low));
  }
  for (int a = -images[0]; a <= images[0]; ++a)
    for (int b = -images[1]; b <= images[1]; ++b)
      for (int c = -images[2]; c <= images[2]; ++c)
        for (size_t i = 0; i < n; ++i)
          for (size_t j = 0; j < n; ++j) {
            if (i == j && a == 0 && b == 0 && c == 0) continue;
            Vector d;
            for (int k = 0; k < 3; ++k)
              d[k] = positions[j][k] - positions[i][k] + a * golden.cell[0][k] +
                     b * golden.cell[1][k] + c * golden.cell[2][k];
            if (dot(d, d) >= cutoff * cutoff) continue;
            edges.centre.push_back(i);
            edges.neighbour.push_back(j);
            edges.edge_vec.insert(edges.edge_vec.end(), d.begin(), d.end());
          }
  return edges;
}

} // namespace tpainn
