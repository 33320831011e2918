/* SPDX-License-Identifier: GPL-2.0-only

   Strict parser of the arguments of pair_style tpainn. */

#include "options.h"
#include "nearest_word.h"

#include <map>
#include <stdexcept>

namespace tpainn {

static const std::map<std::string, Ghosts> GHOSTS{{"auto", Ghosts::automatic},
                                                  {"fold", Ghosts::fold},
                                                  {"exchange", Ghosts::exchange},
                                                  {"extended", Ghosts::extended}};
static const std::map<std::string, Range> RANGE{
    {"warn", Range::warn}, {"stop", Range::stop}, {"off", Range::off}};
static const std::map<std::string, Levels> LEVELS{{"same", Levels::same}, {"any", Levels::any}};

template <typename Value>
static Value choose(const std::map<std::string, Value> &known, const std::string &keyword,
                    const std::string &word) {
  const auto found = known.find(word);
  if (found != known.end()) return found->second;
  std::vector<std::string> words;
  for (const auto &item : known) words.push_back(item.first);
  throw std::invalid_argument("pair_style tpainn: " + keyword + " must be one of " + join(words) +
                              ", not \"" + word + "\"" + did_you_mean(word, words));
}

static bool is_number(const std::string &word) {
  return !word.empty() && word.size() < 10 &&
         word.find_first_not_of("0123456789") == std::string::npos;
}

static std::string device_of(const std::string &word) {
  if (word == "auto" || word == "cpu" || word == "cuda") return word;
  if (word.rfind("cuda:", 0) == 0 && is_number(word.substr(5))) return word;
  throw std::invalid_argument(
      "pair_style tpainn: device must be auto, cpu, cuda or cuda:N, not \"" + word + "\"" +
      did_you_mean(word, {"auto", "cpu", "cuda"}));
}

Options parse_options(const std::vector<std::string> &words) {
  static const std::vector<std::string> KEYWORDS{"device", "ghosts", "deviation", "range",
                                                 "levels"};
  Options options;
  size_t k = 0;
  const auto next = [&](const std::string &keyword, const std::string &what) {
    if (++k >= words.size())
      throw std::invalid_argument("pair_style tpainn: " + keyword + " lacks its value: " + what);
    return words[k];
  };
  for (; k < words.size(); ++k) {
    const std::string keyword = words[k];
    if (keyword == "device") {
      options.device = device_of(next(keyword, "auto, cpu, cuda or cuda:N"));
    } else if (keyword == "ghosts") {
      options.ghosts = choose(GHOSTS, keyword, next(keyword, "auto, fold, exchange or extended"));
    } else if (keyword == "range") {
      options.range = choose(RANGE, keyword, next(keyword, "warn, stop or off"));
    } else if (keyword == "levels") {
      options.levels = choose(LEVELS, keyword, next(keyword, "same or any"));
    } else if (keyword == "deviation") {
      const std::string every = next(keyword, "N FILE");
      if (!is_number(every) || std::stoi(every) == 0)
        throw std::invalid_argument("pair_style tpainn: deviation needs a positive number of steps "
                                    "and a file name, not \"" +
                                    every + "\"");
      options.deviation_every = std::stoi(every);
      options.deviation_file = next(keyword, "N FILE");
    } else {
      throw std::invalid_argument("pair_style tpainn: unknown keyword \"" + keyword + "\"" +
                                  did_you_mean(keyword, KEYWORDS) + "; known: " + join(KEYWORDS));
    }
  }
  return options;
}

const char *name_of(Ghosts mode) {
  for (const auto &item : GHOSTS)
    if (item.second == mode) return item.first.c_str();
  return "";
}

} // namespace tpainn
