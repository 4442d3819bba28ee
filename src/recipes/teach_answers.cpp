#include "recipes/teach_answers.h"

#include <fmt/format.h>

#include <algorithm>

#include "artifact/describe_run.h"
#include "artifact/stop_tokens.h"
#include "config/words.h"
#include "core/error.h"
#include "core/units.h"
#include "distill/answer_sampler.h"
#include "distill/store_key.h"
#include "io/publish.h"
#include "pages/console.h"
#include "pages/report.h"
#include "plan/model_checks.h"
#include "plan/nearest_inference.h"
#include "products/products.h"
#include "recipes/programs.h"
#include "run/progress.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

constexpr const char* kAnswersFile = "answers.jsonl";
constexpr const char* kSampledFile = "sampled.jsonl";
// Bytes of weights that pass by for each token: memory a CPU and a GPU reach at least.
constexpr double kCpuBytesPerSecond = 10e9, kGpuBytesPerSecond = 1e12;
constexpr int64_t kBytesPerToken = 6;  // of text, on average

Plan make_plan(const TeachRecipe& recipe, const Opened& opened, const PromptSet& set, const Hardware& hardware) {
  const SampleSection& sample = recipe.teach.sample;
  StepShape shape = step_shape(opened.spec, opened.machine, hardware, opened.quantize);
  double tokens = 0;
  for (const auto& prompt : set.prompts) {
    tokens += static_cast<double>(prompt.ids.size());
    shape.longest = std::max(shape.longest, static_cast<int64_t>(prompt.ids.size()) + sample.max_new_tokens);
  }
  const auto prompts = static_cast<double>(set.prompts.size());
  const double made = prompts * static_cast<double>(sample.n * sample.max_new_tokens);
  const double speed = hardware.is_gpu ? kGpuBytesPerSecond : kCpuBytesPerSecond;
  const PlanInference plan_of = [](const Inference& how) { return scoring_plan(how.shape, how.hardware); };
  const Inference how{.shape = shape, .hardware = hardware};
  Plan plan = plan_of(how);
  name_nearest(plan, how, changes_left(recipe, how, &opened.artifact), plan_of);
  plan.steps = static_cast<int64_t>(set.prompts.size());
  plan.tokens_per_step = (tokens + made) / std::max(1.0, prompts);
  plan.trained_tokens = made;
  plan.seconds = static_cast<double>(shape.parameters * static_cast<int64_t>(c10::elementSize(shape.dtype))) *
                 (made + prompts) / speed;
  plan.cost = plan.seconds / 3600 * hardware.price_per_hour;
  plan.disk_bytes = 2 * static_cast<int64_t>(made + tokens) * kBytesPerToken;
  plan.decided = {{"run.device", *recipe.run.device},
                  {"run.precision", std::string(word_of(*recipe.run.precision))},
                  {"run.threads", std::to_string(*recipe.run.threads)}};
  return plan;
}

// Errors: `data` naming the first prompt that leaves no room for its answers.
PromptSet open_prompts(const TeachRecipe& recipe, const Opened& opened) {
  PromptSet set = load_prompts(recipe.data, opened.tokenizer, opened.machine.threads);
  for (const auto& prompt : set.prompts) {
    const int64_t needed = static_cast<int64_t>(prompt.ids.size()) + recipe.teach.sample.max_new_tokens;
    if (needed <= opened.spec.max_positions) continue;
    fail(ExitCode::data,
         fmt::format("{}: a prompt of {} tokens and answers of up to {} are above the model's trained context of {}",
                     to_string(prompt.origin), prompt.ids.size(), recipe.teach.sample.max_new_tokens,
                     opened.spec.max_positions),
         "lower teach.sample.max_new_tokens, or leave the row out");
  }
  return set;
}

void sample_all(const AnswerSampler& sampler, const PromptSet& set, SampledFile& file, int64_t log_every, bool quiet) {
  const size_t first = file.answers().size(), all = set.prompts.size();
  SessionProgress progress(first, all, log_every, device_of(sampler.model), quiet);
  for (size_t i = first; i < all; ++i) {
    file.append(sampler.answers(set.prompts[i], i));
    int64_t tokens = 0;
    for (const auto& answer : file.answers().back()) tokens += answer.tokens;
    progress.done(tokens);
  }
}

// Errors: `data` when no answer passes.
void write_answers(const fs::path& path, const PromptSet& set, const SampledFile& file, const Tokenizer& tokenizer,
                   AnswerFilters& filters) {
  std::string text;
  for (size_t i = 0; i < set.prompts.size(); ++i) {
    const Prompt& prompt = set.prompts[i];
    const auto row_of = [&](const std::string& answer) -> std::optional<std::string> {
      if (!stands_apart(prompt, answer, tokenizer)) return std::nullopt;
      return answered(prompt, answer).dump();
    };
    for (const auto& row : filters.passing(file.answers()[i], row_of)) text += row + "\n";
  }
  if (filters.kept() == 0) {
    std::string why;
    for (const auto& [reason, count] : filters.dropped()) {
      if (count > 0) why += fmt::format("{}{} {}", why.empty() ? "" : ", ", count, reason);
    }
    fail(ExitCode::data, fmt::format("no answer of {} passes the filters of teach.sample: {}", filters.sampled(), why),
         "relax the filter; what was sampled is in " + std::string(kSampledFile));
  }
  publish_file(path, text);
}

