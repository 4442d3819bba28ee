#include "export/verify_artifact.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>

#include "core/error.h"
#include "export/artifact_reading.h"
#include "export/file_checks.h"
#include "export/gguf_features.h"
#include "export/hf_folder.h"
#include "export/logit_limits.h"
#include "export/spec_checks.h"
#include "export/tensor_proof.h"
#include "export/token_proof.h"
#include "export/vocabulary_checks.h"
#include "io/gguf_values.h"
#include "model/gguf_spec.h"
#include "model/stored_nf4.h"
#include "quant/encode.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

int64_t parameters_of(const ModelSpec& spec) {
  int64_t count = 0;
  for (const auto& tensor : expected_tensors(spec)) {
    const RowShape shape = row_shape(tensor.shape);
    count += shape.rows * shape.columns;
  }
  return count;
}

void append(Verification& result, std::vector<Check> checks) {
  for (auto& check : checks) result.checks.push_back(std::move(check));
}

// Whether all that was just added passed.
bool added(Verification& result, std::vector<Check> checks) {
  const bool passed = std::ranges::all_of(checks, &Check::passed);
  append(result, std::move(checks));
  return passed;
}

// Types are the file's own; matrices may be in blocks, vectors may not.
std::vector<Check> set_checks(const GgufReader& file, const std::vector<GgufTensorPlan>& plans) {
  Comparison comparison;
  for (const auto& plan : plans) {
    GgufTensorInfo declared = plan.info;
    const auto* found = file.find_tensor(declared.name);
    if (found != nullptr && (found->dims.size() > 1 || ggml_type_info(found->type).block_elements == 1))
      declared.type = found->type;
    comparison.find(file, declared);
  }
  comparison.no_others(file);
  auto checks = comparison.checks();
  checks.pop_back();  // nothing was compared yet
  return checks;
}

Check architecture_check(const GgufReader& file, const std::string& wanted) {
  const std::string found = gguf_text(file, "general.architecture").value_or("none");
  return equal_check("architecture", found == wanted,
                     found == wanted ? wanted : fmt::format("expected {}, got {}", wanted, found));
}

std::vector<Check> compare_values(TensorProof& proof, const GgufReader& file, const std::vector<GgufTensorPlan>& plans,
                                  const WeightSource& weights, const ProofRules& rules) {
  for (const auto& plan : plans) {
    rules.before_layer();
    const auto* found = file.find_tensor(plan.info.name);
    const auto& type = ggml_type_info(found->type);
    const bool merged = !plan.constants.empty() ||
                        std::ranges::any_of(plan.sources, [&](size_t index) { return weights.is_changed(index); });
    uint64_t offset = 0;
    for_each_gguf_block(weights, plan, [&](std::span<const float> values) {
      const uint64_t bytes = values.size() / type.block_elements * type.block_bytes;
      const auto stored = found->bytes.subspan(offset, bytes);
      const std::vector<std::byte> aligned(stored.begin(), stored.end());
      proof.add(plan.info.name, found->type, values, aligned, merged);
      offset += bytes;
    });
    file.release_pages();
  }
  return proof.checks();
}

// A file whose author weighted columns and did not say so is a good one.
std::vector<Check> value_checks(const GgufReader& file, const std::vector<GgufTensorPlan>& plans,
                                const WeightSource& weights, const ProofRules& rules) {
  const bool said = file.find("quantize.imatrix.file") != nullptr;
  TensorProof proof(said ? Weighted::yes : Weighted::no);
  auto checks = compare_values(proof, file, plans, weights, rules);
  if (said || std::ranges::all_of(checks, &Check::passed) || !proof.rounded_otherwise()) return checks;
  TensorProof weighted(Weighted::not_said);
  auto found = compare_values(weighted, file, plans, weights, rules);
  return weighted.on_steps() ? found : checks;
}

// llama.cpp multiplies in the type that goes with the stored one, eight bits with blocks, and its cache has sixteen:
// what it computes of finer files is held to the limits of this one, which are of figures that llama.cpp has measured.
constexpr const char* kEightBits = "Q8_0";

std::string witness_type(const LogitSides& sides) {
  return coarser_type(sides.witness_type.empty() ? sides.type : sides.witness_type, kEightBits);
}

