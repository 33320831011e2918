/* SPDX-License-Identifier: GPL-2.0-only

   The part of pair_style tpainn that runs before the first step: arguments, model files, element
   names, ghost mode, threads. What other commands may spoil is in pair_tpainn_checks.cpp. */

#include "nearest_word.h"
#include "pair_tpainn.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "neighbor.h"
#include "update.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <thread>

using namespace LAMMPS_NS;
using tpainn::Ghosts;

static constexpr double COINCIDENCE = 1e-3; // Å

void PairTPaiNN::settings(int narg, char **arg) {
  if (strcmp(update->unit_style, "lj") == 0)
    error->all(FLERR,
               "pair_style tpainn works in physical units: use units metal, real, ..., not lj");
  std::string problem;
  try {
    m_options = tpainn::parse_options({arg, arg + narg});
  } catch (const std::exception &e) {
    problem = e.what();
  }
  if (!problem.empty()) error->all(FLERR, problem);
  ghostneigh = m_options.ghosts == Ghosts::extended; // hybrid reads it right after this call
  m_deviation_file.reset();
  if (m_options.deviation_every)
    m_deviation_file = std::make_unique<tpainn::DeviationFile>(m_options.deviation_file);
}

void PairTPaiNN::allocate() {
  const int n = atom->ntypes + 1;
  if (!allocated) {
    memory->create(setflag, n, n, "pair:setflag");
    memory->create(cutsq, n, n, "pair:cutsq");
    memory->create(cutghost, n, n, "pair:cutghost");
  }
  allocated = 1;
  for (int i = 1; i < n; ++i)
    for (int j = 1; j < n; ++j) setflag[i][j] = 0;
}

