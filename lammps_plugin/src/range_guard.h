/* SPDX-License-Identifier: GPL-2.0-only

   Notices when two atoms are closer than any such pair in the training set: what the model says
   there is extrapolation. The limits come from the manifests. Two atoms in one place are noticed
   whatever the manifests say: there is no force that could be right. */

#ifndef TPAINN_RANGE_GUARD_H
#define TPAINN_RANGE_GUARD_H

#include <cmath>
#include <vector>

namespace tpainn {

class RangeGuard {
public:
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

  void start() {
    m_worst = 1.0;
    m_coincident = false;
  }

  // called for every edge: almost always one comparison
  void look(int i, int j, double r2, const int *type) {
    if (r2 >= m_largest2) return;
    const double limit2 = m_limit2[type[i] * m_width + type[j]];
    if (r2 < limit2 * m_worst || r2 < m_coincidence2) {
      m_worst = limit2 > 0 ? r2 / limit2 : 0;
      m_coincident = m_coincident || r2 < m_coincidence2;
      m_first = i;
      m_second = j;
      m_distance = std::sqrt(r2);
      m_limit = std::sqrt(limit2);
    }
  }

  bool violated() const { return m_worst < 1.0; }
  bool coincident() const { return m_coincident; }
  int first() const { return m_first; }
  int second() const { return m_second; }
  double distance() const { return m_distance; }
  double limit() const { return m_limit; }

private:
  int m_width = 1, m_first = 0, m_second = 0;
  bool m_coincident = false;
  double m_largest2 = 0, m_coincidence2 = 0, m_worst = 1, m_distance = 0, m_limit = 0;
  std::vector<double> m_limit2; // (n_types + 1) squared
};

} // namespace tpainn

#endif