// `declared`: the file type that a GGUF file calls itself, "" of a folder.
LogitSides sides_of(const Trained& trained, const WeightReader& made, const std::string& type,
                    const std::string& declared) {
  const bool as_trained = trained.answers && declared == trained.answers_in;
  return {.model = as_trained ? *trained.answers : reader_of(trained.weights),
          .made = {made.spec, [made](const std::string& name,
                                     const Tensor& rows) { reading_artifact([&] { made.read(name, rows); }); }},
          .stop_ids = trained.stop_ids,
          .type = type};
}

}  // namespace

namespace {

// How far a server's answers may be from one side's, whose weights `type` and `kld` stand between.
Tolerance answer_tolerance(const LogitSides& sides, std::optional<std::string> type, std::optional<double> kld,
                           const ProofRules& rules) {
  const std::string stored = sides.witness_type.empty() ? sides.type : sides.witness_type;
  const bool halves = stored == "F32" || stored == "F16";
  return tolerance_of({.name = "",
                       .type = std::move(type),
                       .kld = kld,
                       .computed_in = halves             ? "F16"
                                      : stored == "BF16" ? "BF16"
                                                         : kEightBits,
                       .own = "F32",
                       .parameters = parameters_of(sides.model.spec),
                       .limits = rules.limits});
}

}  // namespace

void add_logits(Verification& result, const std::string& artifact, const LogitSides& sides, const ProofRules& rules) {
  if (rules.tokens.empty()) return;
  rules.say("logits");
  const auto bound = [&](const std::string& type) {
    return logit_bound(type, parameters_of(sides.model.spec), rules.limits);
  };
  if (sides.witness && sides.witness->answers) {
    const auto [own, answers] =
        prove_logits_by_answers(sides.model, sides.made, sides.witness->answers, sides.witness->context, rules.tokens,
                                sides.stop_ids, rules.before_layer);
    append(result, logit_checks(own, bound(sides.type)));
    const Tolerance from_artifact = answer_tolerance(sides, std::nullopt, std::nullopt, rules);
    Tolerance from_model = answer_tolerance(sides, sides.type, own.kld_mean, rules);
    // Coarse blocks are off by more here and there, as our own pass of the same file has measured.
    if (const double most = own.largest + from_artifact.log_prob; most > from_model.log_prob) {
      from_model = {.log_prob = most,
                    .basis = fmt::format("{}; {:.2g} by which our own forward pass of the file differs at most",
                                         from_artifact.basis, own.largest)};
    }
    append(result, witness_answer_checks(answers, from_model, from_artifact));
    result.logits.emplace(artifact, own);
    return;
  }
  WitnessedProof found;
  if (sides.witness) {
    found = prove_logits_twice(sides.model, sides.made, sides.witness->logits, rules.tokens, sides.stop_ids,
                               rules.before_layer);
  } else {
    found.own = prove_logits(sides.model, sides.made, rules.tokens, sides.stop_ids, rules.before_layer);
  }
  append(result, logit_checks(found.own, bound(sides.type)));
  result.logits.emplace(artifact, found.own);
  if (!sides.witness) return;
  append(result, witness_logit_checks(found.witness, bound(witness_type(sides)), bound(kEightBits)));
  if (found.witness.fault.empty()) result.logits.emplace(artifact + " in llama.cpp", found.witness.of_model);
}

namespace {

// A GGUF file that may be of the model, by all that it says.
struct GgufSide {
  GgufReader file;
  std::vector<GgufTensorPlan> plans;
  std::optional<ModelSpec> found;  // none: its tensors are not the model's, and nothing else can be asked
  bool alike = false;              // what was asked so far has passed
};

GgufSide read_gguf_side(Verification& result, const fs::path& path, const Trained& trained, const ProofRules& rules) {
  const ModelSpec& spec = trained.weights.spec();
  GgufSide side{.file = GgufReader::open(path)};
  const GgufReader& file = side.file;
  append(result, {equal_check("container", true, fmt::format("{} tensors read strictly", file.tensors().size()))});
  if (!added(result, {architecture_check(file, spec.gguf.architecture)})) return side;
  const GgufOptions options{.type = FileType::F32};
  side.plans = plan_gguf_tensors(trained.weights, spec, options);
  append(result, {end_check(path)});
  if (!added(result, set_checks(file, side.plans))) return side;
  append(result, {file_type_check(file, trained.weights, side.plans)});
  side.found = read_gguf_spec(file);
  side.alike = added(result, spec_checks(spec, *side.found, true));
  side.alike =
      added(result, {unread_check(file, spec.gguf.architecture), stops_check(trained.stop_ids, side.found->eos_ids)}) &&
      side.alike;
  rules.say("vocabulary");
  if (!added(result, vocabulary_checks(file, spec, trained.tokenizer, options, trained.stop_ids))) {
    side.alike = false;
    return side;
  }
  const Tokenizer tokenizer = Tokenizer::load(path);
  side.alike = added(result, text_checks(trained.tokenizer, tokenizer,
                                         {.as_gguf = true, .texts = rules.texts, .threads = rules.threads})) &&
               side.alike;
  return side;
}

}  // namespace

