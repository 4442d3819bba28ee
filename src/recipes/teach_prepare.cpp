#include <fmt/format.h>

#include <algorithm>

#include "config/words.h"
#include "data/content.h"
#include "data/encode.h"
#include "data/lengths.h"
#include "distill/store_key.h"
#include "eval/score.h"
#include "plan/nearest_fit.h"
#include "plan/nearest_inference.h"
#include "recipes/teach.h"

namespace prentice {

namespace {

std::vector<TeachBatch> batches_of(const std::vector<Sequence>& sequences, const std::vector<StoreSample>& samples,
                                   int64_t most_tokens, bool packing) {
  std::vector<TeachBatch> batches;
  int64_t tokens = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const bool joins = packing && !batches.empty() && tokens + sequences[i].size() <= most_tokens;
    if (!joins) {
      const TeachBatch last = batches.empty() ? TeachBatch() : batches.back();
      batches.push_back({.first = i, .first_row = last.first_row + last.rows});
      tokens = 0;
    }
    tokens += sequences[i].size();
    ++batches.back().count;
    batches.back().rows += samples[i].rows;
  }
  return batches;
}

double teacher_flops(const ModelSpec& spec, const std::vector<Sequence>& sequences) {
  double flops = 0;
  for (const auto& sequence : sequences) {
    const auto length = static_cast<double>(sequence.size());
    flops += length * forward_flops_per_token(spec, length);
  }
  return flops;
}

void narrow(StepShape& shape, int64_t tokens) {
  shape.micro_tokens = std::min(shape.micro_tokens, tokens);
  shape.labelled = std::min(shape.labelled, shape.micro_tokens);
}

// Also batches of one row, and shorter rows.
InferenceChanges changes(const TeachRecipe& recipe, const PreparedTeach& teach, const Inference& how,
                         const LengthStats& lengths) {
  InferenceChanges may = changes_left(recipe, how, &teach.opened.artifact);
  const bool packing = recipe.data.packing, refuses = refuses_long_rows(recipe.data);
  if (packing) {
    may.all.insert(may.all.begin(),
                   {{"data.packing=false"}, [](Inference& how) { narrow(how.shape, how.shape.longest); }});
  }
  const auto& sequences = teach.data.encoded.sequences;
  const int64_t shortest = std::ranges::min(sequences, {}, &Sequence::size).size();
  for (int64_t row = lengths.max / 2; row >= std::max(kShortestRow, refuses ? shortest : 0); row /= 2) {
    Change change{{fmt::format("data.max_length={}", row)}, [=](Inference& how) {
                    how.shape.longest = row;
                    narrow(how.shape, packing ? std::max(row, kEvalMicroTokens) : row);
                  }};
    if (refuses) change.words.emplace_back("data.overlong=drop");
    may.shorter.push_back(std::move(change));
  }
  return may;
}

Plan make_plan(const TeachRecipe& recipe, const PreparedTeach& teach, const Hardware& hardware) {
  const TokenTotals totals = token_totals(teach.data.encoded.sequences);
  StepShape shape = step_shape(teach.opened.spec, teach.opened.machine, hardware, teach.opened.quantize);
  shape.longest = totals.lengths.max;
  for (const auto& batch : teach.batches) {
    int64_t tokens = 0;
    for (size_t i = 0; i < batch.count; ++i) tokens += teach.data.encoded.sequences[batch.first + i].size();
    shape.micro_tokens = std::max(shape.micro_tokens, tokens);
    shape.labelled = std::max(shape.labelled, static_cast<int64_t>(batch.rows));
  }
  const PlanInference plan_of = [](const Inference& how) { return scoring_plan(how.shape, how.hardware); };
  const Inference how{.shape = shape, .hardware = hardware};
  Plan plan = plan_of(how);
  name_nearest(plan, how, changes(recipe, teach, how, totals.lengths), plan_of);
  plan.steps = static_cast<int64_t>(teach.batches.size());
  plan.tokens_per_step = static_cast<double>(totals.tokens) / static_cast<double>(plan.steps);
  plan.trained_tokens = static_cast<double>(teach.layout.rows);
  if (hardware.usable_flops > 0) {
    plan.seconds = teacher_flops(shape.spec, teach.data.encoded.sequences) / hardware.usable_flops;
  }
  plan.seconds += loading_seconds(shape.parameters * static_cast<int64_t>(c10::elementSize(shape.dtype)));
  plan.cost = plan.seconds / 3600 * hardware.price_per_hour;
  plan.disk_bytes = static_cast<int64_t>(teach.layout.bytes());
  plan.decided = {{"run.device", *recipe.run.device},
                  {"run.precision", std::string(word_of(*recipe.run.precision))},
                  {"run.threads", std::to_string(*recipe.run.threads)},
                  {"data.max_length", std::to_string(*recipe.data.max_length)}};
  return plan;
}

}  // namespace

PreparedTeach prepare_teach(TeachRecipe& recipe, Opened opened, const Hardware& hardware) {
  const EncodeOptions encode{.max_length = recipe.data.max_length.value_or(opened.spec.max_positions),
                             .threads = opened.machine.threads};
  DataSet data = load_data_set(recipe.data.train, recipe.data, opened.tokenizer, encode);
  keep_examples(data, 0);
  if (!recipe.data.max_length) recipe.data.max_length = data.encoded.longest;
  PreparedTeach teach{.opened = std::move(opened), .data = std::move(data)};
  const auto& sequences = teach.data.encoded.sequences;
  for (const auto& sequence : sequences) {
    const auto rows = sequence.labels.size() - static_cast<size_t>(std::ranges::count(sequence.labels, kNoLabel));
    teach.samples.push_back({content_of(sequence), static_cast<uint32_t>(rows)});
  }
  teach.batches = batches_of(sequences, teach.samples, kEvalMicroTokens, recipe.data.packing);
  const std::string layout = recipe.data.packing
                                 ? fmt::format("rows in order, flat, {} tokens a batch", kEvalMicroTokens)
                                 : std::string("one row a batch");
  const std::string place =
      hardware.is_gpu ? hardware.name : fmt::format("CPU, {} threads", teach.opened.machine.threads);
  teach.key = {.tokenizer = tokenizer_sha256(teach.opened.tokenizer),
               .chat_template = template_sha256(recipe.data, teach.opened.tokenizer, teach.data),
               .data = data_sha256(teach.data.encoded),
               .geometry = fmt::format("{}; {} on {}", layout, word_of(*recipe.run.precision), place),
               .vocabulary = static_cast<uint64_t>(teach.opened.tokenizer.vocab_size()),
               .top_k = static_cast<uint64_t>(recipe.teach.top_k),
               .values = values_of(recipe.teach.values)};
  teach.options = {.tail = recipe.teach.tail};
  uint64_t rows = 0;
  for (const auto& sample : teach.samples) rows += sample.rows;
  teach.layout = make_store_layout(teach.key, rows, teach.samples.size(), teach.options);
  teach.plan = make_plan(recipe, teach, hardware);
  return teach;
}

std::filesystem::path store_path(const TeachRecipe& recipe) {
  return recipe.teach.out.empty() ? std::filesystem::path(recipe.run.out) / "store"
                                  : std::filesystem::path(recipe.teach.out);
}

}  // namespace prentice
