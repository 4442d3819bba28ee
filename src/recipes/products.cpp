#include "recipes/products.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "adapter/peft.h"
#include "core/error.h"
#include "core/host.h"
#include "export/gguf_adapter.h"
#include "export/gguf_features.h"
#include "export/gguf_model.h"
#include "export/hf_folder.h"
#include "export/serving.h"
#include "export/verify_artifact.h"
#include "io/file.h"
#include "io/json.h"
#include "io/lines.h"
#include "io/publish.h"
#include "io/sha256.h"
#include "io/stamp.h"
#include "quant/encode.h"
#include "recipes/open.h"
#include "recipes/proof_tokens.h"
#include "recipes/rejected.h"
#include "run/signals.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

constexpr const char* kProductNames[] = {"adapter",     "merged",    "gguf",          "serve",
                                         "verify.json", "eval.json", "compare.json",  "compare.md",
                                         "report.html", "store",     "answers.jsonl", kImatrixFile};

constexpr const char* kAdapterFile = "gguf/adapter.gguf";

// Collects checks under the artifact's name; a failed artifact keeps its bytes under NAME.rejected.
struct Verifier {
  Verification all;
  std::vector<std::string> rejected;

  bool passes(const std::string& name, Verification verification) {
    const bool passed = verification.passed();
    if (!passed) rejected.push_back(name);
    for (auto& check : verification.checks) {
      check.name = name + ": " + check.name;
      all.checks.push_back(std::move(check));
    }
    all.logits.merge(verification.logits);
    return passed;
  }
};

// What an artifact must be equal to, and on what that is proven.
struct Proof {
  Trained trained;
  ProofRules rules;
};

// A reward model gives no words to prove.
Proof proof_of(const ProductSource& source, const WeightSource& weights, const ExportSection& section,
               int64_t context) {
  Proof proof{.trained = {.weights = weights, .tokenizer = source.tokenizer, .stop_ids = source.stop_ids},
              .rules = {.limits = section.limits, .before_layer = [] { throw_if_stopped(kContinues); }}};
  if (source.proof_tokens && source.spec.labels == 0) proof.rules.tokens = source.proof_tokens(context);
  return proof;
}

// How the verification ended is known when the file is whole.
FileOrigin to_be_verified(FileOrigin origin) {
  if (!origin.empty()) origin[kOriginVerification] = blank_stamp();
  return origin;
}

void stamp(const fs::path& file, const std::optional<Verification>& verification) {
  fill_stamp(file, verification ? verdict(*verification) : "not asked for");
}

void stamp_folder(const fs::path& folder, const std::optional<Verification>& verification) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") stamp(entry.path(), verification);
  }
}

void write_merged(const ProductSource& source, const WeightSource& weights, const ExportSection& section,
                  const fs::path& out, Verifier& verifier) {
  const bool nf4 = section.merged == "nf4";
  const HfFolderOptions options{.type = nf4 ? own_type(weights.spec()) : element_type(section.merged),
                                .nf4 = nf4,
                                .own_files = source.own_files,
                                .origin = to_be_verified(source.origin)};
  TempFolder folder(out / "merged");
  write_hf_folder(weights, weights.spec(), source.companions, folder.path(), options);
  std::optional<Verification> found;
  if (section.verify) {
    found = verify_hf_folder(folder.path(), weights, weights.spec(), source.companions, options);
    if (source.compare) {
      for (auto& check : source.compare(weights, options)) found->checks.push_back(std::move(check));
    }
    const Proof proof = proof_of(source, weights, section, weights.spec().max_positions);
    if (found->passed() && !proof.rules.tokens.empty())
      prove_folder(*found, "merged", folder.path(), proof.trained, proof.rules);
  }
  stamp_folder(folder.path(), found);
  if (found && !verifier.passes("merged", std::move(*found))) {
    reject(folder.path(), folder.final_path());
    return;
  }
  folder.publish(IfExists::replace);
}

// Of several stop tokens the chat model's own end of turn is the one a server must know.
std::optional<int32_t> turn_end(const ProductSource& source) {
  if (const auto eos = source.tokenizer.eos_id()) return eos;
  return source.stop_ids.empty() ? std::nullopt : std::optional<int32_t>(source.stop_ids.front());
}

