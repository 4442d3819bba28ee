#include "io/safetensors.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "io/json.h"

namespace prentice {

namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
// About 100,000 tensors; a header of nothing but brackets may not claim a hundred times its size in memory.
constexpr uint64_t kMaxHeaderValues = 1'000'000;
constexpr size_t kMaxNameBytes = 4096;

struct Entry {
  TensorView tensor;
  uint64_t begin = 0, end = 0;
};

uint64_t as_size(const Json& json, const char* what) {
  const int64_t value = json.as_integer();
  if (value < 0) fail(ExitCode::malformed, std::string(what) + " is negative: " + std::to_string(value));
  return static_cast<uint64_t>(value);
}

void read_metadata(const Json& json, std::map<std::string, std::string>& metadata) {
  for (const auto& [key, value] : json.as_object()) metadata[key] = value.as_string();
}

Entry read_entry(const std::string& name, const Json& json) {
  for (const auto& [key, value] : json.as_object()) {
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      fail(ExitCode::malformed, "unknown key \"" + key + "\"");
    }
  }
  Entry entry;
  entry.tensor.name = name;
  const auto& dtype_text = json.at("dtype").as_string();
  const auto* dtype = find_dtype(dtype_text);
  if (dtype == nullptr) fail(ExitCode::malformed, "unknown dtype \"" + dtype_text.substr(0, 40) + "\"");
  entry.tensor.dtype = *dtype;
  for (const auto& size : json.at("shape").as_array()) {
    entry.tensor.shape.push_back(static_cast<int64_t>(as_size(size, "a size of the shape")));
  }
  const auto& offsets = json.at("data_offsets").as_array();
  if (offsets.size() != 2) {
    fail(ExitCode::malformed, "data_offsets has " + std::to_string(offsets.size()) + " numbers, expected 2");
  }
  entry.begin = as_size(offsets[0], "an offset");
  entry.end = as_size(offsets[1], "an offset");
  const uint64_t wanted = tensor_bytes(entry.tensor.dtype, entry.tensor.shape);
  if (entry.end < entry.begin || entry.end - entry.begin != wanted) {
    fail(ExitCode::malformed, "dtype and shape need " + std::to_string(wanted) + " bytes, data_offsets say [" +
                                  std::to_string(entry.begin) + ", " + std::to_string(entry.end) + "]");
  }
  return entry;
}

// Offsets must cover the data from its first byte to its last without a hole or an overlap.
void check_coverage(std::vector<Entry>& entries, uint64_t data_bytes) {
  std::ranges::stable_sort(
      entries, [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
  uint64_t covered = 0;
  for (const auto& entry : entries) {
    if (entry.begin != covered) {
      fail(ExitCode::malformed, "tensor " + entry.tensor.name + ": begins at byte " + std::to_string(entry.begin) +
                                    " of the data, expected " + std::to_string(covered) +
                                    (entry.begin < covered ? " (it overlaps another tensor)" : " (there is a hole)"));
    }
    covered = entry.end;
  }
  if (covered != data_bytes) {
    fail(ExitCode::malformed,
         "the tensors take " + std::to_string(covered) + " bytes, the file has " + std::to_string(data_bytes) +
             " bytes of data",
         covered > data_bytes ? "the file is truncated: copy or download it again" : "");
  }
}

SafetensorsContent parse(std::span<const std::byte> bytes) {
  if (bytes.size() < 8) {
    fail(ExitCode::malformed, "not a safetensors file: " + std::to_string(bytes.size()) + " bytes, the header needs 8");
  }
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof header_bytes);
  if (header_bytes > kMaxHeaderBytes) {
    fail(ExitCode::malformed, "not a safetensors file: a header of " + std::to_string(header_bytes) + " bytes");
  }
  if (header_bytes > bytes.size() - 8) {
    fail(ExitCode::malformed,
         "the header needs " + std::to_string(header_bytes) + " bytes, the file has " +
             std::to_string(bytes.size() - 8) + " left",
         "the file is truncated: copy or download it again");
  }
  const std::string_view header(reinterpret_cast<const char*>(bytes.data()) + 8, header_bytes);
  const auto data = bytes.subspan(8 + header_bytes);
  const auto json = with_context(ExitCode::malformed, "header",
                                 [&] { return Json::parse(header, {.max_depth = 8, .max_values = kMaxHeaderValues}); });
  SafetensorsContent content;
  std::vector<Entry> entries;
  for (const auto& [name, value] : json.as_object()) {
    if (name.size() > kMaxNameBytes || name.find('\0') != std::string::npos) {
      fail(ExitCode::malformed, "a tensor name is longer than 4096 bytes or holds a NUL");
    }
    if (name == "__metadata__") {
      with_context(ExitCode::malformed, name, [&] { read_metadata(value, content.metadata); });
    } else {
      entries.push_back(with_context(ExitCode::malformed, "tensor " + name, [&] { return read_entry(name, value); }));
    }
  }
  check_coverage(entries, data.size());
  for (auto& entry : entries) {
    entry.tensor.bytes = data.subspan(entry.begin, entry.end - entry.begin);
    content.tensors.push_back(std::move(entry.tensor));
  }
  return content;
}

}  // namespace

SafetensorsContent parse_safetensors(std::span<const std::byte> bytes, const std::string& origin) {
  return with_context(ExitCode::model, origin, [&] { return parse(bytes); });
}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile file(MappedFile::open(path));
  auto content = parse_safetensors(file.file_.bytes(), path.string());
  file.tensors_ = std::move(content.tensors);
  file.metadata_ = std::move(content.metadata);
  for (size_t i = 0; i < file.tensors_.size(); ++i) file.index_.emplace(file.tensors_[i].name, i);
  return file;
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace prentice
