#include "pages/story.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "artifact/open.h"
#include "core/error.h"
#include "core/host.h"
#include "core/units.h"
#include "pages/console.h"
#include "pages/report_tables.h"
#include "products/product_files.h"
#include "products/products.h"
#include "serving/asking.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

std::string evaluation_line(const Json& eval) {
  std::string line;
  for (const auto& [task, result] : eval.at("tasks").as_object()) {
    if (!line.empty()) line += "; ";
    if (const Json* accuracy = result.find("accuracy")) {
      line += fmt::format("{:.1f} % of {} right", 100 * accuracy->as_number(), result.at("count").as_integer());
    } else {
      line +=
          fmt::format("loss {:.4g} over {} tokens", result.at("mean").as_number(), result.at("tokens").as_integer());
    }
  }
  return line;
}

// At most `length` characters (counted as UTF-8 bytes), cut between two characters.
std::string shortened(const std::string& text, size_t length) {
  if (text.size() <= length) return text;
  size_t end = length - 3;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

// This program as a person here would type it: by its name where a search of PATH finds it, else by its place.
std::string program_word() {
  std::error_code error;
  const fs::path program = program_file();
  const char* path = std::getenv("PATH");
  for (std::string_view left = path ? path : ""; !left.empty();) {
    const size_t colon = std::min(left.find(':'), left.size());
    const fs::path found = fs::path(left.substr(0, colon)) / program.filename();
    if (fs::equivalent(found, program, error)) return program.filename().string();
    left.remove_prefix(std::min(colon + 1, left.size()));
  }
  const fs::path near = program.lexically_relative(fs::current_path());
  return near.empty() || *near.begin() == ".." ? program.string() : near.string();
}

std::string training_line(const fs::path& out) {
  const Curve loss = read_curve(out / "metrics.jsonl", "loss");
  if (loss.points.empty()) return "";
  return fmt::format("loss {:.4g} -> {:.4g} in {:.0f} steps", loss.points.front().second, loss.points.back().second,
                     loss.points.back().first);
}

std::string teaching_line(const Json& results) {
  if (const Json* kept = results.find("kept"))
    return fmt::format("{} of {} answers kept", kept->as_integer(), results.at("sampled").as_integer());
  return fmt::format("{} tokens, {:.1f} bytes each, {:.2f} % of the mass", results.at("rows").as_integer(),
                     results.at("bytes_per_token").as_number(), 100 * results.at("coverage").as_number());
}

std::string verification_line(const Json& verification) {
  const size_t checks = verification.at("checks").as_array().size();
  const Json& kld = verification.at("kld_mean");
  return fmt::format("{} checks passed{}", checks,
                     kld.is_null() ? "" : fmt::format(", mean KLD {:.2g}", kld.as_number()));
}

std::string calibration_line(const Json& results) {
  return fmt::format("{} weights over {} tokens", results.at("entries").as_integer(),
                     results.at("tokens").as_integer());
}

}  // namespace

