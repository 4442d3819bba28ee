// One process per run folder: flock on OUT/.lock, and beside it who holds it, for people and for file systems on which
// flock cannot be trusted.
#pragma once

#include <filesystem>
#include <string>
#include <thread>

namespace prentice {

struct LockHolder {
  std::string host, boot_id;
  int64_t pid = 0;
  double since = 0;  // seconds since 1970
};

std::string to_text(const LockHolder& holder);
LockHolder lock_holder_from(const std::string& text);  // empty host when the text is torn or empty
LockHolder this_process();

// On a network file system flock may be granted twice: does another machine still hold the lock, judging by its last
// heartbeat?
bool held_elsewhere(const LockHolder& holder, const LockHolder& self, double seconds_since_heartbeat);

class RunLock {
 public:
  // Errors: `usage` at once, naming host and process, when another run has the folder; `storage`.
  explicit RunLock(const std::filesystem::path& run_folder);
  RunLock(RunLock&&) = delete;
  ~RunLock();  // released; the file stays, empty

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::jthread heartbeat_;  // only on network file systems
};

}  // namespace prentice
