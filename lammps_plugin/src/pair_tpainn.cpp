/* SPDX-License-Identifier: GPL-2.0-only

   pair_style tpainn: see pair_tpainn.h, and docs/pair_tpainn.md for the users' side. */

#include "pair_tpainn.h"
#include "nearest_word.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace LAMMPS_NS;
using tpainn::ExportedModel;
using tpainn::Ghosts;
using tpainn::Graph;

// LAMMPS' own constant of "units metal": there, one eV is exactly one
static constexpr double METAL_BOLTZ = 8.617343e-5;

PairTPaiNN::PairTPaiNN(LAMMPS *lmp) : Pair(lmp), m_ghosts(this, comm) {
  single_enable = 0;
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  writedata = 0;
  // Forces of images are added to their owners here, so that LAMMPS' sum of x*f over ghosts would
  // give a wrong virial, and silently so under hybrid/overlay.
  no_virial_fdotr_compute = 1;
  centroidstressflag = CENTROID_AVAIL;
  comm_forward = comm_reverse = comm_reverse_off = 1; // grows with the model, see reserve_comm()
}

PairTPaiNN::~PairTPaiNN() {
  if (!allocated || copymode) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
  memory->destroy(cutghost);
}

double PairTPaiNN::ev() const { return force->boltz / METAL_BOLTZ; }
double PairTPaiNN::angstrom() const { return force->angstrom; }

double PairTPaiNN::cutoff() const {
  double largest = 0;
  for (const auto &model : m_models) largest = std::max(largest, model.info().cutoff);
  return largest;
}

void PairTPaiNN::settings(int narg, char **arg) {
  if (strcmp(update->unit_style, "lj") == 0)
    error->all(FLERR, "pair_style tpainn works in physical units: use units metal, real, ..., not lj");
  std::string problem;
  try {
    m_options = tpainn::parse_options({arg, arg + narg});
  } catch (const std::exception &e) {
    problem = e.what();
  }
  if (!problem.empty()) error->all(FLERR, problem);
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
    const bool is_file = symbols.empty() && (ends_with(word, ".pt") || word.find('/') != word.npos ||
                                             word.find('.') != word.npos || k == 2);
    (is_file ? files : symbols).push_back(word);
  }
  for (const auto &file : files) {
    if (ends_with(file, ".pt")) continue;
    const size_t slash = file.rfind('/'), start = slash == file.npos ? 0 : slash + 1;
    const std::string stem = file.substr(start, file.find('.', start) - start);
    error->all(FLERR, "pair_coeff of tpainn: \"{}\" is not an exported model (.pt); write one with: "
                      "tpainn export {} {}.pt", file, file, stem);
  }
  if (static_cast<int>(symbols.size()) != atom->ntypes)
    error->all(FLERR, "pair_coeff of tpainn: there are {} atom types, so {} element names must follow "
                      "the model file, not {}", atom->ntypes, atom->ntypes, symbols.size());
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
  m_built = -1;
  m_announced = false;
  try {
    const std::string device = tpainn::choose_device(m_options.device, local_rank);
    for (const auto &file : files) m_models.emplace_back(file, device);
  } catch (const std::exception &e) {
    problem = std::string("pair_style tpainn: ") + e.what();
  }
  // a file may be missing on one node only: then nobody may go on
  int failed = !problem.empty(), all_failed, any_failed;
  MPI_Allreduce(&failed, &all_failed, 1, MPI_INT, MPI_MIN, world);
  MPI_Allreduce(&failed, &any_failed, 1, MPI_INT, MPI_MAX, world);
  if (all_failed) error->all(FLERR, problem);
  if (failed) error->one(FLERR, problem);
  if (any_failed) MPI_Barrier(world); // error->one() of another rank ends this one
}

