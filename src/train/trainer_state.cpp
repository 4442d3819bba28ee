#include "train/trainer_state.h"

namespace prentice {

namespace {

Json numbers_to_json(const std::map<std::string, double>& numbers) {
  Json::Object object;
  for (const auto& [name, value] : numbers) object.emplace_back(name, value);
  return object;
}

std::map<std::string, double> numbers_from(const Json& json) {
  std::map<std::string, double> numbers;
  for (const auto& [name, value] : json.as_object()) numbers[name] = value.as_number();
  return numbers;
}

}  // namespace

Json to_json(const TrainerState& state) {
  return Json::Object{{"step", state.step},
                      {"tokens", state.input_tokens},
                      {"trained_tokens", state.trained_tokens},
                      {"last_loss", state.last_loss},
                      {"evaluated_step", state.evaluated_step},
                      {"best_step", state.best_step ? Json(*state.best_step) : Json()},
                      {"best_metric", state.best_metric},
                      {"evaluations_since_best", state.evaluations_since_best},
                      {"first_eval", numbers_to_json(state.first_eval)},
                      {"last_eval", numbers_to_json(state.last_eval)}};
}

TrainerState trainer_state_from(const Json& json) {
  const Json& best = json.at("best_step");
  return {.step = json.at("step").as_integer(),
          .input_tokens = json.at("tokens").as_integer(),
          .trained_tokens = json.at("trained_tokens").as_number(),
          .last_loss = json.at("last_loss").as_number(),
          .evaluated_step = json.at("evaluated_step").as_integer(),
          .best_step = best.is_null() ? std::nullopt : std::optional(best.as_integer()),
          .best_metric = json.at("best_metric").as_number(),
          .evaluations_since_best = json.at("evaluations_since_best").as_integer(),
          .first_eval = numbers_from(json.at("first_eval")),
          .last_eval = numbers_from(json.at("last_eval"))};
}

std::string selecting_metric(Select select) { return select == Select::eval_accuracy ? "eval.accuracy" : "eval.loss"; }

bool note_evaluation(TrainerState& state, Select select, const std::map<std::string, double>& metrics) {
  if (state.first_eval.empty()) state.first_eval = metrics;
  state.last_eval = metrics;
  state.evaluated_step = state.step;
  const auto found = metrics.find(selecting_metric(select));
  if (found == metrics.end()) return false;
  const double value = found->second;
  const bool better = select == Select::eval_accuracy ? value > state.best_metric : value < state.best_metric;
  if (state.best_step && !better) {
    ++state.evaluations_since_best;
    return false;
  }
  state.best_step = state.step;
  state.best_metric = value;
  state.evaluations_since_best = 0;
  return true;
}

}  // namespace prentice
