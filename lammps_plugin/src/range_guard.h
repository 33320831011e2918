/* SPDX-License-Identifier: GPL-2.0-only

   Notices when two atoms are closer than any such pair in the training set: what the model says
   there is extrapolation. The limits come from the model files. Two atoms in one place are noticed
   whatever the files say: there is no force that could be right. */

#ifndef TPAINN_RANGE_GUARD_H
#define TPAINN_RANGE_GUARD_H

#include <algorithm>
#include <cmath>
#include <vector>

namespace tpainn {

class RangeGuard {
public:
  struct Pair {
    int first, second; // LAMMPS atoms
    double distance, limit;
    bool coincident;
  };

  // limit of all pairs of types 1..n_types, 0 for none, and the distance below which two atoms
  // are one and the same place; in LAMMPS' unit of length
  void set_limits(int n_types, const std::vector<double> &limits, double coincidence) {
    m_width = n_types + 1;
    m_limit2 = limits;
    m_largest2 = m_coincidence2 = coincidence * coincidence;
    for (double &limit : m_limit2) {
      limit *= limit;
      if (limit > m_largest2) m_largest2 = limit;
    }
  }

  void start() { m_pairs.clear(); }

  // called for every edge: almost always one comparison
  void look(int i, int j, double r2, const int *type) {
    if (r2 >= m_largest2) return;
    const double limit2 = m_limit2[type[i] * m_width + type[j]];
    const bool coincident = r2 < m_coincidence2;
    if ((r2 < limit2 || coincident) && (m_pairs.size() < MAX_PAIRS || coincident))
      m_pairs.push_back({i, j, std::sqrt(r2), std::sqrt(limit2), coincident});
  }

  // What was seen since start(): coincident atoms, then by how far below their limits they are.
  const std::vector<Pair> &closest_first() {
    std::sort(m_pairs.begin(), m_pairs.end(), [](const Pair &a, const Pair &b) {
      if (a.coincident != b.coincident) return a.coincident;
      return a.distance * b.limit < b.distance * a.limit;
    });
    return m_pairs;
  }

private:
  static constexpr size_t MAX_PAIRS = 1000; // in one step

  int m_width = 1;
  double m_largest2 = 0, m_coincidence2 = 0;
  std::vector<double> m_limit2; // (n_types + 1) squared
  std::vector<Pair> m_pairs;
};

} // namespace tpainn

#endif
