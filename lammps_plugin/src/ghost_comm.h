/* SPDX-License-Identifier: GPL-2.0-only

   The states of ghosts, their gradients, and other per-atom rows, communicated by LAMMPS' own
   forward_comm and reverse_comm. The pair style forwards its pack/unpack callbacks to here. */

#ifndef TPAINN_GHOST_COMM_H
#define TPAINN_GHOST_COMM_H

#include "exported_model.h"

#include <vector>

namespace LAMMPS_NS {
class Comm;
class Pair;
} // namespace LAMMPS_NS

namespace tpainn {

class GhostComm : public StateExchange {
public:
  GhostComm(LAMMPS_NS::Pair *pair, LAMMPS_NS::Comm *&comm) : m_pair(pair), m_comm(comm) {}

  // Which LAMMPS atom is which node, as of the last rebuild; nall atoms altogether.
  void set_nodes(const std::vector<int> *atom_of, int nall) {
    m_atom_of = atom_of;
    m_nall = nall;
  }

  void forward(void *rows, const Graph &graph, size_t row_bytes) override;
  void reverse(void *rows, const Graph &graph, size_t row_bytes, bool float64) override;

  // The same for rows of doubles that are numbered like LAMMPS' atoms.
  void forward_atoms(double *rows, int width);
  void reverse_atoms(double *rows, int width);

  int pack_forward(int n, const int *list, double *buffer) const;
  void unpack_forward(int n, int first, const double *buffer);
  int pack_reverse(int n, int first, double *buffer) const;
  void unpack_reverse(int n, const int *list, const double *buffer);

  double memory_usage() const { return 8.0 * m_storage.capacity(); }

  // Doubles per atom that a row of so many bytes takes in LAMMPS' buffers.
  static int width(size_t row_bytes) { return static_cast<int>((row_bytes + 7) / 8); }

private:
  LAMMPS_NS::Pair *m_pair;
  LAMMPS_NS::Comm *&m_comm; // LAMMPS replaces it on comm_style
  const std::vector<int> *m_atom_of = nullptr;
  int m_nall = 0;
  std::vector<double> m_storage; // one row per atom; LAMMPS relays ghosts that are no nodes
  char *m_rows = nullptr;        // what the callbacks work on
  size_t m_row_bytes = 0;
  bool m_float64 = true;
};

} // namespace tpainn

#endif
