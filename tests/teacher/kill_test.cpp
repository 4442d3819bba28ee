// A writer that is killed: before each of its write calls, whole and with that write cut in half, and at random
// instants. PRENTICE_FULL=1 takes every call and 50 instants.
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>

#include "io/file.h"
#include "teacher/tiny_store.h"

namespace {

// The calls by which the program and libhdf5 change a file, counted while `armed`.
struct Strike {
  bool armed = false, half = false;
  int64_t calls = 0, at = -1;
};
Strike strike;

// True when this call is to be cut: the caller writes half of it and dies.
bool struck() {
  if (!strike.armed) return false;
  if (strike.calls++ != strike.at) return false;
  if (!strike.half) ::kill(::getpid(), SIGKILL);
  return true;
}

}  // namespace

extern "C" {

ssize_t write(int descriptor, const void* bytes, size_t count) {
  const bool cut = struck();
  const ssize_t written = ::syscall(SYS_write, descriptor, bytes, cut ? count / 2 : count);
  if (cut) ::kill(::getpid(), SIGKILL);
  return written;
}

ssize_t pwrite(int descriptor, const void* bytes, size_t count, off_t offset) {
  const bool cut = struck();
  const ssize_t written = ::syscall(SYS_pwrite64, descriptor, bytes, cut ? count / 2 : count, offset);
  if (cut) ::kill(::getpid(), SIGKILL);
  return written;
}

int ftruncate(int descriptor, off_t size) {
  if (struck()) ::kill(::getpid(), SIGKILL);
  return static_cast<int>(::syscall(SYS_ftruncate, descriptor, size));
}

int rename(const char* from, const char* to) {
  if (struck()) ::kill(::getpid(), SIGKILL);
  return static_cast<int>(::syscall(SYS_rename, from, to));
}

}  // extern "C"

namespace prentice {
namespace {

namespace fs = std::filesystem;

bool full_counts() { return std::getenv("PRENTICE_FULL") != nullptr; }

// In memory where that can be had: the tests are about calls, not about the disk.
fs::path fast_folder() {
  const fs::path memory = "/dev/shm";
  return ::access(memory.c_str(), W_OK) == 0 ? memory : fs::temp_directory_path();
}

class KilledWriter : public testing::Test {
 protected:
  KilledWriter() {
    auto name = (fast_folder() / "prentice-kill-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    rows_ = tiny_.targets(0, tiny_.rows());
    progress_ = static_cast<uint64_t*>(
        ::mmap(nullptr, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  }
  ~KilledWriter() override {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
    ::munmap(progress_, sizeof(uint64_t));
  }

  TargetRows part(uint64_t first, uint64_t count) const {
    const auto start = static_cast<int64_t>(first), length = static_cast<int64_t>(count);
    return {rows_.ids.narrow(0, start, length),
            {},
            rows_.log_probs.narrow(0, start, length),
            rows_.tail.narrow(0, start, length)};
  }

  void write(const fs::path& path, useconds_t pause = 0) const {
    TeacherStoreWriter writer(path, tiny_.key, tiny_.samples, tiny_.options);
    while (writer.next_row() < writer.rows()) {
      writer.append(part(writer.next_row(), std::min<uint64_t>(5, writer.rows() - writer.next_row())));
      *progress_ = writer.committed_rows();
      if (pause > 0) ::usleep(pause);
    }
    writer.finish();
  }

  // Forks a writer; returns its pid.
  pid_t start(const fs::path& path, int64_t at, bool half, useconds_t pause = 0) const {
    *progress_ = 0;
    const pid_t child = ::fork();
    if (child != 0) return child;
    strike = {true, half, 0, at};
    write(path, pause);
    ::_exit(0);
  }

  static std::map<std::string, std::string> files_of(const fs::path& path) {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(path))
      files[entry.path().filename().string()] = read_text_file(entry.path());
    return files;
  }

  // What was committed is read and right; the writer goes on; the end is that of the uninterrupted one.
  void expect_survives(const fs::path& path, const fs::path& reference, const std::string& what) {
    SCOPED_TRACE(what);
    if (fs::exists(path / "store.json")) {
      const TeacherStore store = TeacherStore::open(path, all_of(tiny_.key), TeacherStore::Unfinished::allow);
      EXPECT_GE(store.committed_rows(), *progress_);
      const TeacherStore whole = TeacherStore::open(reference, all_of(tiny_.key));
      const std::vector<RowRange> committed = {{0, store.committed_rows()}};
      const TargetRows found = store.read(committed), wanted = whole.read(committed);
      EXPECT_TRUE(found.ids.equal(wanted.ids) && found.counts.equal(wanted.counts) &&
                  found.log_probs.equal(wanted.log_probs) && found.tail.equal(wanted.tail));
    } else {
      EXPECT_EQ(*progress_, 0u);
    }
    write(path);
    EXPECT_TRUE(files_of(path) == files_of(reference));
  }

  void kill_at_every(int64_t step, bool half) {
    const fs::path reference = folder_ / "reference";
    write(reference);
    int64_t points = 0;
    for (int64_t at = half ? step / 2 : 0;; at += step) {
      const fs::path path = folder_ / "killed";
      int status = 0;
      ::waitpid(start(path, at, half), &status, 0);
      if (WIFEXITED(status)) {
        ASSERT_EQ(WEXITSTATUS(status), 0);
        break;  // it has fewer calls
      }
      expect_survives(path, reference, "killed at call " + std::to_string(at) + (half ? ", half" : ""));
      if (HasFailure()) return;
      fs::remove_all(path);
      ++points;
    }
    RecordProperty("points", static_cast<int>(points));
    EXPECT_GT(points * step, 60);
  }

  TinyStore tiny_;
  TargetRows rows_;
  fs::path folder_;
  uint64_t* progress_;
};

TEST_F(KilledWriter, BeforeAWriteCallTheStoreHoldsAndGoesOn) { kill_at_every(full_counts() ? 1 : 3, false); }

TEST_F(KilledWriter, InTheMiddleOfAWriteTheStoreHoldsAndGoesOn) { kill_at_every(full_counts() ? 1 : 3, true); }

TEST_F(KilledWriter, AtRandomInstantsTheStoreHoldsAndGoesOn) {
  const fs::path reference = folder_ / "reference", path = folder_ / "killed";
  write(reference);
  std::mt19937 random(11);
  for (int trial = 0; trial < (full_counts() ? 50 : 5); ++trial) {
    const pid_t child = start(path, -1, false, 2000);
    ::usleep(static_cast<useconds_t>(random() % 45000));
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    expect_survives(path, reference, "trial " + std::to_string(trial));
    if (HasFailure()) return;
    fs::remove_all(path);
  }
}

}  // namespace
}  // namespace prentice
