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

void write_numbers(Hdf5File& file, const Hdf5Table& table, std::vector<uint64_t> numbers) {
  numbers.resize(table.elements, numbers.back());
  file.make_table(table);
  const auto bytes = std::as_bytes(std::span(numbers));
  for (uint64_t chunk = 0; chunk < table.elements / table.chunk_elements; ++chunk)
    file.write_chunk(table.name, chunk, bytes.subspan(chunk * table.chunk_bytes(), table.chunk_bytes()));
}

std::vector<uint64_t> read_numbers(Hdf5File& file, const Hdf5Table& table) {
  file.open_table(table);
  std::vector<uint64_t> numbers(table.elements);
  const auto bytes = std::as_writable_bytes(std::span(numbers));
  for (uint64_t chunk = 0; chunk < table.elements / table.chunk_elements; ++chunk)
    file.read_chunk(table.name, chunk, bytes.subspan(chunk * table.chunk_bytes(), table.chunk_bytes()));
  return numbers;
}

void make_samples(const fs::path& path, const StoreLayout& layout, std::span<const StoreSample> samples) {
  std::vector<uint64_t> first_rows(1, 0), contents;
  for (const auto& sample : samples) {
    first_rows.push_back(first_rows.back() + sample.rows);
    contents.push_back(sample.content);
  }
  TempFile file(path);
  const Hdf5Table numbers = layout.first_row_table();
  Hdf5File hdf5 = Hdf5File::create(file.path(), numbers.elements / numbers.chunk_elements);
  write_numbers(hdf5, numbers, std::move(first_rows));
  write_numbers(hdf5, layout.content_table(), std::move(contents));
  hdf5.put_number("samples", layout.samples);
  hdf5.close();
  file.publish(IfExists::replace);
}

void make_shard(const fs::path& path, const StoreLayout& layout, uint64_t shard, const std::string& store_sha256) {
  TempFile file(path);
  Hdf5File hdf5 = Hdf5File::create(file.path(), layout.chunks_of(shard));
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

void make_store_files(const fs::path& store, StoreDescription description, std::span<const StoreSample> samples) {
  const StoreLayout& layout = description.layout;
  require_free_bytes(store, layout.bytes());
  make_samples(store / kSamplesFile, layout, samples);
  description.samples_sha256 = sha256_file(store / kSamplesFile);
  const std::string text = to_text(description), hash = sha256_hex(text);
  for (uint64_t shard = 0; shard < layout.shards(); ++shard) make_shard(store / shard_name(shard), layout, shard, hash);
  publish_file(store / kStoreManifestFile, "");
  publish_file(store / kStoreFile, text);
}

std::vector<StoreSample> read_samples(const fs::path& store, const StoreDescription& description) {
  const fs::path path = store / kSamplesFile;
  const StoreLayout& layout = description.layout;
  return with_context(ExitCode::model, store.string(), [&] {
    std::error_code ignored;
    if (!fs::exists(path, ignored)) fail(ExitCode::malformed, std::string(kSamplesFile) + " is missing");
    if (sha256_file(path) != description.samples_sha256)
      fail(ExitCode::malformed,
           fmt::format("{} is not the file that {} names: its hash differs", kSamplesFile, kStoreFile),
           "the store is damaged: make it again, or fetch it again");
    Hdf5File file = Hdf5File::open(path, Hdf5File::Access::read);
    auto first_rows = read_numbers(file, layout.first_row_table());
    const auto contents = read_numbers(file, layout.content_table());
    first_rows.resize(layout.samples + 1);
    std::vector<StoreSample> samples;
    for (uint64_t s = 0; s < layout.samples; ++s) {
      const uint64_t rows = first_rows[s + 1] - first_rows[s];
      if (first_rows[s + 1] < first_rows[s] || rows > UINT32_MAX)
        fail(ExitCode::malformed, fmt::format("{}: sample {} has no number of rows", kSamplesFile, s));
      samples.push_back({contents[s], static_cast<uint32_t>(rows)});
    }
    if (first_rows.front() != 0 || first_rows.back() != layout.rows)
      fail(ExitCode::malformed, fmt::format("{}: not the first rows of {} rows", kSamplesFile, layout.rows));
    return samples;
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
