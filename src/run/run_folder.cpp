#include "run/run_folder.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <torch/headeronly/version.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <ctime>
#include <random>
#include <set>

#include "config/invocation.h"
#include "core/error.h"
#include "core/version.h"
#include "io/file.h"
#include "io/publish.h"
#include "run/checkpoint.h"
#include "run/clock.h"
#include "run/manifest.h"
#include "run/provenance.h"
#include "run/signals.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

constexpr int kRunSchema = 1;
constexpr const char* kRunFile = "run.json";
constexpr const char* kRecipeFile = "recipe.yaml";

std::string time_stamp() { return fmt::format("{:%Y%m%d-%H%M%S}", fmt::gmtime(std::time(nullptr))); }

std::string new_run_id() { return fmt::format("{}-{:08x}", time_stamp(), std::random_device{}()); }

// What a run leaves before its first checkpoint, and what it may always leave.
bool is_start_file(const std::string& name) {
  static const std::set<std::string> kNames = {".lock",         kRunFile,      kRecipeFile,   "events.jsonl",
                                               "metrics.jsonl", "tensorboard", "checkpoints", kMadeFolder};
  return kNames.contains(name) || name.starts_with(kTemporaryPrefix);
}

bool has_only_start_files(const fs::path& out) {
  std::error_code missing;
  for (const auto& entry : fs::directory_iterator(out, missing)) {
    if (!is_start_file(entry.path().filename().string())) return false;
  }
  return checkpoint_steps(out).empty();
}

Json read_run(const fs::path& out) { return Json::parse_file(out / kRunFile); }

}  // namespace

std::vector<InputHash> inputs_of_newest_checkpoint(const fs::path& out) {
  const auto steps = checkpoint_steps(out);
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    const auto folder = checkpoint_folder(out, *step);
    if (!damage_of(folder).empty()) continue;
    const auto manifest = read_manifest(folder);
    return input_hashes_from(manifest.at("inputs"));
  }
  return {};
}

