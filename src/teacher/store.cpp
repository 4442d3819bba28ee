#include "teacher/store.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <unordered_map>

#include "core/error.h"
#include "io/sha256.h"
#include "teacher/chunk_encoder.h"
#include "teacher/row_code.h"
#include "teacher/store_files.h"
#include "teacher/store_manifest.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

constexpr uint64_t kCacheBytes = uint64_t{64} << 20;  // of chunks: neighbours of a sample are often asked for soon

void require_file(const fs::path& store, uint64_t shard, const StoreManifest::Shard& entry,
                  TeacherStore::Hashes hashes) {
  const fs::path path = store / shard_name(shard);
  const auto damaged = [&](const std::string& what) {
    fail(ExitCode::model, fmt::format("{}: {}", path.string(), what),
         "the file was changed or damaged since it was written: fetch the store again, or delete it and run "
         "`prentice teach` again");
  };
  std::error_code error;
  const uint64_t bytes = fs::file_size(path, error);
  if (error) damaged("is missing");
  if (bytes != entry.file_bytes) damaged(fmt::format("expected {} bytes, found {}", entry.file_bytes, bytes));
  if (hashes == TeacherStore::Hashes::verify && cached_sha256_file(path) != entry.file_sha256)
    damaged("its SHA-256 is not the one of the manifest");
}

}  // namespace

struct TeacherStore::State {
  using Chunk = std::shared_ptr<const EncodedChunk>;

  State(fs::path store_path, StoreDescription found) : path(std::move(store_path)), description(std::move(found)) {}

  Chunk chunk(uint64_t index);

  fs::path path;
  StoreDescription description;
  std::vector<uint64_t> first_rows;  // [samples + 1]
  std::unordered_map<uint64_t, uint64_t> sample_of_content;
  uint64_t committed = 0;

  std::mutex mutex;  // of what is below
  std::vector<std::optional<Hdf5File>> shards;
  std::list<std::pair<uint64_t, Chunk>> recent;  // the latest first
};

TeacherStore::State::Chunk TeacherStore::State::chunk(uint64_t index) {
  const std::lock_guard lock(mutex);
  const auto found = std::ranges::find(recent, index, [](const auto& entry) { return entry.first; });
  if (found != recent.end()) {
    recent.splice(recent.begin(), recent, found);
    return found->second;
  }
  const StoreLayout& layout = description.layout;
  const uint64_t shard = index / layout.shard_chunks;
  const Hdf5File& file = *shards[shard];  // opened as far as rows are committed
  EncodedChunk read{std::vector<std::byte>(layout.chunk_rows * kRowRecordBytes),
                    std::vector<std::byte>(layout.chunk_pool_bytes())};
  with_context(ExitCode::model, "", [&] {
    file.read_chunk("rows", index % layout.shard_chunks, read.rows);
    file.read_chunk("pool", index % layout.shard_chunks, read.pool);
  });
  const uint64_t chunk_bytes = read.rows.size() + read.pool.size();
  recent.emplace_front(index, std::make_shared<const EncodedChunk>(std::move(read)));
  while (recent.size() > 1 && recent.size() * chunk_bytes > kCacheBytes) recent.pop_back();
  return recent.front().second;
}

TeacherStore::TeacherStore(std::unique_ptr<State> state) : state_(std::move(state)) {}
TeacherStore::TeacherStore(TeacherStore&&) noexcept = default;
TeacherStore::~TeacherStore() = default;

TeacherStore TeacherStore::open(const fs::path& store, const ExpectedKey& expected, Unfinished unfinished,
                                Hashes hashes) {
  StoreDescription description = read_store_description(store);
  require_key(store, description.key, expected);
  const StoreLayout layout = description.layout;
  const StoreManifest manifest = read_store_manifest(store, layout);
  if (unfinished == Unfinished::refuse && !manifest.finished(layout))
    fail(ExitCode::model,
         fmt::format("{}: not finished: {} of {} rows are there", store.string(), manifest.rows(layout), layout.rows),
         "run the `prentice teach` that makes it again: it continues");
  auto state = std::make_unique<State>(store, std::move(description));
  state->shards.resize(manifest.shards.size());
  for (uint64_t shard = 0; shard < manifest.shards.size(); ++shard) {
    const auto& entry = manifest.shards[shard];
    const uint64_t rows = layout.shard_rows(shard);
    if (entry.full()) require_file(store, shard, entry, hashes);
    auto& file = state->shards[shard];
    file.emplace(open_shard_file(store, state->description, shard, Hdf5File::Access::read));
    const uint64_t chunks =
        entry.full() ? entry.commits.size() : settled_chunks(entry, file->number("committed_rows"), layout, rows);
    state->committed += rows_after(chunks, layout.chunk_rows, rows);
  }
  state->first_rows.push_back(0);
  for (const auto& sample : read_samples(store, state->description)) {
    state->sample_of_content.try_emplace(sample.content, state->first_rows.size() - 1);
    state->first_rows.push_back(state->first_rows.back() + sample.rows);
  }
  return TeacherStore(std::move(state));
}

