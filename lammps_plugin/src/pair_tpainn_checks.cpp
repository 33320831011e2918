/* SPDX-License-Identifier: GPL-2.0-only

   What other commands of an input may do to a model without a word: hide its atoms, add energy that
   it has already, exchange its elements. All of it is refused before the first step. */

#include "pair_tpainn.h"

#include "angle.h"
#include "atom.h"
#include "bond.h"
#include "comm.h"
#include "dihedral.h"
#include "error.h"
#include "force.h"
#include "group.h"
#include "improper.h"
#include "neighbor.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace LAMMPS_NS;

// The mean of unlike quantities is none.
void PairTPaiNN::check_levels_of_theory() {
  if (m_options.levels == tpainn::Levels::any) return;
  for (const auto &model : m_models) {
    const auto &a = m_models[0].info(), &b = model.info();
    if (a.level_of_theory == b.level_of_theory) continue;
    error->all(FLERR,
               "pair_style tpainn: a committee of different levels of theory: \"{}\" is of \"{}\", "
               "\"{}\" of \"{}\"; use models of one level, or pair_style tpainn levels any",
               a.path, a.level_of_theory, b.path, b.level_of_theory);
  }
}

// Masses of the types in another order than the elements of pair_coeff are refused; other masses
// (deuterium, repartitioned hydrogen) are said once.
void PairTPaiNN::check_masses() {
  static constexpr double NEAR = 0.02, FAR = 0.5;
  if (!atom->mass) return; // masses per atom
  std::vector<double> found, expected;
  std::string given, masses, right;
  bool off = false, far = false;
  const auto &elements = m_models[0].info().elements;
  const auto &standard = m_models[0].info().masses;
  const auto mass_of = [&](const std::string &symbol) {
    return standard[std::find(elements.begin(), elements.end(), symbol) - elements.begin()];
  };
  for (int t = 1; t <= atom->ntypes; ++t) {
    if (!m_takes_part[t] || !atom->mass_setflag[t]) continue;
    const double mass = atom->mass[t], should = mass_of(m_symbols[t - 1]);
    found.push_back(mass);
    expected.push_back(should);
    off = off || std::abs(mass / should - 1) > NEAR;
    far = far || std::abs(std::log(mass / should)) > std::log(1 + FAR);
    given += (given.empty() ? "" : " ") + m_symbols[t - 1];
    masses += fmt::format("{}{:.6g}", masses.empty() ? "" : " ", mass);
    std::string nearest = m_symbols[t - 1];
    for (const auto &symbol : m_symbols)
      if (symbol != "NULL" && std::abs(mass_of(symbol) - mass) < std::abs(mass_of(nearest) - mass))
        nearest = symbol;
    right += (right.empty() ? "" : " ") + nearest;
  }
  if (!off) return;
  std::sort(found.begin(), found.end());
  std::sort(expected.begin(), expected.end());
  bool exchanged = true;
  for (size_t k = 0; k < found.size(); ++k)
    exchanged = exchanged && std::abs(found[k] / expected[k] - 1) <= NEAR;
  if (exchanged)
    error->all(FLERR,
               "pair_coeff of tpainn: the elements {} are not in the order of the types, whose "
               "masses are {}; did you mean: {}?",
               given, masses, right);
  if (far && comm->me == 0 && !m_announced)
    error->warning(FLERR,
                   "pair_style tpainn: the elements of pair_coeff are {}, the masses of their types "
                   "{}",
                   given, masses);
}

// The styles of this name in pair_style hybrid, or this one alone.
std::vector<PairTPaiNN *> PairTPaiNN::siblings() {
  std::vector<PairTPaiNN *> found;
  for (int n = 1; Pair *pair = force->pair_match("tpainn", 1, n); ++n) {
    auto *other = dynamic_cast<PairTPaiNN *>(pair);
    // where there is only one, LAMMPS gives it for any number
    if (!other || (!found.empty() && found.back() == other)) break;
    found.push_back(other);
  }
  return found;
}

