#include "teacher/store_layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/error.h"
#include "teacher/id_code.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "prentice teacher store";
constexpr int64_t kVersion = 2;
// Beside the two tables a token pays for the index of their chunks, the manifest and the samples' offsets.
constexpr uint64_t kOverheadBytes = 2;
constexpr uint64_t kMaxChunkBytes = uint64_t{8} << 20, kMaxSampleChunk = 16384;

uint64_t rounded_up(uint64_t value, uint64_t step) { return (value + step - 1) / step * step; }

// The most that a row of `entries` can take in the pool.
uint64_t worst_row_bytes(const StoreKey& key, uint64_t entries) {
  return max_id_code_bytes(entries, key.vocabulary) + entries * stored_value_bytes(key.values);
}

// Of a large store's row; 0 asked for is 100 a token where values are quantized, and no limit where they are exact.
uint64_t pool_row_bytes(const StoreKey& key, uint64_t wanted) {
  const uint64_t worst = worst_row_bytes(key, key.top_k);
  const uint64_t fixed = kRowRecordBytes + kOverheadBytes, least = fixed + worst_row_bytes(key, 1);
  if (wanted == 0) return worst;
  if (wanted < least)
    fail(ExitCode::usage,
         fmt::format("a teacher store of {} bytes a token cannot be had: {} is the least", wanted, least));
  return std::min(worst, wanted - fixed);
}

uint64_t positive(const Json& object, const char* key, uint64_t limit) {
  const int64_t value = object.at(key).as_integer();
  if (value < 1 || static_cast<uint64_t>(value) > limit)
    fail(ExitCode::malformed, fmt::format("{}: expected 1 to {}, got {}", key, limit, value));
  return static_cast<uint64_t>(value);
}

Json to_json(const StoreKey& key) {
  return Json::Object{{"teacher", key.teacher}, {"tokenizer", key.tokenizer},     {"chat_template", key.chat_template},
                      {"data", key.data},       {"geometry", key.geometry},       {"vocabulary", key.vocabulary},
                      {"top_k", key.top_k},     {"temperature", key.temperature}, {"values", values_name(key.values)}};
}

StoreKey key_from(const Json& json) {
  const auto text = [&](const char* name) { return json.at(name).as_string(); };
  StoreKey key{text("teacher"), text("tokenizer"), text("chat_template"), text("data"), text("geometry")};
  key.vocabulary = positive(json, "vocabulary", UINT32_MAX);
  key.top_k = positive(json, "top_k", std::min<uint64_t>(UINT16_MAX, key.vocabulary));
  key.temperature = json.at("temperature").as_number();
  key.values = values_of(text("values"));
  return key;
}

StoreLayout layout_from(const Json& json) {
  StoreLayout layout;
  layout.rows = positive(json, "rows", uint64_t{1} << 48);
  layout.samples = positive(json, "samples", uint64_t{1} << 40);
  layout.chunk_rows = positive(json, "chunk_rows", uint64_t{1} << 24);
  layout.pool_row_bytes = positive(json, "pool_row_bytes", uint64_t{1} << 24);
  layout.shard_chunks = positive(json, "shard_chunks", uint64_t{1} << 24);
  layout.tail = json.at("tail").as_number();
  if (layout.chunk_pool_bytes() > (uint64_t{1} << 30)) fail(ExitCode::malformed, "chunks of more than 1 GiB");
  return layout;
}

std::string shortened(const std::string& hash) { return hash.size() > 16 ? hash.substr(0, 12) + "..." : hash; }

}  // namespace

ExpectedKey all_of(const StoreKey& key) {
  return {key.teacher,    key.tokenizer, key.chat_template, key.data,  key.geometry,
          key.vocabulary, key.top_k,     key.temperature,   key.values};
}

void require_key(const fs::path& store, const StoreKey& found, const ExpectedKey& expected) {
  std::vector<Diagnostic> differing;
  const auto compare = [&](const char* what, const auto& wanted, const auto& had, const auto& shown) {
    if (!wanted.has_value() || *wanted == had) return;
    if (shown(*wanted) == shown(had)) {
      differing.push_back({.message = fmt::format("{}: its {} hash was changed or damaged", store.string(), what)});
      return;
    }
    differing.push_back({.message = fmt::format("{}: a store of another {}: it was made with {}, asked for is {}",
                                                store.string(), what, shown(had), shown(*wanted)),
                         .hint = differing.empty() ? "name the store that belongs to this model and data, or make one "
                                                     "with `prentice teach` in another folder"
                                                   : ""});
  };
  const auto number = [](auto value) { return fmt::format("{}", value); };
  compare("teacher", expected.teacher, found.teacher, shortened);
  compare("tokenizer", expected.tokenizer, found.tokenizer, shortened);
  compare("chat template", expected.chat_template, found.chat_template, shortened);
  compare("data set", expected.data, found.data, shortened);
  compare("batch geometry", expected.geometry, found.geometry, shortened);
  compare("vocabulary size", expected.vocabulary, found.vocabulary, number);
  compare("top_k", expected.top_k, found.top_k, number);
  compare("temperature", expected.temperature, found.temperature, number);
  compare("type of values", expected.values, found.values, values_name);
  if (!differing.empty()) throw Error(ExitCode::model, std::move(differing));
}

uint64_t StoreLayout::shard_rows(uint64_t shard) const {
  const uint64_t full = shard_chunks * chunk_rows;
  return std::min(full, rows - shard * full);
}

uint64_t StoreLayout::chunks_of(uint64_t shard) const { return (shard_rows(shard) + chunk_rows - 1) / chunk_rows; }

