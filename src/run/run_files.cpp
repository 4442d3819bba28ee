#include "run/run_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "config/read.h"
#include "core/error.h"
#include "io/gguf.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/sha256.h"
#include "run/origin.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kNamed = "NAME";  // stands for the served name in names of files

// What the exported files of a run are called.
std::string served_name(const fs::path& run) {
  const Node recipe = read_recipe_file((run / "recipe.yaml").string());
  const Node* section = recipe.find("export");
  const Node* name = section ? section->find("name") : nullptr;
  if (name && name->is_scalar() && !name->text().empty()) return name->text();
  return fs::weakly_canonical(run).filename().string();
}

// gguf/NAME-Q8_0.gguf -> gguf/*-Q8_0.gguf
std::string without_name(const std::string& file, const std::string& name) {
  const std::string prefix = "gguf/" + name + "-";
  return file.starts_with(prefix) ? fmt::format("gguf/{}-{}", kNamed, file.substr(prefix.size())) : file;
}

// Files that belong to the result, by their name without the served name.
std::map<std::string, fs::path> compared_files(const fs::path& run, const std::string& name) {
  static const std::set<std::string> kAboutTheRun = {
      "run.json",      "events.jsonl", "metrics.jsonl", "report.html",   "recipe.yaml",   "SHA256SUMS", ".lock",
      "manifest.json", "serve.md",     "Modelfile",     "model_card.md", "pipeline.json", "compare.md"};
  std::map<std::string, fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(run)) {
    const fs::path relative = fs::relative(entry.path(), run);
    const bool is_log = kAboutTheRun.count(relative.filename()) || *relative.begin() == "tensorboard" ||
                        relative.begin()->string().starts_with(".");
    if (entry.is_regular_file() && !is_log) files[without_name(relative.string(), name)] = relative;
  }
  return files;
}

std::string values_difference(const TensorView& a, const TensorView& b) {
  if (a.dtype != DType::f32) return a.name;
  double largest = 0;
  size_t count = 0;
  for (size_t at = 0; at < a.bytes.size(); at += sizeof(float)) {
    float x, y;
    std::memcpy(&x, a.bytes.data() + at, sizeof x);
    std::memcpy(&y, b.bytes.data() + at, sizeof y);
    if (std::memcmp(&x, &y, sizeof x) != 0) ++count, largest = std::max(largest, std::abs(double(x) - double(y)));
  }
  return fmt::format("{}: {} of {} values differ, by at most {:.3g}", a.name, count, a.bytes.size() / sizeof(float),
                     largest);
}

template <class Bytes>
bool same_bytes(const Bytes& a, const Bytes& b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin());
}

// Each of these: what differs, or "".
std::string safetensors_difference(const fs::path& a, const fs::path& b) {
  if (sha256_file(a) == sha256_file(b)) return "";
  const auto file_a = SafetensorsFile::open(a), file_b = SafetensorsFile::open(b);
  for (const auto& tensor : file_a.tensors()) {
    const TensorView* other = file_b.find(tensor.name);
    if (!other) return tensor.name + " is missing on one side";
    if (other->dtype != tensor.dtype || other->shape != tensor.shape) return tensor.name + " has another type or shape";
    if (!same_bytes(other->bytes, tensor.bytes)) return values_difference(tensor, *other);
  }
  auto said_a = file_a.metadata(), said_b = file_b.metadata();
  const bool other_program = said_a[kOriginProgram] != said_b[kOriginProgram];
  said_a.erase(kOriginProgram), said_b.erase(kOriginProgram);
  for (const auto& [key, text] : said_a) {
    if (const auto found = said_b.find(key); found == said_b.end() || found->second != text) return key + " differs";
  }
  return other_program && said_a.size() == said_b.size() ? "" : "only the header differs";
}

bool same_value(const GgufValue& a, const GgufValue& b) {
  if (a.index() != b.index()) return false;
  if (const auto* array = std::get_if<GgufArray>(&a)) {
    const auto& other = std::get<GgufArray>(b);
    return array->type == other.type && array->count == other.count && same_bytes(array->bytes(), other.bytes());
  }
  return std::visit(
      [&]<class T>(const T& value) {
        if constexpr (std::is_same_v<T, GgufArray>)
          return false;
        else
          return value == std::get<T>(b);
      },
      a);
}

