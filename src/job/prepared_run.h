// What is known of a training run before its weights load.
#pragma once

#include <memory>
#include <optional>

#include "artifact/student.h"
#include "data/encode.h"
#include "data/steps.h"
#include "distill/teacher.h"
#include "plan/plan.h"

namespace prentice {

// The models of a run.
struct OpenedRun : Student {
  std::optional<Teacher> teacher;  // of a distillation
};

struct PreparedRun : OpenedRun {
  TrainEvalSets data;
  std::unique_ptr<StepSource> steps;
  double epochs = 0;  // of the whole run
  Plan plan;
};

}  // namespace prentice
