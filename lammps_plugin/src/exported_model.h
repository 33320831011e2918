/* SPDX-License-Identifier: GPL-2.0-only

   One exported model (NAME.pt, see deployed_file.h): loads it, checks its golden values, and gives
   the energies of a graph with their gradient by the edge vectors. All units are eV and Å.

   This header is free of libtorch, so that few source files pay for its headers. Everything
   here throws std::exception with a one-line message. */

#ifndef TPAINN_EXPORTED_MODEL_H
#define TPAINN_EXPORTED_MODEL_H

#include "model_info.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace tpainn {

// A graph in the caller's memory. Edges point from a centre (< n_centre) to a neighbour (< n_node).
struct Graph {
  int64_t n_centre = 0, n_node = 0, n_edge = 0;
  const int64_t *species = nullptr;   // (n_node)
  const int64_t *centre = nullptr;    // (n_edge)
  const int64_t *neighbour = nullptr; // (n_edge)
  double *edge_vec = nullptr;         // (n_edge, 3): x_neighbour - x_centre, Å
};

// What LAMMPS knows when it has made a new neighbour list; indices of candidates for edges.
struct Candidates {
  int64_t n_own = 0, n_centre = 0, n_node = 0, n_pair = 0;
  const int *first = nullptr, *second = nullptr;         // atoms: edge_vec = x[second] - x[first]
  const int64_t *centre = nullptr, *neighbour = nullptr; // the nodes that these atoms stand for
};

// What a model says, added up over its edges; eV and Å.
struct Sums {
  std::vector<double> energies; // (n_own)
  std::vector<double> forces;   // (n_node, 3)
  std::vector<double> virial;   // (9) xx xy xz yx ...: sum of -edge_vec x dE/d(edge_vec)
  std::vector<double> virials;  // (n_node, 9) or none: half of every edge to each of its nodes
};

// Who brings the states of nodes that are computed elsewhere. Rows are per node, own nodes first.
class StateExchange {
public:
  virtual ~StateExchange() = default;
  // fill rows n_centre .. n_node from their owners
  virtual void forward(void *rows, const Graph &graph, size_t row_bytes) = 0;
  // add rows n_centre .. n_node to those of their owners
  virtual void reverse(void *rows, const Graph &graph, size_t row_bytes, bool float64) = 0;
};

class ExportedModel {
public:
  // device: "cpu" or "cuda:N"; may_fall_back: take the CPU if the GPU gives other numbers
  ExportedModel(const std::string &path, const std::string &device, bool may_fall_back);
  ~ExportedModel();
  ExportedModel(ExportedModel &&) noexcept;

  const ModelInfo &info() const { return m_info; }

  // Energies of the first n_energy nodes, and d(their sum)/d(edge_vec) (n_edge, 3). With an
  // exchange the blocks run one by one on the centres; without, on all nodes.
  void evaluate(const Graph &graph, int64_t n_energy, StateExchange *exchange,
                std::vector<double> &energies, std::vector<double> &gradient) const;

  // The same for a model on a GPU, in two halves: indices are moved there when the neighbour list
  // is new; at every step positions go there, and forces come back. x: (n_atom, 3).
  void set_candidates(const Candidates &candidates, const int64_t *species);
  void evaluate_positions(const double *x, int64_t n_atom, double angstrom,
                          StateExchange *exchange, bool per_atom_virial, Sums &sums) const;

private:
  struct State; // what needs libtorch
  std::unique_ptr<State> m_state;
  ModelInfo m_info;
};

// "cpu", or "cuda:N" for this rank; throws if a GPU is asked for that is not there.
std::string choose_device(const std::string &wanted, int local_rank);

// Threads of libtorch; 0 leaves them as they are. Returns how many there are.
int set_threads(int threads);

} // namespace tpainn

#endif
