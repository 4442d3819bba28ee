#include "pages/console.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/error.h"
#include "core/units.h"
#include "core/utf8.h"
#include "data/encode.h"
#include "eval/report.h"
#include "products/products.h"

namespace prentice {

namespace {

// The gates that an eval.json says were not passed, as a person reads them.
std::vector<std::string> missed_gates(const Json& eval) {
  std::vector<std::string> missed;
  for (const Json& gate : eval.at("gates").as_array()) {
    if (gate.at("passed").as_bool()) continue;
    missed.push_back(fmt::format("{} is {:.6g}, its bound is {}", gate.at("metric").as_string(),
                                 gate.at("value").as_number(), gate.at("bound").dump()));
  }
  return missed;
}

int tell_missed(const std::vector<std::string>& missed) {
  for (const auto& gate : missed) fmt::print(stderr, "error: eval.require: not met: {}\n", gate);
  return missed.empty() ? 0 : static_cast<int>(ExitCode::gate);
}

std::vector<std::string> missed_gates_of(const std::filesystem::path& out) {
  const auto file = out / "eval.json";
  if (!std::filesystem::exists(file)) return {};
  return with_context(ExitCode::model, file.string(), [&] { return missed_gates(Json::parse_file(file)); });
}

// Of a finished comparison: what it did not pass, as it said then; "" where it passed, and for other kinds.
std::string missed_comparison(const std::filesystem::path& out) {
  const auto file = out / "compare.json";
  if (!std::filesystem::exists(file)) return "";
  return with_context(ExitCode::model, file.string(), [&] {
    const Json found = Json::parse_file(file);
    return found.at("passed").as_bool() ? std::string() : std::string(found.at("summary").as_string());
  });
}

}  // namespace

int tell_verification(const std::vector<std::string>& reasons) {
  for (const auto& reason : reasons) fmt::print(stderr, "error: verify: {}\n", printable(reason));
  return reasons.empty() ? 0 : static_cast<int>(ExitCode::gate);
}

void print_done_json(const std::filesystem::path& out, const std::vector<std::string>& missed) {
  const Json told = Json::Object{{"schema", 1},
                                 {"out", out.string()},
                                 {"state", "already done"},
                                 {"missed_gates", Json::Array(missed.begin(), missed.end())}};
  fmt::print("{}\n", told.dump());
}

int already_done(const std::filesystem::path& out, const Invocation& invocation) {
  // A pipeline has looked at its steps itself.
  if (const auto changed = invocation.inner ? std::nullopt : changed_product(out)) {
    fail(ExitCode::usage, fmt::format("{}: not as the finished run left it", (out / *changed).string()),
         "--fresh runs it again, and keeps the folder under another name");
  }
  const auto missed = missed_gates_of(out);
  const std::string comparison = missed_comparison(out);
  if (invocation.inner) {
    fmt::print(stderr, "  already done\n");
  } else if (invocation.json) {
    auto told = missed;
    if (!comparison.empty()) told.push_back(comparison);
    print_done_json(out, told);
  } else {
    fmt::print("already done: {} (--fresh runs it again)\n", out.string());
  }
  return comparison.empty() ? tell_missed(missed) : tell_comparison(comparison);
}

int tell_comparison(const std::string& summary) {
  fmt::print(stderr, "error: compare: not passed: {}\n", summary);
  return static_cast<int>(ExitCode::gate);
}

int tell_gates(const EvalReport& report) { return tell_missed(missed_gates(to_json(report))); }

std::function<void(const std::string&)> say_on_stderr(const Invocation& invocation) {
  if (invocation.quiet) return [](const std::string&) {};
  return [](const std::string& line) { fmt::print(stderr, "{}\n", line); };
}

void print_products(const Products& products, const std::filesystem::path& out, const Invocation& invocation) {
  if (invocation.json) {
    Json::Array written;
    for (const auto& product : products.written) {
      written.push_back(Json::Object{{"path", (out / product.name).string()}, {"bytes", product.bytes}});
    }
    const Json result = Json::Object{{"schema", 1},
                                     {"out", out.string()},
                                     {"verified", products.verified},
                                     {"products", written},
                                     {"resumed", Json::Object{{"files", products.resumed.files},
                                                              {"tensors", products.resumed.tensors},
                                                              {"tensors_written", products.resumed.made}}},
                                     {"merges", Json::Array(products.merges.begin(), products.merges.end())},
                                     {"survival", Json::Array(products.survivals.begin(), products.survivals.end())},
                                     {"warnings", Json::Array(products.warnings.begin(), products.warnings.end())}};
    fmt::print("{}\n", result.dump());
    return;
  }
  if (invocation.inner) return;  // the pipeline tells it at its end
  for (const auto& product : products.written) {
    fmt::print("  {:<9} {}\n", human_bytes(static_cast<double>(product.bytes)), (out / product.name).string());
  }
  if (products.verified) fmt::print("  verified: {} (verify.json)\n", products.proven);
  for (const auto& line : products.merges) fmt::print("  merged    {}\n", printable(line));
  for (const auto& line : products.survivals) fmt::print("  update    {}\n", printable(line));
  print_warnings(products.warnings);
}

std::string overlap_warning(const TrainEvalSets& data, std::string_view are) {
  constexpr size_t kShown = 3;
  if (data.overlap.empty()) return "";
  const size_t shown = std::min(kShown, data.overlap.size());
  return fmt::format("{} of {} held-out rows are {}, too: {}{}", data.overlap.size(), data.eval->examples.size(), are,
                     fmt::join(data.overlap.begin(), data.overlap.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                     shown < data.overlap.size() ? ", ..." : "");
}

void print_warnings(const std::vector<std::string>& warnings) {
  for (const auto& warning : warnings) fmt::print(stderr, "warning: {}\n", printable(warning));
}

void print_warnings(const TrainEvalSets& data) {
  print_warnings(data.train.encoded.warnings);
  if (const auto line = overlap_warning(data); !line.empty()) print_warnings(std::vector{line});
}

}  // namespace prentice
