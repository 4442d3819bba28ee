#include "recipes/prepare.h"

#include <fmt/format.h>

#include <algorithm>

#include "adapter/lora.h"
#include "adapter/merge.h"
#include "adapter/peft.h"
#include "adapter/trainable.h"
#include "config/words.h"
#include "core/error.h"
#include "data/data_template.h"
#include "export/gguf_adapter.h"
#include "export/gguf_features.h"
#include "io/file.h"
#include "recipes/expressions.h"

namespace prentice {

namespace {

// What the adapter adds to a step, of weights without storage: the same code that will train them.
void count_adapter(StepShape& shape, const Model& model) {
  visit_loras(model, [&](const std::string&, const Lora& lora) {
    shape.adapter_rank_sum += lora.a.size(0);
    if (lora.first_a.defined()) shape.adapter_frozen += lora.first_a.numel() + lora.first_b.numel();
    // With dropout the dropped input, the frozen product of it and the adapter's own are kept as well.
    const int64_t kept = lora.dropout > 0 ? 3 : 1;
    if (lora.magnitude.defined()) shape.magnitude_widths += kept * lora.magnitude.size(0);
  });
  shape.scaled_head = model.head.lora && model.head.lora->magnitude.defined();
}

// Elements that train; what the run will write after the training must be possible.
void count_trainable(StepShape& shape, const AdapterSection& adapter, const Machine& machine,
                     const ExportSection& exports) {
  Model model = random_model(shape.spec, 0, {.dtype = machine.dtype, .device = c10::kMeta});
  if (!shape.full) attach_lora(model, adapter, 0);
  count_adapter(shape, model);
  for (const auto& [name, tensor] : trainable(model, adapter)) shape.trainable += tensor.numel();
  if (exports.gguf_adapter != "none") check_gguf_adapter(model);
  if (!exports.gguf.empty()) {
    merge(model);
    check_gguf_can_express(model.spec);
  }
  for (const auto& expected : expected_tensors(shape.spec)) {
    int64_t elements = 1;
    for (const int64_t size : expected.shape) elements *= size;
    shape.parameters += elements;
  }
}

// What needs held-out rows, where neither data.eval nor a split gives any: found before the weights load.
template <class Recipe>
void require_held_out(const Recipe& recipe, const TrainEvalSets& data) {
  if (data.eval) return;
  const auto refuse = [&](const std::string& key) {
    fail(ExitCode::usage,
         fmt::format("{}{}: there are no held-out rows: data.eval is not given, and {}", place_of(recipe, key), key,
                     recipe.data.eval_split == 0.0
                         ? "data.eval_split is 0"
                         : fmt::format("{} rows are too few to be split by themselves", data.train.examples.size())),
         "give data.eval, or data.eval_split (0.1 holds out a tenth)");
  };
  if (recipe.train.select != Select::last) refuse("train.select");
  if (recipe.train.patience > 0) refuse("train.patience");
  if (!recipe.eval.require.empty()) refuse("eval.require");
}

void decide_length(DataSection& data, const ModelSpec& spec, int64_t longest) {
  if (!data.max_length) data.max_length = longest;
  if (*data.max_length > spec.max_positions) {
    fail(ExitCode::usage, fmt::format("data.max_length: {} is above the model's trained context of {}",
                                      *data.max_length, spec.max_positions));
  }
}

// The largest micro-batch that fits, without recomputation if possible; a function of the recipe and of the device's
// total memory only, so that every run decides alike.
void decide_micro_batch(TrainSection& train, StepShape& shape, const Hardware& hardware) {
  static constexpr int64_t kGpuChoices[] = {32768, 16384, 8192, 4096, 2048, 1024};
  static constexpr int64_t kCpuChoices[] = {2048, 1024, 512};
  const auto choices = shape.is_gpu ? std::span<const int64_t>(kGpuChoices) : std::span<const int64_t>(kCpuChoices);
  const auto fits = [&](int64_t tokens, bool recompute) {
    shape.micro_tokens = std::max(tokens, shape.longest);
    shape.recompute_blocks = recompute;
    return step_memory(shape).peak() <= hardware.memory_bytes * 9 / 10;
  };
  const bool asked = train.recompute && *train.recompute == Recompute::block;
  const bool may_recompute = !train.recompute || asked;
  const auto choose = [&] {
    for (const bool recompute : {false, true}) {
      if ((recompute && !may_recompute) || (!recompute && asked)) continue;
      if (train.micro_tokens) {
        if (fits(*train.micro_tokens, recompute)) return;
        continue;
      }
      for (const int64_t tokens : choices) {
        if (fits(tokens, recompute)) return;
      }
    }  // nothing fits: the last, smallest choice stands and the plan says so
  };
  choose();
  train.micro_tokens = shape.micro_tokens;
  train.recompute = shape.recompute_blocks ? Recompute::block : Recompute::none;
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

// f32 tensors the optimizer keeps for each trained one (train/optimizer).
int64_t moments_of(const OptimSection& optim) {
  if (optim.name == OptimizerName::adamw) return 2;
  return optim.name == OptimizerName::sgd && optim.betas->first == 0 ? 0 : 1;
}

template <class Recipe>
Plan make_plan(const Recipe& recipe, const PreparedRun& run, StepShape shape, const Hardware& hardware) {
  const auto& sequences = run.data.train.encoded.sequences;
  double tokens = 0, targets = 0;
  for (const auto& sequence : sequences) tokens += sequence.size(), targets += sequence.target_weight();
  const double rows = static_cast<double>(std::max<size_t>(1, sequences.size()));
  // A step of few or short rows does not fill a micro-batch.
  const int64_t in_a_step =
      recipe.train.batch_tokens > 0 ? recipe.train.batch_tokens : *recipe.train.batch * shape.longest;
  shape.micro_tokens = std::min(shape.micro_tokens, in_a_step);
  Plan plan{.steps = run.steps->size(), .hardware = hardware, .memory = step_memory(shape)};
  plan.tokens_per_step = tokens * run.epochs / std::max<int64_t>(1, plan.steps);
  plan.trained_tokens = targets * run.epochs;
  plan.fits = plan.memory.peak() <= hardware.memory_bytes;
  plan.flops_per_token = flops_per_token(shape, tokens / rows);
  if (hardware.usable_flops > 0) plan.seconds = tokens * run.epochs * plan.flops_per_token / hardware.usable_flops;
  plan.cost = plan.seconds / 3600 * hardware.price_per_hour;
  const int64_t checkpoint = shape.trainable * 4 * (1 + shape.moments);
  plan.disk_bytes = checkpoint * (recipe.train.keep + 1) + shape.trainable * 4;
  if (recipe.exports.merged != "none" || shape.full) plan.disk_bytes += shape.parameters * 4;
  plan.disk_bytes += static_cast<int64_t>(recipe.exports.gguf.size()) * shape.parameters * 2;
  if (recipe.exports.gguf_adapter != "none") plan.disk_bytes += shape.trainable * 4;
  plan.host_peak_bytes = shape.is_gpu ? kGpuHostBytes : plan.memory.peak();
  plan.decided = {{"run.device", *recipe.run.device},
                  {"run.precision", std::string(word_of(*recipe.run.precision))},
                  {"run.threads", std::to_string(*recipe.run.threads)},
                  {"data.max_length", std::to_string(*recipe.data.max_length)},
                  {"train.micro_tokens", std::to_string(*recipe.train.micro_tokens)},
                  {"train.recompute", std::string(word_of(*recipe.train.recompute))}};
  return plan;
}

}  // namespace

AdapterSection adapter_of(const PretrainRecipe&) {
  AdapterSection section;
  section.kind = AdapterKind::full;
  return section;
}

AdapterSection adapter_of(const SftRecipe& recipe) { return recipe.adapter; }

ModelSpec open_spec(const Artifact& artifact) {
  return artifact.has_weights() ? read_spec(artifact.base) : read_spec(artifact_config(artifact));
}

Tokenizer open_tokenizer(const Artifact& artifact, const ModelSpec& spec) {
  if (artifact.tokenizer.empty()) {
    fail(ExitCode::usage, artifact.address + ": these are shapes without a tokenizer", "model.tokenizer=FOLDER");
  }
  Tokenizer tokenizer = Tokenizer::load(artifact.tokenizer);
  if (tokenizer.vocab_size() > spec.vocab) {
    fail(ExitCode::model, fmt::format("{}: the tokenizer has {} ids, the model's embedding {} rows",
                                      artifact.tokenizer.string(), tokenizer.vocab_size(), spec.vocab));
  }
  if (!artifact.chat_template.empty()) {
    tokenizer.replace_chat_template(read_text_file(artifact.chat_template), artifact.chat_template);
  }
  return tokenizer;
}

Model open_model(const Artifact& artifact, const ModelSpec& spec, const Machine& machine, bool random, uint64_t seed) {
  const LoadOptions options{.dtype = machine.dtype, .device = machine.device};
  if (!random && !artifact.has_weights()) {
    fail(ExitCode::usage, artifact.address + ": these are shapes without weights", "model.init=random makes weights");
  }
  Model model = random ? random_model(spec, seed, options) : load_model(artifact.base, options);
  if (!artifact.adapter.empty()) load_peft(model, artifact.adapter);
  return model;
}

template <class Recipe>
PreparedRun prepare_run(Recipe& recipe, const std::string& hardware_name) {
  check_expressions(recipe);
  const auto [machine, hardware] = decide_place(recipe.run, hardware_name);
  apply_machine(machine, recipe.run.deterministic);
  Artifact artifact = resolve_model(recipe.model);
  AdapterSection adapter = adapter_of(recipe);
  if (!artifact.adapter.empty()) {
    fail(ExitCode::usage, "model.path: training starts from a model without an adapter",
         "adapter.init=" + artifact.adapter.string() + " goes on from it; `prentice export` merges it");
  }
  ModelSpec spec = open_spec(artifact);
  check_tensor_types(recipe.exports, recipe, spec);
  if (adapter.kind == AdapterKind::full && !spec.section.empty()) {
    fail(ExitCode::usage,
         artifact.address + ": its decoder is a part of a larger model, and all weights cannot train there",
         "`prentice export export.merged=bf16` writes the decoder alone; or train an adapter");
  }
  if (artifact.shape.size() && recipe.model.init != "random") {
    fail(ExitCode::usage, artifact.address + ": these are shapes without weights", "model.init=random makes weights");
  }
  Tokenizer tokenizer = open_tokenizer(artifact, spec);
  apply_data_template(recipe.data, tokenizer);
  const EncodeOptions encode{.max_length = recipe.data.max_length.value_or(spec.max_positions),
                             .threads = machine.threads};
  TrainEvalSets data = load_data(recipe.data, tokenizer, encode, static_cast<uint64_t>(recipe.run.seed));
  require_held_out(recipe, data);
  decide_length(recipe.data, spec, data.train.encoded.longest);

  PreparedRun run{.machine = machine,
                  .artifact = std::move(artifact),
                  .spec = std::move(spec),
                  .adapter = std::move(adapter),
                  .tokenizer = std::move(tokenizer),
                  .data = std::move(data)};
  StepShape shape{.spec = run.spec,
                  .weight_bytes = machine.dtype == c10::kBFloat16 ? 2 : 4,
                  .moments = moments_of(recipe.optim),
                  .longest = run.data.train.encoded.longest,
                  .full = run.adapter.kind == AdapterKind::full,
                  .is_gpu = hardware.is_gpu};
  count_trainable(shape, run.adapter, machine, recipe.exports);
  decide_micro_batch(recipe.train, shape, hardware);
  run.epochs = recipe.train.epochs.value_or(1);
  run.steps = make_step_source(run.data.train.encoded, step_options(recipe.run, recipe.data, recipe.train, run.epochs));
  if (recipe.train.steps > 0) {
    run.epochs = static_cast<double>(recipe.train.steps) /
                 static_cast<double>(std::max<int64_t>(1, run.steps->steps_in_epoch()));
  }
  run.plan = make_plan(recipe, run, shape, hardware);
  return run;
}

template PreparedRun prepare_run<PretrainRecipe>(PretrainRecipe&, const std::string&);
template PreparedRun prepare_run<SftRecipe>(SftRecipe&, const std::string&);

}  // namespace prentice