const StoreKey& TeacherStore::key() const { return state_->description.key; }
const StoreLayout& TeacherStore::layout() const { return state_->description.layout; }
uint64_t TeacherStore::committed_rows() const { return state_->committed; }

RowRange TeacherStore::sample_rows(uint64_t sample) const {
  const auto& first = state_->first_rows;
  if (sample + 1 >= first.size())
    fail(ExitCode::internal, fmt::format("{}: sample {} of {}", state_->path.string(), sample, first.size() - 1));
  return {first[sample], first[sample + 1] - first[sample]};
}

StoreSummary TeacherStore::summary() const {
  const StoreLayout& layout = this->layout();
  StoreSummary sums;
  std::vector<std::byte> records(layout.chunk_rows * kRowRecordBytes);
  for (uint64_t row = 0; row < state_->committed; ++row) {
    if (row % layout.chunk_rows == 0) {
      const uint64_t chunk = row / layout.chunk_rows;
      const std::lock_guard lock(state_->mutex);
      with_context(ExitCode::model, "", [&] {
        state_->shards[chunk / layout.shard_chunks]->read_chunk("rows", chunk % layout.shard_chunks, records);
      });
    }
    const RowRecord record = record_at(records.data() + row % layout.chunk_rows * kRowRecordBytes);
    sums.mass += 1 - static_cast<double>(record.tail);
    sums.entries += record.count;
  }
  const auto rows = static_cast<double>(std::max<uint64_t>(1, state_->committed));
  return {sums.mass / rows, sums.entries / rows};
}

std::optional<uint64_t> TeacherStore::find(uint64_t content) const {
  const auto found = state_->sample_of_content.find(content);
  if (found == state_->sample_of_content.end()) return std::nullopt;
  return found->second;
}

TargetRows TeacherStore::read(std::span<const RowRange> ranges) const {
  struct Wanted {
    State::Chunk chunk;
    RowRecord record;
  };
  const StoreLayout& layout = this->layout();
  std::vector<Wanted> wanted;
  int64_t width = 1;
  for (const auto& range : ranges) {
    if (range.first > state_->committed || range.count > state_->committed - range.first)
      fail(ExitCode::internal, fmt::format("{}: rows {} to {} of {} that are committed", state_->path.string(),
                                           range.first, range.first + range.count, state_->committed));
    for (uint64_t row = range.first; row < range.first + range.count; ++row) {
      const bool same = row > range.first && row % layout.chunk_rows != 0;
      auto chunk = same ? wanted.back().chunk : state_->chunk(row / layout.chunk_rows);
      const RowRecord record = record_at(chunk->rows.data() + row % layout.chunk_rows * kRowRecordBytes);
      width = std::max<int64_t>(width, std::min<uint64_t>(record.count, key().top_k));
      wanted.push_back({std::move(chunk), record});
    }
  }
  const auto rows = static_cast<int64_t>(wanted.size());
  TargetRows targets{at::zeros({rows, width}, at::kLong), at::empty({rows}, at::kLong),
                     at::full({rows, width}, -std::numeric_limits<float>::infinity(), at::kFloat),
                     at::empty({rows}, at::kFloat)};
  auto* ids = targets.ids.mutable_data_ptr<int64_t>();
  auto* log_probs = targets.log_probs.mutable_data_ptr<float>();
  const auto columns = static_cast<size_t>(width);
  with_context(ExitCode::model, state_->path.string(), [&] {
    for (size_t n = 0; n < wanted.size(); ++n) {
      const auto& [chunk, record] = wanted[n];
      decode_row(record, chunk->pool, key().values, static_cast<uint32_t>(key().vocabulary),
                 {ids + n * columns, columns}, {log_probs + n * columns, columns});
      targets.counts.mutable_data_ptr<int64_t>()[n] = record.count;
      targets.tail.mutable_data_ptr<float>()[n] = record.tail;
    }
  });
  return targets;
}

}  // namespace prentice
