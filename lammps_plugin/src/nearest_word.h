/* SPDX-License-Identifier: GPL-2.0-only

   "did you mean": the word of a list that is closest to a misspelt one, by edit distance. */

#ifndef TPAINN_NEAREST_WORD_H
#define TPAINN_NEAREST_WORD_H

#include <string>
#include <vector>

namespace tpainn {

// ' (did you mean "x"?)' for an error message, or "" if no word is close
std::string did_you_mean(const std::string &word, const std::vector<std::string> &known);

// "a, b, c"
std::string join(const std::vector<std::string> &words);

} // namespace tpainn

#endif
