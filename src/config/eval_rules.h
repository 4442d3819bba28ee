// What eval and compare sections contradict in themselves: tasks, and the metrics that gates are set on.
#pragma once

#include "config/checker.h"
#include "config/schema.h"

namespace prentice {

// `training`: the kind trains, and each of its evaluations has the loss, too; `pairs`: it trains on pairs of answers.
void check_eval(Checker& checker, const EvalSection& eval, bool training, bool pairs);

// compare: two artifacts, and a metric that a task of `eval` gives.
void check_compare(Checker& checker, const CompareSection& compare, const EvalSection& eval);

}  // namespace prentice
