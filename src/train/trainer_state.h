// What the loop knows beside tensors: counted, compared and restored with every checkpoint (trainer.json).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "config/schema.h"
#include "io/json.h"

namespace prentice {

struct TrainerState {
  int64_t step = 0;                  // steps done
  int64_t input_tokens = 0;          // that passed through the model
  double trained_tokens = 0;         // sum of label weights
  double last_loss = 0;              // of the last step
  int64_t evaluated_step = -1;       // the last step with an evaluation; -1 = none
  std::optional<int64_t> best_step;  // of the best evaluation
  double best_metric = 0;
  int64_t evaluations_since_best = 0;
  std::map<std::string, double> first_eval, last_eval;
};

Json to_json(const TrainerState& state);
TrainerState trainer_state_from(const Json& json);  // errors: `malformed`

// The metric that `select` compares: eval.accuracy (higher is better) or eval.loss (lower is better).
std::string selecting_metric(Select select);

// Takes in an evaluation at state.step. Returns true when it is the best so far.
bool note_evaluation(TrainerState& state, Select select, const std::map<std::string, double>& metrics);

}  // namespace prentice
