// `inspect PATH`: what a file or folder holds, without trusting it.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "artifact/artifact.h"
#include "cli/inspect_refusals.h"
#include "cli/terminal.h"
#include "cli/verbs.h"
#include "core/units.h"
#include "core/utf8.h"
#include "data/look.h"
#include "io/file.h"
#include "io/gguf.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "teacher/store.h"
#include "teacher/store_manifest.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

struct Row {
  std::string name, type;
  std::vector<int64_t> shape;  // as torch prints it, outermost first
  uint64_t bytes = 0;
};

struct Contents {
  std::string kind;
  Json::Object metadata;
  std::vector<Row> tensors;
};

constexpr size_t kLongText = 2000;  // of a metadata value; a chat template is longer
constexpr size_t kLongKey = 200, kAllTexts = size_t{4} << 20;

std::string short_text(std::string_view text, size_t longest = kLongText) {
  if (text.size() <= longest) return printable(text);
  return fmt::format("{}... ({} bytes)", printable(text.substr(0, longest)), text.size());
}

// `room` is what all texts together may still take, so that many of them do not take more than their file.
Json gguf_json(const GgufValue& value, size_t& room) {
  return std::visit(
      [&](const auto& v) -> Json {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::string>) {
          std::string shown = short_text(v, std::min(kLongText, room));
          room -= std::min(room, shown.size());
          return shown;
        } else if constexpr (std::is_same_v<T, GgufArray>) {
          return fmt::format("[{} x {}]", v.count, gguf_type_name(v.type));
        } else if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, uint64_t>) {
          return Json(v);
        } else if constexpr (std::is_floating_point_v<T>) {
          return Json(static_cast<double>(v));
        } else {
          return Json(static_cast<int64_t>(v));
        }
      },
      value);
}

Contents of_gguf(const fs::path& path) {
  const GgufReader reader = GgufReader::open(path);
  Contents contents{.kind = "gguf"};
  size_t room = kAllTexts;
  for (const auto& entry : reader.metadata())
    contents.metadata.emplace_back(short_text(entry.key, kLongKey), gguf_json(entry.value, room));
  for (const auto& tensor : reader.tensors()) {
    Row row{printable(tensor.name), std::string(ggml_type_info(tensor.type).name), tensor.dims, tensor.bytes.size()};
    std::reverse(row.shape.begin(), row.shape.end());
    contents.tensors.push_back(std::move(row));
  }
  return contents;
}

void add_tensor(Contents& contents, const TensorView& tensor) {
  contents.tensors.push_back(
      {printable(tensor.name), std::string(dtype_name(tensor.dtype)), tensor.shape, tensor.bytes.size()});
}

void add_safetensors(Contents& contents, const SafetensorsFile& file) {
  for (const auto& [key, value] : file.metadata()) contents.metadata.emplace_back(printable(key), short_text(value));
  for (const auto& tensor : file.tensors()) add_tensor(contents, tensor);
}

void add_weights(Contents& contents, const fs::path& folder, const std::string& name) {
  const WeightFolder weights = WeightFolder::open(folder, name);
  for (const TensorView* tensor : weights.tensors()) add_tensor(contents, *tensor);
}

// A JSON file, whole.
void add_json(Contents& contents, const fs::path& path, const std::string& key) {
  Json value = with_context(ExitCode::model, "", [&] { return Json::parse_file(path); });
  contents.metadata.emplace_back(key, std::move(value));
}

// The HDF5 library opens no file of a finished shard whose hash is not the manifest's, unless the user trusts it.
Contents of_teacher_store(const fs::path& folder, bool trust) {
  const StoreDescription store = read_store_description(folder);
  const StoreManifest manifest = read_store_manifest(folder, store.layout);
  const StoreSummary held = TeacherStore::open(folder, {}, TeacherStore::Unfinished::allow,
                                               trust ? TeacherStore::Hashes::trust : TeacherStore::Hashes::verify)
                                .summary();
  uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  const double per_token = static_cast<double>(bytes) / static_cast<double>(store.layout.rows);
  Contents contents{.kind = "store"};
  add_json(contents, folder / kStoreFile, "store");
  contents.metadata.emplace_back("finished", manifest.finished(store.layout));
  contents.metadata.emplace_back("committed_rows", manifest.rows(store.layout));
  contents.metadata.emplace_back("shards", store.layout.shards());
  contents.metadata.emplace_back("bytes", bytes);
  contents.metadata.emplace_back("bytes_per_token", std::round(per_token * 100) / 100);
  contents.metadata.emplace_back("coverage", held.mass);
  contents.metadata.emplace_back("entries_per_token", held.entries);
  contents.metadata.emplace_back("verified", !trust);
  return contents;
}

Contents of_folder(const fs::path& folder, bool trust) {
  Contents contents;
  if (fs::exists(folder / kStoreFile)) return of_teacher_store(folder, trust);
  if (fs::exists(folder / "manifest.json")) {
    contents.kind = "checkpoint";
    add_json(contents, folder / "manifest.json", "manifest");
    if (fs::exists(folder / "trainer.json")) add_json(contents, folder / "trainer.json", "trainer");
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    for (const auto& file : files) add_safetensors(contents, SafetensorsFile::open(file));
  } else if (fs::exists(folder / "run.json")) {
    contents.kind = "run";
    add_json(contents, folder / "run.json", "run");
    Json::Array steps;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder / "checkpoints", error))
      steps.emplace_back(printable(entry.path().filename().string()));
    std::sort(steps.begin(), steps.end(), [](const Json& a, const Json& b) { return a.as_string() < b.as_string(); });
    contents.metadata.emplace_back("checkpoints", std::move(steps));
    if (fs::exists(folder / "adapter")) add_weights(contents, folder / "adapter", "adapter_model");
  } else if (fs::exists(folder / "adapter_config.json")) {
    contents.kind = "adapter";
    add_json(contents, folder / "adapter_config.json", "adapter_config");
    add_weights(contents, folder, "adapter_model");
  } else {
    contents.kind = "safetensors";
    if (fs::exists(folder / "config.json")) add_json(contents, folder / "config.json", "config");
    add_weights(contents, folder, "model");
  }
  return contents;
}

