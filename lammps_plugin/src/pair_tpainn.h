/* SPDX-License-Identifier: GPL-2.0-only

   pair_style tpainn: a T-PaiNN potential as LAMMPS sees it. Reads the arguments, asks for a full
   neighbour list, gives the graph to the model and adds up energy, forces and virial. */

#ifndef LMP_PAIR_TPAINN_H
#define LMP_PAIR_TPAINN_H

#include "pair.h"

#include "deviation.h"
#include "edge_list.h"
#include "exported_model.h"
#include "ghost_comm.h"
#include "options.h"
#include "range_guard.h"

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace LAMMPS_NS {

class PairTPaiNN : public Pair {
public:
  explicit PairTPaiNN(class LAMMPS *);
  ~PairTPaiNN() override;

  void settings(int, char **) override;
  void coeff(int, char **) override;
  void init_style() override;
  double init_one(int, int) override;
  void compute(int, int) override;
  void finish() override;
  void *extract(const char *, int &) override;
  void *extract_peratom(const char *, int &) override;
  double memory_usage() override;

  int pack_forward_comm(int, int *, double *, int, int *) override;
  void unpack_forward_comm(int, int, double *) override;
  int pack_reverse_comm(int, int, double *) override;
  void unpack_reverse_comm(int, int *, double *) override;

private:
  void allocate();
  void load_models(const std::vector<std::string> &files);
  void map_elements(const std::vector<std::string> &symbols);
  void check_levels_of_theory();
  void check_masses();
  void check_students();
  std::vector<PairTPaiNN *> siblings();
  void find_twin();
  void check_special_bonds();
  void check_bonded_styles();
  void check_exclusions();
  void set_threads();
  void set_range();
  tpainn::Ghosts choose_mode(std::string &reason);
  void reserve_comm();
  void announce(const std::string &reason);

  void rebuild_graph();
  void evaluate();
  std::string check_range();
  std::string name_pair(const tpainn::RangeGuard::Pair &pair) const;
  void stop_together(std::string problem);
  void evaluate_model(size_t m);
  bool twin_knows() const;
  void average();
  bool add_forces(const tpainn::Sums &sums);
  void tally(const tpainn::Sums &sums);
  void compute_deviation(bool write);

  double ev() const;       // one eV in LAMMPS' units
  double angstrom() const; // one Å in LAMMPS' units
  double cutoff() const;   // Å, the largest of all models
  int n_blocks() const;    // the largest of all models

  tpainn::Options m_options;
  tpainn::Ghosts m_mode = tpainn::Ghosts::fold;
  std::vector<tpainn::ExportedModel> m_models; // more than one: a committee
  std::vector<std::string> m_symbols;          // element per LAMMPS type - 1, "NULL" for none
  std::vector<bool> m_takes_part;              // per LAMMPS type

  tpainn::EdgeList m_edges;
  tpainn::GhostComm m_ghosts;
  tpainn::RangeGuard m_range;
  std::set<std::pair<tagint, tagint>> m_reported; // pairs that were warned of in this run
  bigint m_built = -1; // timestep of the neighbour list that m_edges was built from
  std::vector<std::vector<int64_t>> m_species; // per model, per node
  std::vector<double> m_owner;                 // own atom of every ghost (mode "fold")

  const PairTPaiNN *m_twin = nullptr; // another sub-style with the same model
  bool m_on_gpu = false;              // positions are moved there, not edges
  std::vector<double> m_gradient;
  std::vector<tpainn::Sums> m_sums; // per model
  tpainn::Sums m_mean;              // of a committee
  std::unique_ptr<tpainn::DeviationFile> m_deviation_file;
  std::vector<double> m_model_forces, m_atom_deviation; // eV/Å; the latter for `fix pair`
  int m_deviation_flag = 0;                             // `fix pair` asks by setting this

  int m_threads = 1;
  double m_seconds = 0, m_atom_steps = 0; // since the start of this run
  bool m_announced = false;
};

} // namespace LAMMPS_NS

#endif
