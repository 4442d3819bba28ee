#include "teacher/store.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "io/file.h"
#include "io/json.h"
#include "teacher/tiny_store.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

// Rows `first` to `first + targets.counts.size(0) - 1` are those of the formula.
void expect_rows(const TargetRows& targets, uint64_t first, const TinyStore& tiny, int64_t at = 0, int64_t count = -1) {
  const int64_t width = targets.ids.size(1), rows = count < 0 ? targets.ids.size(0) : count;
  for (int64_t n = 0; n < rows; ++n) {
    const TeacherRow row = teacher_row(first + static_cast<uint64_t>(n), static_cast<uint32_t>(tiny.key.vocabulary),
                                       static_cast<uint32_t>(tiny.key.top_k));
    const int64_t kept = targets.counts.const_data_ptr<int64_t>()[at + n];
    double sum = targets.tail.const_data_ptr<float>()[at + n];
    for (int64_t i = 0; i < width; ++i) {
      const int64_t id = targets.ids.const_data_ptr<int64_t>()[(at + n) * width + i];
      const float value = targets.log_probs.const_data_ptr<float>()[(at + n) * width + i];
      if (i >= kept) {
        EXPECT_EQ(id, 0);
        EXPECT_EQ(value, -INFINITY);
        continue;
      }
      const auto found = std::ranges::find(row.entries, static_cast<uint32_t>(id), &Candidate::id);
      ASSERT_NE(found, row.entries.end()) << "row " << first + static_cast<uint64_t>(n);
      EXPECT_NEAR(value, found->log_prob, 0.03);
      sum += std::exp(value);
    }
    EXPECT_NEAR(sum, 1, 1e-5);
  }
}

TEST(TeacherStore, EveryRowIsReadInAnyOrder) {
  const Scratch scratch;
  const TinyStore tiny;
  tiny.write(scratch / "store");
  const TeacherStore store = TeacherStore::open(scratch / "store", all_of(tiny.key));
  EXPECT_EQ(store.committed_rows(), 75u);
  const std::vector<RowRange> all = {{0, 75}};
  expect_rows(store.read(all), 0, tiny);
  const std::vector<RowRange> mixed = {store.sample_rows(4), store.sample_rows(1), store.sample_rows(0), {74, 1}};
  const TargetRows rows = store.read(mixed);
  ASSERT_EQ(rows.ids.size(0), 17 + 10 + 1);
  expect_rows(rows, 38, tiny, 0, 17);
  expect_rows(rows, 0, tiny, 17, 10);
  expect_rows(rows, 74, tiny, 27, 1);
  EXPECT_EQ(store.read({}).ids.size(0), 0);
  ExitCode code{};
  const std::vector<RowRange> past = {{70, 6}};
  message_of([&] { store.read(past); }, &code);
  EXPECT_EQ(code, ExitCode::internal);
  message_of([&] { store.sample_rows(6); }, &code);
  EXPECT_EQ(code, ExitCode::internal);
}

TEST(TeacherStore, ASampleIsFoundByWhatItIs) {
  const Scratch scratch;
  const TinyStore tiny;
  tiny.write(scratch / "store");
  const TeacherStore store = TeacherStore::open(scratch / "store", all_of(tiny.key));
  EXPECT_EQ(store.find(uint64_t{1} << 63), 2u);
  EXPECT_EQ(store.find(106), 5u);
  EXPECT_EQ(store.find(101), 0u) << "the first of two that are equal";
  EXPECT_EQ(store.find(105), std::nullopt);
}

TEST(TeacherStore, ExactValuesComeBackAsTheyWere) {
  const Scratch scratch;
  TinyStore tiny;
  tiny.key.values = StoredValues::f32;
  tiny.key.vocabulary = tiny.key.top_k = 40;
  tiny.options.tail = 0;
  tiny.write(scratch / "store");
  const TeacherStore store = TeacherStore::open(scratch / "store", all_of(tiny.key));
  const std::vector<RowRange> all = {{0, 75}};
  const TargetRows rows = store.read(all);
  for (uint64_t n = 0; n < 75; ++n) {
    TeacherRow row = teacher_row(n, 40, 40);
    std::ranges::sort(row.entries, {}, &Candidate::id);
    for (size_t i = 0; i < 40; ++i)
      ASSERT_EQ(rows.log_probs.const_data_ptr<float>()[n * 40 + i], row.entries[i].log_prob);
    EXPECT_EQ(rows.tail.const_data_ptr<float>()[n], 0);
  }
}

