/* SPDX-License-Identifier: GPL-2.0-only */

#include "exported_model.h"

#include "ghost_states.h"
#include "golden.h"
#include "network.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstring>
#include <dlfcn.h>
#include <functional>
#include <sys/stat.h>
#include <type_traits>

namespace tpainn {

using at::Tensor;

namespace {

std::string first_line(const std::string &text) {
  const size_t start = text.find_first_not_of(" \n\t");
  if (start == std::string::npos) return text;
  return text.substr(start, text.find('\n', start) - start);
}

// Run what calls libtorch; what it throws becomes one line.
template <typename Work>
auto in_one_line(const std::string &path, const Work &work) {
  try {
    return work();
  } catch (const c10::Error &error) {
    throw std::runtime_error("\"" + path + "\": " + first_line(error.what_without_backtrace()));
  }
}

bool has_operator(const char *name) {
  return c10::Dispatcher::singleton().findSchema({name, ""}).has_value();
}

// Brings tpainn::message, unless this process has it already (from Python, say): an operator must
// not be registered twice.
void load_fused_operator() {
#ifdef TPAINN_OPS_LIBRARY
  if (has_operator("tpainn::message")) return;
  if (!dlopen(TPAINN_OPS_LIBRARY, RTLD_NOW | RTLD_GLOBAL))
    throw std::runtime_error(std::string("the compiled operator cannot be loaded: ") + dlerror() +
                             "; run 'tpainn-lammps build'");
#endif
}

// Why the kernels of the fused operator cannot run on this GPU; empty if they can.
std::string problem_on_gpu(at::Device device) {
  const c10::DeviceGuard guard(device);
  at::empty({1}, at::TensorOptions(device)); // the device's context
  const auto op = c10::Dispatcher::singleton().findSchema({"tpainn::gpu_problem", ""});
  return op ? first_line(op->typed<std::string()>().call()) : "an older operator is loaded";
}

Tensor wrap(const int64_t *data, int64_t n) {
  return at::from_blob(const_cast<int64_t *>(data), {n}, at::kLong);
}

// d(sum of energies)/d(edge_vec); undefined for a graph without edges.
Tensor gradient_of(const Tensor &energies, const Tensor &edge_vec) {
  return torch::autograd::grad({energies.sum()}, {edge_vec}, {}, std::nullopt, false, true)[0];
}

std::vector<double> to_host(const Tensor &tensor) {
  const Tensor host = tensor.detach().cpu().contiguous();
  return {host.const_data_ptr<double>(), host.const_data_ptr<double>() + host.numel()};
}

// Between the blocks: the states of ghosts from the ranks that own them.
Network::Between bring_ghosts(const Graph &graph, StateExchange *exchange) {
  if (!exchange) return nullptr;
  return [&graph, exchange](const States &own) -> States {
    const int64_t F = own.s.size(1);
    const Tensor rows = at::cat({own.s, own.v.reshape({own.s.size(0), 3 * F})}, 1);
    const Tensor all = GhostStates::apply(rows, &graph, exchange);
    return {all.narrow(1, 0, F).contiguous(),
            all.narrow(1, F, 3 * F).contiguous().view({graph.n_node, 3, F})};
  };
}

} // namespace

struct ExportedModel::State {
  Network network;

  // of set_candidates(), on the device
  Candidates sizes;
  Tensor first, second, centre, neighbour, species;
  Edges edges; // their graph, at no positions yet

