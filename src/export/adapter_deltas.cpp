#include "export/adapter_deltas.h"

#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "adapter/lora.h"
#include "adapter/peft.h"
#include "adapter/targets.h"
#include "core/error.h"
#include "export/encode.h"
#include "io/safetensors.h"
#include "model/model.h"

namespace prentice {

namespace {

constexpr std::string_view kPrefix = "base_model.model.";
constexpr std::string_view kA = ".lora_A.weight", kB = ".lora_B.weight";

Tensor as_f32(const TensorView& view) {
  Tensor tensor = at::empty(view.shape, at::TensorOptions(at::kFloat));
  const std::span<float> values(tensor.mutable_data_ptr<float>(), static_cast<size_t>(tensor.numel()));
  const std::vector<std::byte> aligned(view.bytes.begin(), view.bytes.end());  // an adapter's factor is small
  for (const auto type : {GgmlType::F32, GgmlType::F16, GgmlType::BF16}) {
    if (dtype_of(type) != view.dtype) continue;
    decode(aligned, type, values);
    return tensor;
  }
  fail(ExitCode::malformed, "type " + std::string(dtype_name(view.dtype)) + " is not supported");
}

void check_shapes(const std::string& module, const AdapterDelta& delta, int64_t rank,
                  const std::map<std::string, std::vector<int64_t>>& shapes) {
  if (!delta.a.defined() || !delta.b.defined()) {
    fail(ExitCode::malformed, module + ": lora_" + (delta.a.defined() ? "B" : "A") + " is missing");
  }
  const auto found = shapes.find(module + ".weight");
  // A tied head has no weight of its own; the caller, who knows the tensors, says so.
  if (found == shapes.end()) return;
  const auto& shape = found->second;
  const std::vector<int64_t> wanted_a = {rank, shape.at(1)}, wanted_b = {shape.at(0), rank};
  if (delta.a.sizes().vec() == wanted_a && delta.b.sizes().vec() == wanted_b) return;
  fail(ExitCode::malformed,
       fmt::format("{}: expected lora_A [{}] and lora_B [{}], got [{}] and [{}]", module, fmt::join(wanted_a, ", "),
                   fmt::join(wanted_b, ", "), fmt::join(delta.a.sizes().vec(), ", "),
                   fmt::join(delta.b.sizes().vec(), ", ")));
}

std::map<std::string, AdapterDelta> read_factors(const WeightFolder& weights) {
  std::map<std::string, AdapterDelta> deltas;
  for (const auto* tensor : weights.tensors()) {
    std::string_view name = tensor->name;
    if (name.ends_with(".base_layer.weight")) continue;  // PEFT's copy of an embedding it left as it was
    const bool is_a = name.ends_with(kA);
    if (!name.starts_with(kPrefix) || tensor->shape.size() != 2 || (!is_a && !name.ends_with(kB))) {
      fail(ExitCode::malformed, "tensor " + tensor->name + " is no LoRA factor of a linear layer");
    }
    name.remove_prefix(kPrefix.size());
    auto& delta = deltas[std::string(name.substr(0, name.size() - kA.size()))];
    (is_a ? delta.a : delta.b) = with_context(ExitCode::malformed, tensor->name, [&] { return as_f32(*tensor); });
  }
  return deltas;
}

}  // namespace

std::map<std::string, AdapterDelta> read_adapter_deltas(const std::filesystem::path& folder, const ModelSpec& spec) {
  const auto config = read_peft_config(folder);
  const EndPatterns<int64_t> ranks(config.rank_pattern.begin(), config.rank_pattern.end());
  const EndPatterns<double> alphas(config.alpha_pattern.begin(), config.alpha_pattern.end());
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const auto& tensor : expected_tensors(spec)) shapes[tensor.name] = tensor.shape;
  const auto weights = WeightFolder::open(folder, "adapter_model");
  return with_context(ExitCode::model, folder.string(), [&] {
    auto deltas = read_factors(weights);
    if (deltas.empty()) fail(ExitCode::malformed, "the adapter holds no tensors");
    for (auto& [module, delta] : deltas) {
      const int64_t rank = value_for(module, ranks, config.rank);
      check_shapes(module, delta, rank, shapes);
      delta.scale = lora_scale(value_for(module, alphas, config.alpha), rank, config.rslora);
    }
    return deltas;
  });
}

}  // namespace prentice