Story tell(const std::vector<ExpandedStep>& steps, const fs::path& out) {
  Story story;
  std::vector<fs::path> evaluations;
  for (const auto& step : steps) {
    StoryStep told{.name = step.name, .kind = step.kind, .out = step.out, .line = ""};
    if (trains(step.kind)) {
      told.line = training_line(step.out);
      story.model = step.out;
    } else if (step.kind == "eval") {
      told.line = with_context(ExitCode::model, step.out.string(),
                               [&] { return evaluation_line(Json::parse_file(step.out / "eval.json")); });
      evaluations.push_back(step.out);
    } else if (step.kind == CompareRecipe::kKind) {
      told.line = with_context(ExitCode::model, step.out.string(), [&] {
        return std::string(Json::parse_file(step.out / "compare.json").at("summary").as_string());
      });
    } else if (step.kind == VerifyRecipe::kKind) {
      told.line = with_context(ExitCode::model, step.out.string(),
                               [&] { return verification_line(Json::parse_file(step.out / "verify.json")); });
    } else if (step.kind == TeachRecipe::kKind) {
      told.line = with_context(ExitCode::model, step.out.string(),
                               [&] { return teaching_line(Json::parse_file(step.out / "run.json").at("results")); });
    } else if (step.kind == ImatrixRecipe::kKind) {
      told.line = with_context(ExitCode::model, step.out.string(),
                               [&] { return calibration_line(Json::parse_file(step.out / "run.json").at("results")); });
    } else if (step.kind == "export") {
      for (const char* product : {"adapter", "merged", "gguf"}) {
        if (!fs::exists(step.out / product)) continue;
        told.line += fmt::format("{}{} {}", told.line.empty() ? "" : ", ", product,
                                 human_bytes(static_cast<double>(size_on_disk(step.out / product))));
      }
    }
    if (fs::exists(step.out / "gguf")) {
      for (const auto& entry : fs::directory_iterator(step.out / "gguf")) {
        if (entry.path().extension() == ".gguf") story.gguf = entry.path();
      }
    }
    story.steps.push_back(std::move(told));
  }
  if (!story.model.empty()) {
    const ModelShape model = open_shape({.path = story.model.string()});
    story.asking = asking_words(model.spec, open_tokenizer(model.artifact, model.spec), fs::relative(out));
  }
  if (evaluations.size() > 1) {
    story.examples = compare_answers(evaluations.front() / kScoredAnswersFile, evaluations.back() / kScoredAnswersFile);
  }
  return story;
}

Report story_report(const Story& story, const fs::path& out) {
  Report report{.title = out.filename().string(), .subtitle = "A pipeline of Prentice, step by step."};
  ReportTable steps{.title = "Steps", .header = {"step", "kind", "result"}, .rows = {}};
  for (const auto& step : story.steps) {
    steps.rows.push_back({step.name, step.kind, step.line});
    if (step.kind == "eval") report.headline.emplace_back(step.name, step.line.substr(0, step.line.find(" of ")));
    if (!fs::exists(step.out / "metrics.jsonl")) continue;
    Curve curve = read_curve(step.out / "metrics.jsonl", "loss");
    curve.title = step.name + ": loss";
    report.curves.push_back(std::move(curve));
  }
  report.tables.push_back(std::move(steps));
  report.tables.push_back(compared_answers_table(story.examples));
  std::vector<fs::path> folders;
  for (const auto& step : story.steps) folders.push_back(step.out);
  report.tables.push_back(files_table(out, folders));
  return report;
}

void print_story(const Story& story, const fs::path& out, double seconds, const Invocation& invocation) {
  if (invocation.json) {
    Json::Array steps;
    for (const auto& step : story.steps) {
      steps.push_back(
          Json::Object{{"name", step.name}, {"kind", step.kind}, {"out", step.out.string()}, {"result", step.line}});
    }
    fmt::print("{}\n",
               Json(Json::Object{{"schema", 1}, {"out", out.string()}, {"seconds", seconds}, {"steps", steps}}).dump());
    return;
  }
  if (invocation.inner) return;
  fmt::print("\n");
  for (size_t i = 0; i < story.steps.size(); ++i) {
    fmt::print("{} {:<10} {}\n", i + 1, story.steps[i].name, story.steps[i].line);
  }
  if (!story.examples.empty()) {
    const ComparedAnswer& example = story.examples.front();
    const std::string prompt = shortened(example.prompt, 70);
    fmt::print("\n  \"{}\"\n    before  {}\n    after   {}\n", prompt, example.before, example.after);
  }
  const fs::path here = fs::relative(out);
  fmt::print("\nDone in {}.\n  look    {}\n", human_duration(seconds), (here / "report.html").string());
  if (!story.model.empty()) fmt::print("  try     {} {}\n", program_word(), story.asking);
  if (!story.gguf.empty()) {
    fmt::print("  serve   llama-server -m {}    (vLLM, Ollama: {})\n", (here / "gguf" / story.gguf.filename()).string(),
               (here / "serve/serve.md").string());
  }
}

}  // namespace prentice