TEST(TeacherStore, TheBytesDoNotDependOnHowRowsArrive) {
  const Scratch scratch;
  const TinyStore tiny;
  tiny.write(scratch / "a", 75);
  tiny.write(scratch / "b", 1);
  for (const char* name :
       {"store.json", "samples.h5", "manifest.jsonl", "shard-00000.h5", "shard-00001.h5", "shard-00002.h5"})
    EXPECT_TRUE(read_text_file(scratch / "a" / name) == read_text_file(scratch / "b" / name)) << name;
}

TEST(TeacherStore, AStoreOfSomethingElseIsRefusedByName) {
  const Scratch scratch;
  const TinyStore tiny;
  tiny.write(scratch / "store");
  const std::vector<std::pair<std::function<void(StoreKey&)>, std::string>> cases = {
      {[](StoreKey& key) { key.teacher = std::string(64, 'x'); },
       "another teacher: it was made with aaaaaaaaaaaa..., asked for is xxxxxxxxxxxx..."},
      {[](StoreKey& key) { key.tokenizer[0] = 'x'; }, "another tokenizer"},
      {[](StoreKey& key) { key.chat_template = "none"; }, "another chat template"},
      {[](StoreKey& key) { key.data[0] = 'x'; }, "another data set"},
      {[](StoreKey& key) { key.geometry = "padded"; }, "another batch geometry"},
      {[](StoreKey& key) { key.vocabulary = 301; }, "another vocabulary size: it was made with 300, asked for is 301"},
      {[](StoreKey& key) { key.top_k = 9; }, "another top_k"},
      {[](StoreKey& key) { key.temperature = 2; }, "another temperature"},
      {[](StoreKey& key) { key.values = StoredValues::f16; },
       "another type of values: it was made with q8, asked for is f16"},
  };
  for (const auto& [change, expected] : cases) {
    TinyStore other;
    change(other.key);
    ExitCode code{};
    const std::string message = message_of([&] { TeacherStore::open(scratch / "store", all_of(other.key)); }, &code);
    EXPECT_TRUE(contains(message, expected)) << message;
    EXPECT_EQ(code, ExitCode::model) << expected;
    EXPECT_TRUE(contains(message_of([&] { other.write(scratch / "store"); }, &code), expected.substr(0, 12)));
    EXPECT_EQ(code, ExitCode::model) << expected;
  }
  TeacherStore::open(scratch / "store", {.vocabulary = 300});  // what is not asked is not compared
}

TEST(TeacherStore, AnotherDivisionOfTheSameRowsIsRefused) {
  const Scratch scratch;
  const TinyStore tiny;
  tiny.write(scratch / "store");
  TinyStore lengths = tiny, others = tiny, tail = tiny;
  std::swap(lengths.samples[0].rows, lengths.samples[2].rows);
  ++others.samples[3].content;
  tail.options.tail = 0.01;
  ExitCode code{};
  EXPECT_TRUE(contains(message_of([&] { lengths.write(scratch / "store"); }, &code), "samples of other lengths"));
  EXPECT_EQ(code, ExitCode::model);
  EXPECT_TRUE(contains(message_of([&] { others.write(scratch / "store"); }, &code), "begun for other samples"));
  EXPECT_EQ(code, ExitCode::model);
  EXPECT_TRUE(
      contains(message_of([&] { tail.write(scratch / "store"); }, &code), "begun with tail 0.001, asked for is 0.01"));
  EXPECT_EQ(code, ExitCode::model);
}

TEST(TeacherStore, AFlippedBitAnywhereIsFound) {
  const Scratch scratch;
  const TinyStore tiny;
  tiny.write(scratch / "store");
  std::mt19937 random(5);
  const std::vector<std::string> files = {"shard-00000.h5", "shard-00001.h5", "shard-00002.h5", "samples.h5",
                                          "store.json"};
  for (int trial = 0; trial < 40; ++trial) {
    const fs::path path = scratch / "store" / files[static_cast<size_t>(trial) % files.size()];
    const std::string before = read_text_file(path);
    std::string after = before;
    after[random() % after.size()] ^= static_cast<char>(1 << random() % 8);
    std::ofstream(path, std::ios::binary) << after;
    ExitCode code{};
    EXPECT_NE(message_of([&] { TeacherStore::open(scratch / "store", all_of(tiny.key)); }, &code), "") << path;
    EXPECT_EQ(code, ExitCode::model) << path;
    std::ofstream(path, std::ios::binary) << before;
  }
  TeacherStore::open(scratch / "store", all_of(tiny.key));
}

