/* SPDX-License-Identifier: GPL-2.0-only */

#include "deployed_file.h"

#include "pickle_check.h"
#include "sha256.h"

#include <ATen/ATen.h>
#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/api/compilation_unit.h>
#include <torch/csrc/jit/serialization/import_read.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <sstream>

namespace tpainn {

using c10::IValue;
using caffe2::serialize::PyTorchStreamReader;

namespace {

constexpr int SCHEMA = 2; // that of tpainn_calc/deployed.py
const char *const SEAL = "extra/tpainn"; // "schema 2 sha256 HEX"
const char *const EXPORT_AGAIN = "export it again with: tpainn export MODEL NAME.pt";

// Bounds on what a file may make us read; an exported model has some hundred entries.
constexpr size_t MAX_ENTRIES = 100000;
constexpr size_t MAX_PROGRAM = 16 << 20; // bytes
constexpr double LARGEST = 1e10; // that of tpainn_calc/deployed.py

std::string record(PyTorchStreamReader &reader, const std::string &name) {
  const auto [data, size] = reader.getRecord(name);
  return {static_cast<const char *>(data.get()), size};
}

// Over names and contents of all records but the seal, in the order of their names.
std::string checksum(PyTorchStreamReader &reader, const std::set<std::string> &names) {
  Sha256 sum;
  for (const std::string &name : names) {
    if (name == SEAL) continue;
    const std::string content = record(reader, name);
    const std::string head = name + "\n" + std::to_string(content.size()) + "\n";
    sum.update(head.data(), head.size());
    sum.update(content.data(), content.size());
  }
  return sum.hex();
}

// Before anything is interpreted: is it one of ours, of this schema, and as it was written?
void check_seal(PyTorchStreamReader &reader, const std::string &path) {
  const std::vector<std::string> records = reader.getAllRecords();
  const std::set<std::string> names(records.begin(), records.end());
  if (names.size() != records.size()) throw BadFile("is damaged: it has a record twice");
  if (!names.count(SEAL)) {
    if (names.count("extra/manifest.json"))
      throw BadFile(std::string("was exported by an older version of T-PaiNN: ") + EXPORT_AGAIN);
    throw BadFile("was not exported by T-PaiNN; export a model file with: tpainn export MODEL "
                  "NAME.pt");
  }
  // torch compresses the program only: a small file that unpacks to fill the memory is none of ours
  size_t size = 0;
  for (const std::string &name : names) size += reader.getRecordSize(name);
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (size > static_cast<size_t>(file.tellg()) + MAX_PROGRAM)
    throw BadFile("is damaged: it is larger than itself");
  std::istringstream seal(record(reader, SEAL));
  std::string words[3], sum;
  long schema = 0;
  seal >> words[0] >> schema >> words[1] >> sum;
  if (!seal || words[0] != "schema" || words[1] != "sha256") throw BadFile("is damaged: its seal is unreadable");
  if (schema > SCHEMA)
    throw BadFile("is of schema " + std::to_string(schema) + ", newer than this plugin; upgrade tpainn");
  if (schema < SCHEMA)
    throw BadFile(std::string("was exported by an older version of T-PaiNN: ") + EXPORT_AGAIN);
  if (sum != checksum(reader, names))
    throw BadFile("is damaged: its SHA-256 is not the one that it was written with; copy it again, "
                  "or export it again with: tpainn export MODEL NAME.pt");
}

// Every class that the file names is this one: an object that holds what the file says of it.
struct Inert {
  std::shared_ptr<torch::jit::CompilationUnit> unit =
      std::make_shared<torch::jit::CompilationUnit>();
  c10::ClassTypePtr type = c10::ClassType::create("tpainn.Inert", unit);
  Inert() { type->addAttribute("state", c10::AnyType::get()); }

  // What the unpickler asks for by name: classes, and types of lists.
  c10::StrongTypePtr resolve(const std::string &name) const {
    if (name == "List[str]") return {unit, c10::ListType::ofStrings()};
    if (name == "List[float]") return {unit, c10::ListType::ofFloats()};
    if (name.rfind("__torch__.", 0) == 0) return {unit, type};
    throw BadFile("is damaged: it names " + name);
  }

