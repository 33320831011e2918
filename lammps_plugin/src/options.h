/* SPDX-License-Identifier: GPL-2.0-only

   The arguments of pair_style tpainn:

     pair_style tpainn [device auto|cpu|cuda|cuda:N] [ghosts auto|fold|exchange|extended]
                       [deviation N FILE] [range warn|stop|off] [levels same|any]

   Unknown words are refused with the nearest known one, never ignored. */

#ifndef TPAINN_OPTIONS_H
#define TPAINN_OPTIONS_H

#include <string>
#include <vector>

namespace tpainn {

// How neighbours that are not this rank's own get their states.
enum class Ghosts {
  automatic,
  fold,     // one rank: ghosts are images of own atoms
  exchange, // states of ghosts are communicated between the blocks
  extended  // ghosts are computed, in a shell of blocks x cut-off
};

// What happens when two atoms are closer than any such pair in the training set.
enum class Range { warn, stop, off };

// Whether the models of a committee may be of different levels of theory.
enum class Levels { same, any };

struct Options {
  std::string device = "auto";
  Ghosts ghosts = Ghosts::automatic;
  Range range = Range::warn;
  Levels levels = Levels::same;
  int deviation_every = 0; // 0: no deviation file
  std::string deviation_file;
};

// Throws std::invalid_argument with a one-line message.
Options parse_options(const std::vector<std::string> &words);

const char *name_of(Ghosts mode);

} // namespace tpainn

#endif
