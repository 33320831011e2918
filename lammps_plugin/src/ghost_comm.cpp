/* SPDX-License-Identifier: GPL-2.0-only

   Rows are packed as they are: two float32 share one of LAMMPS' doubles, which halves the traffic;
   LAMMPS only moves them. */

#include "ghost_comm.h"

#include "comm.h"
#include "pair.h"

#include <cstring>
#include <utility>

namespace tpainn {

void GhostComm::forward(void *rows, const Graph &graph, size_t row_bytes) {
  const size_t stride = 8 * width(row_bytes);
  m_storage.resize(m_nall * stride / 8);
  char *atoms = reinterpret_cast<char *>(m_storage.data()), *nodes = static_cast<char *>(rows);
  for (int64_t k = 0; k < graph.n_centre; ++k)
    std::memcpy(atoms + (*m_atom_of)[k] * stride, nodes + k * row_bytes, row_bytes);
  forward_atoms(m_storage.data(), width(row_bytes));
  for (int64_t k = graph.n_centre; k < graph.n_node; ++k)
    std::memcpy(nodes + k * row_bytes, atoms + (*m_atom_of)[k] * stride, row_bytes);
}

void GhostComm::reverse(void *rows, const Graph &graph, size_t row_bytes, bool float64) {
  const size_t stride = 8 * width(row_bytes);
  m_storage.assign(m_nall * stride / 8, 0.0); // zero bytes are 0.0 in float32, too
  char *atoms = reinterpret_cast<char *>(m_storage.data()), *nodes = static_cast<char *>(rows);
  for (int64_t k = 0; k < graph.n_node; ++k)
    std::memcpy(atoms + (*m_atom_of)[k] * stride, nodes + k * row_bytes, row_bytes);
  m_float64 = float64;
  reverse_atoms(m_storage.data(), width(row_bytes));
  m_float64 = true;
  for (int64_t k = 0; k < graph.n_centre; ++k)
    std::memcpy(nodes + k * row_bytes, atoms + (*m_atom_of)[k] * stride, row_bytes);
}

void GhostComm::forward_atoms(double *rows, int width) {
  m_rows = reinterpret_cast<char *>(rows);
  m_row_bytes = 8 * width;
  // for this call only: the pair style reserves what its models need at most. LAMMPS before 2025
  // takes no width as an argument
  const int reserved = std::exchange(m_pair->comm_forward, width);
  m_comm->forward_comm(m_pair);
  m_pair->comm_forward = reserved;
}

void GhostComm::reverse_atoms(double *rows, int width) {
  m_rows = reinterpret_cast<char *>(rows);
  m_row_bytes = 8 * width;
  const int reserved = std::exchange(m_pair->comm_reverse, width);
  m_comm->reverse_comm(m_pair);
  m_pair->comm_reverse = reserved;
}

int GhostComm::pack_forward(int n, const int *list, double *buffer) const {
  for (int k = 0; k < n; ++k)
    std::memcpy(buffer + k * (m_row_bytes / 8), m_rows + list[k] * m_row_bytes, m_row_bytes);
  return n * static_cast<int>(m_row_bytes / 8);
}

void GhostComm::unpack_forward(int n, int first, const double *buffer) {
  std::memcpy(m_rows + first * m_row_bytes, buffer, n * m_row_bytes);
}

int GhostComm::pack_reverse(int n, int first, double *buffer) const {
  std::memcpy(buffer, m_rows + first * m_row_bytes, n * m_row_bytes);
  return n * static_cast<int>(m_row_bytes / 8);
}

template <typename Real>
static void add(char *rows, size_t row_bytes, int n, const int *list, const double *buffer) {
  const size_t width = row_bytes / sizeof(Real);
  const auto *from = reinterpret_cast<const Real *>(buffer);
  for (int k = 0; k < n; ++k) {
    auto *to = reinterpret_cast<Real *>(rows + list[k] * row_bytes);
    for (size_t c = 0; c < width; ++c) to[c] += from[k * width + c];
  }
}

void GhostComm::unpack_reverse(int n, const int *list, const double *buffer) {
  if (m_float64)
    add<double>(m_rows, m_row_bytes, n, list, buffer);
  else
    add<float>(m_rows, m_row_bytes, n, list, buffer);
}

} // namespace tpainn
