/* SPDX-License-Identifier: GPL-2.0-only

   Edit distance, for error messages only. */

#include "nearest_word.h"

#include <algorithm>
#include <cctype>

namespace tpainn {

static size_t edit_distance(const std::string &a, const std::string &b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t k = 0; k <= b.size(); ++k) row[k] = k;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t k = 1; k <= b.size(); ++k) {
      const bool same = std::tolower(static_cast<unsigned char>(a[i - 1])) ==
                        std::tolower(static_cast<unsigned char>(b[k - 1]));
      const size_t changed = diagonal + (same ? 0 : 1);
      diagonal = row[k];
      row[k] = std::min({row[k] + 1, row[k - 1] + 1, changed});
    }
  }
  return row[b.size()];
}

std::string did_you_mean(const std::string &word, const std::vector<std::string> &known) {
  size_t best = std::max<size_t>(1, word.size() / 3) + 1;
  std::string nearest;
  for (const auto &candidate : known) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < best) {
      best = distance;
      nearest = candidate;
    }
  }
  return nearest.empty() ? "" : " (did you mean \"" + nearest + "\"?)";
}

std::string join(const std::vector<std::string> &words) {
  std::string line;
  for (const auto &word : words) line += (line.empty() ? "" : ", ") + word;
  return line;
}

} // namespace tpainn