// With multiple time steps the fast model is wanted twice at the end of every outer step, added in
// one sub-style and taken off in another.
void PairTPaiNN::find_twin() {
  m_twin = nullptr;
  for (const auto *other : siblings())
    if (other != this && m_models.size() == 1 && other->m_models.size() == 1 &&
        other->m_models[0].info().path == m_models[0].info().path && other->m_symbols == m_symbols)
      m_twin = other;
}

// Beside a student in pair_style hybrid (multiple time steps) the other models must be its teacher.
// A student of another model runs, but what it leaves to the outer step is as large as the force.
void PairTPaiNN::check_students() {
  const auto &student = m_models[0].info();
  if (student.teacher.empty() || m_announced || comm->me != 0) return;
  bool first = true;
  for (const auto *other : siblings()) {
    if (other->m_models.empty()) continue;
    if (other == this) first = false;
    if (first && other->m_models[0].info().seal == student.seal) return; // which has said it
    bool fits = false;
    for (const auto &model : other->m_models) {
      const auto &info = model.info();
      fits = fits || info.seal == student.teacher || info.seal == student.seal;
    }
    if (!fits)
      error->warning(FLERR,
                     "pair_style tpainn: \"{}\" is the student of another model than \"{}\"; "
                     "multiple time steps need the model that it was distilled from",
                     student.path, other->m_models[0].info().path);
  }
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
    error->all(FLERR,
               "pair_style tpainn: special_bonds hides {} bonded pairs from the neighbor list; "
               "use: special_bonds lj/coul 1 1 1, and bond_style zero (or remove the bonds)",
               all_hidden / 2);
}

// A bonded style beside the model counts the energy of a bond twice.
void PairTPaiNN::check_bonded_styles() {
  if (atom->molecular != Atom::MOLECULAR) return;
  const auto check = [this](const char *what, bool on, const char *style, const int *count,
                            int *const *type) {
    if (!on || !count || !type || strcmp(style, "zero") == 0) return;
    bigint mine = 0, all;
    for (int i = 0; i < atom->nlocal; ++i)
      if (m_takes_part[atom->type[i]])
        for (int k = 0; k < count[i]; ++k) mine += type[i][k] > 0; // fix shake turns others off
    MPI_Allreduce(&mine, &all, 1, MPI_LMP_BIGINT, MPI_SUM, world);
    if (all)
      error->all(FLERR,
                 "pair_style tpainn: {}_style {} adds energy to {} {}s of atoms of the model, which "
                 "has it already; use: {}_style zero",
                 what, style, all, what, what);
  };
  check("bond", force->bond, force->bond_style, atom->num_bond, atom->bond_type);
  check("angle", force->angle, force->angle_style, atom->num_angle, atom->angle_type);
  check("dihedral", force->dihedral, force->dihedral_style, atom->num_dihedral,
        atom->dihedral_type);
  check("improper", force->improper, force->improper_style, atom->num_improper,
        atom->improper_type);
}

// neigh_modify exclude hides atoms of the model from each other. Its counts are asked: the flag
// `exclude` is set later, when the first run is set up.
void PairTPaiNN::check_exclusions() {
  bool hidden = false;
  for (int k = 0; k < neighbor->nex_type; ++k)
    hidden = hidden ||
             (m_takes_part[neighbor->ex1_type[k]] && m_takes_part[neighbor->ex2_type[k]]);
  const auto in_group = [this](int bit) {
    int mine = 0, any;
    for (int i = 0; i < atom->nlocal; ++i)
      if (m_takes_part[atom->type[i]] && atom->mask[i] & bit) mine = 1;
    MPI_Allreduce(&mine, &any, 1, MPI_INT, MPI_MAX, world);
    return any != 0;
  };
  for (int k = 0; k < neighbor->nex_group; ++k) {
    const bool first = in_group(group->bitmask[neighbor->ex1_group[k]]), second = in_group(group->bitmask[neighbor->ex2_group[k]]);
    hidden = hidden || (first && second);
  }
  for (int k = 0; k < neighbor->nex_mol; ++k) hidden = in_group(group->bitmask[neighbor->ex_mol_group[k]]) || hidden;
  if (hidden)
    error->all(FLERR, "pair_style tpainn: neigh_modify exclude hides atoms of the model from each "
                      "other; use: neigh_modify exclude none");
}
