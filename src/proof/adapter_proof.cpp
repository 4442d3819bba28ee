#include "proof/adapter_proof.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "adapter/peft_folder.h"
#include "export/gguf_adapter.h"
#include "io/gguf_values.h"
#include "model/gguf_names.h"
#include "model/make.h"
#include "proof/artifact_reading.h"
#include "proof/file_checks.h"
#include "proof/four_bits_reader.h"
#include "quant/encode.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

Tensor values_of(const GgufTensorView& view) {
  const auto columns = static_cast<int64_t>(view.dims.at(0)), rows = static_cast<int64_t>(view.dims.at(1));
  Tensor values = at::empty({rows, columns}, at::TensorOptions(at::kFloat));
  const std::vector<std::byte> aligned(view.bytes.begin(), view.bytes.end());
  decode(aligned, view.type, {values.mutable_data_ptr<float>(), static_cast<size_t>(values.numel())});
  return values;
}

// Rows as the model has them.
Tensor in_order_of_model(const Tensor& stored, const std::string& name, const ModelSpec& spec) {
  const auto order = gguf_row_order(name, spec);
  std::vector<int64_t> rows(static_cast<size_t>(stored.size(0)));
  for (size_t row = 0; row < rows.size(); ++row) rows[row] = order(static_cast<int64_t>(row));
  return at::empty_like(stored).index_copy_(0, at::tensor(rows), stored);
}

// Weights of a folder or of a GGUF file: as they are, and with the PEFT adapter.
struct Sides {
  std::optional<GgufReader> file;
  std::optional<WeightSource> plain, adapted;
  WeightReader base, model;
};

WeightReader with_changes(const WeightReader& base, AdapterChanges found) {
  const auto changes = std::make_shared<const AdapterChanges>(std::move(found));
  return {base.spec, [base, changes](const std::string& name, int64_t first, const Tensor& destination) {
            if (const auto whole = changes->replaced.find(name); whole != changes->replaced.end()) {
              const Tensor values = PeftFolder::values(*whole->second);
              destination.copy_(values.dim() > 0 ? values.narrow(0, first, destination.size(0)) : values);
            } else {
              base.read(name, first, destination);
            }
            const auto delta = changes->deltas.find(name);
            Tensor rows = destination;
            if (delta != changes->deltas.end()) apply_delta(delta->second, first, rows);
          }};
}

// The head of a tied model, whose adapter gives it a weight of its own, is the embedding still.
WeightReader untied(const WeightReader& base, const ModelSpec& spec) {
  const std::string head = spec.names.head + ".weight", embed = spec.names.embed + ".weight";
  return {spec, [=](const std::string& name, int64_t first, const Tensor& destination) {
            base.read(name == head ? embed : name, first, destination);
          }};
}

// Its embedding and head, which PEFT folders may hold copies of.
Tensor whole_tensor(const WeightReader& base, const std::string& name) {
  for (const auto& tensor : expected_tensors(base.spec)) {
    if (tensor.name != name) continue;
    Tensor values = at::empty(tensor.shape, at::TensorOptions(at::kFloat));
    base.read(name, 0, values);
    return values;
  }
  return {};
}

std::shared_ptr<Sides> open_sides(const fs::path& base, const fs::path& adapter, const ModelSpec& spec,
                                  Quantize trained_in = Quantize::none) {
  auto sides = std::make_shared<Sides>();
  if (is_gguf_file(base)) {
    sides->file = GgufReader::open(base);
    sides->base = reader_of(*sides->file, spec);
    sides->model =
        with_changes(sides->base, read_adapter_changes(adapter, spec, [](const std::string&) { return Tensor(); }));
  } else {
    sides->plain = WeightSource::from_folder(spec, base);
    sides->adapted = WeightSource::from_folder(spec, base, adapter);
    sides->base = reader_of(*sides->plain), sides->model = reader_of(*sides->adapted);
    if (trained_in == Quantize::none) return sides;
    const auto of_base = [&](const std::string& name) { return whole_tensor(sides->base, name); };
    auto changes = read_adapter_changes(adapter, spec, of_base);
    sides->base = in_four_bits(sides->base, trained_in);
    if (changes.unties) sides->base = untied(sides->base, sides->model.spec);
    sides->model = with_changes(sides->base, std::move(changes));
  }
  return sides;
}

