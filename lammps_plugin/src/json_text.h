/* SPDX-License-Identifier: GPL-2.0-only

   JSON, as much of it as a manifest needs. LAMMPS has a JSON library of its own among its headers
   since 2025 only. */

#ifndef TPAINN_JSON_TEXT_H
#define TPAINN_JSON_TEXT_H

#include <array>
#include <cstddef>
#include <string>
#include <vector>

namespace tpainn {

// A JSON value. Whatever is missing or of another type throws std::runtime_error.
class Json {
public:
  static Json parse(const std::string &text);

  bool boolean() const;
  double number() const;
  int integer() const;
  const std::string &string() const;
  const std::vector<Json> &array() const;

  // of an object
  const std::vector<std::string> &keys() const;
  const Json *find(const std::string &key) const; // nullptr if it is not there
  const Json &at(const std::string &key) const;

  std::vector<std::string> strings() const;
  std::array<double, 3> vector() const;
  std::vector<std::array<double, 3>> vectors() const;

private:
  friend class JsonParser;
  enum class Kind { null, boolean, number, string, array, object };

  void expect(Kind kind) const;

  Kind m_kind = Kind::null;
  bool m_boolean = false;
  double m_number = 0;
  std::string m_string;
  std::vector<std::string> m_keys; // of m_items, in objects
  std::vector<Json> m_items;
};

} // namespace tpainn

#endif
