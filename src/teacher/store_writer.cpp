#include "teacher/store_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/error.h"
#include "io/file.h"
#include "io/publish.h"
#include "io/sha256.h"
#include "teacher/store_files.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

constexpr const char* kCommitted = "committed_rows";

StoreLayout layout_for(const StoreKey& key, std::span<const StoreSample> samples, const StoreOptions& options) {
  uint64_t rows = 0;
  for (const auto& sample : samples) rows += sample.rows;
  return make_store_layout(key, rows, samples.size(), options);
}

// What a kill before store.json left is made anew; anything else in the folder is not ours.
void clear_unpublished(const fs::path& store) {
  remove_leftovers(store);
  std::error_code error;
  std::vector<fs::path> ours;
  for (const auto& entry : fs::directory_iterator(store, error)) {
    const std::string name = entry.path().filename().string();
    if (name == ".lock") continue;
    if (name != kSamplesFile && name != kStoreManifestFile && !(name.starts_with("shard-") && name.ends_with(".h5")))
      fail(ExitCode::usage, fmt::format("{}: holds {}, so no teacher store is made in it", store.string(), name),
           "choose another folder");
    ours.push_back(entry.path());
  }
  for (const auto& path : ours) fs::remove(path, error);
  if (error) fail_system("clear", store, error.value());
}

void require_layout(const fs::path& store, const StoreLayout& found, const StoreLayout& wanted) {
  const auto compare = [&](const char* what, auto had, auto asked) {
    if (had == asked) return;
    fail(ExitCode::model, fmt::format("{}: was begun with {} {}, asked for is {}", store.string(), what, had, asked),
         "go on with the same data and settings, or choose another folder");
  };
  compare("rows", found.rows, wanted.rows);
  compare("samples", found.samples, wanted.samples);
  compare("tail", found.tail, wanted.tail);
  compare("pool bytes a row", found.pool_row_bytes, wanted.pool_row_bytes);
  compare("rows a chunk", found.chunk_rows, wanted.chunk_rows);
  compare("chunks a shard", found.shard_chunks, wanted.shard_chunks);
}

}  // namespace

TeacherStoreWriter::TeacherStoreWriter(const fs::path& store, const StoreKey& key, std::span<const StoreSample> samples,
                                       const StoreOptions& options)
    : store_(store), layout_(layout_for(key, samples, options)), lock_(store), chunk_(key, layout_) {
  if (fs::exists(store / kStoreFile)) {
    description_ = read_store_description(store);
    require_key(store, description_.key, all_of(key));
    require_layout(store, description_.layout, layout_);
    const auto found = read_samples(store, description_);
    if (!std::ranges::equal(found, samples, {}, &StoreSample::rows, &StoreSample::rows))
      fail(ExitCode::model, store.string() + ": was begun for samples of other lengths", "choose another folder");
    if (!std::ranges::equal(found, samples))
      fail(ExitCode::model, store.string() + ": was begun for other samples", "choose another folder");
  } else {
    clear_unpublished(store);
    make_store_files(store, {key, layout_, ""}, samples);
    description_ = read_store_description(store);
  }
  resume();
}

void TeacherStoreWriter::resume() {
  remove_leftovers(store_);
  const StoreManifest manifest = read_store_manifest(store_, layout_);
  uint64_t lines = manifest.lines();
  shard_ = manifest.shards.size();
  if (shard_ > 0 && !manifest.shards.back().full()) {
    --shard_;
    const auto& commits = manifest.shards.back().commits;
    file_.emplace(open_shard_file(store_, description_, shard_, Hdf5File::Access::read_write));
    const uint64_t rows = layout_.shard_rows(shard_), found = file_->number(kCommitted);
    const uint64_t chunks = settled_chunks(manifest.shards.back(), found, layout_, rows);
    if (chunks > 0) require_chunk(chunks - 1, commits[chunks - 1]);
    lines -= commits.size() - chunks;
    committed_ = rows_after(chunks, layout_.chunk_rows, rows);
    if (committed_ != found) {  // torn by the kill
      file_->put_number(kCommitted, committed_);
      file_->sync();
    }
  }
  committed_ = std::min(layout_.rows, committed_ + shard_ * layout_.shard_chunks * layout_.chunk_rows);
  cut_lines(store_ / kStoreManifestFile, [&](std::string_view) { return lines-- > 0; });
  manifest_.emplace(store_ / kStoreManifestFile);
  if (file_ && committed_ == shard_end()) close_shard();
}

