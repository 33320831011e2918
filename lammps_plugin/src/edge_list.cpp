/* SPDX-License-Identifier: GPL-2.0-only

   Candidate edges at every new neighbour list, edges within the cut-off at every step. */

#include "edge_list.h"

#include "lmptype.h"
#include "neigh_list.h"

#include <algorithm>
#include <limits>

namespace tpainn {

static double distance2(const double *a, const double *b) {
  const double d[3]{b[0] - a[0], b[1] - a[1], b[2] - a[2]};
  return d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
}

int EdgeList::node(int atom) {
  if (m_node_of[atom] < 0) {
    m_node_of[atom] = static_cast<int>(atom_of.size());
    atom_of.push_back(atom);
  }
  return m_node_of[atom];
}

void EdgeList::rebuild(const LAMMPS_NS::NeighList *list, Ghosts mode, int nlocal, int nall,
                       double **x, double reach, const int *type,
                       const std::vector<bool> &takes_part, const double *owner, int n_hops) {
  const bool extended = mode == Ghosts::extended;
  const int n_centres = list->inum + (extended ? list->gnum : 0);
  const double reach2 = reach * reach;
  m_node_of.assign(nall, -1);
  atom_of.clear();
  m_first.clear();
  m_second.clear();
  m_centre.clear();
  m_neighbour.clear();
  for (int i = 0; i < nlocal; ++i)
    if (takes_part[type[i]]) node(i);
  m_n_own = n_node();

  if (extended) {
    // a ghost needs its own messages only if it can reach an own atom through the later blocks
    m_hops.assign(nall, std::numeric_limits<int>::max());
    std::fill(m_hops.begin(), m_hops.begin() + nlocal, 0);
    for (int hop = 0; hop < n_hops - 1; ++hop)
      for (int ii = 0; ii < n_centres; ++ii) {
        const int i = list->ilist[ii];
        if (m_hops[i] != hop) continue;
        for (int jj = 0; jj < list->numneigh[i]; ++jj) {
          const int j = list->firstneigh[i][jj] & NEIGHMASK;
          m_hops[j] = std::min(m_hops[j], hop + 1);
        }
      }
  }

  for (int ii = 0; ii < n_centres; ++ii) {
    const int i = list->ilist[ii];
    if (!takes_part[type[i]] || (extended && m_hops[i] >= n_hops)) continue;
    for (int jj = 0; jj < list->numneigh[i]; ++jj) {
      const int j = list->firstneigh[i][jj] & NEIGHMASK;
      if (!takes_part[type[j]] || distance2(x[i], x[j]) > reach2) continue;
      m_first.push_back(i);
      m_second.push_back(j);
      m_centre.push_back(node(i));
      m_neighbour.push_back(
          node(mode == Ghosts::fold && j >= nlocal ? static_cast<int>(owner[j - nlocal]) : j));
    }
  }
  centre.resize(m_first.size());
  neighbour.resize(m_first.size());
  edge_vec.resize(3 * m_first.size());
}

void EdgeList::update(double **x, const int *type, double angstrom, double cutoff,
                      RangeGuard &guard) {
  const double limit = cutoff * angstrom, limit2 = limit * limit, to_angstrom = 1.0 / angstrom;
  m_n_edge = 0;
  guard.start();
  for (size_t c = 0; c < m_first.size(); ++c) {
    const double *a = x[m_first[c]], *b = x[m_second[c]];
    const double d[3]{b[0] - a[0], b[1] - a[1], b[2] - a[2]};
    const double r2 = d[0] * d[0] + d[1] * d[1] + d[2] * d[2];
    // NaN passes this test: a position that is not a number must reach the model, and be reported
    if (r2 >= limit2) continue;
    guard.look(m_first[c], m_second[c], r2, type);
    centre[m_n_edge] = m_centre[c];
    neighbour[m_n_edge] = m_neighbour[c];
    for (int k = 0; k < 3; ++k) edge_vec[3 * m_n_edge + k] = d[k] * to_angstrom;
    ++m_n_edge;
  }
}

void EdgeList::add_up(const std::vector<double> &gradient, bool per_atom_virial, Sums &sums) const {
  sums.forces.assign(3 * n_node(), 0.0);
  sums.virial.assign(9, 0.0);
  sums.virials.assign(per_atom_virial ? 9 * n_node() : 0, 0.0);
  for (int64_t e = 0; e < m_n_edge; ++e) {
    const double *r = &edge_vec[3 * e], *g = &gradient[3 * e];
    double *at_centre = &sums.forces[3 * centre[e]];
    double *at_neighbour = &sums.forces[3 * neighbour[e]];
    for (int a = 0; a < 3; ++a) {
      at_centre[a] += g[a];
      at_neighbour[a] -= g[a];
      for (int b = 0; b < 3; ++b) {
        const double w = -r[a] * g[b];
        sums.virial[3 * a + b] += w;
        if (!per_atom_virial) continue;
        sums.virials[9 * centre[e] + 3 * a + b] += 0.5 * w;
        sums.virials[9 * neighbour[e] + 3 * a + b] += 0.5 * w;
      }
    }
  }
}

bool EdgeList::same_as(const EdgeList &other) const {
  return m_n_edge == other.m_n_edge && m_n_own == other.m_n_own && atom_of == other.atom_of &&
         std::equal(edge_vec.begin(), edge_vec.begin() + 3 * m_n_edge, other.edge_vec.begin()) &&
         std::equal(centre.begin(), centre.begin() + m_n_edge, other.centre.begin()) &&
         std::equal(neighbour.begin(), neighbour.begin() + m_n_edge, other.neighbour.begin());
}

Candidates EdgeList::candidates(Ghosts mode) const {
  Candidates c;
  c.n_own = n_own();
  c.n_node = n_node();
  c.n_centre = mode == Ghosts::exchange ? c.n_own : c.n_node;
  c.n_pair = static_cast<int64_t>(m_first.size());
  c.first = m_first.data();
  c.second = m_second.data();
  c.centre = m_centre.data();
  c.neighbour = m_neighbour.data();
  return c;
}

double EdgeList::memory_usage() const {
  return static_cast<double>(sizeof(int) * (atom_of.capacity() + m_node_of.capacity() +
                                            m_hops.capacity() + 2 * m_first.capacity()) +
                             sizeof(int64_t) * 4 * m_centre.capacity() +
                             sizeof(double) * edge_vec.capacity());
}

} // namespace tpainn
