#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <map>
#include <set>
#include <thread>

#include "io/file.h"
#include "io/lines.h"
#include "io/publish.h"
#include "io/scratch.h"
#include "io/sha256.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;
using namespace std::string_literals;

TEST(File, MissingAndOddPathsAreUsageErrors) {
  const Scratch scratch;
  ::mkfifo((scratch / "fifo").c_str(), 0600);
  const std::pair<fs::path, std::string> cases[] = {{scratch / "none", "does not exist"},
                                                    {scratch.path(), "expected a file, found a folder"},
                                                    {scratch / "fifo", "expected a file, found something else"}};
  for (const auto& [path, message] : cases) {
    ExitCode code = ExitCode::ok;
    EXPECT_EQ(message_of([&] { MappedFile::open(path); }, &code), path.string() + ": " + message);
    EXPECT_EQ(code, ExitCode::usage);
  }
}

TEST(File, MapsWhatWasWritten) {
  const Scratch scratch;
  write_file_durably(scratch / "a", "hello");
  write_file_durably(scratch / "empty", "");
  auto mapped = MappedFile::open(scratch / "a");
  const auto moved = std::move(mapped);
  EXPECT_EQ(moved.text(), "hello");
  moved.release_pages();
  EXPECT_EQ(moved.text(), "hello");
  EXPECT_EQ(MappedFile::open(scratch / "empty").text(), "");
  EXPECT_TRUE(contains(message_of([&] { read_text_file(scratch / "a", 4); }), "5 bytes, at most 4 are read"));
}

TEST(File, AnUnfinishedFileDisappears) {
  const Scratch scratch;
  {
    OutputFile file(scratch / "a");
    file.write("half");
  }
  EXPECT_FALSE(fs::exists(scratch / "a"));
  ExitCode code = ExitCode::ok;
  write_file_durably(scratch / "b", "x");
  EXPECT_TRUE(contains(message_of([&] { OutputFile again(scratch / "b"); }, &code), "File exists"));
  EXPECT_EQ(code, ExitCode::storage);
}

