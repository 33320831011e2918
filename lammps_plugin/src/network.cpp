/* SPDX-License-Identifier: GPL-2.0-only */

#include "network.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

namespace tpainn {

using at::Tensor;

namespace {

constexpr double PI = 3.141592653589793238462643383279502884;

template <typename Signature>
auto op(const char *name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

std::tuple<Tensor, Tensor> compress(const Tensor &key, int64_t n) {
  static const auto call = op<std::tuple<Tensor, Tensor>(const Tensor &, int64_t)>("tpainn::compress");
  return call.call(key, n);
}

std::tuple<Tensor, Tensor> fused_message(const Tensor &x, const std::optional<Tensor> &v,
                                         const Tensor &edge_vec, const Tensor &table, double cutoff,
                                         at::TensorList index) {
  static const auto call =
      op<std::tuple<Tensor, Tensor>(const Tensor &, const std::optional<Tensor> &, const Tensor &,
                                    const Tensor &, double, at::TensorList)>("tpainn::message");
  return call.call(x, v, edge_vec, table, cutoff, index);
}

Tensor edge_forces(const Tensor &gradient, at::TensorList index) {
  static const auto call = op<Tensor(const Tensor &, at::TensorList)>("tpainn::edge_forces");
  return call.call(gradient, index);
}

} // namespace

Tensor Network::Linear::operator()(const Tensor &x) const {
  return bias.defined() ? at::linear(x, weight, bias) : at::linear(x, weight);
}

Tensor Network::Dense::operator()(const Tensor &x) const { return second(at::silu(first(x))); }

Network::Network(const DeployedFile &file, const ModelInfo &info, bool fused, at::Device device)
    : m_fused(fused), m_features(info.n_features), m_cutoff(info.cutoff),
      m_norm_epsilon(info.norm_epsilon), m_bessel(info.basis == "bessel"),
      m_cosine(info.envelope == "cosine") {
  const int64_t F = info.n_features, n_basis = info.n_basis;
  const auto n_elements = static_cast<int64_t>(info.elements.size());
  const at::ScalarType real = info.dtype == "float64" ? at::kDouble : at::kFloat;
  const std::string root = "potential.";
  const auto tensor = [&](const std::string &name, at::ScalarType type, at::IntArrayRef shape) {
    return file.tensor(root + name, type, shape).to(device);
  };
  const auto linear = [&](const std::string &name, int64_t out, int64_t in, bool bias = true) {
    return Linear{tensor(name + ".weight", real, {out, in}),
                  bias ? tensor(name + ".bias", real, {out}) : Tensor()};
  };
  const auto dense = [&](const std::string &name, int64_t in, int64_t middle, int64_t out) {
    return Dense{linear(name + ".0", middle, in), linear(name + ".2", out, middle)};
  };
  m_embedding = tensor("network.embedding.weight", real, {n_elements, F});
  for (int k = 0; k < info.n_blocks; ++k) {
    const std::string name = "network.blocks." + std::to_string(k);
    Block block;
    block.message = dense(name + ".message.context", F, F, 3 * F);
    block.filter = linear(name + ".message.filter.dense", 3 * F, n_basis);
    block.mix = linear(name + ".update.mix", 2 * F, F, false);
    block.update = dense(name + ".update.context", 2 * F, F, 3 * F);
    if (fused) block.table = tensor(name + ".message.table", real, {-1, 3 * F});
    block.first = k == 0;
    block.last = k == info.n_blocks - 1;
    m_blocks.push_back(block);
  }
  if (file.has(root + "network.blocks." + std::to_string(info.n_blocks) + "."))
    throw BadFile("is damaged: it holds more blocks than the " + std::to_string(info.n_blocks) +
                  " that it tells of");
  m_output = dense("network.output", F, F / 2, 1);
  m_isolated = tensor("isolated", real, {n_elements});
  m_reference = tensor("reference_energies", at::kDouble, {n_elements});
  m_scale = tensor("scale", at::kDouble, {});
  m_constants = m_bessel ? at::arange(1, n_basis + 1, at::kDouble) * (PI / m_cutoff)
                         : at::linspace(0.0, m_cutoff, n_basis, at::kDouble);
  m_constants = m_constants.to(device);
}

Edges Network::connect(const Tensor &centre, const Tensor &neighbour, const Tensor &edge_vec,
                       int64_t n_centre, int64_t n_node) const {
  Edges edges;
  edges.centre = centre;
  edges.neighbour = neighbour;
  edges.n_centre = n_centre;
  edges.n_node = n_node;
  if (m_fused) {
    const auto [centre_start, centre_order] = compress(centre, n_centre);
    const auto [neighbour_start, neighbour_order] = compress(neighbour, n_node);
    edges.compressed = {centre,       neighbour,       centre_start,
                        centre_order, neighbour_start, neighbour_order};
  }
  return move(std::move(edges), edge_vec);
}

Edges Network::move(Edges edges, const Tensor &edge_vec) const {
  edges.edge_vec = edge_vec;
  if (m_fused) return edges;
  const Tensor length = at::linalg_vector_norm(edge_vec, 2, at::IntArrayRef{1});
  const Tensor r = length.unsqueeze(1);
  const at::ScalarType real = m_embedding.scalar_type();
  edges.unit = (edge_vec / r).to(real);
  if (m_bessel) { // sin(n pi r / r_c) / r
    edges.basis = at::sinc(r * m_constants / PI) * m_constants;
  } else {
    const double width = m_cutoff / static_cast<double>(m_constants.numel() - 1);
    edges.basis = at::exp(((r - m_constants) / width).square() * -0.5);
  }
  edges.basis = edges.basis.to(real);
  const Tensor x = (r / m_cutoff).clamp_max(1.0);
  if (m_cosine) {
    edges.envelope = (at::cos(x * PI) + 1.0) * 0.5;
  } else { // the polynomial of DimeNet, p = 6
    const Tensor x6 = x.pow(6);
    edges.envelope = 1.0 - x6 * 28.0 + x6 * x * 48.0 - x6 * x * x * 21.0;
  }
  edges.envelope = edges.envelope.to(real);
  return edges;
}

Tensor Network::energies(const Tensor &species, const Edges &edges, const Between &between) const {
  States states;
  states.s = m_embedding.index_select(0, species);
  states.v = at::zeros({species.size(0), 3, m_features}, states.s.options());
  for (const Block &block : m_blocks) {
    // the first block starts from embeddings, which are known for all nodes
    if (between && !block.first) states = between(states);
    states = run(block, states, edges);
  }
  return readout(states.s, species.narrow(0, 0, edges.n_centre));
}

States Network::run(const Block &block, const States &states, const Edges &edges) const {
  const States change = message(block, states, edges);
  return update(block, {states.s.narrow(0, 0, edges.n_centre) + change.s,
                        states.v.narrow(0, 0, edges.n_centre) + change.v});
}

// Schütt et al. 2021, Eqs. 7 and 8.
States Network::message(const Block &block, const States &states, const Edges &edges) const {
  const Tensor x = block.message(states.s);
  if (m_fused) {
    // all v are zero in the first block: the operator skips them
    const auto v = block.first ? std::nullopt : std::optional<Tensor>(states.v);
    const auto [s, dv] = fused_message(x, v, edges.edge_vec, block.table, m_cutoff, edges.compressed);
    return {s, dv};
  }
  const Tensor filter = block.filter(edges.basis) * edges.envelope;
  const auto parts = (x.index_select(0, edges.neighbour) * filter).split(m_features, 1);
  Tensor vector = parts[1].unsqueeze(1) * edges.unit.unsqueeze(2);
  if (!block.first)
    vector = vector + parts[2].unsqueeze(1) * states.v.index_select(0, edges.neighbour);
  const auto options = states.s.options();
  return {at::zeros({edges.n_centre, m_features}, options).index_add(0, edges.centre, parts[0]),
          at::zeros({edges.n_centre, 3, m_features}, options).index_add(0, edges.centre, vector)};
}

// Eqs. 9 and 10.
States Network::update(const Block &block, const States &states) const {
  const auto mixed = block.mix(states.v).split(m_features, 2);
  const Tensor &u = mixed[0], &v = mixed[1];
  const Tensor norm = at::sqrt((v * v).sum(1) + m_norm_epsilon);
  const auto a = block.update(at::cat({states.s, norm}, 1)).split(m_features, 1);
  const Tensor s = states.s + a[0] + a[2] * (u * v).sum(1);
  // nobody reads the vectors after the last block
  return {s, block.last ? states.v : states.v + a[1].unsqueeze(1) * u};
}

Tensor Network::readout(const Tensor &s, const Tensor &species) const {
  const Tensor bound = m_output(s).squeeze(1) - m_isolated.index_select(0, species);
  return bound.to(at::kDouble) * m_scale + m_reference.index_select(0, species);
}

Tensor Network::forces(const Tensor &gradient, const Edges &edges) const {
  if (m_fused) return edge_forces(gradient, edges.compressed);
  return at::zeros({edges.n_node, 3}, gradient.options())
      .index_add(0, edges.centre, gradient)
      .index_add(0, edges.neighbour, gradient, -1);
}

} // namespace tpainn
