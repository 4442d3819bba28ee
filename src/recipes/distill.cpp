// Distillation: a student learns the distributions, or the hidden states, of a teacher, beside the labels; of given
// texts, or of its own.
#include <fmt/format.h>

#include <optional>

#include "artifact/stop_tokens.h"
#include "data/unpack.h"
#include "distill/distill_objective.h"
#include "distill/on_policy.h"
#include "distill/retold.h"
#include "distill/stored_teacher.h"
#include "job/training.h"
#include "job/validation.h"
#include "pages/console.h"
#include "recipes/programs.h"

namespace prentice {

namespace {

// Every micro-batch gets its texts as a teacher of another vocabulary reads them.
void retell(std::optional<Retold>& retold, const DistillRecipe& recipe, const ModelShape& teacher, PreparedRun& run,
            bool quiet) {
  retold.emplace(recipe.data, run.data.train, run.opened.tokenizer, open_tokenizer(teacher.artifact, teacher.spec),
                 teacher.spec.max_positions, run.opened.machine.threads);
  run.steps = annotated(std::move(run.steps), [&](Batch& batch) { retold->attach(batch); });
  const std::string line = "uld: " + retold->description();
  if (retold->is_sparse()) return print_warnings(std::vector{line});
  if (!quiet) fmt::print(stderr, "{}\n", line);
}

// The thread that prepares a step reads what the teacher said about its rows.
void recall(std::optional<StoredTeacher>& stored, const DistillRecipe& recipe, TeacherStore store, PreparedRun& run) {
  stored.emplace(recipe.distill.teacher, std::move(store), recipe.data, run.opened.tokenizer, run.data.train);
  stored->require_all(run.data.train.encoded);
  run.steps = annotated(std::move(run.steps), [&](Batch& batch) { stored->attach(batch); });
}

std::function<void(Step&)> sampling(const DistillRecipe& recipe, const PreparedRun& run, const Model& model,
                                    const ForwardOptions& forward) {
  const SamplingOptions options{.share = recipe.distill.on_policy,
                                .max_new_tokens = *recipe.distill.max_new_tokens,
                                .max_length = *recipe.data.max_length,
                                .micro_tokens = *recipe.train.micro_tokens,
                                .packing = recipe.data.packing,
                                .seed = static_cast<uint64_t>(recipe.run.seed),
                                .stop_ids = stop_token_ids(run.opened.artifact, run.opened.spec, run.opened.tokenizer),
                                .vocab = run.opened.tokenizer.vocab_size()};
  return [&, options](Step& step) { sample_answers(step, forward.step, model, options); };
}

}  // namespace

int run_program(DistillRecipe recipe, const Invocation& invocation) {
  recipe.trust_store = invocation.trust_store;
  const auto training = start_training(recipe, invocation);
  if (!training) return already_done(recipe.run.out, invocation);
  auto& [folder, run, resolved, model, weights, forward] = *training;
  Teacher teacher = std::move(*run.teacher);
  run.teacher.reset();
  std::optional<Retold> retold;
  if (recipe.distill.loss == DistillLoss::uld) retell(retold, recipe, *teacher.shape, run, invocation.quiet);
  std::optional<StoredTeacher> stored;
  if (teacher.store) recall(stored, recipe, std::move(*teacher.store), run);
  std::function<void(Step&)> see_step;
  if (recipe.distill.on_policy > 0) see_step = sampling(recipe, run, model, forward);

  const Distillation distillation(recipe, run.opened, std::move(teacher), model, forward);
  for (const auto& learned : distillation.learned()) weights.push_back(learned);
  const Objective objective = [&](const Batch& batch, const Counts& counts, Metrics& metrics) {
    return distillation.share(batch, counts, metrics);
  };
  const Validation validation(model, run, recipe.eval, *recipe.train.micro_tokens);
  return finish_training(*training, recipe, objective, validation, invocation, std::move(see_step));
}

}  // namespace prentice
