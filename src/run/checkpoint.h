// The checkpoints of one run: published whole by one rename, verified before use, thinned out afterwards.
// Knows files and their order of writing; what a checkpoint holds is the loop's matter.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "run/events.h"

namespace prentice {

// OUT/checkpoints/step-00000120
std::filesystem::path checkpoint_folder(const std::filesystem::path& run_folder, int64_t step);
// Steps that have a checkpoint, verified or not, ascending.
std::vector<int64_t> checkpoint_steps(const std::filesystem::path& run_folder);

inline constexpr int64_t kFewestKept = 2;  // a damaged one has another before it

class Checkpoints {
 public:
  // Deletes what killed runs left (.tmp-*, .trash-*). Keeps a reference to `events`.
  Checkpoints(std::filesystem::path run_folder, EventLog& events);

  struct Found {
    int64_t step = 0;
    std::filesystem::path folder;
    Json manifest;
  };
  // The newest checkpoint whose manifest verifies; every one that is passed over is warned about, with the reason.
  // nullopt when there is none at all. Errors: `model` when there are some and none verifies.
  std::optional<Found> newest();

  // Fills a temporary folder with `write`, adds the manifest (with `facts`) and publishes it. Nothing remains of a
  // failed one. Errors: `storage`, with the bytes missing when fewer than `expected_bytes` are free.
  void save(int64_t step, uint64_t expected_bytes, Json::Object facts,
            const std::function<void(const std::filesystem::path& folder)>& write);

  // Deletes all but the last `keep` (at least kFewestKept) and `best_step`, and those found broken. What cannot be
  // deleted is a warning.
  void thin_out(int64_t keep, std::optional<int64_t> best_step);

  uint64_t last_bytes() const { return last_bytes_; }  // of the checkpoint found or saved last; 0 = none

 private:
  void remove(int64_t step);

  std::filesystem::path run_folder_;
  EventLog& events_;
  std::vector<int64_t> broken_;
  uint64_t last_bytes_ = 0;
};

}  // namespace prentice
