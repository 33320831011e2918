/* SPDX-License-Identifier: GPL-2.0-only

   The only source file that sees libtorch. */

#include "exported_model.h"
#include "ghost_states.h"
#include "manifest.h"

#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/serialization/import.h>

#include <cmath>
#include <cstring>
#include <dlfcn.h>
#include <stdexcept>
#include <sys/stat.h>
#include <type_traits>

namespace tpainn {

using at::Tensor;
using c10::IValue;

namespace {

// TorchScript without profiling and run-time specialization: the number of edges changes every
// step, and every change would be compiled anew. Restores what the host process had.
class PlainExecutor {
public:
  PlainExecutor()
      : m_mode(torch::jit::getExecutorMode()), m_profiling(torch::jit::getProfilingMode()) {
    torch::jit::getExecutorMode() = true;
    torch::jit::getProfilingMode() = false;
  }
  ~PlainExecutor() {
    torch::jit::getExecutorMode() = m_mode;
    torch::jit::getProfilingMode() = m_profiling;
  }

private:
  torch::jit::GraphOptimizerEnabledGuard m_off{false};
  bool m_mode, m_profiling;
};

std::string first_line(const std::string &text) {
  const size_t start = text.find_first_not_of(" \n\t");
  if (start == std::string::npos) return text;
  return text.substr(start, text.find('\n', start) - start);
}

// What libtorch says, in one line. TorchScript puts a trace before the reason.
std::string reason_of(const std::exception &error) {
  const auto *c10_error = dynamic_cast<const c10::Error *>(&error);
  const std::string text = c10_error ? c10_error->what_without_backtrace() : error.what();
  for (const char *marker : {"RuntimeError: ", "Error: "}) {
    const size_t at = text.rfind(marker);
    if (at != std::string::npos) return first_line(text.substr(at + std::strlen(marker)));
  }
  return first_line(text);
}

bool has_fused_operator() {
  return c10::Dispatcher::singleton().findSchema({"tpainn::message", ""}).has_value();
}

// Brings tpainn::message, unless this process has it already (from Python, say): an operator must
// not be registered twice.
void load_fused_operator() {
#ifdef TPAINN_OPS_LIBRARY
  if (has_fused_operator()) return;
  if (!dlopen(TPAINN_OPS_LIBRARY, RTLD_NOW | RTLD_GLOBAL))
    throw std::runtime_error(std::string("the compiled operator cannot be loaded: ") + dlerror() +
                             "; run 'tpainn-lammps build'");
#endif
}

bool uses_fused_operator(const torch::jit::Module &module) {
  const auto graph = module.get_method("forward").graph()->copy();
  torch::jit::Inline(*graph);
  return graph->toString(false).find("tpainn::") != std::string::npos;
}

Tensor wrap(const int64_t *data, int64_t n) {
  return at::from_blob(const_cast<int64_t *>(data), {n}, at::kLong);
}

} // namespace

struct ExportedModel::Network {
  torch::jit::Module module;
  at::Device device{at::kCPU};

  // of set_candidates(), on the device
  Candidates sizes;
  Tensor first, second, centre, neighbour, species;
  IValue edges; // their graph, at no positions yet

  IValue call(const char *method, std::vector<IValue> arguments) const {
    return module.get_method(method)(std::move(arguments));
  }

  // Energies of the centres, with the ghosts' states exchanged between the blocks.
  Tensor run_blocks(const ModelInfo &info, const Graph &graph, const Tensor &species,
                    const IValue &edges, StateExchange *exchange) const {
    IValue states = call("embed", {species});
    const int64_t F = info.n_features;
    for (int64_t k = 0; k < info.n_blocks; ++k) {
      Tensor s = states.toTupleRef().elements()[0].toTensor();
      Tensor v = states.toTupleRef().elements()[1].toTensor();
      if (k > 0) { // the first block starts from embeddings, which every rank knows for its ghosts
        const Tensor own = at::cat({s, v.reshape({s.size(0), 3 * F})}, 1);
        const Tensor all = GhostStates::apply(own, &graph, exchange);
        s = all.narrow(1, 0, F).contiguous();
        v = all.narrow(1, F, 3 * F).contiguous().view({graph.n_node, 3, F});
      }
      states = call("layer", {k, s, v, edges});
    }
    const Tensor s = states.toTupleRef().elements()[0].toTensor();
    return call("readout", {s, species.narrow(0, 0, graph.n_centre)}).toTensor();
  }
};

ExportedModel::ExportedModel(const std::string &path, const std::string &device, bool may_fall_back)
    : m_network(std::make_unique<Network>()) {
  m_info.path = path;
  m_info.device = device;
  struct stat status{};
  if (stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode))
    throw std::runtime_error("no model file \"" + path +
                             "\"; write one with: tpainn export MODEL " + path);
  load_fused_operator();
  PlainExecutor executor;
  Golden golden = load();
  std::string problem = problem_on_gpu();
  try {
    if (problem.empty()) {
      check_golden(golden);
      return;
    }
  } catch (const std::exception &error) { // GPUs differ
    if (!m_network->device.is_cuda() || !may_fall_back) throw;
    problem = error.what();
  }
  if (!may_fall_back)
    throw std::runtime_error("\"" + path + "\" was exported with the fused kernel, which does not "
                             "run on " + device + " (" + problem +
                             "); for this GPU: tpainn export --kernel plain MODEL NAME.pt");
  m_info.device = "cpu";
  check_golden(load());
}

