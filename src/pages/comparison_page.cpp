#include "pages/comparison_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "core/units.h"
#include "serving/serving.h"

namespace prentice {

namespace {

constexpr size_t kShownTurns = 12;

bool is_share(const ComparedMetric& metric) { return !metric.lower_is_better; }

std::string value_text(const ComparedMetric& metric, double value) {
  return is_share(metric) ? fmt::format("{:.1f} %", 100 * value) : fmt::format("{:.4f}", value);
}

// Shares differ by percentage points: "+4 %" would be read as of what a has.
std::string change_text(const ComparedMetric& metric, double value) {
  return is_share(metric) ? fmt::format("{:+.1f}", 100 * value) : fmt::format("{:+.4f}", value);
}

const char* unit_of(const ComparedMetric& metric) { return is_share(metric) ? " points" : ""; }

bool has_interval(const PairedDifference& found) { return std::isfinite(found.low) && std::isfinite(found.high); }

std::string interval_text(const ComparedMetric& metric) {
  if (!has_interval(metric.found)) return "none";  // of one row
  return change_text(metric, metric.found.low) + " to " + change_text(metric, metric.found.high);
}

// Header and rows, for both kinds of table.
std::vector<std::vector<std::string>> table_of(const ComparisonPage& page) {
  const std::string interval = fmt::format("{:g} % interval", 100 * page.confidence);
  std::vector<std::vector<std::string>> rows = {{"", "a", "b", "b - a", interval, "p"}};
  for (const auto& metric : page.comparison.metrics) {
    const auto& found = metric.found;
    rows.push_back({metric.name, value_text(metric, found.a), value_text(metric, found.b),
                    change_text(metric, found.difference) + unit_of(metric), interval_text(metric),
                    fmt::format("{:.2g}", found.p_value)});
  }
  std::vector<std::string> sizes = {"weights"}, speeds = {"tokens/s"};
  for (const auto& artifact : page.artifacts) {
    sizes.push_back(human_bytes(static_cast<double>(artifact.weight_bytes)));
    speeds.push_back(fmt::format("{:.0f}", artifact.tokens_per_second()));
  }
  if (page.divergence) rows.push_back({"KLD of b from a", "", fmt::format("{:.3g}", page.divergence->mean)});
  rows.push_back(sizes), rows.push_back(speeds);
  return rows;
}

// What the lines below the metrics are; no decision hangs on them.
std::string notes(const ComparisonPage& page) {
  std::string text;
  if (page.divergence) {
    text += fmt::format(
        "KLD: mean KL divergence in nats of b from a, over the whole vocabulary at {} labelled "
        "positions{}.\n",
        page.divergence->positions,
        page.divergence->positions >= kComparedPositions ? ", those of the first rows" : "");
  }
  return text + fmt::format(
                    "tokens/s: a forward pass over the same rows ({} tokens, prompts included) on this machine, "
                    "batches as scoring makes them.\n",
                    page.artifacts.at(0).tokens);
}

Json number_or_null(const std::optional<int64_t>& number) { return number ? Json(*number) : Json(); }

}  // namespace

Json to_json(const ComparisonPage& page) {
  Json::Object metrics;
  for (const auto& [name, lower_is_better, found] : page.comparison.metrics) {
    metrics.emplace_back(
        name, Json::Object{{"a", found.a},
                           {"b", found.b},
                           {"difference", found.difference},
                           {"interval", has_interval(found) ? Json(Json::Array{found.low, found.high}) : Json()},
                           {"p_value", found.p_value},
                           {"rows", found.count}});
  }
  Json::Object sizes, speed;
  for (size_t i = 0; i < page.artifacts.size(); ++i) {
    const ComparedArtifact& one = page.artifacts[i];
    sizes.emplace_back(i == 0 ? "a" : "b", static_cast<int64_t>(one.weight_bytes));
    speed.emplace_back(
        i == 0 ? "a" : "b",
        Json::Object{{"tokens_per_second", one.tokens_per_second()}, {"tokens", one.tokens}, {"seconds", one.seconds}});
  }
  const Json divergence =
      page.divergence ? Json(Json::Object{{"mean", page.divergence->mean}, {"positions", page.divergence->positions}})
                      : Json();
  const auto& warnings = page.comparison.warnings;
  Json::Array data, turned;
  for (const auto& [path, sha256, rows] : page.data) {
    data.push_back(Json::Object{{"path", path}, {"sha256", sha256}, {"rows", rows}});
  }
  for (const auto& row : page.comparison.turned) {
    turned.push_back(Json::Object{{"row", to_string(row.origin)},
                                  {"expected", row.expected},
                                  {"a", row.a},
                                  {"b", row.b},
                                  {"b_is_right", row.b_is_right}});
  }
  return Json::Object{{"schema", 1},
                      {"a", page.artifacts.at(0).address},
                      {"b", page.artifacts.at(1).address},
                      {"metrics", std::move(metrics)},
                      {"metric", page.comparison.metric},
                      {"margin", page.margin},
                      {"confidence", page.confidence},
                      {"decision", verdict_name(page.decision.verdict)},
                      {"passed", page.decision.passed()},
                      {"summary", sentence(page)},
                      {"rows_needed", number_or_null(page.decision.rows_needed)},
                      {"kld", divergence},
                      {"speed", std::move(speed)},
                      {"weight_bytes", std::move(sizes)},
                      {"turned", std::move(turned)},
                      {"data", std::move(data)},
                      {"warnings", Json::Array(warnings.begin(), warnings.end())}};
}

std::string sentence(const ComparisonPage& page) {
  const ComparedMetric& metric = page.comparison.decisive();
  const std::string verdict =
      page.decision.verdict == Verdict::undecided
          ? "undecided"
          : fmt::format("b is {}",
                        page.decision.verdict == Verdict::equal ? "as good as a" : verdict_name(page.decision.verdict));
  std::string text =
      fmt::format("{}: {} {}{} ({:g} % interval {}, margin {:g}) on {} rows", verdict, metric.name,
                  change_text(metric, metric.found.difference), unit_of(metric), 100 * page.confidence,
                  interval_text(metric), is_share(metric) ? 100 * page.margin : page.margin, metric.found.count);
  if (const auto needed = page.decision.rows_needed) {
    text += needed == metric.found.fewest ? fmt::format("; at least {} rows are needed", *needed)
                                          : fmt::format("; about {} rows would tell", *needed);
  }
  return text;
}

std::string to_text(const ComparisonPage& page) {
  const auto rows = table_of(page);
  std::vector<size_t> widths(rows[0].size());
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text = fmt::format("a  {}\nb  {}\n\n", page.artifacts.at(0).address, page.artifacts.at(1).address);
  for (const auto& row : rows) {
    std::string line = fmt::format("{:<{}}", row[0], widths[0]);
    for (size_t i = 1; i < row.size(); ++i) line += fmt::format("  {:>{}}", row[i], widths[i]);
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text + "\n" + notes(page) + "\n" + sentence(page) + "\n";
}

std::string to_markdown(const ComparisonPage& page) {
  std::string text =
      fmt::format("# Comparison\n\n{}.\n\n- a: {}\n- b: {}\n\n", sentence(page),
                  markdown_text(page.artifacts.at(0).address), markdown_text(page.artifacts.at(1).address));
  auto rows = table_of(page);
  for (size_t r = 0; r < rows.size(); ++r) {
    rows[r].resize(rows[0].size());
    for (const auto& cell : rows[r]) text += "| " + markdown_text(cell) + " ";
    text += "|\n";
    if (r == 0) text += "|---|---:|---:|---:|---:|---:|\n";
  }
  text += "\n";
  text += notes(page);
  const auto& turned = page.comparison.turned;
  if (turned.empty()) return text;
  const auto won = std::ranges::count(turned, true, &TurnedRow::b_is_right);
  text += fmt::format(
      "\nRows that one has right by {}: {} only b, {} only a.\n\n| row | expected | a | b |\n|---|---|---|---|\n",
      page.comparison.metric, won, static_cast<int64_t>(turned.size()) - won);
  for (size_t i = 0; i < std::min(turned.size(), kShownTurns); ++i) {
    Origin origin = turned[i].origin;
    origin.file = std::filesystem::path(origin.file).filename().string();
    text += fmt::format("| {} | {} | {} | {} |\n", markdown_text(to_string(origin)), markdown_text(turned[i].expected),
                        markdown_text(turned[i].a), markdown_text(turned[i].b));
  }
  if (turned.size() > kShownTurns) text += fmt::format("\n{} more in compare.json.\n", turned.size() - kShownTurns);
  return text;
}

}  // namespace prentice