namespace {

// For the destructor, which must not throw: losing the note is better than losing the error that is on its way.
// Returns whether all of it was written.
bool write_quietly(const fs::path& path, const std::string& text, int flags) {
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
  if (descriptor < 0) return false;
  const bool whole = ::write(descriptor, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  return ::close(descriptor) == 0 && whole;
}

}  // namespace

RunState run_state(const fs::path& out) {
  std::error_code missing;
  if (fs::exists(out, missing) && !fs::is_directory(out, missing)) {
    fail(ExitCode::usage, fmt::format("{} is a file, expected a run folder", out.string()), "choose another run.out");
  }
  const bool described = fs::exists(out / kRunFile, missing);
  if (described && read_run(out).at("status").as_string() == "done") return RunState::finished;
  if (has_only_start_files(out)) return RunState::fresh;
  if (described || !checkpoint_steps(out).empty()) return RunState::unfinished;
  for (const auto& entry : fs::directory_iterator(out)) {
    const auto name = entry.path().filename().string();
    if (is_start_file(name)) continue;
    fail(ExitCode::usage, fmt::format("{} is no run folder: it holds {}", out.string(), name),
         "choose another run.out, or pass --fresh to move it aside");
  }
  return RunState::fresh;
}

bool is_of_pipeline(const fs::path& out, const fs::path& pipeline) {
  if (pipeline.empty()) return false;
  const fs::path whole = fs::absolute(out).lexically_normal();
  if (std::mismatch(pipeline.begin(), pipeline.end(), whole.begin(), whole.end()).first == pipeline.end()) return true;
  std::error_code missing;
  if (!fs::exists(out / kRunFile, missing)) return false;
  const auto run = read_run(out);
  const Json* made_by = run.find("pipeline");
  return made_by && *made_by == Json(pipeline.string());
}

IfDifferent run_policy(const Invocation& invocation) {
  return invocation.inner ? IfDifferent::move_aside : IfDifferent::refuse;
}

RunFolder::RunFolder(fs::path out, bool fresh, IfDifferent if_different)
    : out_(std::move(out)), if_different_(if_different) {
  std::error_code missing;
  if (!fs::is_directory(out_, missing)) run_state(out_);  // a file of that name has its own message
  lock_.emplace(out_);
  if (fresh && !(has_only_start_files(out_) && !fs::exists(out_ / kRunFile, missing))) move_aside();
  found_ = run_state(out_);
}

void RunFolder::move_aside() {
  std::error_code error;
  fs::path aside = out_.string() + ".old-" + time_stamp();
  for (int second = 2; fs::exists(aside, error); ++second) {
    aside = fmt::format("{}.old-{}-{}", out_.string(), time_stamp(), second);
  }
  fs::rename(out_, aside, error);
  if (error) fail_system("move aside", out_, error.value());
  lock_.reset();
  lock_.emplace(out_);
  found_ = RunState::fresh;
}

bool RunFolder::is_same_run() {
  Provenance before{.recipe = read_text_file(out_ / kRecipeFile)}, now{.recipe = description_.recipe};
  if (found_ == RunState::finished) {
    const auto run = read_run(out_);
    before.inputs = input_hashes_from(run.at("inputs"));
    now.inputs = inputs_->get();
  } else if (!differences(before, now).empty()) {
    // Perhaps an input only moved: what it held is known to the checkpoints.
    before.inputs = inputs_of_newest_checkpoint(out_);
    now.inputs = inputs_->get();
  }
  const bool may_move = if_different_ == IfDifferent::move_aside && is_of_pipeline(out_, description_.pipeline);
  if (if_different_ == IfDifferent::refuse || (if_different_ == IfDifferent::move_aside && !may_move))
    require_same(before, now, out_.string());
  return differences(before, now).empty();
}

RunState RunFolder::begin(RunDescription description) {
  description_ = std::move(description);
  inputs_ = std::make_shared<InputHashes>(description_.inputs);
  std::error_code missing;
  if (if_different_ == IfDifferent::adopt && found_ == RunState::finished) found_ = RunState::unfinished;
  if (found_ != RunState::fresh && fs::exists(out_ / kRecipeFile, missing) && !is_same_run() &&
      if_different_ == IfDifferent::move_aside) {
    move_aside();
  }
  const bool described = fs::exists(out_ / kRunFile, missing);
  if (described && found_ != RunState::fresh) {
    const auto run = read_run(out_);
    run_id_ = run.at("run_id").as_string();
    sessions_ = run.at("sessions").as_integer();
    seconds_before_ = run.at("wall_seconds").as_number();
  } else {
    run_id_ = new_run_id();
  }
  if (found_ == RunState::finished) return found_;
  started_ = wall_time();
  ++sessions_;
  running_ = true;
  events_.emplace(out_);
  publish_file(out_ / kRecipeFile, description_.recipe);
  publish_file(out_ / kRunFile, describe("running", "").dump(1) + "\n");
  events_->write("start", {{"run_id", run_id_}, {"session", sessions_}, {"command", description_.command}});
  return found_;
}

Json RunFolder::describe(const std::string& status, const std::string& reason) const {
  Json::Object versions = {{"prentice", kVersion}, {"torch", TORCH_VERSION}};
  if (status == "done") versions.emplace_back("binary_sha256", binary_sha256());
  // While it runs, hashes are still being computed; a run that did not end well goes without.
  const auto hashes = status == "done" ? inputs_->get() : std::vector<InputHash>{};
  Json::Array parents;
  for (const auto& parent : description_.parents) parents.push_back(parent);
  Json::Object run = {{"schema", kRunSchema},
                      {"run_id", run_id_},
                      {"kind", description_.kind},
                      {"status", status},
                      {"exit_reason", reason},
                      {"command", description_.command},
                      {"host", this_process().host},
                      {"device", description_.device},
                      {"threads", description_.threads},
                      {"seed", description_.seed},
                      {"sessions", sessions_},
                      {"started", started_},
                      {"wall_seconds", seconds_before_ + wall_time() - started_},
                      {"versions", std::move(versions)},
                      {"recipe_sha256", recipe_sha256(description_.recipe)},
                      {"inputs", to_json(hashes)},
                      {"parents", std::move(parents)}};
  if (!description_.pipeline.empty()) run.emplace_back("pipeline", description_.pipeline);
  if (!results_.empty()) run.emplace_back("results", results_);
  return run;
}

void RunFolder::finish(Json::Object results) {
  results_ = std::move(results);
  const auto run = describe("done", "done");
  publish_file(out_ / kRunFile, run.dump(1) + "\n");
  running_ = false;  // whatever becomes of the event
  events_->write("end", {{"reason", "done"}, {"wall_seconds", run.at("wall_seconds")}});
}

RunFolder::~RunFolder() {
  if (!running_) return;
  const int signal = stop_signal();
  const std::string status = signal != 0 ? "stopped" : "failed";
  const std::string reason = signal == 0 ? "error" : signal == SIGINT ? "SIGINT" : "SIGTERM";
  const Json event = Json::Object{{"time", wall_time()}, {"event", "end"}, {"reason", reason}};
  write_quietly(out_ / "events.jsonl", event.dump() + "\n", O_APPEND);
  const auto temporary = out_ / fmt::format("{}{}", kTemporaryPrefix, kRunFile);
  std::error_code ignored;
  if (write_quietly(temporary, describe(status, reason).dump(1) + "\n", O_TRUNC)) {
    fs::rename(temporary, out_ / kRunFile, ignored);
  } else {
    fs::remove(temporary, ignored);  // a full disk: the old text stays
  }
}

}  // namespace prentice