// Why the kernels of the fused operator cannot run on this GPU; empty if they can, or need not.
std::string ExportedModel::problem_on_gpu() const {
  if (!m_network->device.is_cuda() || !uses_fused_operator(m_network->module)) return "";
  const c10::DeviceGuard guard(m_network->device);
  at::empty({1}, at::TensorOptions(m_network->device)); // the device's context
  const auto op = c10::Dispatcher::singleton().findSchema({"tpainn::gpu_problem", ""});
  return op ? first_line(op->typed<std::string()>().call()) : "an older operator is loaded";
}

Golden ExportedModel::load() {
  Golden golden;
  m_network->device = at::Device(m_info.device);
  std::unordered_map<std::string, std::string> extra{{"manifest.json", ""}};
  try {
    m_network->module = torch::jit::load(m_info.path, m_network->device, extra);
  } catch (const std::exception &error) {
    throw std::runtime_error("\"" + m_info.path + "\" is not a readable exported model (" +
                             reason_of(error) + "); it may be truncated: export or copy it again");
  }
  try {
    read_manifest(extra["manifest.json"], m_info, golden);
  } catch (const std::exception &error) {
    throw std::runtime_error("\"" + m_info.path + "\": " + error.what());
  }
  m_network->module.eval();
  return golden;
}

void ExportedModel::check_golden(const Golden &golden) const {
  GoldenEdges edges = edges_of(golden, m_info.cutoff);
  Graph graph;
  graph.n_centre = graph.n_node = static_cast<int64_t>(golden.species.size());
  graph.n_edge = static_cast<int64_t>(edges.centre.size());
  graph.species = golden.species.data();
  graph.centre = edges.centre.data();
  graph.neighbour = edges.neighbour.data();
  graph.edge_vec = edges.edge_vec.data();
  std::vector<double> energies, gradient;
  evaluate(graph, graph.n_node, nullptr, energies, gradient);
  double energy = 0, scale = 1, worst = 0;
  std::vector<double> forces(3 * energies.size());
  for (const double e : energies) energy += e;
  for (int64_t e = 0; e < graph.n_edge; ++e)
    for (int k = 0; k < 3; ++k) {
      forces[3 * edges.centre[e] + k] += gradient[3 * e + k];
      forces[3 * edges.neighbour[e] + k] -= gradient[3 * e + k];
    }
  for (size_t i = 0; i < energies.size(); ++i)
    for (int k = 0; k < 3; ++k) {
      scale = std::max(scale, std::abs(golden.forces[i][k]));
      worst = std::max(worst, std::abs(forces[3 * i + k] - golden.forces[i][k]));
    }
  worst = std::max(worst, std::abs(energy - golden.energy) / static_cast<double>(energies.size()));
  // the tolerances of tpainn_calc.modelfile
  if (!(worst <= (m_info.dtype == "float64" ? 1e-5 : 5e-4) * scale))
    throw std::runtime_error("\"" + m_info.path +
                             "\" does not reproduce its golden values (off by " +
                             std::to_string(worst) + " eV/Å); the file is damaged");
}

ExportedModel::~ExportedModel() = default;
ExportedModel::ExportedModel(ExportedModel &&) noexcept = default;

void ExportedModel::evaluate(const Graph &graph, int64_t n_energy, StateExchange *exchange,
                             std::vector<double> &energies, std::vector<double> &gradient) const {
  PlainExecutor executor;
  at::AutoGradMode with_gradient(true);
  const at::Device device = m_network->device;
  const Tensor species = wrap(graph.species, graph.n_node).to(device);
  const Tensor centre = wrap(graph.centre, graph.n_edge).to(device);
  const Tensor neighbour = wrap(graph.neighbour, graph.n_edge).to(device);
  Tensor edge_vec = at::from_blob(graph.edge_vec, {graph.n_edge, 3}, at::kDouble).to(device);
  edge_vec.requires_grad_(true);
  Tensor e;
  try {
    const IValue edges =
        m_network->call("connect", {centre, neighbour, edge_vec, graph.n_centre, graph.n_node});
    e = exchange ? m_network->run_blocks(m_info, graph, species, edges, exchange)
                 : m_network->call("energies", {species, edges}).toTensor();
    e = e.narrow(0, 0, n_energy);
    const auto g = torch::autograd::grad({e.sum()}, {edge_vec}, {}, std::nullopt, false, true)[0];
    gradient.assign(3 * graph.n_edge, 0.0);
    if (g.defined() && graph.n_edge)
      std::memcpy(gradient.data(), g.cpu().contiguous().const_data_ptr(),
                  gradient.size() * sizeof(double));
  } catch (const c10::Error &error) {
    throw std::runtime_error("\"" + m_info.path + "\": " + reason_of(error));
  }
  const Tensor host = e.detach().cpu().contiguous();
  energies.assign(host.const_data_ptr<double>(), host.const_data_ptr<double>() + n_energy);
}