TEST(File, AFullDiskIsAStorageErrorThatLeavesNoFile) {
  const Scratch scratch;
  ExitCode code = ExitCode::ok;
  OutputFile full(scratch / "big", 1 << 20);
  // A file size limit stands in for a full disk: the write fails in the middle.
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{.rlim_cur = 1000, .rlim_max = before.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  const auto message = message_of([&] { full.write(std::string(1 << 20, 'x')); }, &code);
  ::setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_TRUE(contains(message, "cannot write")) << message;
  EXPECT_EQ(code, ExitCode::storage);
}

TEST(File, SaysHowManyBytesAreMissing) {
  const Scratch scratch;
  EXPECT_GT(free_bytes(scratch / "not/yet/there"), 0u);
  EXPECT_NO_THROW(require_free_bytes(scratch.path(), 1));
  ExitCode code = ExitCode::ok;
  EXPECT_TRUE(
      contains(message_of([&] { require_free_bytes(scratch.path(), uint64_t{1} << 62); }, &code), "bytes are missing"));
  EXPECT_EQ(code, ExitCode::storage);
}

TEST(File, OnlyPlainRelativeNamesAreTakenFromFiles) {
  for (const auto* name : {"a", "a/b", "model-00001-of-00002.safetensors", "..a", "a..b", ".a"}) {
    EXPECT_TRUE(is_plain_relative_name(name)) << name;
  }
  for (const auto& name : {""s, "/a"s, ".."s, "../a"s, "a/../b"s, "a/.."s, "."s, "a//b"s, "a/"s, "a\\b"s, "a\0b"s}) {
    EXPECT_FALSE(is_plain_relative_name(name)) << name;
  }
}

TEST(Lines, ATornEndIsLeftOut) {
  const Scratch scratch;
  const std::pair<const char*, std::vector<std::string>> cases[] = {
      {"", {}}, {"torn", {}}, {"a\n", {"a"}}, {"a\n\nb\ntorn", {"a", "", "b"}}};
  for (const auto& [text, lines] : cases) {
    std::ofstream(scratch / "lines") << text;
    std::vector<std::string> found;
    for_each_line(scratch / "lines", [&](std::string_view line) { found.emplace_back(line); });
    EXPECT_EQ(found, lines) << text;
  }
}

TEST(Lines, AWrongOneIsNamed) {
  const Scratch scratch;
  const auto path = scratch / "lines.jsonl";
  std::ofstream(path) << "{\"n\": 1}\n{\"m\": 2}\n{\"n\": 3";
  int64_t sum = 0;
  ExitCode code = ExitCode::ok;
  const auto read = [&] {
    read_json_lines(path, ExitCode::model, [&](const Json& line) { sum += line.at("n").as_integer(); });
  };
  EXPECT_TRUE(message_of(read, &code).starts_with(path.string() + ":2: "));
  EXPECT_EQ(code, ExitCode::model);
  EXPECT_EQ(sum, 1);
  std::ofstream(path) << "{\"n\": 1}\nnot\n";
  EXPECT_TRUE(message_of(read, &code).starts_with(path.string() + ":2: "));
  EXPECT_EQ(code, ExitCode::model);
}

TEST(Publish, AFolderAppearsWholeOrNotAtAll) {
  const Scratch scratch;
  {
    TempFolder folder(scratch / "runs/a/");
    write_file_durably(folder.path() / "x", "1");
    EXPECT_TRUE(folder.path().filename().string().starts_with(".tmp-a-"));
  }
  EXPECT_TRUE(fs::is_empty(scratch / "runs"));
  TempFolder folder(scratch / "runs/a");
  fs::create_directory(folder.path() / "deep");
  write_file_durably(folder.path() / "deep/x", "1");
  folder.publish();
  EXPECT_EQ(read_text_file(scratch / "runs/a/deep/x"), "1");
  EXPECT_EQ(std::distance(fs::directory_iterator(scratch / "runs"), fs::directory_iterator()), 1);
}

TEST(Publish, ATakenNameIsRefusedOrReplacedAsAsked) {
  const Scratch scratch;
  fs::create_directory(scratch / "a");
  write_file_durably(scratch / "a/old", "old");
  {
    TempFolder folder(scratch / "a");
    write_file_durably(folder.path() / "new", "new");
    ExitCode code = ExitCode::ok;
    EXPECT_EQ(message_of([&] { folder.publish(); }, &code), (scratch / "a").string() + ": exists already");
    EXPECT_EQ(code, ExitCode::usage);
    EXPECT_TRUE(fs::exists(scratch / "a/old"));
    folder.publish(IfExists::replace);
  }
  EXPECT_FALSE(fs::exists(scratch / "a/old"));
  EXPECT_EQ(read_text_file(scratch / "a/new"), "new");
  publish_file(scratch / "f", "1");
  publish_file(scratch / "f", "2");
  EXPECT_EQ(read_text_file(scratch / "f"), "2");
  EXPECT_TRUE(contains(message_of([&] { publish_file(scratch / "f", "3", IfExists::refuse); }), "exists already"));
  EXPECT_EQ(read_text_file(scratch / "f"), "2");
  EXPECT_EQ(std::distance(fs::directory_iterator(scratch.path()), fs::directory_iterator()), 2);
}

// Old or new, the folder is there at every moment: a kill in between loses neither.
TEST(Publish, AReplacedFolderIsNeverAbsent) {
  const Scratch scratch;
  fs::create_directory(scratch / "a");
  std::atomic<bool> done = false;
  int64_t absent = 0;
  std::thread watcher([&] {
    while (!done) absent += !fs::exists(scratch / "a");
  });
  for (int i = 0; i < 200; ++i) TempFolder(scratch / "a").publish(IfExists::replace);
  done = true;
  watcher.join();
  EXPECT_EQ(absent, 0);
}

// A file system that cannot swap two names, as some of networks cannot: the old folder goes aside before the new one
// comes.
std::set<int> failing_moves;  // the first is 1
int moves = 0;

int no_swap(const fs::path&, const fs::path&) { return EINVAL; }
int move_or_fail(const fs::path& from, const fs::path& to) {
  if (failing_moves.contains(++moves)) return EIO;
  return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : errno;
}

TEST(Publish, WhereNamesCannotBeSwappedNoFailureLosesAFolder) {
  using Left = std::map<std::string, std::string>;  // name without its nonce -> what is in it
  const std::pair<std::set<int>, Left> cases[] = {{{}, {{"a", "new"}}},
                                                  {{1}, {{"a", "old"}}},
                                                  {{2}, {{"a", "old"}}},
                                                  {{2, 3}, {{".tmp-a-", "new"}, {"a.old-", "old"}}}};
  for (const auto& [failing, wanted] : cases) {
    const Scratch scratch;
    fs::create_directory(scratch / "a");
    write_file_durably(scratch / "a/x", "old");
    std::string message;
    {
      TempFolder folder(scratch / "a");
      write_file_durably(folder.path() / "x", "new");
      failing_moves = failing, moves = 0;
      message = message_of([&] { folder.publish(IfExists::replace, {no_swap, move_or_fail}); });
    }
    EXPECT_EQ(contains(message, "Input/output error"), !failing.empty()) << message;
    Left left;
    for (const auto& entry : fs::directory_iterator(scratch.path())) {
      const auto name = entry.path().filename().string();
      left[name.substr(0, name.rfind('-') + 1) + (name == "a" ? "a" : "")] = read_text_file(entry.path() / "x");
      EXPECT_EQ(contains(message, name + (name.starts_with(".tmp-") ? "" : ",")), name != "a") << message;
    }
    EXPECT_EQ(left, wanted);
    remove_leftovers(scratch.path());  // as the next run does
    EXPECT_EQ(std::distance(fs::directory_iterator(scratch.path()), fs::directory_iterator()), 1);
  }
}

TEST(Publish, RemovesWhatKilledRunsLeft) {
  const Scratch scratch;
  fs::create_directories(scratch / ".tmp-step-1-abc/x");
  write_file_durably(scratch / ".tmp-f-1", "x");
  write_file_durably(scratch / "keep", "x");
  EXPECT_EQ(remove_leftovers(scratch.path()), (std::vector<std::string>{".tmp-f-1", ".tmp-step-1-abc"}));
  EXPECT_TRUE(fs::exists(scratch / "keep"));
  EXPECT_TRUE(remove_leftovers(scratch / "none").empty());
}

// FIPS 180-2, appendix B, and sha256sum of the empty text.
TEST(Sha256, KnownAnswers) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  const Scratch scratch;
  write_file_durably(scratch / "a", std::string(3'000'001, 'a'));
  Sha256 parts;
  parts.update(std::string(1'000'001, 'a'));
  parts.update(std::string(2'000'000, 'a'));
  EXPECT_EQ(sha256_file(scratch / "a"), parts.hex());
}