std::string gguf_difference(const fs::path& a, const fs::path& b) {
  if (sha256_file(a) == sha256_file(b)) return "";
  const auto file_a = GgufReader::open(a), file_b = GgufReader::open(b);
  const auto entries = [](const GgufReader& file) {
    std::map<std::string, const GgufValue*> found;
    for (const auto& entry : file.metadata()) {
      if (entry.key != "general.name" && entry.key != kOriginProgram) found[entry.key] = &entry.value;
    }
    return found;
  };
  const auto entries_a = entries(file_a), entries_b = entries(file_b);
  for (const auto& [key, value] : entries_a) {
    const auto other = entries_b.find(key);
    if (other == entries_b.end()) return key + " is missing on one side";
    if (!same_value(*value, *other->second)) return key + " differs";
  }
  if (entries_a.size() != entries_b.size() || file_a.tensors().size() != file_b.tensors().size())
    return "one side has further keys or tensors";
  for (const auto& tensor : file_a.tensors()) {
    const auto* other = file_b.find_tensor(tensor.name);
    if (!other) return tensor.name + " is missing on one side";
    if (other->type != tensor.type || other->dims != tensor.dims) return tensor.name + " has another type or shape";
    if (!same_bytes(other->bytes, tensor.bytes)) return tensor.name + " differs";
  }
  return "";
}

// A JSON file that says which run it is of, or how fast it was, without that.
Json nameless(const fs::path& file, const std::string& name) {
  Json json = with_context(ExitCode::model, "", [&] { return Json::parse_file(file); });
  if (!json.is_object()) return json;
  constexpr std::pair<const char*, const char*> kLists[] = {
      {"checks", "name"}, {"logits", "artifact"}, {"delta_survival", "file"}, {"tolerances", "product"}};
  const bool names_files = file.filename() == "verify.json" || file.filename() == "selftest.json";
  for (const auto& [list, key] : kLists) {
    const Json* found = names_files ? json.find(list) : nullptr;
    if (!found || !found->is_array()) continue;
    for (Json& entry : json[list].as_array()) {
      if (entry.find(key)) entry[key] = without_name(entry.at(key).as_string(), name);
    }
  }
  if (file.filename() == "compare.json" && json.find("speed")) json["speed"] = Json();
  const bool says_model = file.filename() == "eval.json" || file.filename() == "selftest.json";
  if (says_model && json.find("model")) json["model"] = "";
  if (const Json* data = json.find("data"); says_model && data && data->is_array()) {
    for (Json& scored : json["data"].as_array()) scored["path"] = "";  // its hash says what was read
  }
  return json;
}

struct Side {
  fs::path run;
  std::string name;
  std::map<std::string, fs::path> files;
};

std::string difference(const Side& a, const Side& b, const std::string& file) {
  const fs::path path_a = a.run / a.files.at(file), path_b = b.run / b.files.at(file);
  if (path_a.extension() == ".safetensors") return safetensors_difference(path_a, path_b);
  if (path_a.extension() == ".gguf") return gguf_difference(path_a, path_b);
  if (sha256_file(path_a) == sha256_file(path_b)) return "";
  const std::string kind = path_a.filename().string();
  const bool names_the_run =
      kind == "verify.json" || kind == "eval.json" || kind == "selftest.json" || kind == "compare.json";
  if (names_the_run && nameless(path_a, a.name) == nameless(path_b, b.name)) return "";
  return "bytes differ";
}

}  // namespace

std::vector<std::string> file_differences(const fs::path& run_a, const fs::path& run_b) {
  const auto side = [](const fs::path& run) {
    const std::string name = served_name(run);
    return Side{run, name, compared_files(run, name)};
  };
  const Side a = side(run_a), b = side(run_b);
  std::set<std::string> files;
  for (const auto* one : {&a, &b}) {
    for (const auto& [file, path] : one->files) files.insert(file);
  }
  std::vector<std::string> differences;
  for (const auto& file : files) {
    const bool in_a = a.files.contains(file), in_b = b.files.contains(file);
    if (in_a && in_b) {
      if (const std::string found = difference(a, b, file); !found.empty()) differences.push_back(file + ": " + found);
    } else if (!file.starts_with("checkpoints/")) {  // a run that was stopped and resumed has other ones
      const Side& holder = in_a ? a : b;
      differences.push_back(fmt::format("{} is in {} only", holder.files.at(file).string(), holder.run.string()));
    }
  }
  return differences;
}

}  // namespace prentice