TEST(TeacherStore, ATrustedOneIsCheckedByChunksAlone) {
  const Scratch scratch;
  const TinyStore tiny;
  tiny.write(scratch / "store");
  const fs::path path = scratch / "store/shard-00001.h5";
  const std::string text = read_text_file(path);
  const std::vector<RowRange> second_shard = {{32, 16}};
  bool found = false;
  for (size_t at = text.size() / 2; at < text.size() && !found; at += 37) {
    std::string changed = text;
    changed[at] = static_cast<char>(changed[at] ^ 8);
    std::ofstream(path, std::ios::binary) << changed;
    EXPECT_NE(message_of([&] { TeacherStore::open(scratch / "store", {}); }), "");
    const auto open_and_read = [&] {
      const TeacherStore store =
          TeacherStore::open(scratch / "store", {}, TeacherStore::Unfinished::refuse, TeacherStore::Hashes::trust);
      store.read(second_shard);
    };
    ExitCode code{};
    if (!message_of(open_and_read, &code).empty()) {
      EXPECT_EQ(code, ExitCode::model);
      found = true;
    }
  }
  EXPECT_TRUE(found) << "no chunk's checksum saw its changed byte";
  fs::resize_file(path, 4000);
  EXPECT_TRUE(contains(message_of([&] {
                         TeacherStore::open(scratch / "store", {}, TeacherStore::Unfinished::refuse,
                                            TeacherStore::Hashes::trust);
                       }),
                       "found 4000"));
}

TEST(TeacherStore, TheSummaryIsThatOfTheRows) {
  const Scratch scratch;
  const TinyStore tiny;
  tiny.write(scratch / "store");
  const TeacherStore store = TeacherStore::open(scratch / "store", {});
  const std::vector<RowRange> all = {{0, 75}};
  const TargetRows rows = store.read(all);
  double mass = 0, entries = 0;
  for (int64_t n = 0; n < 75; ++n) {
    mass += 1 - static_cast<double>(rows.tail.const_data_ptr<float>()[n]);
    entries += static_cast<double>(rows.counts.const_data_ptr<int64_t>()[n]);
  }
  EXPECT_NEAR(store.summary().mass, mass / 75, 1e-12);
  EXPECT_NEAR(store.summary().entries, entries / 75, 1e-12);
}

TEST(TeacherStore, WhatIsMissingOrCutIsSaid) {
  const Scratch scratch;
  const TinyStore tiny;
  ExitCode code{};
  message_of([&] { TeacherStore::open(scratch / "none", {}); }, &code);
  EXPECT_EQ(code, ExitCode::usage);
  fs::create_directory(scratch / "empty");
  EXPECT_TRUE(contains(message_of([&] { TeacherStore::open(scratch / "empty", {}); }, &code), "not a teacher store"));
  EXPECT_EQ(code, ExitCode::model);
  tiny.write(scratch / "store");
  for (const char* name : {kSamplesFile, kStoreManifestFile}) {
    fs::rename(scratch / "store" / name, scratch / "aside");
    EXPECT_TRUE(contains(message_of([&] { TeacherStore::open(scratch / "store", {}); }, &code), "is missing")) << name;
    EXPECT_EQ(code, ExitCode::model) << name;
    fs::rename(scratch / "aside", scratch / "store" / name);
  }
  fs::resize_file(scratch / "store/shard-00001.h5", 4000);
  EXPECT_TRUE(contains(message_of([&] { TeacherStore::open(scratch / "store", {}); }, &code), "bytes, found 4000"));
  EXPECT_EQ(code, ExitCode::model);
  fs::remove(scratch / "store/shard-00001.h5");
  EXPECT_TRUE(contains(message_of([&] { TeacherStore::open(scratch / "store", {}); }, &code), "is missing"));
  EXPECT_EQ(code, ExitCode::model);
}

TEST(TeacherStore, AnUnfinishedOneIsForItsOwnRunOnly) {
  const Scratch scratch;
  const TinyStore tiny;
  {
    TeacherStoreWriter writer(scratch / "store", tiny.key, tiny.samples, tiny.options);
    writer.append(tiny.targets(0, 50));
    EXPECT_EQ(writer.committed_rows(), 48u);
    ExitCode code{};
    message_of([&] { writer.finish(); }, &code);
    EXPECT_EQ(code, ExitCode::internal);
  }
  ExitCode code{};
  EXPECT_TRUE(contains(message_of([&] { TeacherStore::open(scratch / "store", {}); }, &code), "48 of 75 rows"));
  EXPECT_EQ(code, ExitCode::model);
  const TeacherStore store = TeacherStore::open(scratch / "store", {}, TeacherStore::Unfinished::allow);
  EXPECT_EQ(store.committed_rows(), 48u);
  const std::vector<RowRange> all = {{0, 48}}, past = {{0, 49}};
  expect_rows(store.read(all), 0, tiny);
  EXPECT_NE(message_of([&] { store.read(past); }), "");
}

