#include "teacher/store_files.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "io/file.h"
#include "io/publish.h"
#include "io/sha256.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

void make_samples(const fs::path& path, const StoreLayout& layout, std::span<const uint64_t> first_rows) {
  const Hdf5Table table = layout.sample_table();
  std::vector<uint64_t> padded(first_rows.begin(), first_rows.end());
  padded.resize(table.elements, first_rows.back());
  TempFile file(path);
  Hdf5File hdf5 = Hdf5File::create(file.path());
  hdf5.make_table(table);
  const auto bytes = std::as_bytes(std::span(padded));
  for (uint64_t chunk = 0; chunk < table.elements / table.chunk_elements; ++chunk)
    hdf5.write_chunk(table.name, chunk, bytes.subspan(chunk * table.chunk_bytes(), table.chunk_bytes()));
  hdf5.put_number("samples", layout.samples);
  hdf5.close();
  file.publish(IfExists::replace);
}

void make_shard(const fs::path& path, const StoreLayout& layout, uint64_t shard, const std::string& store_sha256) {
  TempFile file(path);
  Hdf5File hdf5 = Hdf5File::create(file.path());
  hdf5.put_text("store", store_sha256);
  hdf5.put_number("shard", shard);
  hdf5.put_number("rows", layout.shard_rows(shard));
  hdf5.put_number("committed_rows", 0);
  hdf5.make_table(layout.row_table(shard));
  hdf5.make_table(layout.pool_table(shard));
  hdf5.close();
  file.publish(IfExists::replace);
}

void require_number(const Hdf5File& file, const char* name, uint64_t wanted) {
  if (const uint64_t found = file.number(name); found != wanted)
    fail(ExitCode::malformed, fmt::format("{}: expected {}, found {}", name, wanted, found));
}

}  // namespace

void make_store_files(const fs::path& store, StoreDescription description, std::span<const uint64_t> first_rows) {
  const StoreLayout& layout = description.layout;
  require_free_bytes(store, layout.bytes());
  make_samples(store / kSamplesFile, layout, first_rows);
  description.samples_sha256 = sha256_file(store / kSamplesFile);
  const std::string text = to_text(description), hash = sha256_hex(text);
  for (uint64_t shard = 0; shard < layout.shards(); ++shard) make_shard(store / shard_name(shard), layout, shard, hash);
  publish_file(store / kStoreManifestFile, "");
  publish_file(store / kStoreFile, text);
}

std::vector<uint64_t> read_first_rows(const fs::path& store, const StoreDescription& description) {
  const fs::path path = store / kSamplesFile;
  const Hdf5Table table = description.layout.sample_table();
  return with_context(ExitCode::model, store.string(), [&] {
    std::error_code ignored;
    if (!fs::exists(path, ignored)) fail(ExitCode::malformed, std::string(kSamplesFile) + " is missing");
    if (sha256_file(path) != description.samples_sha256)
      fail(ExitCode::malformed,
           fmt::format("{} is not the file that {} names: its hash differs", kSamplesFile, kStoreFile),
           "the store is damaged: make it again, or fetch it again");
    Hdf5File file = Hdf5File::open(path, Hdf5File::Access::read);
    file.open_table(table);
    std::vector<uint64_t> rows(table.elements);
    const auto bytes = std::as_writable_bytes(std::span(rows));
    for (uint64_t chunk = 0; chunk < table.elements / table.chunk_elements; ++chunk)
      file.read_chunk(table.name, chunk, bytes.subspan(chunk * table.chunk_bytes(), table.chunk_bytes()));
    rows.resize(description.layout.samples + 1);
    if (rows.front() != 0 || rows.back() != description.layout.rows || !std::ranges::is_sorted(rows))
      fail(ExitCode::malformed,
           fmt::format("{}: not the first rows of {} rows", kSamplesFile, description.layout.rows));
    return rows;
  });
}

Hdf5File open_shard_file(const fs::path& store, const StoreDescription& description, uint64_t shard,
                         Hdf5File::Access access) {
  const fs::path path = store / shard_name(shard);
  return with_context(ExitCode::model, store.string(), [&] {
    Hdf5File file = Hdf5File::open(path, access);
    if (file.text("store") != sha256_hex(to_text(description)))
      fail(ExitCode::malformed, fmt::format("{} belongs to another store", shard_name(shard)));
    require_number(file, "shard", shard);
    require_number(file, "rows", description.layout.shard_rows(shard));
    file.open_table(description.layout.row_table(shard));
    file.open_table(description.layout.pool_table(shard));
    return file;
  });
}

std::string chunk_sha256(std::span<const std::byte> rows, std::span<const std::byte> pool) {
  Sha256 hash;
  hash.update(rows);
  hash.update(pool);
  return hash.hex();
}

}  // namespace prentice
