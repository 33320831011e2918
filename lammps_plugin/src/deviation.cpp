/* SPDX-License-Identifier: GPL-2.0-only

   Statistics over a committee of models. */

#include "deviation.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace tpainn {

void force_deviation(const double *forces, int n_models, int n_atoms, double *deviation) {
  for (int i = 0; i < n_atoms; ++i) {
    const double *f = forces + static_cast<size_t>(i) * 3 * n_models;
    double sum = 0;
    for (int k = 0; k < 3; ++k) {
      double mean = 0;
      for (int m = 0; m < n_models; ++m) mean += f[3 * m + k] / n_models;
      for (int m = 0; m < n_models; ++m) sum += (f[3 * m + k] - mean) * (f[3 * m + k] - mean);
    }
    deviation[i] = std::sqrt(sum / n_models);
  }
}

void DeviationFile::write(int64_t step, const std::vector<double> &atoms,
                          const std::vector<Virial> &virials, MPI_Comm world) {
  if (step == m_last) return;
  m_last = step;
  double largest = 0, smallest = std::numeric_limits<double>::max();
  double sums[2]{0, static_cast<double>(atoms.size())};
  for (const double d : atoms) {
    largest = std::max(largest, d);
    smallest = std::min(smallest, d);
    sums[0] += d;
  }
  std::vector<Virial> total(virials.size());
  MPI_Allreduce(MPI_IN_PLACE, &largest, 1, MPI_DOUBLE, MPI_MAX, world);
  MPI_Allreduce(MPI_IN_PLACE, &smallest, 1, MPI_DOUBLE, MPI_MIN, world);
  MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_DOUBLE, MPI_SUM, world);
  MPI_Allreduce(virials.data(), total.data(), static_cast<int>(9 * total.size()), MPI_DOUBLE,
                MPI_SUM, world);
  int rank;
  MPI_Comm_rank(world, &rank);
  if (rank != 0) return;

  const double n_atoms = std::max(1.0, sums[1]), n_models = static_cast<double>(total.size());
  double v_max = 0, v_min = std::numeric_limits<double>::max(), v_sum = 0;
  for (int c = 0; c < 9; ++c) {
    double mean = 0, square = 0;
    for (const auto &w : total) mean += w[c] / n_models;
    for (const auto &w : total) square += (w[c] - mean) * (w[c] - mean);
    const double d = std::sqrt(square / n_models) / n_atoms;
    v_max = std::max(v_max, d);
    v_min = std::min(v_min, d);
    v_sum += d * d;
  }
  errno = 0;
  bool written = true;
  if (!m_file) {
    m_file.reset(fopen(m_path.c_str(), "w"));
    written = m_file && fprintf(m_file.get(), "#%11s%19s%19s%19s%19s%19s%19s\n", "step",
                                "max_devi_v", "min_devi_v", "avg_devi_v", "max_devi_f",
                                "min_devi_f", "avg_devi_f") > 0;
  }
  // flushed: drivers read it while the run goes on, and after it was killed
  written = written &&
            fprintf(m_file.get(), "%12lld%19.6e%19.6e%19.6e%19.6e%19.6e%19.6e\n",
                    static_cast<long long>(step), v_max, v_min, std::sqrt(v_sum / 9), largest,
                    smallest, sums[0] / n_atoms) > 0 &&
            fflush(m_file.get()) == 0;
  if (!written)
    throw std::runtime_error("deviation file \"" + m_path + "\": " + std::strerror(errno));
}

} // namespace tpainn
