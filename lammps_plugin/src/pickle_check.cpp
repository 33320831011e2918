/* SPDX-License-Identifier: GPL-2.0-only */

#include "pickle_check.h"

#include <cstring>
#include <set>

namespace tpainn {

static bool is_allowed(const std::string &module, const std::string &name) {
  static const std::set<std::string> NAMES{"torch._utils _rebuild_tensor_v2",
                                           "collections OrderedDict",
                                           "torch FloatStorage",
                                           "torch DoubleStorage",
                                           "torch LongStorage",
                                           "torch IntStorage",
                                           "torch BoolStorage",
                                           "torch.jit._pickle restore_type_tag",
                                           "torch.jit._pickle build_intlist",
                                           "torch.jit._pickle build_doublelist",
                                           "torch.jit._pickle build_boollist",
                                           "torch.jit._pickle build_tensorlist"};
  return module.rfind("__torch__.", 0) == 0 || NAMES.count(module + " " + name);
}

std::string problem_of_pickle(const std::string &data) {
  const std::string truncated = "its data are cut short";
  size_t at = 0;
  const auto line = [&](std::string &text) {
    const size_t end = data.find('\n', at);
    if (end == data.npos) return false;
    text = data.substr(at, end - at);
    at = end + 1;
    return true;
  };
  const auto skip = [&](size_t n) {
    if (n > data.size() - at) return false;
    at += n;
    return true;
  };
  if (data.size() < 2 || data[0] != '\x80' || data[1] != '\x02') return "its data are no pickle";
  at = 2;
  while (at < data.size()) {
    const char opcode = data[at++];
    bool whole = true;
    switch (opcode) {
    case '.': return at == data.size() ? "" : "its data have a tail";
    case ')': case '}': case ']': case '(': case 't': case 'Q': case 'N': case 'R': case 'b':
    case 'u': case 's': case 'e': case 'a': case '\x81': case '\x85': case '\x86': case '\x87':
    case '\x88': case '\x89':
      break;
    case 'q': case 'h': case 'K': whole = skip(1); break;
    case 'M': whole = skip(2); break;
    case 'r': case 'j': case 'J': whole = skip(4); break;
    case 'G': whole = skip(8); break;
    case '\x8a': // a long integer, which libtorch takes with 8 bytes only
      if (at < data.size() && data[at] != 8) return "it has a number that is too large";
      whole = skip(9);
      break;
    case 'X': { // text
      unsigned char bytes[4];
      if (data.size() - at < 4) return truncated;
      std::memcpy(bytes, data.data() + at, 4);
      const size_t size = bytes[0] | bytes[1] << 8 | bytes[2] << 16 | size_t(bytes[3]) << 24;
      whole = skip(4) && skip(size);
      break;
    }
    case 'c': {
      std::string module, name;
      whole = line(module) && line(name);
      if (whole && !is_allowed(module, name)) return "it names " + module + "." + name;
      break;
    }
    default: return "its data hold an instruction that TorchScript does not write";
    }
    if (!whole) return truncated;
  }
  return truncated;
}

} // namespace tpainn
