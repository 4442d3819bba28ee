#include "io/importance_matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "io/byte_cursor.h"
#include "io/file.h"
#include "io/gguf.h"
#include "io/sha256.h"

namespace prentice {

namespace {

constexpr std::string_view kMagic = "GGUF", kSums = ".in_sum2", kCounts = ".counts";
// Beside llama.cpp's keys, which its reader passes over: what an evaluation can be held against.
constexpr const char* kRows = "prentice.imatrix.rows";

void check(const std::string& name, const ImportanceEntry& entry) {
  if (entry.sums.empty()) fail(ExitCode::malformed, fmt::format("entry {} is empty", name));
  const bool good = std::isfinite(entry.count) && entry.count >= 0 &&
                    std::ranges::all_of(entry.sums, [](float sum) { return std::isfinite(sum) && sum >= 0; });
  if (!good) {
    fail(ExitCode::malformed, fmt::format("entry {} has a value that is negative or not finite", name),
         "collect it anew");
  }
}

std::vector<float> floats_of(const GgufTensorView& tensor) {
  if (tensor.type != GgmlType::F32) fail(ExitCode::malformed, fmt::format("tensor {} is not F32", tensor.name));
  std::vector<float> values(tensor.bytes.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
  return values;
}

ImportanceMatrix from_gguf(const std::filesystem::path& path) {
  const auto file = GgufReader::open(path);
  return with_context(ExitCode::model, path.string(), [&] {
    const auto* type = file.find("general.type");
    const auto* word = type == nullptr ? nullptr : std::get_if<std::string>(type);
    if (word == nullptr || *word != "imatrix")
      fail(ExitCode::malformed, "is a GGUF file, and not one of an importance matrix");
    ImportanceMatrix matrix{.chunks = file.get<uint32_t>("imatrix.chunk_count"),
                            .chunk_size = file.get<uint32_t>("imatrix.chunk_size")};
    for (const auto text : file.get<GgufArray>("imatrix.datasets").strings()) matrix.datasets.emplace_back(text);
    if (file.find(kRows) != nullptr) {
      for (const auto text : file.get<GgufArray>(kRows).strings()) matrix.rows.emplace_back(text);
    }
    for (const auto& tensor : file.tensors()) {
      if (!tensor.name.ends_with(kSums)) continue;
      const std::string name = tensor.name.substr(0, tensor.name.size() - kSums.size());
      const auto* counts = file.find_tensor(name + std::string(kCounts));
      if (counts == nullptr) fail(ExitCode::malformed, fmt::format("entry {} has no counts", name));
      const auto count = floats_of(*counts);
      if (count.size() != 1) fail(ExitCode::malformed, fmt::format("entry {} is of {} matrices", name, count.size()));
      ImportanceEntry entry{.sums = floats_of(tensor), .count = std::round(count[0])};
      check(name, entry);
      matrix.entries.emplace(name, std::move(entry));
    }
    if (matrix.entries.empty()) fail(ExitCode::malformed, "holds no entry");
    return matrix;
  });
}

// Never negative.
uint64_t count_at(ByteCursor& cursor, const char* what) {
  const auto value = cursor.number<int32_t>(what);
  if (value < 0) fail(ExitCode::malformed, fmt::format("{} of {}", what, value), "it is no importance matrix");
  return static_cast<uint64_t>(value);
}

std::string text_at(ByteCursor& cursor, const char* what) {
  const uint64_t length = count_at(cursor, "the length of a name");
  return std::string(cursor.text(length, what));
}

// n, then n times {name, calls, values, values * f32}, and at times the number of chunks and the data set's name. The
// values are means times the calls.
ImportanceMatrix from_legacy(std::span<const std::byte> bytes) {
  ByteCursor cursor(bytes);
  ImportanceMatrix matrix;
  const uint64_t entries = count_at(cursor, "the number of entries");
  if (entries == 0) fail(ExitCode::malformed, "holds no entry: it is no importance matrix");
  constexpr uint64_t kMaxEntries = 1 << 16;  // as many as the other form can have: two tensors each
  if (entries > kMaxEntries) fail(ExitCode::malformed, fmt::format("{} entries: it is no importance matrix", entries));
  for (uint64_t i = 0; i < entries; ++i) {
    const std::string name = text_at(cursor, "the name of an entry");
    ImportanceEntry entry{.count = static_cast<float>(count_at(cursor, "a number of calls"))};
    const auto values = cursor.take(sizeof(float) * count_at(cursor, "a number of values"), "the values of an entry");
    entry.sums.resize(values.size() / sizeof(float));
    if (!values.empty()) std::memcpy(entry.sums.data(), values.data(), values.size());
    if (entry.count == 0) entry.count = 1;
    check(name, entry);
    if (!matrix.entries.emplace(name, std::move(entry)).second)
      fail(ExitCode::malformed, fmt::format("entry {} stands there twice", name));
  }
  if (cursor.left() == 0) return matrix;
  matrix.chunks = static_cast<uint32_t>(count_at(cursor, "a number of chunks"));
  if (cursor.left() > 0) matrix.datasets.push_back(text_at(cursor, "the name of the data"));
  return matrix;
}

}  // namespace

std::vector<float> ImportanceEntry::means() const {
  if (!(count > 0)) return std::vector<float>(sums.size(), 1.0f);
  std::vector<float> out;
  for (const float sum : sums) out.push_back(sum / count);
  return out;
}

std::string calibration_row_hash(const std::string& text) { return sha256_hex(text).substr(0, 16); }

bool is_importance_file(const std::filesystem::path& path) {
  for (const char* extension : {".gguf", ".dat", ".imatrix"}) {
    if (path.extension() == extension) return true;
  }
  std::error_code error;
  return std::filesystem::is_regular_file(path, error) && MappedFile::open(path).text().starts_with(kMagic);
}

ImportanceMatrix read_importance(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  if (file.text().starts_with(kMagic)) return from_gguf(path);
  return with_context(ExitCode::model, path.string(), [&] { return from_legacy(file.bytes()); });
}

void write_importance(const ImportanceMatrix& matrix, const std::filesystem::path& path) {
  std::vector<GgufEntry> metadata = {{"general.type", std::string("imatrix")},
                                     {"imatrix.datasets", gguf_array(matrix.datasets)},
                                     {"imatrix.chunk_count", matrix.chunks},
                                     {"imatrix.chunk_size", matrix.chunk_size}};
  if (!matrix.rows.empty()) metadata.push_back({kRows, gguf_array(matrix.rows)});
  std::vector<GgufTensorInfo> infos;
  for (const auto& [name, entry] : matrix.entries) {
    const auto columns = static_cast<int64_t>(entry.sums.size());
    infos.push_back({name + std::string(kSums), GgmlType::F32, {columns}});
    infos.push_back({name + std::string(kCounts), GgmlType::F32, {1}});
  }
  GgufWriter writer(path, metadata, infos);
  for (const auto& [name, entry] : matrix.entries) {
    writer.write(name + std::string(kSums), std::as_bytes(std::span(entry.sums)));
    writer.write(name + std::string(kCounts), std::as_bytes(std::span(&entry.count, 1)));
  }
  writer.finish();
}

}  // namespace prentice