std::string write_gguf_file(const ProductSource& source, const WeightSource& weights, const GgufOptions& options,
                            const ExportSection& section, const fs::path& out, Verifier& verifier) {
  const std::string file_name = fmt::format("{}-{}.gguf", options.name, file_type_name(options.type));
  const std::string name = "gguf/" + file_name;
  TempFile file(out / "gguf" / file_name);
  DeltaSurvival survival = write_gguf(weights, weights.spec(), source.tokenizer, file.path(), options);
  if (!survival.tensors.empty()) verifier.all.survivals.emplace(name, std::move(survival));
  std::optional<Verification> found;
  if (section.verify) {
    found = verify_gguf(file.path(), weights, weights.spec(), source.tokenizer, options);
    Proof proof = proof_of(source, weights, section, gguf_context(weights.spec()));
    if (file_type_name(options.type) == source.served_type) proof.trained.answers = source.served;
    if (found->passed()) prove_gguf(*found, name, file.path(), proof.trained, proof.rules);
  }
  stamp(file.path(), found);
  if (found && !verifier.passes(name, std::move(*found))) {
    reject(file.path(), file.final_path());
    return "";
  }
  file.publish(IfExists::replace);
  return file_name;
}

void write_gguf_files(const ProductSource& source, const WeightSource& weights, const ExportSection& section,
                      const fs::path& out, ServingInfo& info, Verifier& verifier) {
  GgufOptions options{.name = info.name,
                      .types = section.types,
                      .chat_template = replaced_template(source.tokenizer),
                      .stop_id = turn_end(source),
                      .origin = to_be_verified(source.origin)};
  std::pair<ImportanceMatrix, std::vector<std::string>> importance;
  if (!section.imatrix.empty()) {
    importance = source.importance();
    options.importance = &importance.first;
    options.importance_file = fs::path(section.imatrix).filename().string();
    info.warnings.insert(info.warnings.end(), importance.second.begin(), importance.second.end());
  }
  for (const auto& type : section.gguf) {
    throw_if_stopped(kContinues);
    options.type = file_type_named(type);
    const std::string file = write_gguf_file(source, weights, options, section, out, verifier);
    if (!file.empty()) info.gguf_files.push_back(file);
  }
}

// What is left of an adapter's update, a sentence a file; where that is little, it is said to the receiver, too.
std::vector<std::string> tell_survivals(const std::map<std::string, DeltaSurvival>& survivals, ServingInfo& info) {
  std::vector<std::string> told;
  for (const auto& [file, survival] : survivals) {
    told.push_back(fmt::format("{}: {}", file, survival.sentence()));
    if (!survival.total().is_nearly_gone()) continue;
    info.warnings.push_back(
        fmt::format("{}: the adapter's update is nearly gone behind the rounding of its blocks; take a type of more "
                    "bits, or serve the adapter beside the base (export.gguf_adapter)",
                    told.back()));
  }
  return told;
}

// Everything is written beside what stands there before it takes its place.
void require_space(const WeightSource& weights, const ExportSection& section, const fs::path& out) {
  const ModelSpec& spec = weights.spec();
  uint64_t bytes = 0;
  for (const auto& type : section.gguf)
    bytes += gguf_model_bytes(spec, file_type_named(type), section.types, !section.imatrix.empty());
  if (section.merged != "none") {
    const auto element = static_cast<uint64_t>(section.merged == "f32" ? 4 : 2);
    for (const auto& tensor : expected_tensors(spec)) {
      const RowShape shape = row_shape(tensor.shape);
      const bool in_four_bits = section.merged == "nf4" && tensor.shape.size() == 2;
      bytes += static_cast<uint64_t>(shape.rows * shape.columns) * element / (in_four_bits ? 4 : 1);
    }
  }
  require_free_bytes(out, bytes);
}

// The adapter's bytes must not bear the run's name; `section.name` is the user's own word.
bool write_gguf_adapter_file(const ProductSource& source, const ExportSection& section, const fs::path& out,
                             Verifier& verifier) {
  const GgufAdapterOptions options{.type = find_ggml_type_name(section.gguf_adapter)->type,
                                   .name = section.name.empty() ? "adapter" : section.name,
                                   .origin = to_be_verified(source.origin)};
  TempFile file(out / kAdapterFile);
  write_gguf_adapter(source.adapter, source.adapted, file.path(), options);
  std::optional<Verification> found;
  if (section.verify) found = verify_gguf_adapter(file.path(), source.adapter, source.adapted, options);
  stamp(file.path(), found);
  if (found && !verifier.passes(kAdapterFile, std::move(*found))) {
    reject(file.path(), file.final_path());
    return false;
  }
  file.publish(IfExists::replace);
  return true;
}