  explicit State(Network made) : network(std::move(made)) {}
};

ExportedModel::ExportedModel(const std::string &path, const std::string &device,
                             bool may_fall_back) {
  struct stat status{};
  if (stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) {
    std::string shown = path;
    for (char &c : shown)
      if (static_cast<unsigned char>(c) > 127) c = '?';
    throw std::runtime_error(
        "no model file \"" + shown + "\"; " +
        (shown == path ? "write one with: tpainn export MODEL " + path
                       : "LAMMPS changes non-ASCII letters in its input: rename the file, or write "
                         "${model} here and start LAMMPS with: -var model NAME.pt"));
  }
  load_fused_operator();
  try {
    const DeployedFile file(path);
    m_info = read_info(file);
    m_info.path = path;
    const Golden golden = read_golden(file, m_info);
    const bool fused = m_info.kernel == "fused";
    if (fused && !has_operator("tpainn::message"))
      throw std::runtime_error("wants the fused kernel, which this plugin was built without; export "
                               "it with: tpainn export --kernel plain MODEL NAME.pt");
    const auto take = [&](const std::string &place, bool with_fused) {
      const at::Device at_device(place);
      m_info.device = place;
      m_info.kernel = with_fused ? "fused" : "plain";
      const std::string problem =
          with_fused && at_device.is_cuda() ? problem_on_gpu(at_device) : "";
      if (!problem.empty()) throw std::runtime_error(problem);
      m_state = std::make_unique<State>(Network(file, m_info, with_fused, at_device));
      check_golden(golden, [this](const Graph &graph, int64_t n, StateExchange *exchange,
                                  std::vector<double> &energies, std::vector<double> &gradient) {
        evaluate(graph, n, exchange, energies, gradient);
      });
    };
    // GPUs differ: what does not run there with the fused kernels may with those of libtorch
    std::vector<std::pair<std::string, bool>> choices{{device, fused}};
    if (device != "cpu" && fused) choices.emplace_back(device, false);
    if (device != "cpu" && may_fall_back) choices.emplace_back("cpu", fused);
    for (size_t k = 0; k < choices.size(); ++k) try {
        take(choices[k].first, choices[k].second);
        return;
      } catch (const std::exception &) {
        if (k + 1 == choices.size()) throw;
      }
  } catch (const c10::Error &error) {
    throw std::runtime_error("\"" + path + "\" is damaged: " +
                             first_line(error.what_without_backtrace()));
  } catch (const std::exception &error) {
    throw std::runtime_error("\"" + path + "\" " + error.what());
  }
}

ExportedModel::~ExportedModel() = default;
ExportedModel::ExportedModel(ExportedModel &&) noexcept = default;

void ExportedModel::evaluate(const Graph &graph, int64_t n_energy, StateExchange *exchange,
                             std::vector<double> &energies, std::vector<double> &gradient) const {
  in_one_line(m_info.path, [&] {
    at::AutoGradMode with_gradient(true);
    const Network &network = m_state->network;
    const at::Device device = network.device();
    const Tensor species = wrap(graph.species, graph.n_node).to(device);
    const Tensor centre = wrap(graph.centre, graph.n_edge).to(device);
    const Tensor neighbour = wrap(graph.neighbour, graph.n_edge).to(device);
    Tensor edge_vec = at::from_blob(graph.edge_vec, {graph.n_edge, 3}, at::kDouble).to(device);
    edge_vec.requires_grad_(true);
    const Edges edges =
        network.connect(centre, neighbour, edge_vec, graph.n_centre, graph.n_node);
    const Tensor e =
        network.energies(species, edges, bring_ghosts(graph, exchange)).narrow(0, 0, n_energy);
    const Tensor g = gradient_of(e, edge_vec);
    if (g.defined())
      gradient = to_host(g);
    else
      gradient.assign(3 * graph.n_edge, 0.0);
    energies = to_host(e);
  });
}

void ExportedModel::set_candidates(const Candidates &candidates, const int64_t *species) {
  in_one_line(m_info.path, [&] {
    State &s = *m_state;
    const at::Device device = s.network.device();
    const auto move = [&](const auto *data, int64_t size, at::ScalarType type) {
      using Value = std::remove_const_t<std::remove_pointer_t<decltype(data)>>;
      // a copy in any case: the caller's buffers change
      return at::from_blob(const_cast<Value *>(data), {size}, type).to(device, type, false, true);
    };
    s.sizes = candidates;
    s.first = move(candidates.first, candidates.n_pair, at::kInt);
    s.second = move(candidates.second, candidates.n_pair, at::kInt);
    s.centre = move(candidates.centre, candidates.n_pair, at::kLong);
    s.neighbour = move(candidates.neighbour, candidates.n_pair, at::kLong);
    s.species = move(species, candidates.n_node, at::kLong);
    const Tensor nowhere =
        at::zeros({candidates.n_pair, 3}, s.centre.options().dtype(at::kDouble));
    s.edges =
        s.network.connect(s.centre, s.neighbour, nowhere, candidates.n_centre, candidates.n_node);
  });
}

void ExportedModel::evaluate_positions(const double *x, int64_t n_atom, double angstrom,
                                       StateExchange *exchange, bool per_atom_virial,
                                       Sums &sums) const {
  in_one_line(m_info.path, [&] {
    at::AutoGradMode with_gradient(true);
    const State &s = *m_state;
    Tensor r = at::from_blob(const_cast<double *>(x), {n_atom, 3}, at::kDouble)
                   .to(s.network.device())
                   .div(angstrom);
    Tensor edge_vec = r.index_select(0, s.second) - r.index_select(0, s.first);
    edge_vec.requires_grad_(true);
    // pairs in the skin are beyond the cut-off: to the model they are nothing
    const Edges edges = s.network.move(s.edges, edge_vec);
    Graph graph; // sizes only: an exchange needs no more
    graph.n_centre = s.sizes.n_centre;
    graph.n_node = s.sizes.n_node;
    graph.n_edge = s.sizes.n_pair;
    const Tensor e = s.network.energies(s.species, edges, bring_ghosts(graph, exchange))
                         .narrow(0, 0, s.sizes.n_own);
    Tensor g = gradient_of(e, edge_vec);
    edge_vec = edge_vec.detach();
    if (!g.defined()) g = at::zeros_like(edge_vec);
    sums.energies = to_host(e);
    sums.forces = to_host(s.network.forces(g, s.edges));
    sums.virial = to_host(-edge_vec.t().mm(g));
    sums.virials.clear();
    if (per_atom_virial) {
      const Tensor half = (edge_vec.unsqueeze(2) * g.unsqueeze(1)).mul(-0.5).reshape({-1, 9});
      sums.virials = to_host(at::zeros({s.sizes.n_node, 9}, g.options())
                                 .index_add(0, s.centre, half)
                                 .index_add(0, s.neighbour, half));
    }
  });
}

std::string choose_device(const std::string &wanted, int local_rank) {
  const bool available =
      at::globalContext().hasCUDA() && at::detail::getCUDAHooks().deviceCount() > 0;
  if (wanted == "cpu" || (wanted == "auto" && !available)) return "cpu";
  if (!available)
    throw std::runtime_error("device " + wanted + ": this libtorch sees no GPU (" +
                             (at::globalContext().hasCUDA() ? "no device" : "built without CUDA") +
                             "); use device cpu, or install a torch with CUDA");
  const int count = at::detail::getCUDAHooks().deviceCount();
  if (wanted == "auto" || wanted == "cuda") return "cuda:" + std::to_string(local_rank % count);
  if (std::stoi(wanted.substr(5)) >= count)
    throw std::runtime_error("device " + wanted + ": there are only " + std::to_string(count) +
                             " GPUs");
  return wanted;
}

int set_threads(int threads) {
  if (threads > 0 && threads != at::get_num_threads()) at::set_num_threads(threads);
  return at::get_num_threads();
}

} // namespace tpainn
