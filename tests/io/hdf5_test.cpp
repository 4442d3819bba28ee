#include "io/hdf5.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <numeric>

#include "io/file.h"
#include "io/scratch.h"
#include "io/sha256.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

const Hdf5Table kNumbers{"table", {{"", Hdf5Scalar::u32}}, 24, 8};
const Hdf5Table kPairs{"pairs", {{"id", Hdf5Scalar::u16}, {"mass", Hdf5Scalar::f32}}, 12, 4};

std::vector<std::byte> bytes_of(size_t count, int start) {
  std::vector<std::byte> bytes(count);
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(static_cast<size_t>(start) + i);
  return bytes;
}

void write_file(const fs::path& path) {
  Hdf5File file = Hdf5File::create(path, 4);
  file.put_text("store", "name");
  file.put_number("committed_rows", 0);
  file.make_table(kNumbers);
  file.make_table(kPairs);
  for (uint64_t chunk = 0; chunk < 3; ++chunk) {
    file.write_chunk("table", chunk, bytes_of(32, static_cast<int>(chunk)));
    file.write_chunk("pairs", chunk, bytes_of(24, 100 + static_cast<int>(chunk)));
    file.put_number("committed_rows", chunk + 1);
    file.sync();
  }
  file.close();
}

TEST(Hdf5, WhatIsWrittenIsRead) {
  const Scratch scratch;
  write_file(scratch / "a.h5");
  Hdf5File file = Hdf5File::open(scratch / "a.h5", Hdf5File::Access::read);
  file.open_table(kNumbers);
  file.open_table(kPairs);
  EXPECT_EQ(file.number("committed_rows"), 3u);
  EXPECT_EQ(file.text("store"), "name");
  std::vector<std::byte> numbers(32), pairs(24);
  file.read_chunk("table", 1, numbers);
  file.read_chunk("pairs", 2, pairs);
  EXPECT_EQ(numbers, bytes_of(32, 1));
  EXPECT_EQ(pairs, bytes_of(24, 102));
}

TEST(Hdf5, EqualContentsAreEqualBytesWhateverTheTimeAndThePauses) {
  const Scratch scratch;
  write_file(scratch / "a.h5");
  const std::string whole = read_text_file(scratch / "a.h5");
  ::sleep(1);
  {
    Hdf5File file = Hdf5File::create(scratch / "b.h5", 4);
    file.put_text("store", "name");
    file.put_number("committed_rows", 0);
    file.make_table(kNumbers);
    file.make_table(kPairs);
    file.close();
  }
  for (uint64_t chunk = 0; chunk < 3; ++chunk) {
    Hdf5File file = Hdf5File::open(scratch / "b.h5", Hdf5File::Access::read_write);
    file.open_table(kNumbers);
    file.open_table(kPairs);
    file.write_chunk("table", chunk, bytes_of(32, static_cast<int>(chunk)));
    file.write_chunk("pairs", chunk, bytes_of(24, 100 + static_cast<int>(chunk)));
    file.put_number("committed_rows", chunk + 1);
    file.close();
  }
  EXPECT_TRUE(read_text_file(scratch / "b.h5") == whole);
}

TEST(Hdf5, AFreshTableIsZerosWithChecksumsAndTakesItsWholeSpace) {
  const Scratch scratch;
  Hdf5File file = Hdf5File::create(scratch / "a.h5", 4);
  file.make_table({"pool", {{"", Hdf5Scalar::u8}}, 1 << 20, 1 << 16});
  std::vector<std::byte> chunk(1 << 16, std::byte{1});
  file.read_chunk("pool", 15, chunk);
  EXPECT_EQ(chunk, std::vector<std::byte>(1 << 16));
  file.close();
  EXPECT_GT(fs::file_size(scratch / "a.h5"), 1u << 20);
}

TEST(Hdf5, ReadsWhatH5pyWrote) {
  Hdf5File file = Hdf5File::open("tests/golden/io/hdf5/good.h5", Hdf5File::Access::read);
  file.open_table(kNumbers);
  std::vector<uint32_t> values(8);
  file.read_chunk("table", 2, std::as_writable_bytes(std::span(values)));
  for (uint32_t i = 0; i < 8; ++i) EXPECT_EQ(values[i], (16 + i) * 7);
  EXPECT_EQ(file.number("committed_rows"), (uint64_t{1} << 63) + 5);
  EXPECT_EQ(file.text("store"), "abc");
  ExitCode code{};
  for (const char* name : {"absent", "store", "signed", "long"}) {
    EXPECT_TRUE(contains(message_of([&] { file.number(name); }, &code), name)) << name;
    EXPECT_EQ(code, ExitCode::malformed) << name;
  }
  for (const char* name : {"absent", "committed_rows", "long"})
    EXPECT_TRUE(contains(message_of([&] { file.text(name); }), name)) << name;
}

