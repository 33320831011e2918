/* SPDX-License-Identifier: GPL-2.0-only

   The network and its energies: the same formulae as tpainn_calc/painn.py, radial.py and
   potential.py, with the weights of a deployed file. Kept equal by the golden values, which every
   file brings, and by the tests that compare with ASE. */

#ifndef TPAINN_NETWORK_H
#define TPAINN_NETWORK_H

#include "deployed_file.h"
#include "model_info.h"

#include <ATen/core/Tensor.h>

#include <functional>
#include <optional>
#include <vector>

namespace tpainn {

// A graph as the blocks want it.
struct Edges {
  at::Tensor centre, neighbour; // (edges), int64
  at::Tensor edge_vec;          // (edges, 3), Å
  int64_t n_centre = 0, n_node = 0;
  std::vector<at::Tensor> compressed;     // fused kernel: indices, see tpainn_calc/ops/message.h
  at::Tensor unit, basis, envelope;       // plain kernel: geometry in the network's type
};

// Scalars s (n, F) and vectors v (n, 3, F) of atoms.
struct States {
  at::Tensor s, v;
};

class Network {
public:
  // fused: with the operator tpainn::message, which must be loaded
  Network(const DeployedFile &file, const ModelInfo &info, bool fused, at::Device device);

  Edges connect(const at::Tensor &centre, const at::Tensor &neighbour, const at::Tensor &edge_vec,
                int64_t n_centre, int64_t n_node) const;
  // the same graph with other vectors, whatever their lengths
  Edges move(Edges edges, const at::Tensor &edge_vec) const;

  // What brings the states of nodes that are not centres, called between the blocks.
  using Between = std::function<States(const States &)>;
  // Energies (n_centre) in eV; without `between` all nodes are centres.
  at::Tensor energies(const at::Tensor &species, const Edges &edges, const Between &between) const;
  // Forces on nodes (n_node, 3) from d(energy)/d(edge_vec).
  at::Tensor forces(const at::Tensor &gradient, const Edges &edges) const;

  int64_t n_features() const { return m_features; }
  at::Device device() const { return m_embedding.device(); }

private:
  struct Linear {
    at::Tensor weight, bias;
    at::Tensor operator()(const at::Tensor &x) const;
  };
  struct Dense { // two layers
    Linear first, second;
    at::Tensor operator()(const at::Tensor &x) const;
  };
  struct Block {
    Dense message, update;
    Linear filter, mix;
    at::Tensor table; // of the filter; fused kernel only
    bool first = false, last = false;
  };

  States run(const Block &block, const States &states, const Edges &edges) const;
  States message(const Block &block, const States &states, const Edges &edges) const;
  States update(const Block &block, const States &states) const;
  at::Tensor readout(const at::Tensor &s, const at::Tensor &species) const;

  bool m_fused;
  int64_t m_features;
  double m_cutoff, m_norm_epsilon;
  bool m_bessel, m_cosine;
  at::Tensor m_constants; // of the radial basis: frequencies or centres
  at::Tensor m_embedding, m_isolated, m_reference, m_scale;
  std::vector<Block> m_blocks;
  Dense m_output;
};

} // namespace tpainn

#endif