TEST(TeacherStore, ASecondWriterIsRefused) {
  const Scratch scratch;
  const TinyStore tiny;
  const TeacherStoreWriter writer(scratch / "store", tiny.key, tiny.samples, tiny.options);
  ExitCode code{};
  const std::string message = message_of([&] { tiny.write(scratch / "store"); }, &code);
  EXPECT_TRUE(contains(message, "is in use by process")) << message;
  EXPECT_EQ(code, ExitCode::usage);
}

TEST(TeacherStore, AFolderOfOtherThingsIsLeftAlone) {
  const Scratch scratch;
  fs::create_directory(scratch / "store");
  write_file_durably(scratch / "store/thesis.txt", std::string_view("text"));
  ExitCode code{};
  EXPECT_TRUE(contains(message_of([&] { TinyStore().write(scratch / "store"); }, &code), "thesis.txt"));
  EXPECT_EQ(code, ExitCode::usage);
  EXPECT_EQ(read_text_file(scratch / "store/thesis.txt"), "text");
}

TEST(TeacherStore, ADamagedLastCommitStopsTheWriter) {
  const Scratch scratch;
  const TinyStore tiny;
  {
    TeacherStoreWriter writer(scratch / "store", tiny.key, tiny.samples, tiny.options);
    writer.append(tiny.targets(0, 50));
  }
  std::string text = read_text_file(scratch / "store/manifest.jsonl");
  const size_t at = text.rfind("sha256\": \"") + 12;
  text[at] = text[at] == '0' ? '1' : '0';
  std::ofstream(scratch / "store/manifest.jsonl", std::ios::binary) << text;
  ExitCode code{};
  EXPECT_TRUE(contains(message_of([&] { tiny.write(scratch / "store"); }, &code), "the last commit"));
  EXPECT_EQ(code, ExitCode::model);
}

int on_a_small_disk() {
  const Scratch scratch;
  if (::unshare(CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return 77;
  ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  if (::mount("tmpfs", scratch.path().c_str(), "tmpfs", 0, "size=64k") != 0) return 77;
  const TinyStore tiny;
  TinyStore large = tiny;
  large.samples.assign(200, {1, 20});
  ExitCode code{};
  const std::string message =
      message_of([&] { TeacherStoreWriter(scratch / "store", large.key, large.samples, large.options); }, &code);
  const bool published = fs::exists(scratch / "store/store.json");
  ::umount(scratch.path().c_str());
  return code == ExitCode::storage && contains(message, "bytes are missing") && !published ? 0 : 1;
}

TEST(TeacherStore, ADiskTooSmallShowsBeforeAnythingIsGenerated) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(on_a_small_disk());
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << "a tmpfs cannot be mounted here (needs root)";
  EXPECT_EQ(status, 0);
}

TEST(StoreLayout, SizesFollowTheBudget) {
  StoreKey key{.vocabulary = 152064, .top_k = 50};
  const StoreLayout layout = make_store_layout(key, 1'000'000, 5'000, {});
  EXPECT_EQ(layout.pool_row_bytes, 84u);
  EXPECT_LE(static_cast<double>(layout.bytes()) / 1e6, 100);
  EXPECT_LE(layout.chunks() * layout.chunk_rows - layout.rows, 16 * layout.chunks());
  for (const uint64_t rows : {300, 356, 1'000, 3'000, 20'000}) {
    EXPECT_LE(make_store_layout(key, rows, 30, {}).bytes(), rows * 100) << rows;
  }
  key.values = StoredValues::f32;
  EXPECT_GE(make_store_layout(key, 1000, 1, {}).pool_row_bytes, 50 * 4 + 80u);
  key.top_k = 151000;
  ExitCode code{};
  EXPECT_TRUE(contains(message_of([&] { make_store_layout(key, 1000, 1, {}); }, &code), "1 to 65535"));
  EXPECT_EQ(code, ExitCode::usage);
  key.top_k = 50;
  EXPECT_TRUE(
      contains(message_of([&] { make_store_layout(key, 1000, 1, {.bytes_per_token = 20}); }, &code), "is the least"));
  EXPECT_EQ(code, ExitCode::usage);
  message_of([&] { make_store_layout(key, 0, 1, {}); }, &code);
  EXPECT_EQ(code, ExitCode::data);
}

}  // namespace
}  // namespace prentice