void ExportedModel::set_candidates(const Candidates &candidates, const int64_t *species) {
  Network &n = *m_network;
  const auto move = [&](const auto *data, int64_t size, at::ScalarType type) {
    using Value = std::remove_const_t<std::remove_pointer_t<decltype(data)>>;
    // a copy in any case: the caller's buffers change
    return at::from_blob(const_cast<Value *>(data), {size}, type).to(n.device, type, false, true);
  };
  n.sizes = candidates;
  n.first = move(candidates.first, candidates.n_pair, at::kInt);
  n.second = move(candidates.second, candidates.n_pair, at::kInt);
  n.centre = move(candidates.centre, candidates.n_pair, at::kLong);
  n.neighbour = move(candidates.neighbour, candidates.n_pair, at::kLong);
  n.species = move(species, candidates.n_node, at::kLong);
  const Tensor nowhere = at::zeros({candidates.n_pair, 3}, n.centre.options().dtype(at::kDouble));
  n.edges = n.call("connect",
                   {n.centre, n.neighbour, nowhere, candidates.n_centre, candidates.n_node});
}

// Forces on nodes from the gradient by the edge vectors.
static Tensor forces_on_nodes(const IValue &edges, const Tensor &gradient, int64_t n_node) {
  const auto &fields = edges.toTupleRef().elements(); // Edges of tpainn_calc/painn.py
  const auto index = fields[4].toTensorVector();
  if (!index.empty()) {
    static const auto op = c10::Dispatcher::singleton()
                               .findSchemaOrThrow("tpainn::edge_forces", "")
                               .typed<Tensor(const Tensor &, at::TensorList)>();
    return op.call(gradient, index);
  }
  return at::zeros({n_node, 3}, gradient.options())
      .index_add(0, fields[0].toTensor(), gradient)
      .index_add(0, fields[1].toTensor(), gradient, -1);
}

static std::vector<double> to_host(const Tensor &tensor) {
  const Tensor host = tensor.detach().cpu().contiguous();
  return {host.const_data_ptr<double>(), host.const_data_ptr<double>() + host.numel()};
}

void ExportedModel::evaluate_positions(const double *x, int64_t n_atom, double angstrom,
                                       StateExchange *exchange, bool per_atom_virial,
                                       Sums &sums) const {
  PlainExecutor executor;
  at::AutoGradMode with_gradient(true);
  const Network &n = *m_network;
  try {
    Tensor r = at::from_blob(const_cast<double *>(x), {n_atom, 3}, at::kDouble).to(n.device);
    r = r.div(angstrom);
    Tensor edge_vec = r.index_select(0, n.second) - r.index_select(0, n.first);
    edge_vec.requires_grad_(true);
    // pairs in the skin are beyond the cut-off: to the model they are nothing
    const IValue edges = n.call("move", {n.edges, edge_vec});
    Graph graph; // sizes only: an exchange needs no more
    graph.n_centre = n.sizes.n_centre;
    graph.n_node = n.sizes.n_node;
    graph.n_edge = n.sizes.n_pair;
    Tensor e = exchange ? n.run_blocks(m_info, graph, n.species, edges, exchange)
                        : n.call("energies", {n.species, edges}).toTensor();
    e = e.narrow(0, 0, n.sizes.n_own);
    Tensor g = torch::autograd::grad({e.sum()}, {edge_vec}, {}, std::nullopt, false, true)[0];
    edge_vec = edge_vec.detach();
    if (!g.defined()) g = at::zeros_like(edge_vec);
    sums.energies = to_host(e);
    sums.forces = to_host(forces_on_nodes(n.edges, g, n.sizes.n_node));
    sums.virial = to_host(-edge_vec.t().mm(g));
    sums.virials.clear();
    if (per_atom_virial) {
      const Tensor half = (edge_vec.unsqueeze(2) * g.unsqueeze(1)).mul(-0.5).reshape({-1, 9});
      sums.virials = to_host(at::zeros({n.sizes.n_node, 9}, g.options())
                                 .index_add(0, n.centre, half)
                                 .index_add(0, n.neighbour, half));
    }
  } catch (const c10::Error &error) {
    throw std::runtime_error("\"" + m_info.path + "\": " + reason_of(error));
  }
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
