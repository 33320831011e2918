/* SPDX-License-Identifier: GPL-2.0-only

   How much the models of a committee disagree: forces per atom and per frame, virial per frame.
   The file has the columns of DeePMD-kit's model_devi.out, which active-learning drivers read;
   forces in eV/Å, virial in eV per atom. */

#ifndef TPAINN_DEVIATION_H
#define TPAINN_DEVIATION_H

#include <array>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <mpi.h>
#include <string>
#include <vector>

namespace tpainn {

using Virial = std::array<double, 9>;

// Standard deviation of forces over models, per atom: sqrt(mean_m |f_m - <f>|^2).
// forces: rows of 3 * n_models doubles, one per atom.
void force_deviation(const double *forces, int n_models, int n_atoms, double *deviation);

class DeviationFile {
public:
  explicit DeviationFile(const std::string &path) : m_path(path) {}

  // Collective over `world`; rank 0 writes. atoms: deviation per own atom that takes part.
  // virials: this rank's share, per model. Throws if the file cannot be written.
  void write(int64_t step, const std::vector<double> &atoms, const std::vector<Virial> &virials,
             MPI_Comm world);

private:
  struct Close {
    void operator()(FILE *file) const { fclose(file); }
  };
  std::string m_path;
  std::unique_ptr<FILE, Close> m_file; // on rank 0, from the first frame on
  int64_t m_last = -1;                 // the first step of a run is the last one of the run before
};

} // namespace tpainn

#endif
