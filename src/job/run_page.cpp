#include "job/run_page.h"

#include <fmt/format.h>

#include "core/units.h"
#include "eval/report.h"
#include "eval/scored_answers.h"
#include "pages/report_tables.h"
#include "products/products.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

ReportTable scores_table(const std::optional<EvalReport>& score) {
  ReportTable table{.title = "Held-out rows", .header = {"metric", "value"}, .rows = {}};
  for (const auto& [metric, value] : results_of(score)) table.rows.push_back({metric, value});
  return table;
}

ReportTable plan_table(const PreparedRun& run, const TrainResult& result) {
  const auto peak = static_cast<double>(peak_bytes(run.opened.machine));
  return {.title = "Plan and fact",
          .header = {"", "plan", "fact"},
          .rows = {{"time", human_duration(run.plan.seconds), human_duration(result.wall_seconds)},
                   {"peak memory", human_bytes(static_cast<double>(run.plan.memory.peak())), human_bytes(peak)}}};
}

ReportTable inputs_table(const RunFolder& folder) {
  ReportTable table{.title = "Inputs", .header = {"key", "path", "SHA-256"}, .rows = {}};
  for (const auto& input : folder.inputs()->get()) table.rows.push_back({input.key, input.path, input.sha256});
  return table;
}

std::vector<std::pair<std::string, std::string>> headline(const PreparedRun& run, const TrainResult& result) {
  std::vector<std::pair<std::string, std::string>> figures = {
      {"last training loss", fmt::format("{:.4g}", result.last_loss)},
      {"steps", std::to_string(result.steps)},
      {"tokens", human_count(static_cast<double>(result.input_tokens))},
      {"time", human_duration(result.wall_seconds)},
      {"peak memory", human_bytes(static_cast<double>(peak_bytes(run.opened.machine)))}};
  if (!result.selected_by.empty()) {
    figures.emplace_back(fmt::format("{} of the selected step {}", result.selected_by, *result.best_step),
                         fmt::format("{:.4g}", result.best_metric));
  }
  return figures;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> results_of(const std::optional<EvalReport>& score) {
  std::vector<std::pair<std::string, std::string>> results;
  if (!score) return results;
  for (const auto& [metric, value] : metrics(*score)) results.emplace_back(metric, fmt::format("{:.6g}", value));
  return results;
}

Report run_page(const PreparedRun& run, const TrainResult& result, const std::optional<EvalReport>& score,
                const RunFolder& folder) {
  const fs::path& out = folder.path();
  Report report{.title = out.filename().string(),
                .subtitle = fmt::format("{} trained on {}", run.opened.artifact.address, run.data.train.description),
                .headline = headline(run, result)};
  for (const char* key : {"loss", "eval.loss", "eval.accuracy", "divergence", "cross_entropy", "hidden", "accuracy",
                          "margin", "rewards.chosen", "rewards.rejected", "lr", "grad_norm", "tokens_per_second"}) {
    report.curves.push_back(read_curve(out / "metrics.jsonl", key));
  }
  if (score) report.tables.push_back(scores_table(score));
  report.tables.push_back(compared_answers_table(compare_answers(out / kEarlyAnswersFile, out / kScoredAnswersFile)));
  report.tables.push_back(plan_table(run, result));
  report.tables.push_back(inputs_table(folder));
  report.tables.push_back(files_table(out, {out}));
  return report;
}

}  // namespace prentice
