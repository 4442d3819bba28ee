// The end of a training run: the trained model under its final names, exports, evaluation, report, checksums, and the
// words a person reads.
#pragma once

#include <filesystem>

#include "config/invocation.h"
#include "config/schema.h"
#include "job/prepared_run.h"
#include "job/validation.h"
#include "run/run_folder.h"
#include "train/loop.h"

namespace prentice {

// What a checkpoint, and the finished run, hold for other programs: a PEFT folder, or a Hugging Face folder when all
// weights train. Fills the existing folder `path`.
void save_trained_model(const Model&, const PreparedRun&, const std::filesystem::path& path);

// Writes everything, marks the run as done and prints the end. Returns the exit status (9 when eval.require is missed).
int finish_run(const Model&, const PreparedRun&, const ExportSection&, const EvalSection&, const Validation&,
               const TrainResult&, RunFolder&, const Invocation&);

}  // namespace prentice
