/* SPDX-License-Identifier: GPL-2.0-only

   A deployed file (NAME.pt, written by tpainn_calc/export.py), read as data.

   The file is a TorchScript archive, but nothing in it runs: the records with its program are never
   opened. After the SHA-256 over all records was found right, and the instructions of its pickle
   were walked over (pickle_check.h), attributes and tensors are read with libtorch's unpickler,
   which gets no class to make: every class of the file becomes an inert dictionary. The guarantee
   is in docs/pair_tpainn.md. */

#ifndef TPAINN_DEPLOYED_FILE_H
#define TPAINN_DEPLOYED_FILE_H

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <cstdint>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace tpainn {

// What is wrong with the file; its path is added by whoever catches it.
class BadFile : public std::runtime_error {
public:
  using std::runtime_error::runtime_error;
};

class DeployedFile {
public:
  // Throws BadFile with a one-line message.
  explicit DeployedFile(const std::string &path);

  // Attributes by their dotted names. All throw BadFile for what is missing, of another type, or
  // out of bounds.
  int64_t integer(const std::string &name, int64_t low, int64_t high) const;
  double number(const std::string &name, double low, double high) const;
  std::string text(const std::string &name) const;
  std::vector<std::string> texts(const std::string &name) const;
  std::vector<double> numbers(const std::string &name) const;
  // contiguous, on the CPU, of this type and shape (-1: any size), without NaN and infinities
  at::Tensor tensor(const std::string &name, at::ScalarType type, at::IntArrayRef shape) const;

  bool has(const std::string &prefix) const;

private:
  const c10::IValue &at(const std::string &name) const;

  std::map<std::string, c10::IValue> m_entries;
};

} // namespace tpainn

#endif
