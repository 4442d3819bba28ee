// A teacher store on disk: a folder that h5py and a JSON reader can read without this program.
//
//   store.json         what it was made of (StoreKey) and its sizes (StoreLayout); published last, so a folder without
//                      it is no store
//   samples.h5         first_row: u64 [samples + 1, rounded up to whole chunks by repeating the last]; the targets of
//                      sample s are the rows first_row[s] to first_row[s + 1] - 1.
//                      content: u64 [samples, rounded up to the same size by repeating the last]: what sample s is, by
//                      hash (data/content.h: of its ids and labels). Attribute: samples
//   shard-00000.h5 ... the rows, shard_chunks * chunk_rows to a shard, the last one shorter
//   manifest.jsonl     one line a commit {"shard", "rows", "sha256"}: rows of the shard up to and with it, hash of the
//                      chunk's bytes (of `rows`, then of `pool`); and one line a full shard {"shard", "file_bytes",
//                      "file_sha256", "commits_sha256"}: of the file, and of the digits of its commits' hashes
//   .lock              held by the writer
//
// A shard has two datasets in chunks that belong together: chunk c of `rows` describes chunk c of `pool`.
//   rows   compound {offset u32, count u16, tail f32, scale f32} [chunks * chunk_rows]: see row_code.h
//   pool   u8 [chunks * chunk_rows * pool_row_bytes]: a row's bytes start at `offset` of its own chunk; rows share the
//          chunk's budget, whoever needs less leaves it to the others
// Attributes: store (SHA-256 of store.json), shard, rows (without the padding of the last chunk), committed_rows
// (nobody reads past them). Row r of the store is row r mod (shard_chunks * chunk_rows) of its shard.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "io/hdf5.h"
#include "io/json.h"
#include "teacher/row_code.h"

namespace prentice {

inline constexpr const char* kStoreFile = "store.json";
inline constexpr const char* kSamplesFile = "samples.h5";
inline constexpr const char* kStoreManifestFile = "manifest.jsonl";

// What the rows of a store depend on. Hashes are SHA-256 in hex.
struct StoreKey {
  std::string teacher, tokenizer, chat_template, data;
  std::string geometry;  // how the teacher's batches were laid out and computed: padding and packing move logits a bit
  uint64_t vocabulary = 0, top_k = 50;
  double temperature = 1;  // that the teacher's logits were divided by
  StoredValues values = StoredValues::q8;

  bool operator==(const StoreKey&) const = default;
};

// What a reader insists on; what is left open is not compared.
struct ExpectedKey {
  std::optional<std::string> teacher, tokenizer, chat_template, data, geometry;
  std::optional<uint64_t> vocabulary, top_k;
  std::optional<double> temperature;
  std::optional<StoredValues> values;
};
ExpectedKey all_of(const StoreKey& key);

// Errors: `model`, one message for each thing that differs, with both sides.
void require_key(const std::filesystem::path& store, const StoreKey& found, const ExpectedKey& expected);

struct StoreOptions {
  double tail = 0.001;           // entries are kept until less than this mass is left
  uint64_t bytes_per_token = 0;  // files / rows; 0 = 100 for q8, for f16 and f32 what top_k entries take at worst
  uint64_t chunk_rows = 4096;    // at most, of one commit
  uint64_t shard_chunks = 1024;
};

struct StoreLayout {
  uint64_t rows = 0, samples = 0;
  uint64_t chunk_rows = 0, pool_row_bytes = 0, shard_chunks = 0;
  double tail = 0;

  uint64_t chunks() const { return (rows + chunk_rows - 1) / chunk_rows; }
  uint64_t shards() const { return (chunks() + shard_chunks - 1) / shard_chunks; }
  uint64_t shard_rows(uint64_t shard) const;  // without padding
  uint64_t chunks_of(uint64_t shard) const;
  uint64_t chunk_pool_bytes() const { return chunk_rows * pool_row_bytes; }
  uint64_t bytes() const;  // of all files, from above: what `teach` needs free, and `plan` prints
  Hdf5Table row_table(uint64_t shard) const;
  Hdf5Table pool_table(uint64_t shard) const;
  Hdf5Table first_row_table() const;
  Hdf5Table content_table() const;  // of the size of first_row_table()

  bool operator==(const StoreLayout&) const = default;
};

// Errors: `usage` when top_k or bytes_per_token cannot be had; `data` when there is no row.
StoreLayout make_store_layout(const StoreKey& key, uint64_t rows, uint64_t samples, const StoreOptions& options);

// One example whose targets a store holds.
struct StoreSample {
  uint64_t content = 0;  // what it is, by hash
  uint32_t rows = 0;     // how many targets it has

  bool operator==(const StoreSample&) const = default;
};

struct StoreDescription {
  StoreKey key;
  StoreLayout layout;
  std::string samples_sha256;
};

std::string to_text(const StoreDescription& description);  // of store.json, the same for the same contents
// Errors: `usage` when `store` is missing, `model` when it is no store, of another version, or its sizes contradict.
StoreDescription read_store_description(const std::filesystem::path& store);

std::string shard_name(uint64_t shard);  // "shard-00000.h5"

}  // namespace prentice