static bool ends_with(const std::string &text, const std::string &end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

void PairTPaiNN::coeff(int narg, char **arg) {
  if (narg < 3 || strcmp(arg[0], "*") != 0 || strcmp(arg[1], "*") != 0)
    error->all(FLERR, "pair_coeff of tpainn: expected \"pair_coeff * * MODEL.pt ELEMENT ...\"");
  std::vector<std::string> files, symbols;
  for (int k = 2; k < narg; ++k) {
    const std::string word = arg[k];
    const bool is_file =
        symbols.empty() && (ends_with(word, ".pt") || word.find('/') != word.npos ||
                            word.find('.') != word.npos || k == 2);
    (is_file ? files : symbols).push_back(word);
  }
  for (const auto &file : files) {
    if (ends_with(file, ".pt")) continue;
    const size_t slash = file.rfind('/'), start = slash == file.npos ? 0 : slash + 1;
    const std::string stem = file.substr(start, file.find('.', start) - start);
    error->all(FLERR,
               "pair_coeff of tpainn: \"{}\" is not an exported model (.pt); write one with: "
               "tpainn export {} {}.pt",
               file, file, stem);
  }
  if (static_cast<int>(symbols.size()) != atom->ntypes)
    error->all(FLERR,
               "pair_coeff of tpainn: there are {} atom types, so {} element names must follow "
               "the model file, not {}",
               atom->ntypes, atom->ntypes, symbols.size());
  allocate();
  load_models(files);
  map_elements(symbols);
}

void PairTPaiNN::load_models(const std::vector<std::string> &files) {
  MPI_Comm node;
  int local_rank;
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
  MPI_Comm_rank(node, &local_rank);
  MPI_Comm_free(&node);
  std::string problem;
  m_models.clear();
  m_sums.clear();
  m_built = -1;
  m_announced = false;
  try {
    const std::string device = tpainn::choose_device(m_options.device, local_rank);
    for (const auto &file : files) m_models.emplace_back(file, device, m_options.device == "auto");
  } catch (const std::exception &e) {
    problem = std::string("pair_style tpainn: ") + e.what();
  }
  stop_together(problem); // a file may be missing on one node only
}

void PairTPaiNN::map_elements(const std::vector<std::string> &symbols) {
  const int ntypes = atom->ntypes;
  m_symbols = symbols;
  m_takes_part.assign(ntypes + 1, false);
  for (int t = 1; t <= ntypes; ++t) {
    const std::string &symbol = symbols[t - 1];
    if (symbol == "NULL") {
      if (force->pair == this)
        error->all(FLERR,
                   "pair_coeff of tpainn: NULL for atom type {}: these atoms would feel no "
                   "force; NULL is for pair_style hybrid only",
                   t);
      continue;
    }
    for (const auto &model : m_models) {
      const auto &known = model.info().elements;
      if (std::find(known.begin(), known.end(), symbol) == known.end())
        error->all(FLERR,
                   "pair_coeff of tpainn: \"{}\" does not know the element \"{}\" of atom type "
                   "{}{}; it knows {}",
                   model.info().path, symbol, t, tpainn::did_you_mean(symbol, known),
                   tpainn::join(known));
    }
    m_takes_part[t] = true;
  }
  int count = 0;
  for (int i = 1; i <= ntypes; ++i)
    for (int j = i; j <= ntypes; ++j)
      if (m_takes_part[i] && m_takes_part[j]) {
        setflag[i][j] = 1;
        ++count;
      }
  if (!count) error->all(FLERR, "pair_coeff of tpainn: every atom type is NULL");
}

void PairTPaiNN::init_style() {
  if (m_models.empty()) error->all(FLERR, "pair_style tpainn: no pair_coeff command gives a model");
  if (!atom->tag_enable) error->all(FLERR, "pair_style tpainn needs atom IDs");
  check_levels_of_theory();
  check_masses();
  check_students();
  find_twin();
  check_special_bonds();
  check_bonded_styles();
  check_exclusions();
  if (m_deviation_file && m_models.size() < 2)
    error->all(FLERR, "pair_style tpainn: deviation needs a committee: give several model files to "
                      "pair_coeff");
  std::string reason;
  m_mode = choose_mode(reason);
  reserve_comm();
  set_threads();
  set_range();
  // the variable runs the path of GPUs on the CPU, so that it is tested everywhere
  m_on_gpu = getenv("TPAINN_GPU_PATH") != nullptr;
  for (const auto &model : m_models) m_on_gpu = m_on_gpu || model.info().device != "cpu";
  neighbor->add_request(this, m_mode == Ghosts::extended
                                  ? NeighConst::REQ_FULL | NeighConst::REQ_GHOST
                                  : NeighConst::REQ_FULL);
  m_built = -1;
  m_seconds = m_atom_steps = 0;
  if (!m_announced) announce(reason);
  m_announced = true;
}

void PairTPaiNN::announce(const std::string &reason) {
  if (comm->me != 0) return;
  for (const auto &model : m_models) {
    const auto &info = model.info();
    utils::logmesg(lmp,
                   "pair_style tpainn: {} ({}, {}, {} kernel, cut-off {} Å, {} blocks x {} "
                   "channels)\n",
                   info.path, info.name, info.dtype, info.kernel, info.cutoff, info.n_blocks,
                   info.n_features);
  }
  utils::logmesg(lmp, "pair_style tpainn: ghosts {} ({}), device {}, {} thread(s) per rank\n",
                 tpainn::name_of(m_mode), reason, m_models[0].info().device, m_threads);
}

Ghosts PairTPaiNN::choose_mode(std::string &reason) {
  Ghosts mode = m_options.ghosts;
  reason = "as asked for";
  if (mode == Ghosts::automatic) {
    mode = comm->nprocs == 1 ? Ghosts::fold : Ghosts::exchange;
    reason = comm->nprocs == 1 ? "one rank: images are folded on their owners"
                               : "several ranks: states of ghosts are communicated";
  }
  if (mode == Ghosts::fold && comm->nprocs > 1)
    error->all(FLERR,
               "pair_style tpainn: ghosts fold works on one MPI rank, here are {}; use ghosts "
               "auto",
               comm->nprocs);
  if (mode != Ghosts::fold && !force->newton_pair)
    error->all(FLERR, "pair_style tpainn: ghosts {} needs newton pair on", tpainn::name_of(mode));
  if (mode == Ghosts::extended) {
    if (comm->mode != Comm::SINGLE)
      error->all(FLERR, "pair_style tpainn: ghosts extended needs comm_modify mode single");
    const double shell = n_blocks() * cutoff() * angstrom() + neighbor->skin;
    comm->cutghostuser = std::max(comm->cutghostuser, shell);
    reason += fmt::format(", a ghost shell of {} x cut-off", n_blocks());
  }
  return mode;
}

// libtorch would take all cores for every rank. OMP_NUM_THREADS and "package omp" decide; without
// them, the ranks of a node share its cores.
void PairTPaiNN::set_threads() {
  int wanted = comm->nthreads > 1 ? comm->nthreads : 0;
  if (!wanted && !getenv("OMP_NUM_THREADS") && comm->nprocs > 1) {
    MPI_Comm node;
    int ranks;
    MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    MPI_Comm_size(node, &ranks);
    MPI_Comm_free(&node);
    wanted = std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / ranks);
  }
  m_threads = tpainn::set_threads(wanted);
}

void PairTPaiNN::set_range() {
  const int n = atom->ntypes;
  std::vector<double> limits((n + 1) * (n + 1), 0.0);
  if (m_options.range != tpainn::Range::off)
    for (int i = 1; i <= n; ++i)
      for (int j = 1; j <= n; ++j)
        for (const auto &model : m_models) {
          const auto found = model.info().shortest.find({m_symbols[i - 1], m_symbols[j - 1]});
          if (found == model.info().shortest.end()) continue;
          double &limit = limits[i * (n + 1) + j];
          limit = std::max(limit, found->second * angstrom());
        }
  m_range.set_limits(n, limits, COINCIDENCE * angstrom());
  m_reported.clear();
}

void PairTPaiNN::reserve_comm() {
  size_t bytes = 8;
  for (const auto &model : m_models) bytes = std::max(bytes, model.info().state_bytes());
  const int width =
      std::max(tpainn::GhostComm::width(bytes), 3 * static_cast<int>(m_models.size()));
  // LAMMPS sizes its buffers by the flags of the top-level style, after this call
  for (Pair *pair : {static_cast<Pair *>(this), force->pair}) {
    pair->comm_forward = std::max(pair->comm_forward, width);
    pair->comm_reverse = std::max(pair->comm_reverse, width);
  }
}

double PairTPaiNN::init_one(int i, int j) {
  if (setflag[i][j] == 0) error->all(FLERR, "All pair coeffs are not set");
  cutghost[i][j] = cutghost[j][i] = cutoff() * angstrom();
  return cutoff() * angstrom();
}
