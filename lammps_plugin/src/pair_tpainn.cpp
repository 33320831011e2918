/* SPDX-License-Identifier: GPL-2.0-only

   pair_style tpainn: see pair_tpainn.h, and docs/pair_tpainn.md for the users' side. */

#include "pair_tpainn.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "exceptions.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <sys/resource.h>

using namespace LAMMPS_NS;
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
  comm_forward = comm_reverse = 1; // grows with the model, see reserve_comm()
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

int PairTPaiNN::n_blocks() const {
  int largest = 0;
  for (const auto &model : m_models) largest = std::max(largest, model.info().n_blocks);
  return largest;
}

void PairTPaiNN::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  const double start = platform::walltime();
  std::string problem;
  try {
    if (neighbor->ago == 0 || m_built != neighbor->lastcall) rebuild_graph();
    evaluate();
  } catch (const LAMMPSException &) {
    throw;
  } catch (const std::exception &e) {
    problem = std::string("pair_style tpainn: ") + e.what();
  }
  // of this rank alone: another may be waiting for its ghosts, and cannot be asked
  if (!problem.empty()) error->one(FLERR, problem);
  m_seconds += platform::walltime() - start;
  m_atom_steps += static_cast<double>(m_edges.n_own());
}

// The closing line of a run.
void PairTPaiNN::finish() {
  struct rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  double sums[2]{m_seconds, m_atom_steps}, peak = static_cast<double>(usage.ru_maxrss);
  MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_DOUBLE, MPI_SUM, world);
  MPI_Allreduce(MPI_IN_PLACE, &peak, 1, MPI_DOUBLE, MPI_MAX, world);
  if (comm->me == 0 && sums[1] > 0)
    utils::logmesg(lmp,
                   "\npair_style tpainn: {:.4g} us/atom/step on {} rank(s) x {} thread(s), ghosts "
                   "{}, device {}, peak memory {:.0f} MB per rank\n",
                   1e6 * sums[0] / comm->nprocs / sums[1], comm->nprocs, m_threads,
                   tpainn::name_of(m_mode), m_models[0].info().device, peak / 1024);
  m_seconds = m_atom_steps = 0;
}

void PairTPaiNN::rebuild_graph() {
  const int nlocal = atom->nlocal, nall = nlocal + atom->nghost;
  if (m_mode == Ghosts::fold) {
    // the owners of images come the way their coordinates come: no atom map is needed
    m_owner.resize(nall);
    for (int i = 0; i < nlocal; ++i) m_owner[i] = i;
    m_ghosts.forward_atoms(m_owner.data(), 1);
  }
  const double *owner = m_mode == Ghosts::fold ? m_owner.data() + nlocal : nullptr;
  const double reach = cutoff() * angstrom() + neighbor->skin;
  m_edges.rebuild(list, m_mode, nlocal, nall, atom->x, reach, atom->type, m_takes_part, owner,
                  n_blocks());
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
    if (m_on_gpu) m_models[m].set_candidates(m_edges.candidates(m_mode), m_species[m].data());
  }
  m_built = neighbor->lastcall;
}

void PairTPaiNN::evaluate() {
  std::string problem;
  // with a GPU, the edges are made there; the processor looks at them for the range only
  if (!m_on_gpu || neighbor->ago == 0 || eflag_global) {
    m_edges.update(atom->x, atom->type, angstrom(), cutoff(), m_range);
    problem = check_range();
  }
  m_sums.resize(m_models.size());
  for (size_t m = 0; m < m_models.size(); ++m) evaluate_model(m);
  const bool committee = m_models.size() > 1;
  if (committee) average();
  const bool finite = add_forces(committee ? m_mean : m_sums[0]);
  if (!finite && problem.empty())
    problem = fmt::format(
        "pair_style tpainn: forces are not finite at step {}: atoms are on top of each "
        "other or the simulation exploded; check the start structure and the time step",
        update->ntimestep);
  stop_together(problem); // before anything is written
  tally(committee ? m_mean : m_sums[0]);
  const bool write = m_deviation_file && update->ntimestep % m_options.deviation_every == 0;
  if (committee && (write || m_deviation_flag)) compute_deviation(write);
}