uint64_t TeacherStoreWriter::shard_end() const {
  return shard_ * layout_.shard_chunks * layout_.chunk_rows + layout_.shard_rows(shard_);
}

void TeacherStoreWriter::require_chunk(uint64_t chunk, const std::string& sha256) const {
  EncodedChunk bytes{std::vector<std::byte>(layout_.chunk_rows * kRowRecordBytes),
                     std::vector<std::byte>(layout_.chunk_pool_bytes())};
  with_context(ExitCode::model, store_.string(), [&] {
    file_->read_chunk("rows", chunk, bytes.rows);
    file_->read_chunk("pool", chunk, bytes.pool);
    if (chunk_sha256(bytes.rows, bytes.pool) != sha256)
      fail(ExitCode::malformed, fmt::format("{}: the last commit is not what the manifest says", shard_name(shard_)),
           "the file was changed or damaged since: delete the folder and make the store again");
  });
}

void TeacherStoreWriter::append(const TargetRows& rows) {
  const Tensor ids = rows.ids.to(at::kLong).contiguous(), tail = rows.tail.to(at::kDouble).contiguous();
  const Tensor log_probs = rows.log_probs.to(at::kFloat).contiguous();
  const Tensor counts = rows.counts.defined() ? rows.counts.to(at::kLong).contiguous() : Tensor();
  const int64_t width = ids.size(1);
  for (int64_t n = 0; n < ids.size(0); ++n) {
    if (next_row() == layout_.rows) fail(ExitCode::internal, store_.string() + ": more rows than it was made for");
    const int64_t count = counts.defined() ? counts.const_data_ptr<int64_t>()[n] : width;
    std::vector<Candidate> entries;
    entries.reserve(static_cast<size_t>(count));
    for (int64_t i = n * width; i < n * width + count; ++i)
      entries.push_back(
          {static_cast<uint32_t>(ids.const_data_ptr<int64_t>()[i]), log_probs.const_data_ptr<float>()[i]});
    chunk_.add(std::move(entries), tail.const_data_ptr<double>()[n]);
    if (chunk_.size() == layout_.chunk_rows || next_row() == std::min(layout_.rows, shard_end())) commit();
  }
}

void TeacherStoreWriter::commit() {
  if (!file_) file_.emplace(open_shard_file(store_, description_, shard_, Hdf5File::Access::read_write));
  const EncodedChunk bytes = chunk_.encode();
  const uint64_t in_shard = committed_ - shard_ * layout_.shard_chunks * layout_.chunk_rows;
  const uint64_t chunk = in_shard / layout_.chunk_rows, rows = in_shard + chunk_.size();
  file_->write_chunk("pool", chunk, bytes.pool);
  file_->write_chunk("rows", chunk, bytes.rows);
  file_->sync();
  manifest_->append(commit_line(shard_, rows, chunk_sha256(bytes.rows, bytes.pool)));
  manifest_->sync();
  file_->put_number(kCommitted, rows);
  file_->sync();
  committed_ += chunk_.size();
  chunk_.clear();
  if (committed_ == shard_end()) close_shard();
}

void TeacherStoreWriter::close_shard() {
  const fs::path path = store_ / shard_name(shard_);
  file_->close();
  file_.reset();
  const auto commits = read_store_manifest(store_, layout_).shards.at(shard_).commits;
  manifest_->append(full_line(shard_, fs::file_size(path), sha256_file(path), commits));
  manifest_->sync();
  ++shard_;
}

void TeacherStoreWriter::finish() {
  if (committed_ != layout_.rows)
    fail(ExitCode::internal, fmt::format("{}: {} of {} rows were written", store_.string(), committed_, layout_.rows));
}

}  // namespace prentice