uint64_t StoreLayout::bytes() const {
  // Heads and indexes of the files, lines of the manifest; store.json.
  const uint64_t a_file = 2560, a_chunk = 320, description = 1536;
  return chunks() * (chunk_rows * (kRowRecordBytes + pool_row_bytes) + a_chunk) + shards() * a_file +
         2 * first_row_table().elements * 8 + a_file + description;
}

Hdf5Table StoreLayout::row_table(uint64_t shard) const {
  return {
      "rows",
      {{"offset", Hdf5Scalar::u32}, {"count", Hdf5Scalar::u16}, {"tail", Hdf5Scalar::f32}, {"scale", Hdf5Scalar::f32}},
      chunks_of(shard) * chunk_rows,
      chunk_rows};
}

Hdf5Table StoreLayout::pool_table(uint64_t shard) const {
  return {"pool", {{"", Hdf5Scalar::u8}}, chunks_of(shard) * chunk_pool_bytes(), chunk_pool_bytes()};
}

Hdf5Table StoreLayout::first_row_table() const {
  const uint64_t count = samples + 1, chunks = (count + kMaxSampleChunk - 1) / kMaxSampleChunk;
  const uint64_t chunk = (count + chunks - 1) / chunks;
  return {"first_row", {{"", Hdf5Scalar::u64}}, chunks * chunk, chunk};
}

Hdf5Table StoreLayout::content_table() const {
  Hdf5Table table = first_row_table();
  table.name = "content";
  return table;
}

StoreLayout make_store_layout(const StoreKey& key, uint64_t rows, uint64_t samples, const StoreOptions& options) {
  if (key.vocabulary == 0 || key.vocabulary > UINT32_MAX)
    fail(ExitCode::usage, fmt::format("a teacher store for a vocabulary of {} tokens", key.vocabulary));
  const uint64_t most = std::min<uint64_t>(UINT16_MAX, key.vocabulary);
  if (key.top_k < 1 || key.top_k > most)
    fail(ExitCode::usage, fmt::format("top_k: expected 1 to {}, got {}", most, key.top_k),
         "more than the vocabulary cannot be kept, nor more than 65,535");
  if (!(options.tail >= 0) || options.tail >= 1)
    fail(ExitCode::usage, fmt::format("the tail of a teacher store: expected 0 to below 1, got {}", options.tail));
  if (rows == 0) fail(ExitCode::data, "a teacher store without a row: no token of the data is trained on");
  StoreLayout layout{.rows = rows, .samples = samples, .shard_chunks = options.shard_chunks, .tail = options.tail};
  const uint64_t wanted =
      options.bytes_per_token == 0 && key.values == StoredValues::q8 ? 100 : options.bytes_per_token;
  layout.pool_row_bytes = pool_row_bytes(key, wanted);
  // Chunks of one size whose padding is below 16 rows each: a small store is not mostly padding.
  const uint64_t most_rows = std::clamp<uint64_t>(kMaxChunkBytes / layout.pool_row_bytes, 1, options.chunk_rows);
  const uint64_t chunks = (rows + most_rows - 1) / most_rows;
  layout.chunk_rows = std::min(most_rows, rounded_up((rows + chunks - 1) / chunks, 16));
  // A small store pays for the heads of its files out of the pool too, as long as rows keep two thirds of theirs.
  if (const uint64_t most_bytes = rows * wanted; wanted > 0 && layout.bytes() > most_bytes) {
    const uint64_t padded_rows = layout.chunks() * layout.chunk_rows;
    const uint64_t less = (layout.bytes() - most_bytes + padded_rows - 1) / padded_rows;
    layout.pool_row_bytes -= std::min(less, layout.pool_row_bytes / 3);
  }
  return layout;
}

std::string to_text(const StoreDescription& description) {
  const StoreLayout& layout = description.layout;
  const Json json = Json::Object{{"format", kFormat},
                                 {"version", kVersion},
                                 {"key", to_json(description.key)},
                                 {"tail", layout.tail},
                                 {"rows", layout.rows},
                                 {"samples", layout.samples},
                                 {"chunk_rows", layout.chunk_rows},
                                 {"pool_row_bytes", layout.pool_row_bytes},
                                 {"shard_chunks", layout.shard_chunks},
                                 {"samples_sha256", description.samples_sha256}};
  return json.dump(2) + "\n";
}

StoreDescription read_store_description(const fs::path& store) {
  std::error_code ignored;
  if (!fs::exists(store, ignored)) fail(ExitCode::usage, store.string() + ": does not exist");
  const fs::path path = store / kStoreFile;
  if (!fs::exists(path, ignored))
    fail(ExitCode::model, store.string() + ": not a teacher store: it has no " + kStoreFile);
  return with_context(ExitCode::model, path.string(), [&] {
    const Json json = Json::parse_file(path, {.max_bytes = 1 << 20, .max_depth = 8, .max_values = 1000});
    if (const Json* format = json.find("format"); !format || !format->is_string() || format->as_string() != kFormat)
      fail(ExitCode::malformed, "not a teacher store");
    if (const int64_t version = json.at("version").as_integer(); version != kVersion)
      fail(ExitCode::malformed, fmt::format("version {} of the format; this program reads {}", version, kVersion));
    return StoreDescription{key_from(json.at("key")), layout_from(json), json.at("samples_sha256").as_string()};
  });
}

std::string shard_name(uint64_t shard) { return fmt::format("shard-{:05}.h5", shard); }

}  // namespace prentice