void PairTPaiNN::evaluate_model(size_t m) {
  tpainn::StateExchange *exchange = m_mode == Ghosts::exchange ? &m_ghosts : nullptr;
  const bool per_atom_virial = vflag_atom || cvflag_atom;
  if (m_on_gpu) {
    const int nall = atom->nlocal + atom->nghost;
    m_models[m].evaluate_positions(nall ? atom->x[0] : nullptr, nall, angstrom(), exchange,
                                   per_atom_virial, m_sums[m]);
    return;
  }
  if (twin_knows()) {
    m_sums[m].energies = m_twin->m_sums[0].energies;
    m_gradient = m_twin->m_gradient;
    m_edges.add_up(m_gradient, per_atom_virial, m_sums[m]);
    return;
  }
  Graph graph;
  graph.n_centre = m_edges.candidates(m_mode).n_centre;
  graph.n_node = m_edges.n_node();
  graph.n_edge = m_edges.n_edge();
  graph.species = m_species[m].data();
  graph.centre = m_edges.centre.data();
  graph.neighbour = m_edges.neighbour.data();
  graph.edge_vec = m_edges.edge_vec.data();
  m_models[m].evaluate(graph, m_edges.n_own(), exchange, m_sums[m].energies, m_gradient);
  m_edges.add_up(m_gradient, per_atom_virial, m_sums[m]);
}

// Has the other sub-style just evaluated the same model on the same edges? On all ranks, as the
// model may wait for the states of ghosts.
bool PairTPaiNN::twin_knows() const {
  if (!m_twin || m_twin->m_sums.size() != 1) return false;
  int same = m_species == m_twin->m_species && m_edges.same_as(m_twin->m_edges) &&
             m_twin->m_gradient.size() >= static_cast<size_t>(3 * m_edges.n_edge()) &&
             static_cast<int64_t>(m_twin->m_sums[0].energies.size()) == m_edges.n_own();
  if (comm->nprocs > 1) MPI_Allreduce(MPI_IN_PLACE, &same, 1, MPI_INT, MPI_MIN, world);
  return same != 0;
}

void PairTPaiNN::average() {
  for (auto part : {&tpainn::Sums::energies, &tpainn::Sums::forces, &tpainn::Sums::virial,
                    &tpainn::Sums::virials}) {
    std::vector<double> &mean = m_mean.*part;
    mean.assign((m_sums[0].*part).size(), 0.0);
    for (const auto &sums : m_sums)
      for (size_t k = 0; k < mean.size(); ++k)
        mean[k] += (sums.*part)[k] / static_cast<double>(m_sums.size());
  }
}

std::string PairTPaiNN::name_pair(const tpainn::RangeGuard::Pair &pair) const {
  const int i = pair.first, j = pair.second;
  return fmt::format("pair_style tpainn: atoms {} ({}) and {} ({})", atom->tag[i],
                     m_symbols[atom->type[i] - 1], atom->tag[j], m_symbols[atom->type[j] - 1]);
}

// What is to end the run, if anything; less than that is warned of here: every pair once.
std::string PairTPaiNN::check_range() {
  static constexpr size_t MAX_WARNINGS = 10;
  for (const auto &pair : m_range.closest_first()) {
    if (pair.coincident)
      return fmt::format("{} are on top of each other at step {}", name_pair(pair),
                         update->ntimestep);
    const auto message = fmt::format(
        "{} are {:.3f} Å apart at step {}, closer than any such pair in the training set ({:.3f} Å)",
        name_pair(pair), pair.distance / angstrom(), update->ntimestep, pair.limit / angstrom());
    if (m_options.range == tpainn::Range::stop) return message;
    if (m_reported.size() >= MAX_WARNINGS) break;
    const std::pair<tagint, tagint> tags =
        std::minmax(atom->tag[pair.first], atom->tag[pair.second]);
    if (!m_reported.insert(tags).second) continue;
    const bool last = m_reported.size() == MAX_WARNINGS;
    error->warning(FLERR, message + (last ? "; no more such warnings" : ""));
  }
  return "";
}

// End on all ranks with the message of the first that has one. What a single rank writes before
// MPI_Abort can be lost on its way through mpiexec.
void PairTPaiNN::stop_together(std::string problem) {
  int first, mine = problem.empty() ? comm->nprocs : comm->me;
  MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, world);
  if (first == comm->nprocs) return;
  int length = static_cast<int>(problem.size());
  MPI_Bcast(&length, 1, MPI_INT, first, world);
  problem.resize(length);
  MPI_Bcast(&problem[0], length, MPI_CHAR, first, world);
  error->all(FLERR, problem);
}