// Of everything that serve.md says how to serve. Servers compute folders in halves, in bf16 unless they hold f16, and
// read activations in int8 where weights are blocks.
std::vector<Tolerance> tolerances_of(const ProductSource& source, const ExportSection& section, const ServingInfo& info,
                                     const Verification& found) {
  ServedProduct product{
      .own = source.computed_in, .parameters = parameter_count(source.spec), .limits = section.limits};
  std::vector<Tolerance> all;
  const auto add = [&](const std::string& name, std::optional<std::string> type, const std::string& computed_in) {
    product.name = name, product.type = std::move(type), product.computed_in = computed_in;
    const auto proof = found.logits.find(name);
    product.kld = proof == found.logits.end() ? std::nullopt : std::optional(proof->second.kld_mean);
    all.push_back(tolerance_of(product));
  };
  if (info.merged) {
    const bool written = section.merged != "none";  // or it is the trained model itself
    std::string type = section.merged;
    std::ranges::transform(type, type.begin(), [](char c) { return static_cast<char>(std::toupper(c)); });
    add("merged", written ? std::optional(type) : std::nullopt, section.merged == "f16" ? "F16" : "BF16");
  }
  if (info.peft) add("adapter", std::nullopt, "BF16");
  if (info.gguf_adapter) add(kAdapterFile, std::nullopt, "Q8_0");
  for (size_t i = 0; i < info.gguf_files.size(); ++i) {
    const std::string type(file_type_name(file_type_named(section.gguf.at(i))));
    const bool halves = type == "F32" || type == "F16";
    add("gguf/" + info.gguf_files[i], type, halves ? "F16" : type == "BF16" ? "BF16" : "Q8_0");
  }
  return all;
}

void write_serving(const ProductSource& source, const ServingInfo& info, const std::vector<Tolerance>& tolerances,
                   const fs::path& out) {
  TempFolder folder(out / "serve");
  write_file_durably(folder.path() / "serve.md", serve_markdown(info));
  if (const std::string text = modelfile(info); !text.empty()) write_file_durably(folder.path() / "Modelfile", text);
  std::vector<std::string> licences;
  for (const auto& [name, text] : source.licences) {
    write_file_durably(folder.path() / name, text);
    licences.push_back(name);
  }
  // Beside the products and not in them: it bears the run's name, which the bytes of adapter/ and merged/ must not.
  write_file_durably(folder.path() / "model_card.md", model_card({.name = info.name,
                                                                  .base_model = source.base_model,
                                                                  .is_adapter = info.peft,
                                                                  .scores = info.scores,
                                                                  .training = source.training,
                                                                  .results = source.results,
                                                                  .licences = std::move(licences)}));
  if (info.self_test) {
    write_file_durably(folder.path() / "selftest.json", selftest_json(info.name, source.self_test, tolerances));
    write_file_durably(folder.path() / "selftest.py", selftest_program());
  }
  folder.publish(IfExists::replace);
}

}  // namespace

std::optional<std::string> replaced_template(const Tokenizer& tokenizer) {
  return tokenizer.chat_template_replaced() ? tokenizer.chat_template() : std::nullopt;
}

int64_t size_on_disk(const fs::path& path) {
  if (!fs::is_directory(path)) return fs::exists(path) ? static_cast<int64_t>(fs::file_size(path)) : 0;
  int64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) bytes += static_cast<int64_t>(entry.file_size());
  }
  return bytes;
}