// What the format has no place for, which the comparison of factors does not see.
Check carried_check(const TrainedAdapter& trained) {
  const auto folder =
      PeftFolder::open(trained.adapter, make_model(trained.spec, {.dtype = at::kFloat, .device = at::kMeta}));
  const bool lengths = std::ranges::any_of(folder.factors(), [](const PeftFactors& one) { return one.magnitude; });
  std::string lost = lengths ? "the adapter has magnitudes (DoRA)" : "";
  if (!folder.whole().empty()) lost = fmt::format("the adapter holds {} whole", folder.whole().front().tensor);
  if (!lost.empty()) lost += ", for which a GGUF adapter has no place";
  return equal_check("carried whole", lost.empty(), lost);
}

bool fits(const std::vector<Check>& checks) {
  return std::ranges::all_of(checks, [](const Check& check) { return check.passed || check.name == "values"; });
}

}  // namespace

WeightReader with_gguf_adapter(const WeightReader& base, const GgufReader& file) {
  const double alpha = file.get<float>("adapter.lora.alpha");
  return {base.spec, [base, alpha, &file](const std::string& name, int64_t first_row, const Tensor& destination) {
            base.read(name, first_row, destination);
            if (destination.dim() != 2) return;
            const std::string stored = gguf_name(name, base.spec);
            const auto *first = file.find_tensor(stored + ".lora_a"), *second = file.find_tensor(stored + ".lora_b");
            if (!first || !second) return;
            const Tensor a = values_of(*first), b = values_of(*second);
            const double scale = alpha / static_cast<double>(b.size(1));
            Tensor rows = destination;
            const bool embedding = name == base.spec.names.embed + ".weight";  // its rows are looked up in a
            apply_delta(embedding ? AdapterDelta{.a = b.t().contiguous(), .b = a, .scale = scale}
                                  : AdapterDelta{.a = a, .b = in_order_of_model(b, stored, base.spec), .scale = scale},
                        first_row, rows);
          }};
}

WeightReader adapted_reader(const fs::path& base, const fs::path& adapter, const ModelSpec& spec, Quantize trained_in) {
  const auto sides = open_sides(base, adapter, spec, trained_in);
  return {sides->model.spec, [sides](const std::string& name, int64_t first, const Tensor& destination) {
            sides->model.read(name, first, destination);
          }};
}

Verification verify_adapter_artifact(const fs::path& path, const TrainedAdapter& trained, const ProofRules& rules) {
  const auto file = reading_artifact([&] { return GgufReader::open(path); });
  if (auto unread = unread_type_check(file)) return {.checks = {std::move(*unread)}};
  const GgmlType type = file.tensors().empty() ? GgmlType::F32 : file.tensors().front().type;
  rules.say("tensors");
  Verification result = verify_gguf_adapter(path, trained.adapter, trained.spec, {.type = type});
  result.checks.push_back(end_check(path));
  result.checks.push_back(carried_check(trained));
  if (!fits(result.checks)) return result;
  const auto sides = open_sides(trained.base, trained.adapter, trained.spec);
  LogitSides logits{.model = sides->model,
                    .made = with_gguf_adapter(sides->base, file),
                    .stop_ids = trained.stop_ids,
                    .type = limited_type(file)};
  Witness witness;
  if (rules.witness && sides->file) {
    rules.say("llama.cpp");
    witness = rules.witness(trained.base, path);
    result.add(witness_text_checks(witness, trained.spec.vocab, trained.tokenizer,
                                   {.as_gguf = true, .texts = rules.texts, .threads = rules.threads}));
    if (witness.refusal.empty()) logits.witness = &witness;
    logits.witness_type = coarser_type(logits.type, limited_type(*sides->file));
  }
  add_logits(result, path.filename().string(), logits, rules);
  return result;
}

}  // namespace prentice
