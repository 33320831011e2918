/* SPDX-License-Identifier: GPL-2.0-only */

#include "json_text.h"

#include <cmath>
#include <locale>
#include <sstream>
#include <stdexcept>

namespace tpainn {

static constexpr int MAX_DEPTH = 100;

class JsonParser {
public:
  explicit JsonParser(const std::string &text) : m_text(text) {}

  Json document() {
    Json value = parse(0);
    skip_space();
    if (m_at != m_text.size()) fail("text after its end");
    return value;
  }

private:
  [[noreturn]] void fail(const char *why) const {
    throw std::runtime_error("JSON, character " + std::to_string(m_at) + ": " + why);
  }

  char peek() const { return m_at < m_text.size() ? m_text[m_at] : '\0'; }

  void skip_space() {
    while (m_at < m_text.size() && std::string(" \t\r\n").find(m_text[m_at]) != std::string::npos)
      ++m_at;
  }

  bool take(char c) {
    skip_space();
    if (peek() != c) return false;
    ++m_at;
    return true;
  }

  bool take_word(const std::string &word) {
    if (m_text.compare(m_at, word.size(), word) != 0) return false;
    m_at += word.size();
    return true;
  }

  Json parse(int depth) {
    if (depth > MAX_DEPTH) fail("nested too deeply");
    skip_space();
    Json value;
    if (take('{')) {
      value.m_kind = Json::Kind::object;
      for (bool more = !take('}'); more; more = !end_of_list('}')) {
        skip_space();
        value.m_keys.push_back(quoted());
        if (!take(':')) fail("a colon is missing");
        value.m_items.push_back(parse(depth + 1));
      }
    } else if (take('[')) {
      value.m_kind = Json::Kind::array;
      for (bool more = !take(']'); more; more = !end_of_list(']'))
        value.m_items.push_back(parse(depth + 1));
    } else if (peek() == '"') {
      value.m_kind = Json::Kind::string;
      value.m_string = quoted();
    } else if (take_word("true")) {
      value.m_kind = Json::Kind::boolean;
      value.m_boolean = true;
    } else if (take_word("false")) {
      value.m_kind = Json::Kind::boolean;
    } else if (!take_word("null")) {
      value.m_kind = Json::Kind::number;
      value.m_number = number();
    }
    return value;
  }

  // After an item: whether the list ends here.
  bool end_of_list(char close) {
    if (take(close)) return true;
    if (!take(',')) fail("a comma or the end of a list is missing");
    return false;
  }

  double number() {
    const size_t start = m_at;
    while (m_at < m_text.size() &&
           std::string("+-.0123456789eE").find(m_text[m_at]) != std::string::npos)
      ++m_at;
    // not strtod: the locale may want a comma
    std::istringstream digits(m_text.substr(start, m_at - start));
    digits.imbue(std::locale::classic());
    double value = 0;
    if (!(digits >> value) || digits.peek() != std::istringstream::traits_type::eof()) {
      m_at = start;
      fail("neither a value nor a number");
    }
    return value;
  }

  unsigned hexadecimal() {
    unsigned code = 0;
    for (int k = 0; k < 4; ++k) {
      const char c = peek();
      const size_t digit = std::string("0123456789abcdefABCDEF").find(c);
      if (c == '\0' || digit == std::string::npos) fail("a bad \\u escape");
      code = 16 * code + static_cast<unsigned>(digit < 16 ? digit : digit - 6);
      ++m_at;
    }
    return code;
  }

  static void append_utf8(std::string &out, unsigned code) {
    if (code < 0x80) {
      out += static_cast<char>(code);
    } else if (code < 0x800) {
      out += static_cast<char>(0xC0 | code >> 6);
      out += static_cast<char>(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
      out += static_cast<char>(0xE0 | code >> 12);
      out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
      out += static_cast<char>(0x80 | (code & 0x3F));
    } else {
      out += static_cast<char>(0xF0 | code >> 18);
      out += static_cast<char>(0x80 | (code >> 12 & 0x3F));
      out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
      out += static_cast<char>(0x80 | (code & 0x3F));
    }
  }

  std::string quoted() {
    if (peek() != '"') fail("a string is missing");
    ++m_at;
    std::string out;
    for (;;) {
      if (m_at >= m_text.size()) fail("a string without end");
      char c = m_text[m_at++];
      if (c == '"') return out;
      if (c != '\\') {
        out += c;
        continue;
      }
      c = peek();
      const size_t known = std::string("\"\\/bfnrt").find(c);
      if (c == 'u') {
        ++m_at;
        unsigned code = hexadecimal();
        if (code >= 0xD800 && code < 0xDC00 && take_word("\\u"))
          code = 0x10000 + ((code - 0xD800) << 10) + (hexadecimal() - 0xDC00);
        append_utf8(out, code);
      } else if (c == '\0' || known == std::string::npos) {
        fail("an unknown escape");
      } else {
        out += "\"\\/\b\f\n\r\t"[known];
        ++m_at;
      }
    }
  }

  const std::string &m_text;
  size_t m_at = 0;
};

Json Json::parse(const std::string &text) { return JsonParser(text).document(); }

void Json::expect(Kind kind) const {
  static const char *names[] = {"null", "true or false", "number", "string", "list", "object"};
  if (m_kind != kind)
    throw std::runtime_error(std::string("a ") + names[static_cast<int>(kind)] +
                             " is wanted where it has a " + names[static_cast<int>(m_kind)]);
}

bool Json::boolean() const {
  expect(Kind::boolean);
  return m_boolean;
}

double Json::number() const {
  expect(Kind::number);
  return m_number;
}

int Json::integer() const {
  const double value = number();
  if (value != std::floor(value) || std::abs(value) > 1e9)
    throw std::runtime_error("a whole number is wanted where it has another");
  return static_cast<int>(value);
}

const std::string &Json::string() const {
  expect(Kind::string);
  return m_string;
}

const std::vector<Json> &Json::array() const {
  expect(Kind::array);
  return m_items;
}

const std::vector<std::string> &Json::keys() const {
  expect(Kind::object);
  return m_keys;
}

const Json *Json::find(const std::string &key) const {
  for (size_t k = 0; k < keys().size(); ++k)
    if (m_keys[k] == key) return &m_items[k];
  return nullptr;
}

const Json &Json::at(const std::string &key) const {
  const Json *found = find(key);
  if (!found) throw std::runtime_error("'" + key + "' is missing");
  return *found;
}

std::vector<std::string> Json::strings() const {
  std::vector<std::string> out;
  for (const Json &item : array()) out.push_back(item.string());
  return out;
}

std::array<double, 3> Json::vector() const {
  if (array().size() != 3) throw std::runtime_error("three numbers are wanted");
  return {m_items[0].number(), m_items[1].number(), m_items[2].number()};
}

std::vector<std::array<double, 3>> Json::vectors() const {
  std::vector<std::array<double, 3>> out;
  for (const Json &item : array()) out.push_back(item.vector());
  return out;
}

} // namespace tpainn
