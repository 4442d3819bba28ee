#include "job/prepare.h"

#include <fmt/format.h>

#include <algorithm>

#include "adapter/lora.h"
#include "adapter/trainable.h"
#include "config/check.h"
#include "config/checker.h"
#include "config/distill_rules.h"
#include "core/error.h"
#include "data/data_template.h"
#include "data/fixed_shape.h"
#include "data/unpack.h"
#include "distill/distill_states.h"
#include "distill/on_policy.h"
#include "job/graph.h"
#include "job/reference.h"
#include "job/training_plan.h"
#include "model/make.h"
#include "plan/model_checks.h"
#include "train/optimizer.h"

namespace prentice {

namespace {

// Counted on weights without storage, by the same code that will train them.
void count_what_trains(StepShape& shape) {
  Model model = make_model(shape.spec, {.dtype = shape.dtype, .device = c10::kMeta, .quantize = shape.quantize});
  if (!shape.full()) attach_lora(model, *shape.adapter, 0);
  const NamedTensors weights = trainable(model, *shape.adapter);
  const Optimizer optimizer({.name = shape.optimizer, .beta1 = shape.beta1}, weights);
  for (const auto& [name, tensor] : weights) shape.trainable += tensor.numel();
  for (const auto& [name, tensor] : optimizer.state()) shape.state_bytes += static_cast<int64_t>(tensor.nbytes());
}

// None for a store.
std::optional<AskedModel> asked_teacher(const DistillRecipe& recipe, const Teacher& teacher, const Opened& student) {
  if (!teacher.shape) return {};
  const ModelSpec& spec = teacher.shape->spec;
  const auto here = student.machine.device, there = teacher.machine.device;
  const Quantize quantize = quantize_of({}, spec);
  return AskedModel{.spec = spec,
                    .place = there == here    ? AskedModel::Place::with_model
                             : there.is_cpu() ? AskedModel::Place::host
                                              : AskedModel::Place::elsewhere,
                    .dtype = teacher.machine.dtype,
                    .quantize = quantize,
                    .bytes = held_bytes(spec, teacher.machine.dtype, quantize),
                    .teach = recipe.distill};
}

// What a step's loss reads, its second model, and what trains with it.
template <class Recipe>
void look_at_loss(StepShape& shape, const Recipe& recipe, const PreparedRun& run) {
  if (shape.spec.labels > 0) shape.loss = StepLoss::scores;
  if constexpr (requires { recipe.preference; }) {
    shape.loss = StepLoss::answers;
    shape.asked = asked_reference(recipe, run.opened, shape.trainable);
  }
  if constexpr (requires { recipe.distill; }) {
    if (!run.teacher) return;  // a step of the pipeline will make it, and its shape is not known yet
    shape.asked = asked_teacher(recipe, *run.teacher, run.opened);
    if (shape.asked) shape.loss = StepLoss::distributions;
    if (compares_states(recipe.distill.loss)) {
      const int64_t learned = projection_elements(recipe.distill, run.opened.spec, run.teacher->shape->spec);
      shape.state_bytes += shape.state_bytes / shape.trainable * learned;  // about as many bytes an element
      shape.trainable += learned;
    }
  }
}

// What needs held-out rows, where neither data.eval nor a split gives any: found before the weights load.
template <class Recipe>
void require_held_out(const Recipe& recipe, const TrainEvalSets& data) {
  if (data.eval) return;
  RecipeMistakes mistakes;
  Checker c(recipe, mistakes);
  const auto refuse = [&](const std::string& key) {
    c.mistake(key,
              fmt::format("there are no held-out rows: data.eval is not given, and {}",
                          recipe.data.eval_split == 0.0 ? "data.eval_split is 0"
                                                        : fmt::format("{} rows are too few to be split by themselves",
                                                                      data.train.examples.size())),
              "give data.eval, or data.eval_split (0.1 holds out a tenth)");
  };
  if (recipe.train.select != Select::last) refuse("train.select");
  if (recipe.train.patience > 0) refuse("train.patience");
  if (!recipe.eval.require.empty()) refuse("eval.require");
  mistakes.throw_if_any();
}

// The largest micro-batch that fits, with as little recomputation as possible, and with nothing on the host if
// possible; a function of the recipe and of the device's total memory only, so that every run decides alike.
void decide_micro_batch(TrainSection& train, StepShape& shape, const Hardware& hardware) {
  const auto fits = [&](int64_t tokens) {
    shape.micro_tokens = std::max(tokens, shape.longest);
    return step_memory(shape).peak() <= hardware.memory_bytes * 9 / 10;
  };
  const auto any_fits = [&] {
    if (train.micro_tokens) return fits(*train.micro_tokens);
    for (const int64_t tokens : micro_batches(shape.is_gpu)) {
      if (fits(tokens)) return true;
    }
    return false;
  };
  const auto choose = [&] {
    for (const bool offload : {false, true}) {
      const bool may_offload = shape.is_gpu && train.graph != true;  // what moves is not recorded
      if (train.offload ? *train.offload != offload : offload && !may_offload) continue;
      for (const Recomputed again : {Recomputed::nothing, Recomputed::mlp, Recomputed::block}) {
        if (train.recompute && recomputed(*train.recompute) != again) continue;
        shape.offload = offload, shape.recomputed = again;
        if (any_fits()) return;
      }
    }  // nothing fits: the last, smallest choice stands and the plan says so
  };
  choose();
  train.micro_tokens = shape.micro_tokens;
  train.recompute = recompute_word(shape.recomputed);
  train.offload = shape.offload;
}

// A small model, and room for the passes of one shape that are recorded beside those of another that warm up.
bool graph_wins(const StepShape& shape, const Hardware& hardware) {
  if (!shape.is_gpu || shape.parameters >= kGraphParameters) return false;
  return 2 * step_memory(shape).peak() <= hardware.memory_bytes * 9 / 10;
}

StepOptions step_options(const RunSection& run, const DataSection& data, const TrainSection& train, double epochs) {
  return {.batch = train.batch.value_or(0),
          .batch_tokens = train.batch_tokens,
          .micro_tokens = *train.micro_tokens,
          .packing = data.packing,
          .shuffle = data.shuffle,
          .seed = static_cast<uint64_t>(run.seed),
          .epochs = epochs,
          .steps = train.steps};
}

}  // namespace

template <class Recipe>
OpenedRun open_run(const Recipe& recipe, const Machine& machine, [[maybe_unused]] RunUse use) {
  OpenedRun run{make_student(recipe, open_recipe(recipe, machine))};
  if constexpr (requires { recipe.distill; }) {
    if (!recipe.teacher.path.empty()) run.teacher.emplace(open_teacher(recipe, run.opened, use));
  }
  return run;
}

template <class Recipe>
PreparedRun prepare_run(Recipe& recipe, OpenedRun opened, const Hardware& hardware) {
  PreparedRun run{std::move(opened)};
  const Machine machine = run.opened.machine;
  if constexpr (requires { recipe.distill; }) {
    auto& device = recipe.distill.teacher_device;
    if (!device && !names_store(recipe.distill)) device = *recipe.run.device;
  }
  apply_data_template(recipe.data, run.opened.tokenizer);
  const EncodeOptions encode{.max_length = recipe.data.max_length.value_or(run.opened.spec.max_positions),
                             .threads = machine.threads,
                             .use = use_of(recipe)};
  run.data = load_data(recipe.data, run.opened.tokenizer, encode, static_cast<uint64_t>(recipe.run.seed));
  require_held_out(recipe, run.data);
  if (!recipe.data.max_length) {  // of the rows held out, too: the recipe as decided must take them again
    const int64_t held_out = run.data.eval ? run.data.eval->encoded.longest : 0;
    recipe.data.max_length = std::max(run.data.train.encoded.longest, held_out);
  }
  if constexpr (requires { recipe.distill; }) {
    auto& most = recipe.distill.max_new_tokens;
    if (recipe.distill.on_policy > 0 && !most) most = longest_answer(run.data.train.encoded.sequences);
  }

  StepShape shape = step_shape(run.opened.spec, machine, hardware, run.opened.quantize);
  shape.optimizer = recipe.optim.name, shape.beta1 = recipe.optim.betas->first;
  shape.longest = longest_group(run.data.train.encoded.sequences, run.data.train.encoded.group);
  shape.adapter = run.adapter;
  shape.served = run.served;
  count_what_trains(shape);
  look_at_loss(shape, recipe, run);
  if (!shape.is_gpu && recipe.train.offload && *recipe.train.offload) {
    recipe.warnings.emplace_back(kNothingToOffload);
    recipe.train.offload = false;
  }
  decide_micro_batch(recipe.train, shape, hardware);
  decide_graph(recipe, shape.spec, shape.dtype, shape.is_gpu, graph_wins(shape, hardware));
  run.epochs = recipe.train.epochs.value_or(1);
  run.steps = make_step_source(run.data.train.encoded, step_options(recipe.run, recipe.data, recipe.train, run.epochs));
  if (*recipe.train.graph) {
    const FixedShape fixed{.tokens = *recipe.train.micro_tokens, .longest = shape.longest};
    run.steps = annotated(std::move(run.steps), [fixed](Batch& batch) { batch = with_fixed_shape(batch, fixed); });
  }
  if (recipe.train.steps > 0) {
    run.epochs = static_cast<double>(recipe.train.steps) /
                 static_cast<double>(std::max<int64_t>(1, run.steps->steps_in_epoch()));
  }
  const int64_t steps = run.steps->size();
  if (std::string warning = warmup_warning(warmup_steps(recipe.optim, steps), steps); !warning.empty()) {
    auto& told = recipe.warnings;  // by the reader, too, where train.steps says how many
    if (std::find(told.begin(), told.end(), warning) == told.end()) told.push_back(std::move(warning));
  }
  run.plan = make_plan(recipe, run, shape, hardware);
  return run;
}

#define PRENTICE_PREPARES(R)                                        \
  template OpenedRun open_run<R>(const R&, const Machine&, RunUse); \
  template PreparedRun prepare_run<R>(R&, OpenedRun, const Hardware&);
PRENTICE_TRAINING_KINDS(PRENTICE_PREPARES)
#undef PRENTICE_PREPARES

}  // namespace prentice
