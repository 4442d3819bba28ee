// The proof of a GGUF file.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "core/error.h"
#include "export/base_rows.h"
#include "export/gguf_features.h"
#include "export/gguf_tensor_type.h"
#include "io/gguf_values.h"
#include "model/gguf_spec.h"
#include "proof/artifact_parts.h"
#include "proof/artifact_reading.h"
#include "proof/comparison.h"
#include "proof/file_checks.h"
#include "proof/logit_limits.h"
#include "proof/sampling_check.h"
#include "proof/spec_checks.h"
#include "proof/tensor_proof.h"
#include "proof/token_proof.h"
#include "proof/update_proof.h"
#include "proof/vocabulary_checks.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

// Types are the file's own, but for vectors and norms: llama.cpp multiplies and adds those in F32 alone, and ends where
// they are anything else.
std::vector<Check> set_checks(const GgufReader& file, const std::vector<GgufTensorPlan>& plans) {
  Comparison comparison;
  for (const auto& plan : plans) {
    GgufTensorInfo declared = plan.info;
    const std::vector<int64_t> shape(declared.dims.rbegin(), declared.dims.rend());
    const auto* found = file.find_tensor(declared.name);
    if (found != nullptr) declared.type = gguf_tensor_type(declared.name, shape, found->type, {});
    comparison.find(file, declared);
  }
  comparison.no_others(file);
  return comparison.set_checks();
}

Check architecture_check(const GgufReader& file, const std::string& wanted) {
  const std::string found = gguf_text(file, "general.architecture").value_or("none");
  return equal_check("architecture", found == wanted,
                     found == wanted ? wanted : fmt::format("expected {}, got {}", wanted, found));
}

std::vector<Check> compare_values(TensorProof& proof, const GgufReader& file, const std::vector<GgufTensorPlan>& plans,
                                  const Trained& trained, const ProofRules& rules) {
  const WeightSource& weights = trained.weights;
  BaseRows without(weights, trained.base_weights);
  UpdateProof update;
  for (const auto& plan : plans) {
    rules.before_layer();
    const auto* found = file.find_tensor(plan.info.name);
    const auto& type = ggml_type_info(found->type);
    const bool merged = !plan.constants.empty() ||
                        std::ranges::any_of(plan.sources, [&](size_t index) { return weights.is_changed(index); });
    uint64_t offset = 0;
    for_each_gguf_change(weights, without, plan, [&](std::span<const float> values, std::span<const float> base) {
      const uint64_t bytes = values.size() / type.block_elements * type.block_bytes;
      const auto stored = found->bytes.subspan(offset, bytes);
      const std::vector<std::byte> aligned(stored.begin(), stored.end());
      proof.add(plan.info.name, found->type, values, aligned, merged, merged ? base : std::span<const float>());
      update.add(plan.info.name, values, base, proof.found(), proof.rounded());
      offset += bytes;
    });
    file.release_pages();
  }
  return with_update(proof.checks(), update);
}

// A file whose author weighted columns and did not say so is a good one.
std::vector<Check> value_checks(const GgufReader& file, const std::vector<GgufTensorPlan>& plans,
                                const Trained& trained, const ProofRules& rules) {
  const bool said = file.find("quantize.imatrix.file") != nullptr;
  TensorProof proof(said ? Weighted::yes : Weighted::no);
  auto checks = compare_values(proof, file, plans, trained, rules);
  if (said || std::ranges::all_of(checks, &Check::passed) || !proof.rounded_otherwise()) return checks;
  TensorProof weighted(Weighted::not_said);
  auto found = compare_values(weighted, file, plans, trained, rules);
  return weighted.on_steps() ? found : checks;
}

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
  result.checks.push_back(read_strictly(file.tensors().size(), "tensors"));
  if (!result.add({architecture_check(file, spec.gguf.architecture)})) return side;
  const GgufOptions options{.type = FileType::F32};
  side.plans = plan_gguf_tensors(trained.weights, spec, options);
  result.add({end_check(path)});
  if (!result.add(set_checks(file, side.plans))) return side;
  result.add({file_type_check(file, trained.weights, side.plans)});
  side.found = read_gguf_spec(file);
  side.alike = result.add(spec_checks(spec, *side.found, true));
  side.alike = result.add({unread_check(file, spec.gguf.architecture),
                           stops_check(trained.stop_ids, side.found->eos_ids), sampling_check(file, trained.base)}) &&
               side.alike;
  rules.say("vocabulary");
  if (!result.add(vocabulary_checks(file, spec, trained.tokenizer, options, trained.stop_ids))) {
    side.alike = false;
    return side;
  }
  const Tokenizer tokenizer = Tokenizer::load(path);
  side.alike = result.add(text_checks(trained.tokenizer, tokenizer,
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
  if (!result.add(value_checks(file, side.plans, trained, rules)) || !side.alike) return result;
  LogitSides sides = sides_of(trained, reader_of(file, *side.found), limited_type(file), declared_type(file));
  Witness witness;
  if (rules.witness) {
    rules.say("llama.cpp");
    witness = rules.witness(path, {});
    result.add(witness_text_checks(witness, spec.vocab, trained.tokenizer,
                                   {.as_gguf = true, .texts = rules.texts, .threads = rules.threads}));
    if (witness.refusal.empty()) sides.witness = &witness;
  }
  add_logits(result, path.filename().string(), sides, rules);
  return result;
}

void prove_gguf(Verification& result, const std::string& artifact, const fs::path& path, const Trained& trained,
                const ProofRules& rules) {
  const auto file = GgufReader::open(path);
  const ModelSpec found = read_gguf_spec(file);
  result.add(spec_checks(trained.weights.spec(), found, true));
  result.add({stops_check(trained.stop_ids, found.eos_ids)});
  result.add(text_checks(trained.tokenizer, Tokenizer::load(path),
                         {.as_gguf = true, .texts = rules.texts, .threads = rules.threads}));
  if (result.passed())
    add_logits(result, artifact, sides_of(trained, reader_of(file, found), limited_type(file), declared_type(file)),
               rules);
}

}  // namespace prentice