void PairTPaiNN::map_elements(const std::vector<std::string> &symbols) {
  const int ntypes = atom->ntypes;
  m_symbols = symbols;
  m_takes_part.assign(ntypes + 1, false);
  for (int t = 1; t <= ntypes; ++t) {
    const std::string &symbol = symbols[t - 1];
    if (symbol == "NULL") {
      if (force->pair == this)
        error->all(FLERR, "pair_coeff of tpainn: NULL for atom type {}: these atoms would feel no "
                          "force; NULL is for pair_style hybrid only", t);
      continue;
    }
    for (const auto &model : m_models) {
      const auto &known = model.info().elements;
      if (std::find(known.begin(), known.end(), symbol) == known.end())
        error->all(FLERR, "pair_coeff of tpainn: \"{}\" does not know the element \"{}\" of atom type "
                          "{}{}; it knows {}", model.info().path, symbol, t,
                   tpainn::did_you_mean(symbol, known), tpainn::join(known));
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
  check_special_bonds();
  if (neighbor->exclude)
    error->warning(FLERR, "pair_style tpainn: neigh_modify exclude hides atoms from the model");
  m_mode = choose_mode();
  reserve_comm();
  neighbor->add_request(this, NeighConst::REQ_FULL);
  m_built = -1;
  if (m_announced || comm->me != 0) return;
  m_announced = true;
  for (const auto &model : m_models) {
    const auto &info = model.info();
    utils::logmesg(lmp, "pair_style tpainn: {} ({}, {}, cut-off {} Å, {} blocks x {} channels)\n",
                   info.path, info.name, info.dtype, info.cutoff, info.n_blocks, info.n_features);
  }
  utils::logmesg(lmp, "pair_style tpainn: ghosts {} ({})\n", tpainn::name_of(m_mode),
                 comm->nprocs == 1 ? "one rank" : "several ranks");
}

Ghosts PairTPaiNN::choose_mode() {
  if (comm->nprocs > 1)
    error->all(FLERR, "pair_style tpainn runs on one MPI rank for now; use OMP_NUM_THREADS for more "
                      "cores");
  return Ghosts::fold;
}

// Bonded atoms are neighbours like any others here, but LAMMPS leaves them out of the lists when
// their special_bonds factors are zero, which is the default.
void PairTPaiNN::check_special_bonds() {
  if (atom->molecular == Atom::ATOMIC || !atom->nspecial) return;
  bigint hidden = 0, all_hidden;
  for (int i = 0; i < atom->nlocal; ++i)
    for (int k = 1; k <= 3; ++k)
      if (force->special_lj[k] == 0.0 && force->special_coul[k] == 0.0)
        hidden += atom->nspecial[i][k - 1] - (k > 1 ? atom->nspecial[i][k - 2] : 0);
  MPI_Allreduce(&hidden, &all_hidden, 1, MPI_LMP_BIGINT, MPI_SUM, world);
  if (all_hidden)
    error->all(FLERR, "pair_style tpainn: special_bonds hides {} bonded pairs from the neighbor list; "
                      "use: special_bonds lj/coul 1 1 1 (or remove the bonds)", all_hidden / 2);
}

void PairTPaiNN::reserve_comm() {
  size_t bytes = 8;
  for (const auto &model : m_models) bytes = std::max(bytes, model.info().state_bytes());
  const int width = tpainn::GhostComm::width(bytes);
  // LAMMPS sizes its buffers by the flags of the top-level style, after this call
  for (Pair *pair : {static_cast<Pair *>(this), force->pair}) {
    pair->comm_forward = std::max(pair->comm_forward, width);
    pair->comm_reverse = std::max(pair->comm_reverse, width);
    pair->comm_reverse_off = std::max(pair->comm_reverse_off, width);
  }
}

double PairTPaiNN::init_one(int i, int j) {
  if (setflag[i][j] == 0) error->all(FLERR, "All pair coeffs are not set");
  cutghost[i][j] = cutghost[j][i] = cutoff() * angstrom();
  return cutoff() * angstrom();
}

void PairTPaiNN::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  std::string problem;
  try {
    if (neighbor->ago == 0 || m_built != neighbor->lastcall) rebuild_graph();
    evaluate();
  } catch (const LAMMPSException &) {
    throw;
  } catch (const std::exception &e) {
    problem = std::string("pair_style tpainn: ") + e.what();
  }
  if (!problem.empty()) error->one(FLERR, problem);
}

void PairTPaiNN::rebuild_graph() {
  const int nlocal = atom->nlocal, nall = nlocal + atom->nghost;
  if (m_mode == Ghosts::fold) {
    // the owners of images come the way their coordinates come: no atom map is needed
    m_owner.resize(nall);
    for (int i = 0; i < nlocal; ++i) m_owner[i] = i;
    m_ghosts.forward_atoms(m_owner.data(), 1);
  }
  int n_blocks = 0;
  for (const auto &model : m_models) n_blocks = std::max(n_blocks, model.info().n_blocks);
  m_edges.rebuild(list, m_mode, nlocal, nall, atom->type, m_takes_part, m_owner.data() + nlocal,
                  n_blocks);
  m_ghosts.set_nodes(&m_edges.atom_of, nall);
  m_species.resize(m_models.size());
  for (size_t m = 0; m < m_models.size(); ++m) {
    const auto &known = m_models[m].info().elements;
    std::vector<int64_t> of_type(m_symbols.size() + 1);
    for (size_t t = 0; t < m_symbols.size(); ++t)
      of_type[t + 1] = std::find(known.begin(), known.end(), m_symbols[t]) - known.begin();
    m_species[m].resize(m_edges.n_node());
    for (int64_t k = 0; k < m_edges.n_node(); ++k)
      m_species[m][k] = of_type[atom->type[m_edges.atom_of[k]]];
  }
  m_built = neighbor->lastcall;
}

void PairTPaiNN::evaluate() {
  m_edges.update(atom->x, angstrom(), cutoff());
  Graph graph;
  graph.n_centre = m_mode == Ghosts::exchange ? m_edges.n_own() : m_edges.n_node();
  graph.n_node = m_edges.n_node();
  graph.n_edge = m_edges.n_edge();
  graph.centre = m_edges.centre.data();
  graph.neighbour = m_edges.neighbour.data();
  graph.edge_vec = m_edges.edge_vec.data();
  graph.species = m_species[0].data();
  m_models[0].evaluate(graph, m_edges.n_own(), m_mode == Ghosts::exchange ? &m_ghosts : nullptr,
                       m_energies, m_gradient);
  add_forces(m_gradient);
  tally(m_energies, m_gradient);
}

void PairTPaiNN::add_forces(const std::vector<double> &gradient) {
  double **f = atom->f;
  const double unit = ev() / angstrom();
  double sum = 0;
  for (int64_t e = 0; e < m_edges.n_edge(); ++e) {
    double *centre = f[m_edges.atom_of[m_edges.centre[e]]];
    double *neighbour = f[m_edges.atom_of[m_edges.neighbour[e]]];
    for (int k = 0; k < 3; ++k) {
      const double g = gradient[3 * e + k] * unit;
      centre[k] += g;
      neighbour[k] -= g;
      sum += g;
    }
  }
  if (!std::isfinite(sum))
    error->one(FLERR, "pair_style tpainn: forces are not finite at step {}: atoms are on top of each "
                      "other or the simulation exploded; check the start structure and the time step",
               update->ntimestep);
}

void PairTPaiNN::tally(const std::vector<double> &energies, const std::vector<double> &gradient) {
  const double unit = ev();
  if (eflag_global)
    for (const double e : energies) eng_vdwl += e * unit;
  if (eflag_atom)
    for (size_t k = 0; k < energies.size(); ++k) eatom[m_edges.atom_of[k]] += energies[k] * unit;
  if (!vflag_either) return;
  for (int64_t e = 0; e < m_edges.n_edge(); ++e) {
    const double *r = &m_edges.edge_vec[3 * e], *g = &gradient[3 * e];
    double w[3][3]; // position x force of this edge; it belongs to its two atoms by halves
    for (int a = 0; a < 3; ++a)
      for (int b = 0; b < 3; ++b) w[a][b] = -unit * r[a] * g[b];
    const double symmetric[6]{w[0][0],
                              w[1][1],
                              w[2][2],
                              0.5 * (w[0][1] + w[1][0]),
                              0.5 * (w[0][2] + w[2][0]),
                              0.5 * (w[1][2] + w[2][1])};
    if (vflag_global)
      for (int k = 0; k < 6; ++k) virial[k] += symmetric[k];
    if (!vflag_atom && !cvflag_atom) continue;
    for (const int64_t node : {m_edges.centre[e], m_edges.neighbour[e]}) {
      const int i = m_edges.atom_of[node];
      if (vflag_atom)
        for (int k = 0; k < 6; ++k) vatom[i][k] += 0.5 * symmetric[k];
      if (cvflag_atom) {
        const double full[9]{w[0][0], w[1][1], w[2][2], w[0][1], w[0][2],
                             w[1][2], w[1][0], w[2][0], w[2][1]};
        for (int k = 0; k < 9; ++k) cvatom[i][k] += 0.5 * full[k];
      }
    }
  }
}

int PairTPaiNN::pack_forward_comm(int n, int *list, double *buffer, int, int *) {
  return m_ghosts.pack_forward(n, list, buffer);
}

void PairTPaiNN::unpack_forward_comm(int n, int first, double *buffer) {
  m_ghosts.unpack_forward(n, first, buffer);
}

int PairTPaiNN::pack_reverse_comm(int n, int first, double *buffer) {
  return m_ghosts.pack_reverse(n, first, buffer);
}

void PairTPaiNN::unpack_reverse_comm(int n, int *list, double *buffer) {
  m_ghosts.unpack_reverse(n, list, buffer);
}

double PairTPaiNN::memory_usage() {
  return Pair::memory_usage() + m_edges.memory_usage() + m_ghosts.memory_usage();
}
