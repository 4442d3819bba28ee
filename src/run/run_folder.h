// The life of a run folder: locked, recognised (new, to be continued, done, or someone else's), and its run.json,
// recipe.yaml and events.jsonl. Every kind that writes a run.out uses it, training or not.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "run/events.h"
#include "run/input_hashes.h"
#include "run/origin.h"
#include "run/run_lock.h"

namespace prentice {

struct Invocation;

// In a run folder: what an unfinished run knows of the products it has made (products/product_records.h).
inline constexpr const char* kMadeFolder = ".made";

enum class RunState {
  fresh,       // nothing, or only what a run writes before its first checkpoint
  unfinished,  // something to continue
  finished,
};

// What happens when the folder holds a run made with other values.
enum class IfDifferent {
  refuse,
  move_aside,  // it is renamed OUT.old-TIME and the run starts afresh, if the same pipeline made it; else refused
  adopt,       // the new values hold and the run goes on, a finished one too (a pipeline: its steps decide)
};

// What a run folder of another recipe means for this invocation: refused by hand, moved aside by a pipeline.
IfDifferent run_policy(const Invocation&);

// What lies in `out`, without locking it. Errors: `usage` when it holds files that no run left, naming one.
RunState run_state(const std::filesystem::path& out);

// Whether the run in `out` was made by the pipeline with the absolute run folder `pipeline`: it lies below it, or its
// run.json says so.
bool is_of_pipeline(const std::filesystem::path& out, const std::filesystem::path& pipeline);

// Hashes of what a run read, as its newest undamaged checkpoint knows them; empty without one. run.json has them of a
// run that is done.
std::vector<InputHash> inputs_of_newest_checkpoint(const std::filesystem::path& out);

// What a run is, for run.json. Everything decided.
struct RunDescription {
  std::string kind, command, device;
  std::string recipe;  // resolved text
  int64_t seed = 0, threads = 0;
  std::vector<InputPath> inputs;     // everything that is read; hashed on a thread
  std::vector<std::string> parents;  // artifact addresses that this run's results stand on
  std::string pipeline;              // run folder of the pipeline that this is a step of; "" = none
};

class RunFolder {
 public:
  // Creates and locks the folder; `fresh` renames what is in it to OUT.old-TIME first. Errors: `usage` when another
  // process holds it (at once, naming it) or when it is no run folder.
  RunFolder(std::filesystem::path out, bool fresh, IfDifferent if_different = IfDifferent::refuse);
  // Without finish() before, run.json says how the run ended: stopped by a signal, or failed.
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;

  // Decides, and unless the run is finished writes recipe.yaml, run.json and the start event.
  // Errors: `usage` naming every key in which an unfinished or finished run here differs from this one.
  RunState begin(RunDescription description);

  const std::filesystem::path& path() const { return out_; }
  const std::string& run_id() const { return run_id_; }
  const std::shared_ptr<InputHashes>& inputs() const { return inputs_; }
  // For what it hands over; waits for the hashes of the inputs.
  FileOrigin origin() const { return origin_of(description_.recipe, inputs_->get()); }
  EventLog& events() { return *events_; }

  // `results` are added to run.json under "results". Waits for the input hashes.
  void finish(Json::Object results = {});

 private:
  Json describe(const std::string& status, const std::string& reason) const;
  bool is_same_run();  // errors: `usage` when it is not and that is refused
  void move_aside();

  std::filesystem::path out_;
  IfDifferent if_different_;
  std::optional<RunLock> lock_;
  RunState found_ = RunState::fresh;
  RunDescription description_;
  std::string run_id_;
  std::shared_ptr<InputHashes> inputs_;
  std::optional<EventLog> events_;
  Json::Object results_;
  double started_ = 0, seconds_before_ = 0;
  int64_t sessions_ = 0;
  bool running_ = false;
};

}  // namespace prentice
