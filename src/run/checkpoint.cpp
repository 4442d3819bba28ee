#include "run/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "core/error.h"
#include "io/file.h"
#include "io/publish.h"
#include "run/manifest.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStepPrefix = "step-", kTrashPrefix = ".trash-";
constexpr size_t kStepDigits = 8;

// The step of "step-00000120"; -1 for any other name.
int64_t step_of(std::string_view name) {
  if (!name.starts_with(kStepPrefix)) return -1;
  name.remove_prefix(kStepPrefix.size());
  int64_t step = -1;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  return error == std::errc() && end == name.data() + name.size() && name.size() >= kStepDigits ? step : -1;
}

fs::path parent_of(const fs::path& run_folder) { return run_folder / "checkpoints"; }

}  // namespace

fs::path checkpoint_folder(const fs::path& run_folder, int64_t step) {
  return parent_of(run_folder) / fmt::format("{}{:0{}}", kStepPrefix, step, kStepDigits);
}

std::vector<int64_t> checkpoint_steps(const fs::path& run_folder) {
  std::vector<int64_t> steps;
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(parent_of(run_folder), missing)) {
    const auto step = step_of(entry.path().filename().string());
    if (step >= 0) steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

Checkpoints::Checkpoints(fs::path run_folder, EventLog& events) : run_folder_(std::move(run_folder)), events_(events) {
  const auto parent = parent_of(run_folder_);
  remove_leftovers(parent);
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(parent, ignored)) {
    if (entry.path().filename().string().starts_with(kTrashPrefix)) fs::remove_all(entry.path(), ignored);
  }
}

std::optional<Checkpoints::Found> Checkpoints::newest() {
  const auto steps = checkpoint_steps(run_folder_);
  std::string reasons;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    const auto folder = checkpoint_folder(run_folder_, *step);
    const auto damage = damage_of(folder);
    if (damage.empty()) {
      auto manifest = read_manifest(folder);
      last_bytes_ = listed_bytes(manifest);
      return Found{*step, folder, std::move(manifest)};
    }
    events_.warn(fmt::format("skipped {}: {}", folder.string(), damage));
    reasons += fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", folder.filename().string(), damage);
    broken_.push_back(*step);
  }
  if (steps.empty()) return std::nullopt;
  fail(ExitCode::model, fmt::format("{}: no checkpoint is usable: {}", parent_of(run_folder_).string(), reasons),
       "restore one from a copy, or pass --fresh to move the run aside and begin again");
}

void Checkpoints::save(int64_t step, uint64_t expected_bytes, Json::Object facts,
                       const std::function<void(const fs::path& folder)>& write) {
  const auto folder = checkpoint_folder(run_folder_, step);
  with_context(ExitCode::storage, fmt::format("the checkpoint of step {}", step), [&] {
    require_free_bytes(run_folder_, expected_bytes);
    TempFolder temporary(folder);
    write(temporary.path());
    write_manifest(temporary.path(), std::move(facts));
    last_bytes_ = listed_bytes(read_manifest(temporary.path()));
    // A folder that is there already was found broken, or this step would not have been run again.
    temporary.publish(IfExists::replace);
  });
  std::erase(broken_, step);
}

void Checkpoints::remove(int64_t step) {
  const auto folder = checkpoint_folder(run_folder_, step);
  const auto trash = folder.parent_path() / fmt::format("{}{}", kTrashPrefix, folder.filename().string());
  std::error_code error;
  fs::rename(folder, trash, error);  // from here on it is no checkpoint, however long the deletion takes
  if (!error) fs::remove_all(trash, error);
  if (error) events_.warn(fmt::format("cannot delete {}: {}", folder.string(), error.message()));
}

void Checkpoints::thin_out(int64_t keep, std::optional<int64_t> best_step) {
  for (const int64_t step : broken_) remove(step);
  broken_.clear();
  auto steps = checkpoint_steps(run_folder_);
  const auto last = static_cast<int64_t>(steps.size()) - std::max(keep, kFewestKept);
  for (int64_t i = 0; i < last; ++i) {
    if (steps[i] != best_step) remove(steps[i]);
  }
}

}  // namespace prentice
