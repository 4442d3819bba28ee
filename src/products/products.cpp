#include "products/products.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "adapter/peft.h"
#include "core/error.h"
#include "core/host.h"
#include "export/gguf_features.h"
#include "io/file.h"
#include "io/lines.h"
#include "io/publish.h"
#include "products/product_files.h"
#include "products/serving_folder.h"
#include "proof/rejected.h"
#include "serving/serving.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

constexpr const char* kProductNames[] = {"adapter",     "merged",    "gguf",          "serve",
                                         "verify.json", "eval.json", "compare.json",  "compare.md",
                                         "report.html", "store",     "answers.jsonl", kImatrixFile};

// What is left of an adapter's update, a sentence a file; where that is little, it is said to the receiver, too.
std::vector<std::string> tell_survivals(const std::map<std::string, DeltaSurvival>& survivals,
                                        const std::string& served_type, ServingInfo& info) {
  std::vector<std::string> told;
  for (const auto& [file, survival] : survivals) {
    told.push_back(fmt::format("{}: {}", file, survival.sentence()));
    // Where training was against this file's rounding, the rounding is part of what was trained.
    const bool is_as_trained = !served_type.empty() && file.ends_with("-" + served_type + ".gguf");
    if (!survival.is_nearly_gone() || is_as_trained) continue;
    info.warnings.push_back(
        fmt::format("{}: the adapter's update is nearly gone behind the rounding of its blocks; take a type of more "
                    "bits, or serve the adapter beside the base (export.gguf_adapter)",
                    told.back()));
  }
  return told;
}

}  // namespace

std::string proven_of_all(const std::vector<Check>& checks) {
  constexpr std::pair<const char*, const char*> kParts[] = {{"container", "container"},
                                                            {"tensors", "tensors"},
                                                            {"token ids", "token ids"},
                                                            {"chat template", "template"},
                                                            {"log-probabilities", "logits"}};
  std::map<std::string, std::set<std::string>> asked;  // of each product
  for (const Check& check : checks) {
    const size_t end = check.name.rfind(": ");
    if (end != check.name.npos) asked[check.name.substr(0, end)].insert(check.name.substr(end + 2));
  }
  std::vector<std::string> parts;
  for (const auto& [name, word] : kParts) {
    if (std::ranges::all_of(asked, [&](const auto& one) { return one.second.contains(name); }))
      parts.emplace_back(word);
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

Products write_products(const ProductSource& source, const ExportSection& section, const fs::path& out) {
  const std::string name = section.name.empty() ? out.filename().string() : section.name;
  ServingInfo info{.name = name,
                   .base_model = source.base_model,
                   .base_gguf = source.base_file.string(),
                   .peft = fs::exists(out / "adapter"),
                   .has_chat_template = source.tokenizer.chat_template().has_value(),
                   .spaces_after_added = source.base_file.empty() && is_built_anew(source.tokenizer),
                   .scores = source.spec.labels > 0,
                   .pad_id = source.spec.pad_id,
                   .trained_on_raw_text = source.raw_text,
                   .max_length = source.max_length,
                   .gguf_length = std::min(source.max_length, gguf_context(source.spec))};
  if (!source.adapter.empty()) info.rank = read_peft_config(source.adapter).rank;
  release_free_memory();  // what training held need not stand beside the proofs
  if (!section.gguf.empty() || section.gguf_adapter != "none") info.warnings = gguf_warnings(source.spec);
  ProductFiles files = make_product_files(source, section, name, out);
  info.warnings.insert(info.warnings.end(), files.warnings.begin(), files.warnings.end());
  info.gguf_files = std::move(files.gguf_files);
  info.gguf_adapter = files.gguf_adapter;
  auto survivals = tell_survivals(files.found.survivals, source.served_type, info);
  if (!files.found.checks.empty()) publish_file(out / "verify.json", verification_json(files.found));
  if (!files.rejected.empty()) {
    std::vector<Diagnostic> reasons;
    for (const auto& reason : failures(files.found)) reasons.push_back({.message = "verify: " + reason});
    reasons.push_back(
        {.message = fmt::format("{} of {} failed verification", fmt::join(files.rejected, ", "), out.string()),
         .hint = "verify.json says all; the file is kept as NAME.rejected"});
    throw Error(ExitCode::gate, std::move(reasons));
  }
  info.merged = fs::exists(out / "merged");
  const auto tolerances = tolerances_of(source, section, info, files.found);
  const SelfTest self_test = tolerances.empty() ? SelfTest() : source.self_test();
  info.self_test = !self_test.cases.empty();
  write_serving(source, info, self_test, tolerances, out);
  Products products{.verified = !files.found.checks.empty(),
                    .proven = proven_of_all(files.found.checks),
                    .merges = std::move(files.merges),
                    .survivals = std::move(survivals),
                    .warnings = info.warnings,
                    .hashes = std::move(files.hashes),
                    .resumed = files.resumed};
  for (const std::string product : {"adapter", "merged"}) {
    if (fs::exists(out / product)) products.written.push_back({product, size_on_disk(out / product)});
  }
  for (const auto& file : info.gguf_files)
    products.written.push_back({"gguf/" + file, size_on_disk(out / "gguf" / file)});
  if (info.gguf_adapter) products.written.push_back({kAdapterFile, size_on_disk(out / kAdapterFile)});
  return products;
}

void write_checksums(const fs::path& out, const FileHashes& known) {
  std::vector<std::string> names;
  for (const char* name : kProductNames) {
    if (fs::exists(out / name)) names.emplace_back(name);
  }
  publish_file(out / "SHA256SUMS", checksums(out, names, known));
}

std::optional<std::string> changed_product(const fs::path& out) {
  constexpr size_t kHash = 64, kName = kHash + 2;  // "HASH  NAME"
  if (!fs::exists(out / "SHA256SUMS")) return std::nullopt;
  std::optional<std::string> changed;
  for_each_line(out / "SHA256SUMS", [&](std::string_view line) {
    if (changed) return;
    if (line.size() <= kName) {
      changed = "SHA256SUMS";
    } else if (!is_kept(out, line.substr(kName), line.substr(0, kHash))) {
      changed = line.substr(kName);
    }
  });
  return changed;
}

}  // namespace prentice
