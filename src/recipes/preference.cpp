// Preference tuning: answers that were chosen against answers that were rejected, compared with the model as it was
// (DPO and its kin) or by themselves (ORPO, SimPO, CPO).
#include "eval/preference.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>

#include "job/reference.h"
#include "job/training.h"
#include "job/validation.h"
#include "objective/preference_share.h"
#include "pages/console.h"
#include "recipes/programs.h"

namespace prentice {

namespace {

PreferenceResult score_held_out(const Model& model, const Reference& reference, const PreparedRun& run,
                                const DpoRecipe& recipe) {
  const Model at_hand = with_head_at_hand(model);
  return score_preference({.rows = held_out_answers(run, recipe),
                           .section = recipe.preference,
                           .policy = [&](const Batch& batch) { return answer_sums(at_hand, batch, {}); },
                           .reference = [&](const Batch& batch) { return reference.sums(batch); }});
}

// The divergence of the whole step before its first share, and how many answers of each kind it has.
KtoStep look_at_step(const Model& model, const Reference& reference, const Step& step, at::Device device) {
  const c10::NoGradGuard no_grad;
  KtoStep found{.kl = at::zeros({}, at::TensorOptions().dtype(at::kDouble).device(device))};
  for (const auto& batch : step.micros) {
    const auto chosen = static_cast<double>(batch.role.eq(kChosen).sum().item<int64_t>());
    found.desirable += chosen;
    found.undesirable += static_cast<double>(batch.role.size(0)) - chosen;
  }
  std::vector<Tensor> of_model, of_reference;
  for (const auto& host : step.mismatched) {
    const Batch batch = to_device(host, device);
    of_reference.push_back(reference.sums(batch));
    of_model.push_back(answer_sums(model, batch, {}));
  }
  if (!of_model.empty()) found.kl = kto_divergence(at::cat(of_model), at::cat(of_reference));
  return found;
}

// Answers of one kind have a loss, which says little.
void warn_of_labels(const DataSet& rows) {
  const auto& answers = rows.encoded.sequences;
  const auto good = std::ranges::count(answers, kChosen, &Sequence::role);
  if (good > 0 && good < std::ssize(answers)) return;
  print_warnings({fmt::format("all {} answers are labelled {}: nothing shows what the other kind is like",
                              answers.size(), good > 0)});
}

}  // namespace

int run_program(DpoRecipe recipe, const Invocation& invocation) {
  const auto training = start_training(recipe, invocation);
  if (!training) return already_done(recipe.run.out, invocation);
  auto& [folder, run, resolved, model, weights, forward] = *training;
  const Reference reference(model, recipe, run.opened);
  reference.precompute(run.data, folder.path(), *folder.inputs(), *recipe.train.micro_tokens, invocation.quiet);

  const bool single_answers = recipe.preference.loss == PreferenceLoss::kto;
  KtoStep kto;
  const Objective objective = [&](const Batch& batch, const Counts& counts, Metrics& metrics) {
    const Tensor of_reference = reference.sums(batch);  // first: nothing of the model's own pass is in memory yet
    const Tensor sums = answer_sums(model, batch, forward);
    return single_answers ? kto_share(sums, of_reference, kto, batch, counts, recipe.preference, metrics)
                          : preference_share(sums, of_reference, batch, counts, recipe.preference, metrics);
  };
  const auto score = [&] { return score_held_out(model, reference, run, recipe); };
  const Validation validation(run, [&] { return preference_report(recipe.eval, score); });
  std::function<void(Step&)> see_step;
  if (single_answers) {
    warn_of_labels(run.data.train);
    see_step = [&](const Step& step) { kto = look_at_step(model, reference, step, run.opened.machine.device); };
  }
  return finish_training(*training, recipe, objective, validation, invocation, std::move(see_step));
}

}  // namespace prentice
