/* SPDX-License-Identifier: GPL-2.0-only

   From LAMMPS' neighbour list to the graph that the model wants.

   Nodes are the atoms that take part (own atoms first), numbered without gaps; LAMMPS atoms whose
   type is mapped to NULL and ghosts that nobody refers to are no nodes. rebuild() runs when
   LAMMPS made a new neighbour list; update() every step: it keeps the edges that are shorter than
   the cut-off. All buffers keep their capacity. */

#ifndef TPAINN_EDGE_LIST_H
#define TPAINN_EDGE_LIST_H

#include "exported_model.h"
#include "options.h"
#include "range_guard.h"

#include <cstdint>
#include <vector>

namespace LAMMPS_NS {
class NeighList;
}

namespace tpainn {

class EdgeList {
public:
  // owner[j - nlocal]: own atom of which ghost j is an image (used in the mode "fold" only).
  // n_hops: how many edges away an atom may act on an own one; used in the mode "extended" only.
  // reach: of the candidates, in units of x; in pair_style hybrid the list itself reaches as far as
  // the longest cut-off of all styles, and a fast model would look at many pairs in vain.
  void rebuild(const LAMMPS_NS::NeighList *list, Ghosts mode, int nlocal, int nall, double **x,
               double reach, const int *type, const std::vector<bool> &takes_part,
               const double *owner, int n_hops);

  // Edges shorter than cutoff (Å); x is in units of `angstrom`. The guard sees all of them.
  void update(double **x, const int *type, double angstrom, double cutoff, RangeGuard &guard);

  // Energies and gradient of the edges, added up per node.
  void add_up(const std::vector<double> &gradient, bool per_atom_virial, Sums &sums) const;

  // Are atoms and edges those of another list, to the last digit?
  bool same_as(const EdgeList &other) const;

  Candidates candidates(Ghosts mode) const;

  int64_t n_own() const { return m_n_own; }
  int64_t n_node() const { return static_cast<int64_t>(atom_of.size()); }
  int64_t n_edge() const { return m_n_edge; }
  double memory_usage() const; // bytes

  std::vector<int> atom_of;               // node -> LAMMPS atom
  std::vector<int64_t> centre, neighbour; // nodes of every edge, valid up to n_edge()
  std::vector<double> edge_vec;           // Å

private:
  int node(int atom);

  int64_t m_n_own = 0, m_n_edge = 0;
  std::vector<int> m_node_of;                 // LAMMPS atom -> node, or -1
  std::vector<int> m_hops;                    // edges between an atom and the nearest own one
  std::vector<int> m_first, m_second;         // candidate edges as LAMMPS atoms ...
  std::vector<int64_t> m_centre, m_neighbour; // ... and as nodes
};

} // namespace tpainn

#endif