// Whether AutoTokenizer of transformers 5 takes another rule than the files': it reads a tokenizer.json as it stands
// for the classes below, and builds others anew. It shows where SentencePiece's space stands in front of every text
// behind an added token.
bool is_built_anew(const Tokenizer& tokenizer) {
  const fs::path config = tokenizer.folder() / "tokenizer_config.json";
  if (fs::exists(config)) {
    const Json json = with_context(ExitCode::model, "", [&] { return Json::parse_file(config); });
    const Json* name = json.find("tokenizer_class");
    for (const char* as_it_stands : {"PreTrainedTokenizerFast", "TokenizersBackend"}) {
      if (name && *name == Json(as_it_stands)) return false;
    }
  }
  for (const auto& token : tokenizer.added_tokens()) {
    const auto ids = tokenizer.encode(token.content + "a", false);
    if (ids.size() > 1 && ids[0] == token.id) return tokenizer.id_to_token(ids[1]).starts_with("\u2581");
  }
  return false;
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
  Verifier verifier;
  std::optional<WeightSource> weights;
  if (section.merged != "none" || !section.gguf.empty()) {
    for (const fs::path& folder : {out, out / "gguf"}) remove_leftovers(folder);  // of a run that was killed
    weights = source.weights();
    require_space(*weights, section, out);
    weights->before_each_read([] { throw_if_stopped(kContinues); });  // a large tensor takes a while
  }
  if (section.merged != "none") write_merged(source, *weights, section, out, verifier);
  if (!section.gguf.empty() || section.gguf_adapter != "none") info.warnings = gguf_warnings(source.spec);
  if (!section.gguf.empty()) write_gguf_files(source, *weights, section, out, info, verifier);
  if (section.gguf_adapter != "none") info.gguf_adapter = write_gguf_adapter_file(source, section, out, verifier);
  auto survivals = tell_survivals(verifier.all.survivals, info);
  if (!verifier.all.checks.empty()) publish_file(out / "verify.json", verification_json(verifier.all));
  if (!verifier.rejected.empty()) {
    fail(ExitCode::gate, fmt::format("{} of {} failed verification", fmt::join(verifier.rejected, ", "), out.string()),
         "verify.json says why; the file is kept as NAME.rejected");
  }
  info.merged = fs::exists(out / "merged");
  const auto tolerances = tolerances_of(source, section, info, verifier.all);
  info.self_test = !source.self_test.cases.empty() && !tolerances.empty();
  write_serving(source, info, tolerances, out);
  Products products{.verified = !verifier.all.checks.empty(),
                    .answered = !verifier.all.logits.empty(),
                    .survivals = std::move(survivals),
                    .warnings = info.warnings};
  for (const std::string product : {"adapter", "merged"}) {
    if (fs::exists(out / product)) products.written.push_back({product, size_on_disk(out / product)});
  }
  for (const auto& file : info.gguf_files)
    products.written.push_back({"gguf/" + file, size_on_disk(out / "gguf" / file)});
  if (info.gguf_adapter) products.written.push_back({kAdapterFile, size_on_disk(out / kAdapterFile)});
  return products;
}

void write_checksums(const fs::path& out) {
  std::vector<std::string> names;
  for (const char* name : kProductNames) {
    if (fs::exists(out / name)) names.emplace_back(name);
  }
  publish_file(out / "SHA256SUMS", checksums(out, names));
}

ReportTable files_table(const fs::path& root, const std::vector<fs::path>& folders) {
  ReportTable table{.title = "Files", .header = {"file", "bytes", "SHA-256"}, .rows = {}};
  for (const auto& folder : folders) {
    std::vector<fs::path> files;
    for (const char* product : {"adapter", "merged", "gguf"}) {
      if (!fs::is_directory(folder / product)) continue;
      for (const auto& entry : fs::directory_iterator(folder / product)) {
        const auto kind = entry.path().extension();
        if (kind == ".safetensors" || kind == ".gguf") files.push_back(entry.path());
      }
    }
    std::ranges::sort(files);
    for (const auto& file : files) {
      table.rows.push_back(
          {file.lexically_relative(root).string(), std::to_string(fs::file_size(file)), cached_sha256_file(file)});
    }
  }
  return table;
}

bool products_intact(const fs::path& out) {
  if (!fs::exists(out / "SHA256SUMS")) return true;
  bool intact = true;
  for_each_line(out / "SHA256SUMS", [&](std::string_view line) {  // "HASH  NAME"
    fs::path file = line.size() < 67 ? fs::path() : out / line.substr(66);
    if (!file.empty() && !fs::exists(file)) file += kRejectedSuffix;  // a later verification set it aside
    intact = intact && !file.empty() && fs::exists(file) && cached_sha256_file(file) == line.substr(0, 64);
  });
  return intact;
}

}  // namespace prentice