  c10::intrusive_ptr<c10::ivalue::Object> make(const IValue &state) const {
    auto object = c10::ivalue::Object::create(c10::StrongTypePtr(unit, type), 1);
    object->setSlot(0, state);
    return object;
  }
};

// Attributes of an object and of those inside it, by their dotted names.
std::map<std::string, IValue> flatten(const IValue &root, const Inert &inert) {
  std::map<std::string, IValue> entries;
  std::vector<std::pair<std::string, IValue>> waiting{{"", root}};
  for (size_t visited = 0; !waiting.empty(); ++visited) {
    // objects may hold one another, and so be endless
    if (visited + waiting.size() > MAX_ENTRIES) throw BadFile("is damaged: too many entries");
    const auto [name, value] = waiting.back();
    waiting.pop_back();
    if (!value.isObject()) {
      entries.emplace(name, value);
      continue;
    }
    if (value.toObjectRef().type() != inert.type) throw BadFile("is damaged: foreign class");
    const IValue &state = value.toObjectRef().getSlot(0);
    if (!state.isGenericDict()) throw BadFile("is damaged: an object without attributes");
    for (const auto &item : state.toGenericDict()) {
      if (!item.key().isString()) throw BadFile("is damaged: an attribute without name");
      const std::string key = item.key().toStringRef();
      waiting.emplace_back(name.empty() ? key : name + "." + key, item.value());
    }
  }
  return entries;
}

} // namespace

DeployedFile::DeployedFile(const std::string &path) {
  try {
    PyTorchStreamReader reader(path);
    check_seal(reader, path);
    if (!reader.hasRecord("data.pkl")) throw BadFile("is damaged: it lacks its data");
    const std::string problem = problem_of_pickle(record(reader, "data.pkl"));
    if (!problem.empty()) throw BadFile("is damaged: " + problem);
    const Inert inert;
    const IValue root = torch::jit::readArchiveAndTensors(
        "data", "", "",
        [&](const c10::QualifiedName &name) { return inert.resolve(name.qualifiedName()); },
        [&](const c10::StrongTypePtr &, const IValue &state) { return inert.make(state); }, at::kCPU,
        reader);
    if (!root.isObject()) throw BadFile("is damaged: it holds no module");
    m_entries = flatten(root, inert);
  } catch (const BadFile &) {
    throw;
  } catch (const std::exception &error) {
    const auto *c10_error = dynamic_cast<const c10::Error *>(&error);
    const std::string text = c10_error ? c10_error->what_without_backtrace() : error.what();
    throw BadFile("is not a readable exported model (" + text.substr(0, text.find('\n')) +
                  "); it may be truncated: export or copy it again");
  }
}

const IValue &DeployedFile::at(const std::string &name) const {
  const auto found = m_entries.find(name);
  if (found == m_entries.end()) throw BadFile("is damaged: it lacks \"" + name + "\"");
  return found->second;
}

static BadFile wrong(const std::string &name, const std::string &what) {
  return BadFile("is damaged: \"" + name + "\" is " + what);
}

int64_t DeployedFile::integer(const std::string &name, int64_t low, int64_t high) const {
  const IValue &value = at(name);
  if (!value.isInt()) throw wrong(name, "not a whole number");
  const int64_t n = value.toInt();
  if (n < low || n > high)
    throw wrong(name, std::to_string(n) + ", not within " + std::to_string(low) + " .. " +
                          std::to_string(high));
  return n;
}

double DeployedFile::number(const std::string &name, double low, double high) const {
  const IValue &value = at(name);
  if (!value.isDouble()) throw wrong(name, "not a number");
  const double x = value.toDouble();
  std::ostringstream bounds;
  bounds << x << ", not within " << low << " .. " << high;
  if (!(x >= low && x <= high)) throw wrong(name, bounds.str());
  return x;
}

std::string DeployedFile::text(const std::string &name) const {
  const IValue &value = at(name);
  if (!value.isString()) throw wrong(name, "not a text");
  return value.toStringRef();
}

std::vector<std::string> DeployedFile::texts(const std::string &name) const {
  const IValue &value = at(name);
  std::vector<std::string> items;
  if (!value.isList()) throw wrong(name, "not a list");
  for (const IValue &item : value.toListRef()) {
    if (!item.isString()) throw wrong(name, "not a list of texts");
    items.push_back(item.toStringRef());
  }
  return items;
}

std::vector<double> DeployedFile::numbers(const std::string &name) const {
  const IValue &value = at(name);
  if (!value.isDoubleList()) throw wrong(name, "not a list of numbers");
  return value.toDoubleVector();
}

at::Tensor DeployedFile::tensor(const std::string &name, at::ScalarType type,
                                at::IntArrayRef shape) const {
  const IValue &value = at(name);
  if (!value.isTensor() || !value.toTensor().defined()) throw wrong(name, "not a tensor");
  const at::Tensor t = value.toTensor().detach();
  if (t.layout() != at::kStrided || !t.device().is_cpu() || t.is_quantized() ||
      t.scalar_type() != type)
    throw wrong(name, "a tensor of another type");
  bool fits = t.dim() == static_cast<int64_t>(shape.size());
  for (size_t k = 0; fits && k < shape.size(); ++k) fits = shape[k] < 0 || t.size(k) == shape[k];
  std::ostringstream sizes;
  sizes << "of shape " << t.sizes() << ", not " << shape;
  if (!fits) throw wrong(name, sizes.str());
  // a copy that no stride of the file's can make larger than its own data
  if (t.numel() * t.element_size() > static_cast<int64_t>(t.storage().nbytes()))
    throw wrong(name, "larger than its data");
  const at::Tensor copy = t.contiguous();
  // no graph of golden values meets every knot of a table
  if (copy.is_floating_point() && !(copy.abs() < LARGEST).all().item<bool>())
    throw wrong(name, "not finite, or larger than any weight is");
  return copy;
}

bool DeployedFile::has(const std::string &prefix) const {
  const auto found = m_entries.lower_bound(prefix);
  return found != m_entries.end() && found->first.compare(0, prefix.size(), prefix) == 0;
}

} // namespace tpainn