TEST(Sha256, TheCacheRemembersOldFilesOnly) {
  const Scratch scratch;
  const auto fresh = scratch / "fresh", cache = scratch / "cache";
  write_file_durably(fresh, "one");
  EXPECT_EQ(cached_sha256_file(fresh, cache), sha256_hex("one"));
  EXPECT_FALSE(fs::exists(cache)) << "a file that may still change within the clock's tick was remembered";

  const fs::path old = "/bin/sh";
  const auto hash = sha256_file(old);
  EXPECT_EQ(cached_sha256_file(old, cache), hash);
  const auto entry = fs::directory_iterator(cache)->path();
  auto text = read_text_file(entry);
  text.replace(0, 4, "feed");
  std::ofstream(entry, std::ios::trunc) << text;
  EXPECT_EQ(cached_sha256_file(old, cache).substr(0, 4), "feed") << "the cache was not used";
  std::ofstream(entry, std::ios::trunc) << text.substr(0, text.size() - 1);  // torn
  EXPECT_EQ(cached_sha256_file(old, cache), hash);
  text.back() = text.back() == '1' ? '2' : '1';  // another ctime
  std::ofstream(entry, std::ios::trunc) << text;
  EXPECT_EQ(cached_sha256_file(old, cache), hash);
  EXPECT_EQ(cached_sha256_file(old, {}), hash);
}

}  // namespace
}  // namespace prentice