Contents of_parquet(const fs::path& path) {
  const ParquetLook look = look_at_parquet(path.string());
  Json::Object columns;
  for (const auto& [name, type] : look.columns) columns.emplace_back(printable(name), type);
  return {.kind = "parquet", .metadata = {{"rows", look.rows}, {"columns", std::move(columns)}}, .tensors = {}};
}

Contents of_file(const fs::path& path) {
  std::string begin(512, '\0');
  InputFile file(path);
  begin.resize(file.read(std::as_writable_bytes(std::span(begin))));
  if (begin.starts_with("GGUF")) return of_gguf(path);
  if (path.extension() == ".parquet" || begin.starts_with("PAR1")) return of_parquet(path);
  refuse_uninspected(path, begin);
  Contents contents{.kind = "safetensors"};
  add_safetensors(contents, SafetensorsFile::open(path));
  return contents;
}

// What the last part of an artifact address leads to: the adapter or checkpoint, else the model.
Contents of_address(const std::string& address, bool trust) {
  const Artifact artifact = resolve_artifact(address, "inspect");
  if (!artifact.adapter.empty()) return of_folder(artifact.adapter, trust);
  if (artifact.has_weights())
    return is_gguf_file(artifact.base) ? of_gguf(artifact.base) : of_folder(artifact.base, trust);
  return {.kind = "shapes", .metadata = {{"config", artifact_config(artifact)}}, .tensors = {}};
}

// A row becomes text at once: as a value it is ten times as large, and a file may have 100,000.
std::string to_json(Contents contents) {
  Json head = Json::Object{{"schema", 1}, {"kind", contents.kind}, {"metadata", std::move(contents.metadata)}};
  std::string out = head.dump();
  head = nullptr;
  out.pop_back();
  out += ", \"tensors\": [";
  const char* comma = "";
  for (const auto& row : contents.tensors) {
    const Json shape = Json::Array(row.shape.begin(), row.shape.end());
    out += std::exchange(comma, ", ");
    out += Json(Json::Object{{"name", row.name}, {"type", row.type}, {"shape", shape}, {"bytes", row.bytes}}).dump();
  }
  return out + "]}\n";
}

std::string one_line(const Json& value) {
  std::string text = value.is_string() ? printable(value.as_string()) : printable(value.dump());
  return text.size() > 100 ? text.substr(0, 97) + "..." : text;
}

void append_metadata(std::string& out, const Json::Object& metadata, const std::string& indent) {
  for (const auto& [key, value] : metadata) {
    if (value.is_object()) {
      out += fmt::format("{}{}:\n", indent, printable(key));
      append_metadata(out, value.as_object(), indent + "  ");
    } else {
      out += fmt::format("{}{}: {}\n", indent, printable(key), one_line(value));
    }
  }
}

std::string to_text(const fs::path& path, const Contents& contents) {
  uint64_t bytes = 0;
  double elements = 0;
  size_t width = 4;
  for (const auto& row : contents.tensors) {
    double count = 1;
    for (const int64_t size : row.shape) count *= static_cast<double>(size);
    elements += count, bytes += row.bytes, width = std::max(width, row.name.size());
  }
  if (contents.tensors.empty()) {
    std::string out = fmt::format("{}: {}\n", path.string(), contents.kind);
    append_metadata(out, contents.metadata, "  ");
    return out;
  }
  std::string out =
      fmt::format("{}: {}, {} tensors, {} elements, {}\n", path.string(), contents.kind, contents.tensors.size(),
                  human_count(elements), human_bytes(static_cast<double>(bytes)));
  append_metadata(out, contents.metadata, "  ");
  out += fmt::format("\n{:<{}}  {:<6} {:>10}  shape\n", "name", width, "type", "bytes");
  for (const auto& row : contents.tensors) {
    std::string shape;
    for (const int64_t size : row.shape) shape += (shape.empty() ? "" : ", ") + std::to_string(size);
    out += fmt::format("{:<{}}  {:<6} {:>10}  [{}]\n", row.name, width, row.type, row.bytes, shape);
  }
  return out;
}

}  // namespace

int verb_inspect(const Arguments& arguments) {
  if (arguments.words.size() != 1 || arguments.words[0].empty())
    fail(ExitCode::usage, "inspect: expected one path or artifact address", "prentice inspect PATH");
  const fs::path path = arguments.words[0];
  const bool trust = arguments.flags.trust_store;
  std::error_code error;
  Contents contents = fs::is_directory(path, error) ? of_folder(path, trust)
                      : fs::exists(path, error)     ? of_file(path)
                                                    : of_address(path.string(), trust);
  print_result(arguments.flags.json ? to_json(std::move(contents)) : to_text(path, contents));
  return 0;
}

}  // namespace prentice
