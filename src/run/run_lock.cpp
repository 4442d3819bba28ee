#include "run/run_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <sstream>

#include "core/error.h"
#include "io/file.h"
#include "run/clock.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

constexpr double kHeartbeatSeconds = 5, kDeadAfterSeconds = 30;

std::string text_of(int descriptor) {
  char buffer[1024];
  const ssize_t size = ::pread(descriptor, buffer, sizeof buffer, 0);
  return {buffer, static_cast<size_t>(std::max<ssize_t>(size, 0))};
}

bool on_network(int descriptor) {
  struct statfs info;
  if (::fstatfs(descriptor, &info) != 0) return false;
  for (const long type : {0x6969L, 0x0BD00BD0L, 0xFF534D42L, 0xFE534D42L, 0x65735546L, 0x47504653L, 0x00C36400L}) {
    if (static_cast<long>(info.f_type) == type) return true;  // NFS, Lustre, CIFS, SMB2, FUSE, GPFS, Ceph
  }
  return false;
}

[[noreturn]] void refuse(const fs::path& path, const LockHolder& holder) {
  const std::string who =
      holder.host.empty() ? "another process" : fmt::format("process {} on {}", holder.pid, holder.host);
  fail(ExitCode::usage, fmt::format("{} is in use by {}", path.parent_path().string(), who),
       "wait for it or stop it, or choose another run.out");
}

// The lock file may be moved away with its folder between open and flock.
bool still_there(int descriptor, const fs::path& path) {
  struct stat of_descriptor, of_path;
  return ::fstat(descriptor, &of_descriptor) == 0 && ::stat(path.c_str(), &of_path) == 0 &&
         of_descriptor.st_ino == of_path.st_ino && of_descriptor.st_dev == of_path.st_dev;
}

double heartbeat_age(int descriptor) {
  struct stat info;
  if (::fstat(descriptor, &info) != 0) return 0;
  return wall_time() - (static_cast<double>(info.st_mtim.tv_sec) + 1e-9 * static_cast<double>(info.st_mtim.tv_nsec));
}

void beat(const std::stop_token& stop, int descriptor) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  const auto period = std::chrono::duration<double>(kHeartbeatSeconds);
  while (!wake.wait_for(lock, stop, period, [&] { return stop.stop_requested(); })) ::futimens(descriptor, nullptr);
}

}  // namespace

std::string to_text(const LockHolder& holder) {
  return fmt::format("{} {} {} {:.3f}\n", holder.host, holder.pid, holder.boot_id, holder.since);
}

LockHolder lock_holder_from(const std::string& text) {
  LockHolder holder;
  std::istringstream words(text);
  words >> holder.host >> holder.pid >> holder.boot_id >> holder.since;
  return words.fail() ? LockHolder{} : holder;
}

LockHolder this_process() {
  char host[256] = "localhost";
  ::gethostname(host, sizeof host - 1);
  std::string boot_id = "unknown";
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot_id;
  return {.host = host, .boot_id = boot_id, .pid = ::getpid(), .since = wall_time()};
}

bool held_elsewhere(const LockHolder& holder, const LockHolder& self, double seconds_since_heartbeat) {
  if (holder.host.empty() || holder.boot_id == self.boot_id) return false;  // on this machine flock is the truth
  return seconds_since_heartbeat < kDeadAfterSeconds;
}

RunLock::RunLock(const fs::path& run_folder) : path_(run_folder / ".lock") {
  const auto self = this_process();
  do {
    if (descriptor_ >= 0) ::close(descriptor_);
    std::error_code error;
    fs::create_directories(run_folder, error);
    if (error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory) {
      fail(ExitCode::usage, fmt::format("{}: the run folder cannot be created here", run_folder.string()),
           "choose another run.out");
    }
    if (error) fail_system("create", run_folder, error.value());
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (descriptor_ < 0) fail_system("open", path_, errno);
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      const int reason = errno;
      const auto holder = lock_holder_from(text_of(descriptor_));
      ::close(descriptor_);
      if (reason == EWOULDBLOCK) refuse(path_, holder);
      fail_system("lock", path_, reason);
    }
  } while (!still_there(descriptor_, path_));

  const bool network = on_network(descriptor_);
  const auto before = lock_holder_from(text_of(descriptor_));
  if (network && held_elsewhere(before, self, heartbeat_age(descriptor_))) {
    ::close(descriptor_);
    refuse(path_, before);
  }
  const auto text = to_text(self);
  const bool written = ::ftruncate(descriptor_, 0) == 0 &&
                       ::pwrite(descriptor_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
  if (!written) {
    const int reason = errno;
    ::close(descriptor_);
    fail_system("write", path_, reason);
  }
  if (network)
    heartbeat_ = std::jthread([descriptor = descriptor_](const std::stop_token& stop) { beat(stop, descriptor); });
}

RunLock::~RunLock() {
  heartbeat_ = {};                        // joins before the descriptor goes
  if (::ftruncate(descriptor_, 0) != 0) { /* the next holder overwrites it */
  }
  ::close(descriptor_);
}

}  // namespace prentice
