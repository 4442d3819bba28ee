#include "job/training_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>

#include "config/adapter_rules.h"
#include "config/words.h"
#include "core/units.h"
#include "eval/score.h"
#include "job/reference.h"
#include "model/stored_nf4.h"
#include "plan/nearest_fit.h"
#include "plan/program_share.h"
#include "run/checkpoint.h"

namespace prentice {

namespace {

// What sampling, one row a product, reaches of a step's products.
constexpr double kSamplingShare = 0.05;

// What the recipe and its model leave to change where the run does not fit.
template <class Recipe>
Changeable changeable(const Recipe& recipe, const PreparedRun& run) {
  const EncodedSet& rows = run.data.train.encoded;
  Changeable may{
      .group = rows.group, .offload = recipe.train.graph != true, .refuses_long = refuses_long_rows(recipe.data)};
  may.shortest = std::numeric_limits<int64_t>::max();
  for (size_t first = 0; first < rows.sequences.size(); first += static_cast<size_t>(rows.group)) {
    const size_t count = std::min(rows.sequences.size() - first, static_cast<size_t>(rows.group));
    may.shortest = std::min(may.shortest, longest_group(std::span(rows.sequences).subspan(first, count), 1));
  }
  if constexpr (requires { recipe.adapter; }) {
    const bool own_values = run.opened.quantize == Quantize::none && stored_quantize(run.opened.spec) == Quantize::none;
    may.four_bits = own_values && recipe.adapter.init != "pissa" && !trains_rounded(recipe.adapter);
    AdapterSection adapter = recipe.adapter;
    adapter.kind = AdapterKind::lora;
    may.adapter = recipe.model.add_tokens.empty() && contradictions(adapter).empty();
  }
  return may;
}

// Seconds that a second model and sampling add to the step's own products.
template <class Recipe>
double seconds_beside(const Recipe& recipe, const StepShape& shape, const Hardware& hardware, double tokens,
                      double mean_length) {
  double seconds = 0;
  if (const auto& asked = shape.asked) {
    seconds += loading_seconds(asked->bytes);
    if (asked->place == AskedModel::Place::host) {
      seconds += tokens * forward_flops_per_token(asked->spec, mean_length) / host_flops(*recipe.run.threads);
    }
  }
  if constexpr (requires { recipe.distill; }) {
    if (hardware.usable_flops > 0) {
      const double sampled = tokens * recipe.distill.on_policy;
      seconds += sampled * forward_flops_per_token(shape.spec, mean_length) / (kSamplingShare * hardware.usable_flops);
    }
  }
  return seconds;
}

// What adapter.qat encodes anew in every step, at 100 million values a second a core (experiments/quantize): as if
// every layer had an adapter.
double encoding_seconds(const PreparedRun& run, double steps, double threads) {
  double values = 0;
  const ModelSpec& spec = run.opened.spec;
  for (const auto& [name, shape] : expected_tensors(spec)) {
    const bool is_end = name == spec.names.embed + ".weight" || name == spec.names.head + ".weight";
    if (!is_end && run.served.contains(name)) values += static_cast<double>(shape[0]) * static_cast<double>(shape[1]);
  }
  return steps * values / (1e8 * threads);
}

struct Fullest {
  int64_t tokens = 0, labelled = 0;  // of any one micro-batch
  bool alone = true;                 // every step is one
  std::vector<int64_t> starts;       // of the one with the most tokens
  std::set<int64_t> sizes;           // that were met
};

// Of so many steps of the first epoch, which with a few is all of them.
Fullest fullest_micro_batch(const StepSource& steps) {
  constexpr int64_t kLooked = 64;
  const int64_t all = std::min(steps.size(), steps.steps_in_epoch()), looked = std::min(kLooked, all);
  Fullest fullest;
  for (int64_t i = 0; i < looked; ++i) {
    const Step step = steps.step(i * all / looked);
    fullest.alone = fullest.alone && step.micros.size() == 1;
    for (const auto& batch : step.micros) {
      fullest.sizes.insert(batch.tokens.size(0));
      if (batch.tokens.size(0) > fullest.tokens)
        fullest.tokens = batch.tokens.size(0), fullest.starts = batch.host_starts;
      fullest.labelled = std::max(fullest.labelled, batch.target_rows.size(0));
    }
  }
  return fullest;
}

// What a step of few or short rows does not fill of a micro-batch, and a small held-out set of a scoring pass. Returns
// the sizes of batches that are to come.
template <class Recipe>
std::set<int64_t> narrow_to_data(StepShape& shape, const Recipe& recipe, const PreparedRun& run) {
  bool samples = false;  // then the student's own answers are of other lengths
  if constexpr (requires { recipe.distill; }) samples = recipe.distill.on_policy > 0;
  const int64_t most = shape.micro_tokens;
  const Fullest step = fullest_micro_batch(*run.steps);
  if (samples) {
    const int64_t longest =
        recipe.train.batch_tokens > 0 ? recipe.train.batch_tokens : *recipe.train.batch * shape.longest;
    shape.micro_tokens = std::min(most, longest);
  } else {
    shape.micro_tokens = std::min(most, step.tokens), shape.labelled = step.labelled;
    shape.accumulates = !step.alone || shape.micro_tokens < step.tokens;
    if (shape.micro_tokens == step.tokens) shape.starts = step.starts;
  }
  int64_t tokens = 0, labels = 0;
  if (run.data.eval) {
    const TokenTotals totals = token_totals(run.data.eval->encoded.sequences);
    tokens = totals.tokens, labels = totals.trained_tokens;
  }
  const auto scores = [](const std::string& task) { return task != "loss" && task != kPreferenceTask; };
  const bool rows_alone = std::ranges::none_of(recipe.eval.tasks, scores);  // other tasks make batches of their own
  shape.eval_tokens = rows_alone || tokens == 0 ? std::clamp<int64_t>(tokens, 1, most) : most;
  shape.eval_labelled = rows_alone ? std::clamp<int64_t>(labels, 1, shape.eval_tokens) : shape.eval_tokens;
  std::set<int64_t> sizes = step.sizes;
  if (samples || !rows_alone) {  // more than are kept, as large as those known
    for (int64_t i = 0; i < 16; ++i) sizes.insert(shape.micro_tokens - i);
  }
  if (tokens > 0) sizes.insert(shape.eval_tokens);
  return sizes;
}

// Checkpoints, one of which is being written, what was trained, and the products.
int64_t disk_bytes(const TrainSection& train, const ExportSection& exports, const StepShape& shape) {
  const int64_t checkpoint = shape.trainable * 4 + shape.state_bytes;
  const int64_t best = train.select == Select::last ? 0 : 1;  // is kept beside the latest
  const int64_t kept = std::max(train.keep, kFewestKept) + best;
  const int64_t bytes = checkpoint * (kept + 1) + shape.trainable * 4 + product_bytes(exports, shape);
  return exports.gguf_adapter == "none" ? bytes : bytes + shape.trainable * 4;
}

void add(MemoryByPhase& memory, int64_t bytes) {
  for (const auto phase :
       {&MemoryByPhase::load, &MemoryByPhase::forward, &MemoryByPhase::backward, &MemoryByPhase::step,
        &MemoryByPhase::eval, &MemoryByPhase::save, &MemoryByPhase::export_, &MemoryByPhase::verify})
    memory.*phase += memory.*phase > 0 ? bytes : 0;
}

}  // namespace

template <class Recipe>
Plan make_plan(const Recipe& recipe, const PreparedRun& run, StepShape shape, const Hardware& hardware) {
  const auto& sequences = run.data.train.encoded.sequences;
  double tokens = 0, targets = 0;
  for (const auto& sequence : sequences) tokens += sequence.size(), targets += sequence.target_weight();
  const double rows = static_cast<double>(std::max<size_t>(1, sequences.size()));
  const auto sizes = narrow_to_data(shape, recipe, run);
  Plan plan{.steps = run.steps->size(), .hardware = hardware, .memory = run_memory(shape, recipe.exports)};
  int64_t more = 0;  // than the stated share
  if (!shape.is_gpu) {
    more = program_share(shape.spec, {.dtype = shape.dtype, .threads = *recipe.run.threads, .rows = sizes}) -
           kCpuContextBytes;
    add(plan.memory, more);
  }
  plan.tokens_per_step = tokens * run.epochs / std::max<int64_t>(1, plan.steps);
  plan.trained_tokens = targets * run.epochs;
  plan.fits = plan.memory.peak() <= hardware.memory_bytes;
  plan.flops_per_token = flops_per_token(shape, tokens / rows);
  if (hardware.usable_flops > 0) plan.seconds = tokens * run.epochs * plan.flops_per_token / hardware.usable_flops;
  plan.seconds += loading_seconds(shape.parameters * static_cast<int64_t>(c10::elementSize(shape.dtype)));
  plan.seconds += seconds_beside(recipe, shape, hardware, tokens * run.epochs, tokens / rows);
  plan.seconds += encoding_seconds(run, static_cast<double>(plan.steps), static_cast<double>(*recipe.run.threads));
  plan.cost = plan.seconds / 3600 * hardware.price_per_hour;
  plan.disk_bytes = disk_bytes(recipe.train, recipe.exports, shape);
  plan.host_peak_bytes = shape.is_gpu ? kGpuHostBytes + offloaded_bytes(shape) : plan.memory.peak();
  if (shape.asked && shape.asked->place == AskedModel::Place::host) plan.host_peak_bytes += shape.asked->bytes;
  plan.decided = {{"run.device", *recipe.run.device},
                  {"run.precision", std::string(word_of(*recipe.run.precision))},
                  {"run.threads", std::to_string(*recipe.run.threads)},
                  {"data.max_length", std::to_string(*recipe.data.max_length)},
                  {"train.micro_tokens", std::to_string(*recipe.train.micro_tokens)},
                  {"train.recompute", std::string(word_of(*recipe.train.recompute))}};
  if (shape.is_gpu) {
    plan.decided.emplace_back("train.offload", *recipe.train.offload ? "true" : "false");
    plan.decided.emplace_back("train.graph", *recipe.train.graph ? "true" : "false");
  }
  if constexpr (requires { recipe.distill; }) {
    const auto& device = recipe.distill.teacher_device;
    if (device && run.teacher) plan.decided.emplace_back("distill.teacher_device", *device);
  }
  if constexpr (requires { recipe.preference; }) plan.reference = reference_words(recipe);
  if (use_of(recipe) != RowUse::examples) {
    plan.pairs = {lengths_of_role(sequences, kChosen), lengths_of_role(sequences, kRejected)};
  }
  Changeable may = changeable(recipe, run);
  plan.smaller = [shape, exports = recipe.exports, may, more, less = (plan.memory.peak() - more) / 4 * 3] {
    return advice_of(nearest_fit(shape, exports, may, less), more);
  };
  if (!plan.fits) {
    may.micro_follows = !recipe.has("train.micro_tokens");
    const NearestFit found = nearest_fit(shape, recipe.exports, may, hardware.memory_bytes - more);
    plan.advice = advice_of(found, more);
    if (found.fits) plan.nearest = found.words, plan.nearest_peak = found.memory.peak() + more;
  }
  plan.decided.insert(plan.decided.end(), run.new_tokens.decided.begin(), run.new_tokens.decided.end());
  return plan;
}

#define PRENTICE_PLANS(R) template Plan make_plan<R>(const R&, const PreparedRun&, StepShape, const Hardware&);
PRENTICE_TRAINING_KINDS(PRENTICE_PLANS)
#undef PRENTICE_PLANS

}  // namespace prentice