// Forces of every model on every own atom, summed over ranks, and their spread.
void PairTPaiNN::compute_deviation(bool write) {
  const int n_models = static_cast<int>(m_models.size()), width = 3 * n_models;
  const int nlocal = atom->nlocal, nall = nlocal + atom->nghost;
  m_model_forces.assign(static_cast<size_t>(nall) * width, 0.0);
  std::vector<tpainn::Virial> virials(n_models);
  for (int m = 0; m < n_models; ++m) {
    std::copy_n(m_sums[m].virial.begin(), 9, virials[m].begin());
    for (int64_t node = 0; node < m_edges.n_node(); ++node)
      std::copy_n(&m_sums[m].forces[3 * node], 3,
                  &m_model_forces[m_edges.atom_of[node] * width + 3 * m]);
  }
  if (m_mode != Ghosts::fold) m_ghosts.reverse_atoms(m_model_forces.data(), width);
  m_atom_deviation.resize(atom->nmax);
  tpainn::force_deviation(m_model_forces.data(), n_models, nlocal, m_atom_deviation.data());
  if (!write) return;
  std::vector<double> own(m_edges.n_own());
  for (size_t k = 0; k < own.size(); ++k) own[k] = m_atom_deviation[m_edges.atom_of[k]];
  m_deviation_file->write(update->ntimestep, own, virials, world);
}

void *PairTPaiNN::extract(const char *name, int &dim) {
  dim = 0;
  if (strcmp(name, "deviation_flag") == 0) return &m_deviation_flag;
  return nullptr;
}

// fix ID all pair N tpainn deviation 1
void *PairTPaiNN::extract_peratom(const char *name, int &ncol) {
  if (strcmp(name, "deviation") != 0 || m_models.size() < 2) return nullptr;
  ncol = 0;
  if (m_atom_deviation.size() < static_cast<size_t>(atom->nmax))
    m_atom_deviation.resize(atom->nmax);
  return m_atom_deviation.data();
}

// Are they all finite?
bool PairTPaiNN::add_forces(const tpainn::Sums &sums) {
  const double unit = ev() / angstrom();
  double total = 0;
  for (int64_t node = 0; node < m_edges.n_node(); ++node) {
    double *f = atom->f[m_edges.atom_of[node]];
    for (int k = 0; k < 3; ++k) {
      f[k] += unit * sums.forces[3 * node + k];
      total += sums.forces[3 * node + k];
    }
  }
  return std::isfinite(total);
}

// Tensors arrive as xx xy xz yx yy yz zx zy zz. LAMMPS wants xx yy zz xy xz yz, and for centroids
// yx zx zy behind these; the first index is that of the position.
static void add_symmetric(double *sum, const double *w, double unit) {
  static constexpr int UPPER[6]{0, 4, 8, 1, 2, 5}, LOWER[6]{0, 4, 8, 3, 6, 7};
  for (int k = 0; k < 6; ++k) sum[k] += 0.5 * unit * (w[UPPER[k]] + w[LOWER[k]]);
}

static void add_full(double *sum, const double *w, double unit) {
  static constexpr int ORDER[9]{0, 4, 8, 1, 2, 5, 3, 6, 7};
  for (int k = 0; k < 9; ++k) sum[k] += unit * w[ORDER[k]];
}

void PairTPaiNN::tally(const tpainn::Sums &sums) {
  const double unit = ev();
  if (eflag_global)
    for (const double e : sums.energies) eng_vdwl += e * unit;
  if (eflag_atom)
    for (size_t k = 0; k < sums.energies.size(); ++k)
      eatom[m_edges.atom_of[k]] += sums.energies[k] * unit;
  if (vflag_global) add_symmetric(virial, sums.virial.data(), unit);
  if (!vflag_atom && !cvflag_atom) return;
  for (int64_t node = 0; node < m_edges.n_node(); ++node) {
    const int i = m_edges.atom_of[node];
    if (vflag_atom) add_symmetric(vatom[i], &sums.virials[9 * node], unit);
    if (cvflag_atom) add_full(cvatom[i], &sums.virials[9 * node], unit);
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