Verification verify_gguf_artifact(const fs::path& path, const Trained& trained, const ProofRules& rules) {
  const ModelSpec& spec = trained.weights.spec();
  check_gguf_can_express(spec);
  Verification result;
  rules.say("container");
  const GgufSide side = reading_artifact([&] { return read_gguf_side(result, path, trained, rules); });
  if (!side.found) return result;
  rules.say("tensors");
  const GgufReader& file = side.file;
  if (!added(result, value_checks(file, side.plans, trained.weights, rules)) || !side.alike) return result;
  LogitSides sides = sides_of(trained, reader_of(file, *side.found), limited_type(file), declared_type(file));
  Witness witness;
  if (rules.witness) {
    rules.say("llama.cpp");
    witness = rules.witness(path, {});
    append(result, witness_text_checks(witness, spec.vocab, trained.tokenizer,
                                       {.as_gguf = true, .texts = rules.texts, .threads = rules.threads}));
    if (witness.refusal.empty()) sides.witness = &witness;
  }
  add_logits(result, path.filename().string(), sides, rules);
  return result;
}

namespace {

struct FolderTensor {
  size_t index;              // of the trained model's
  const TensorView* stored;  // of the folder
};

std::vector<Check> folder_set_checks(const WeightFolder& folder, const WeightSource& weights, bool quantized,
                                     std::vector<FolderTensor>& out) {
  Comparison comparison;
  std::set<std::string> expected;
  for (size_t i = 0; i < weights.tensors().size(); ++i) {
    const auto& [name, shape] = weights.tensors()[i];
    const TensorView* stored = folder.find(name);
    expected.insert(name);
    if (stored == nullptr) {
      comparison.missing(name);
      continue;
    }
    const bool in_four_bits = quantized && stored->dtype == DType::u8 && nf4_fault(folder, *stored, shape).empty();
    comparison.layout(name, in_four_bits || stored->shape == shape);
    out.push_back({i, stored});
  }
  const auto belongs = [&](const TensorView& view) {
    const auto beside = [&](const FolderTensor& one) { return stands_beside(view.name, one.stored->name); };
    return expected.contains(view.name) || (quantized && std::ranges::any_of(out, beside));
  };
  const std::string head = weights.spec().names.head + ".weight";
  for (const auto* tensor : folder.tensors()) {
    const bool tied_again = weights.spec().tied_head && tensor->name == head;  // equal, or the folder is not read
    if (!belongs(*tensor) && !tied_again) comparison.extra(tensor->name);
  }
  auto checks = comparison.checks();
  checks.pop_back();
  return checks;
}

std::vector<Check> folder_value_checks(const WeightSource& weights, const WeightSource& made,
                                       const std::vector<FolderTensor>& tensors, const ProofRules& rules) {
  TensorProof proof(Weighted::no);
  std::vector<float> found;
  std::vector<std::byte> bytes;
  for (const auto& [index, stored] : tensors) {
    rules.before_layer();
    const std::string& name = weights.tensors()[index].name;
    const RowShape shape = row_shape(weights.tensors()[index].shape);
    const bool in_four_bits = stored->dtype == DType::u8;
    const int64_t together = in_four_bits ? shape.rows : 1;
    for_each_block(weights, index, together, [&](int64_t first, int64_t rows, std::span<const float> values) {
      found.resize(values.size());
      reading_artifact([&] { made.read_base_rows(index, first, rows, found); });
      if (in_four_bits) {
        const Nf4 wanted = encoded_rows(weights, index);
        std::vector<float> rounded(values.size());
        decode_nf4(wanted, 0, rounded);
        return proof.add_rounded(name, values, rounded, found);
      }
      bytes.clear();
      const GgmlType type = stored->dtype == DType::f32   ? GgmlType::F32
                            : stored->dtype == DType::f16 ? GgmlType::F16
                                                          : GgmlType::BF16;
      encode(found, type, bytes);
      proof.add(name, type, values, bytes, weights.is_changed(index));
    });
  }
  return proof.checks();
}

std::string folder_type(const std::vector<FolderTensor>& tensors) {
  const auto holds = [&](DType dtype) {
    return std::ranges::any_of(tensors, [&](const FolderTensor& one) { return one.stored->dtype == dtype; });
  };
  return holds(DType::u8) ? "NF4" : holds(DType::bf16) ? "BF16" : holds(DType::f16) ? "F16" : "F32";
}

}  // namespace