TEST(Hdf5, AnotherLayoutIsRefusedByName) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"soft_link", "a link to somewhere else is not followed"},
      {"external_link", "a link to somewhere else is not followed"},
      {"virtual", "expected chunks of 8"},
      {"no_checksum", "Fletcher-32"},
      {"compressed", "Fletcher-32"},
      {"other_type", "another type"},
      {"other_chunks", "expected chunks of 8 elements, found 4"},
      {"other_extent", "expected 24 elements, found 16"},
      {"growing", "can grow"},
      {"contiguous", "expected chunks of 8"},
      {"two_dimensions", "one dimension"},
  };
  for (const auto& [name, expected] : cases) {
    Hdf5File file = Hdf5File::open(std::string("tests/golden/io/hdf5/") + name + ".h5", Hdf5File::Access::read);
    ExitCode code{};
    const std::string message = message_of([&] { file.open_table(kNumbers); }, &code);
    EXPECT_TRUE(contains(message, expected)) << name << ": " << message;
    EXPECT_EQ(code, ExitCode::malformed) << name;
  }
}

// h5py's file of 2^30 declared elements, of which none is stored; it has 2 KB.
TEST(Hdf5, MoreElementsThanTheFileHoldsAreRefused) {
  Hdf5File file = Hdf5File::open("tests/golden/io/hdf5/not_stored.h5", Hdf5File::Access::read);
  ExitCode code{};
  const std::string message = message_of(
      [&] {
        file.open_table({"table", {{"", Hdf5Scalar::u32}}, 1 << 30, 1 << 12});
      },
      &code);
  EXPECT_TRUE(contains(message, "1073741824 elements are more than the file holds")) << message;
  EXPECT_EQ(code, ExitCode::malformed);
}

TEST(Hdf5, AFlippedBitInAChunkIsFound) {
  const Scratch scratch;
  write_file(scratch / "a.h5");
  std::string bytes = read_text_file(scratch / "a.h5");
  const auto chunk = bytes_of(32, 1);
  const size_t at = bytes.find(std::string(reinterpret_cast<const char*>(chunk.data()), 32));
  ASSERT_NE(at, bytes.npos);
  bytes[at + 9] = static_cast<char>(bytes[at + 9] ^ 4);
  write_file_durably(scratch / "b.h5", bytes);
  Hdf5File file = Hdf5File::open(scratch / "b.h5", Hdf5File::Access::read);
  file.open_table(kNumbers);
  std::vector<std::byte> read(32);
  file.read_chunk("table", 0, read);
  ExitCode code{};
  EXPECT_TRUE(contains(message_of([&] { file.read_chunk("table", 1, read); }, &code), "chunk 1 of table"));
  EXPECT_EQ(code, ExitCode::malformed);
}

TEST(Hdf5, WhatIsNoHdf5FileIsRefused) {
  const Scratch scratch;
  ExitCode code{};
  message_of([&] { Hdf5File::open(scratch / "absent.h5", Hdf5File::Access::read); }, &code);
  EXPECT_EQ(code, ExitCode::usage);
  for (const std::string& text :
       {std::string(), std::string("text"), std::string("\x89HDF\r\n\x1a\n"), std::string(4096, '\0')}) {
    const fs::path path = scratch / ("bad" + std::to_string(text.size()));
    write_file_durably(path, text);
    EXPECT_TRUE(contains(message_of([&] { Hdf5File::open(path, Hdf5File::Access::read); }, &code), "HDF5"));
    EXPECT_EQ(code, ExitCode::malformed);
  }
}

TEST(Hdf5, ATruncatedFileIsRefusedAtEveryLength) {
  const Scratch scratch;
  write_file(scratch / "a.h5");
  const std::string whole = read_text_file(scratch / "a.h5");
  for (size_t part = 0; part < 20; ++part) {
    const fs::path path = scratch / ("cut" + std::to_string(part));
    write_file_durably(path, std::string_view(whole).substr(0, whole.size() * part / 20));
    EXPECT_NE(message_of([&] {
                Hdf5File file = Hdf5File::open(path, Hdf5File::Access::read);
                file.open_table(kNumbers);
                file.open_table(kPairs);
              }),
              "")
        << part;
  }
}

// Exit codes of the child: 0 as claimed, 77 where no file system can be mounted, else a failure.
int on_a_full_disk() {
  const Scratch scratch;
  if (::unshare(CLONE_NEWNS) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return 77;
  ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  if (::mount("tmpfs", scratch.path().c_str(), "tmpfs", 0, "size=256k") != 0) return 77;
  ExitCode code{};
  const std::string message = message_of(
      [&] {
        Hdf5File file = Hdf5File::create(scratch / "a.h5", 4);
        file.make_table({"pool", {{"", Hdf5Scalar::u8}}, 1 << 20, 1 << 16});
        file.close();
      },
      &code);
  ::umount(scratch.path().c_str());
  return code == ExitCode::storage && contains(message, "No space left") ? 0 : 1;
}

TEST(Hdf5, AFullDiskShowsWhenTheTableIsMade) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(on_a_full_disk());
  int status = 0;
  ::waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77) GTEST_SKIP() << "a tmpfs cannot be mounted here (needs root)";
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace prentice
