// The proof of a Hugging Face folder.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "export/base_rows.h"
#include "export/hf_folder.h"
#include "model/stored_nf4.h"
#include "proof/artifact_parts.h"
#include "proof/artifact_reading.h"
#include "proof/comparison.h"
#include "proof/file_checks.h"
#include "proof/sampling_check.h"
#include "proof/spec_checks.h"
#include "proof/tensor_proof.h"
#include "proof/token_proof.h"
#include "proof/tokenizer_proof.h"
#include "quant/encode.h"
#include "quant/nf4_encoder.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

struct FolderTensor {
  size_t index;              // of the trained model's
  const TensorView* stored;  // of the folder
  bool in_four_bits;
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
    const bool in_four_bits = quantized && holds_codes(folder, *stored);
    if (in_four_bits) {
      comparison.parts(name, nf4_fault(folder, *stored, shape));
    } else {
      comparison.layout(name, stored->shape == shape);
    }
    out.push_back({i, stored, in_four_bits});
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
  return comparison.set_checks();
}

std::vector<Check> folder_value_checks(const Trained& trained, const WeightSource& made,
                                       const std::vector<FolderTensor>& tensors, const ProofRules& rules) {
  const WeightSource& weights = trained.weights;
  BaseRows without(weights, trained.base_weights);
  TensorProof proof(Weighted::no);
  UpdateProof update;
  std::vector<float> found, rounded;
  std::vector<std::byte> bytes;
  for (const auto& [index, stored, in_four_bits] : tensors) {
    rules.before_layer();
    const std::string& name = weights.tensors()[index].name;
    const RowShape shape = row_shape(weights.tensors()[index].shape);
    const int64_t together = in_four_bits ? nf4_rows_together(shape.columns) : 1;
    const auto wanted = in_four_bits ? std::optional(encoded_rows(weights, index)) : std::nullopt;
    for_each_block(weights, index, together, [&](int64_t first, int64_t rows, std::span<const float> values) {
      found.resize(values.size());
      reading_artifact([&] { made.read_base_rows(index, first, rows, found); });
      const auto base = without.rows(index, first, rows, values);
      if (wanted) {
        rounded.resize(values.size());
        decode_nf4(*wanted, first * shape.columns, rounded);
        update.add(name, values, base, found, rounded);
        return proof.add_rounded(name, values, rounded, found);
      }
      bytes.clear();
      const GgmlType type = stored->dtype == DType::f32   ? GgmlType::F32
                            : stored->dtype == DType::f16 ? GgmlType::F16
                                                          : GgmlType::BF16;
      encode(found, type, bytes);
      const bool merged = weights.is_changed(index);
      proof.add(name, type, values, bytes, merged, merged ? base : std::span<const float>());
      update.add(name, values, base, found, proof.rounded());
    });
  }
  return with_update(proof.checks(), update);
}

std::string folder_type(const std::vector<FolderTensor>& tensors) {
  const auto holds = [&](DType dtype) {
    return std::ranges::any_of(tensors, [&](const FolderTensor& one) { return one.stored->dtype == dtype; });
  };
  if (std::ranges::any_of(tensors, &FolderTensor::in_four_bits)) return "NF4";
  return holds(DType::bf16) ? "BF16" : holds(DType::f16) ? "F16" : "F32";
}

// transformers puts an adapter whose config lies in a model's folder on the model, and says nothing.
Check adapter_check(const fs::path& folder) {
  const bool none = !fs::exists(folder / "adapter_config.json");
  return equal_check("no adapter beside it", none,
                     none ? "" : "adapter_config.json: transformers adds this adapter to the folder's own weights");
}

// llama.cpp's converter ends at config.json's tokens, whatever generation_config.json says. Any at which the model
// stops may be there.
Check config_stops_check(const Trained& trained, const ModelSpec& found) {
  constexpr const char* kName = "stop tokens of config.json";
  const auto& own = trained.weights.spec().eos_ids;
  if (own.empty()) return equal_check(kName, true, "");
  for (const int32_t id : found.eos_ids) {
    if (std::ranges::count(own, id) + std::ranges::count(trained.stop_ids, id) > 0) continue;
    return equal_check(kName, false, fmt::format("eos_token_id {}, at which the model does not stop", id));
  }
  return equal_check(kName, true, "");
}

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
  result.checks.push_back(read_strictly(side.folder.files().size(), "files"));
  result.checks.push_back(adapter_check(path));
  const bool alike = result.add(spec_checks(trained.weights.spec(), side.found, false));
  const bool quantized = stored_quantize(side.found) != Quantize::none;
  if (!result.add(folder_set_checks(side.folder, trained.weights, quantized, side.tensors)) || !alike) {
    side.tensors.clear();
    return side;
  }
  rules.say("vocabulary");
  const Tokenizer tokenizer = Tokenizer::load(path);
  result.add(
      {equal_check("vocabulary", tokenizer.vocab_size() == trained.tokenizer.vocab_size(),
                   fmt::format("{} ids, the model's has {}", tokenizer.vocab_size(), trained.tokenizer.vocab_size())),
       stops_check(trained.stop_ids, stop_ids), config_stops_check(trained, side.found),
       sampling_check(path, trained.base)});
  result.add(tokenizer_checks(trained.tokenizer, tokenizer, rules.threads));
  result.add(text_checks(trained.tokenizer, tokenizer, {.texts = rules.texts, .threads = rules.threads}));
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
  if (result.add(folder_value_checks(trained, made, side.tensors, rules)) && side.alike)
    add_logits(result, path.filename().string(), sides_of(trained, reader_of(made), folder_type(side.tensors), ""),
               rules);
  return result;
}

void prove_folder(Verification& result, const std::string& artifact, const fs::path& path, const Trained& trained,
                  const ProofRules& rules) {
  const auto folder = WeightFolder::open(path);
  const ModelSpec found = read_spec(path);
  result.add(spec_checks(trained.weights.spec(), found, false));
  result.add(text_checks(trained.tokenizer, Tokenizer::load(path), {.texts = rules.texts, .threads = rules.threads}));
  if (!result.passed()) return;
  const WeightSource made = WeightSource::from_folder(found, path);
  std::vector<FolderTensor> tensors;
  folder_set_checks(folder, trained.weights, stored_quantize(found) != Quantize::none, tensors);
  add_logits(result, artifact, sides_of(trained, reader_of(made), folder_type(tensors), ""), rules);
}

}  // namespace prentice