Json::Object results_of(const AnswerFilters& filters, size_t prompts, const fs::path& path) {
  Json::Object dropped;
  for (const auto& [reason, count] : filters.dropped()) dropped.emplace_back(reason, count);
  return {{"answers", path.string()},
          {"prompts", prompts},
          {"sampled", filters.sampled()},
          {"kept", filters.kept()},
          {"dropped", std::move(dropped)}};
}

Report page(const AnswerFilters& filters, const Opened& opened, const PromptSet& set, const fs::path& out) {
  Report report{.title = out.filename().string(),
                .subtitle = fmt::format("What {} answers to {}.", opened.artifact.address, set.description),
                .headline = {{"prompts", std::to_string(set.prompts.size())},
                             {"answers", std::to_string(filters.sampled())},
                             {"kept", std::to_string(filters.kept())}}};
  ReportTable table{.title = "Filters", .header = {"dropped because", "answers"}, .rows = {}};
  for (const auto& [reason, count] : filters.dropped()) table.rows.push_back({reason, std::to_string(count)});
  report.tables.push_back(std::move(table));
  return report;
}

void print_end(const AnswerFilters& filters, const Json::Object& results, const fs::path& path, const fs::path& out,
               const Invocation& invocation) {
  if (invocation.json) {
    Json::Object result{{"schema", 1}, {"out", out.string()}};
    result.insert(result.end(), results.begin(), results.end());
    fmt::print("{}\n", Json(std::move(result)).dump());
    return;
  }
  std::FILE* to = invocation.inner ? stderr : stdout;
  fmt::print(to, "  kept      {} of {} answers\n", filters.kept(), filters.sampled());
  for (const auto& [reason, count] : filters.dropped()) {
    if (count > 0) fmt::print(to, "  dropped   {}: {}\n", count, reason);
  }
  if (!invocation.inner)
    fmt::print("  answers   {}\n  next      prentice sft data.train={} ...\n", path.string(), path.string());
}

}  // namespace

Plan plan_answers(TeachRecipe& recipe, const Opened& opened, const Hardware& hardware) {
  return make_plan(recipe, opened, open_prompts(recipe, opened), hardware);
}

int teach_answers(TeachRecipe recipe, const Invocation& invocation) {
  const auto [machine, hardware] = decide_place(recipe.run, "");
  const Opened opened = open_recipe(std::as_const(recipe), machine);
  const PromptSet set = open_prompts(recipe, opened);
  AnswerFilters filters(recipe.teach.sample);
  const Plan plan = make_plan(recipe, opened, set, hardware);
  RunFolder folder(recipe.run.out, invocation.fresh, run_policy(invocation));
  if (folder.begin(describe_run(recipe, opened.artifact, plan.hardware.name, invocation)) == RunState::finished)
    return already_done(folder.path(), invocation);
  if (!plan.fits) refuse_plan(plan);
  if (!invocation.quiet)
    fmt::print(stderr, "{}\nplan: {} answers of at most {} tokens, at most {}, {} of memory -> {}\n", set.description,
               static_cast<int64_t>(set.prompts.size()) * recipe.teach.sample.n, recipe.teach.sample.max_new_tokens,
               human_duration(plan.seconds), human_bytes(static_cast<double>(plan.memory.peak())),
               folder.path().string());

  const auto seed = static_cast<uint64_t>(recipe.run.seed);
  const std::string teacher = teacher_sha256(opened, folder.inputs()->get(), recipe.run.seed);
  SampledFile file(folder.path() / kSampledFile, sampling_binding(set.prompts, recipe.teach.sample, teacher, seed));
  if (file.answers().size() < set.prompts.size()) {
    const Model model = load_weights(opened, seed);
    const AnswerSampler sampler{.model = model,
                                .tokenizer = opened.tokenizer,
                                .section = recipe.teach.sample,
                                .stop_ids = stop_token_ids(opened.artifact, opened.spec, opened.tokenizer),
                                .seed = seed};
    sample_all(sampler, set, file, recipe.run.log_every, invocation.quiet || invocation.json);
  }
  const fs::path path = recipe.teach.out.empty() ? folder.path() / kAnswersFile : fs::path(recipe.teach.out);
  write_answers(path, set, file, opened.tokenizer, filters);
  const Json::Object results = results_of(filters, set.prompts.size(), path);
  publish_file(folder.path() / "report.html", to_html(page(filters, opened, set, folder.path())));
  write_checksums(folder.path());
  folder.finish(results);
  print_end(filters, results, path, folder.path(), invocation);
  return 0;
}

}  // namespace prentice