namespace {

// A folder that may be of the model, by all that it says.
struct FolderSide {
  WeightFolder folder;
  ModelSpec found;
  std::vector<FolderTensor> tensors = {};  // none: they are not the model's, and nothing else can be asked
  bool alike = false;                      // what was asked so far has passed
};

FolderSide read_folder_side(Verification& result, const fs::path& path, const std::vector<int32_t>& stop_ids,
                            const Trained& trained, const ProofRules& rules) {
  FolderSide side{.folder = WeightFolder::open(path), .found = read_spec(path)};
  append(result, {equal_check("container", true, fmt::format("{} files read strictly", side.folder.files().size()))});
  const bool alike = added(result, spec_checks(trained.weights.spec(), side.found, false));
  const bool quantized = stored_quantize(side.found) != Quantize::none;
  if (!added(result, folder_set_checks(side.folder, trained.weights, quantized, side.tensors)) || !alike) {
    side.tensors.clear();
    return side;
  }
  rules.say("vocabulary");
  const Tokenizer tokenizer = Tokenizer::load(path);
  append(
      result,
      {equal_check("vocabulary", tokenizer.vocab_size() == trained.tokenizer.vocab_size(),
                   fmt::format("{} ids, the model's has {}", tokenizer.vocab_size(), trained.tokenizer.vocab_size())),
       stops_check(trained.stop_ids, stop_ids)});
  append(result, text_checks(trained.tokenizer, tokenizer, {.texts = rules.texts, .threads = rules.threads}));
  side.alike = result.passed();
  return side;
}

}  // namespace

Verification verify_folder_artifact(const fs::path& path, const std::vector<int32_t>& stop_ids, const Trained& trained,
                                    const ProofRules& rules) {
  Verification result;
  rules.say("container");
  const FolderSide side = reading_artifact([&] { return read_folder_side(result, path, stop_ids, trained, rules); });
  if (side.tensors.empty()) return result;
  rules.say("tensors");
  const WeightSource made = reading_artifact([&] { return WeightSource::from_folder(side.found, path); });
  if (added(result, folder_value_checks(trained.weights, made, side.tensors, rules)) && side.alike)
    add_logits(result, path.filename().string(), sides_of(trained, reader_of(made), folder_type(side.tensors), ""),
               rules);
  return result;
}

void prove_gguf(Verification& result, const std::string& artifact, const fs::path& path, const Trained& trained,
                const ProofRules& rules) {
  const auto file = GgufReader::open(path);
  const ModelSpec found = read_gguf_spec(file);
  append(result, spec_checks(trained.weights.spec(), found, true));
  append(result, {stops_check(trained.stop_ids, found.eos_ids)});
  append(result, text_checks(trained.tokenizer, Tokenizer::load(path),
                             {.as_gguf = true, .texts = rules.texts, .threads = rules.threads}));
  if (result.passed())
    add_logits(result, artifact, sides_of(trained, reader_of(file, found), limited_type(file), declared_type(file)),
               rules);
}

void prove_folder(Verification& result, const std::string& artifact, const fs::path& path, const Trained& trained,
                  const ProofRules& rules) {
  const auto folder = WeightFolder::open(path);
  const ModelSpec found = read_spec(path);
  append(result, spec_checks(trained.weights.spec(), found, false));
  if (!result.passed()) return;
  const WeightSource made = WeightSource::from_folder(found, path);
  std::vector<FolderTensor> tensors;
  folder_set_checks(folder, trained.weights, stored_quantize(found) != Quantize::none, tensors);
  add_logits(result, artifact, sides_of(trained, reader_of(made), folder_type(tensors), ""), rules);
}

}  // namespace prentice
