#include "model/stored_nf4.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "core/error.h"
#include "model/make.h"

namespace prentice {

namespace {

constexpr std::string_view kScales = ".absmax", kValues = ".quant_map", kNestedScales = ".nested_absmax",
                           kNestedValues = ".nested_quant_map", kState = ".quant_state.bitsandbytes__nf4";
constexpr std::array kBeside = {kScales, kValues, kNestedScales, kNestedValues, kState};
// Those of bnb_4bit_quant_storage.
constexpr std::array<std::string_view, 6> kStorages = {"uint8", "int8", "float16", "bfloat16", "float32", "float64"};
constexpr const char* kNotFinite = "its scales are not finite, and nor would be what it stands for";

bool says(const Json& object, std::string_view key, const Json& wanted) {
  const Json* value = object.find(key);
  return value && *value == wanted;
}

const TensorView* beside(const WeightFolder& weights, const TensorView& codes, std::string_view ending) {
  return weights.find(codes.name + std::string(ending));
}

// The state of a weight as bitsandbytes writes it: JSON in a tensor of bytes.
std::string_view state_text(const TensorView& view) {
  return {reinterpret_cast<const char*>(view.bytes.data()), view.bytes.size()};
}

Json state_of(const TensorView& view) { return Json::parse(state_text(view)); }

bool is_nested(const Json& state) { return state.find("nested_offset") != nullptr; }

int64_t blocks_of(int64_t values, int64_t block) { return (values + block - 1) / block; }

// Whether the tensor is there with this type and number of elements.
bool has(const TensorView* view, DType type, int64_t count) {
  return view && view->dtype == type && element_count(view->shape) == count;
}

bool holds(const TensorView* view, const float* values, size_t count) {
  return has(view, DType::f32, static_cast<int64_t>(count)) &&
         std::memcmp(view->bytes.data(), values, count * sizeof(float)) == 0;
}

bool all_finite(const TensorView& view) {
  for (size_t at = 0; at < view.bytes.size(); at += sizeof(float)) {
    float value = 0;
    std::memcpy(&value, view.bytes.data() + at, sizeof(value));
    if (!std::isfinite(value)) return false;
  }
  return true;
}

std::string state_fault(const Json& state, const std::vector<int64_t>& shape) {
  if (!says(state, "quant_type", "nf4")) return "its quant_type is not nf4";
  if (!says(state, "shape", Json(Json::Array(shape.begin(), shape.end())))) {
    return fmt::format("its shape is not [{}]", fmt::join(shape, ", "));
  }
  const int64_t block = state.at("blocksize").as_integer();
  if (block < 32 || block > 4096 || (block & (block - 1)) != 0) return fmt::format("blocks of {} values", block);
  if (is_nested(state) && state.at("nested_blocksize").as_integer() != kNestedBlock) {
    return fmt::format("blocks of {} scales, wanted {}", state.at("nested_blocksize").as_integer(), kNestedBlock);
  }
  if (is_nested(state) && !std::isfinite(static_cast<float>(state.at("nested_offset").as_number()))) return kNotFinite;
  return "";
}

std::string tensors_fault(const WeightFolder& weights, const TensorView& codes, const Json& state, int64_t count) {
  const int64_t blocks = blocks_of(count, state.at("blocksize").as_integer());
  const auto at = [&](std::string_view ending) { return beside(weights, codes, ending); };
  const auto wrong = [&](std::string_view ending) {
    return fmt::format("{}{} is not there, or not what four bits need", codes.name, ending);
  };
  if (static_cast<int64_t>(codes.bytes.size()) != (count + 1) / 2) {
    return fmt::format("its codes are {} bytes, and its shape needs {}", codes.bytes.size(), (count + 1) / 2);
  }
  if (!holds(at(kValues), kNf4Values, 16)) return wrong(kValues);
  if (is_nested(state)) {
    if (!has(at(kScales), DType::u8, blocks)) return wrong(kScales);
    if (!holds(at(kNestedValues), nf4_scale_map().const_data_ptr<float>(), 256)) return wrong(kNestedValues);
  }
  const std::string_view floats = is_nested(state) ? kNestedScales : kScales;
  if (!has(at(floats), DType::f32, is_nested(state) ? blocks_of(blocks, kNestedBlock) : blocks)) return wrong(floats);
  return all_finite(*at(floats)) ? "" : kNotFinite;
}

// The tensor over the mapped bytes, or a copy where they are not aligned.
Tensor mapped(const TensorView& view, c10::ScalarType type, at::IntArrayRef shape) {
  auto* data = const_cast<std::byte*>(view.bytes.data());  // only read: the mapping is read-only
  if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(type) == 0) {
    return at::from_blob(data, shape, at::TensorOptions(type));
  }
  Tensor copy = at::empty(shape, type);
  std::memcpy(copy.mutable_data_ptr(), data, view.bytes.size());
  return copy;
}

}  // namespace

std::string unsupported_quantization(const Json& config) {
  const Json* method = config.find("quant_method");
  if (!method || !method->is_string() || method->as_string() != "bitsandbytes") {
    return fmt::format("weights stored quantized{} are not supported",
                       method && method->is_string() ? " by " + method->as_string() : "");
  }
  if (!says(config, "load_in_4bit", true)) return "bitsandbytes weights of 8 bits are not supported";
  if (!says(config, "bnb_4bit_quant_type", "nf4")) {
    return "bitsandbytes weights of 4 bits are supported as nf4, and not in another type";
  }
  const Json* storage = config.find("bnb_4bit_quant_storage");
  const auto is_storage = [&](std::string_view word) { return *storage == Json(word); };
  if (storage && !storage->is_null() && std::ranges::none_of(kStorages, is_storage)) {
    return fmt::format("bnb_4bit_quant_storage {} is not supported; supported: {}", storage->dump(),
                       fmt::join(kStorages, ", "));
  }
  return "";
}

Quantize stored_quantize(const ModelSpec& spec) {
  if (!spec.blocks.empty()) return Quantize::gguf;
  const Json* config = spec.config.find("quantization_config");
  if (!config || config->is_null()) return Quantize::none;
  return says(*config, "bnb_4bit_use_double_quant", true) ? Quantize::nf4 : Quantize::nf4_single;
}

std::set<std::string> nf4_weights(const ModelSpec& spec) {
  std::set<std::string> names;
  visit_linears(make_model(spec, {.dtype = at::kFloat, .device = at::kMeta, .quantize = Quantize::nf4}),
                [&](const Linear& linear) {
                  if (is_quantized(linear)) names.insert(linear.name + ".weight");
                });
  return names;
}

bool holds_codes(const WeightFolder& weights, const TensorView& view) {
  return view.dtype == DType::u8 || std::ranges::any_of(kBeside, [&](std::string_view ending) {
           return beside(weights, view, ending) != nullptr;
         });
}

std::string nf4_fault(const WeightFolder& weights, const TensorView& codes, const std::vector<int64_t>& shape) {
  const TensorView* state_view = beside(weights, codes, kState);
  if (!state_view || state_view->dtype != DType::u8) return fmt::format("{}{} is missing", codes.name, kState);
  const std::string_view text = state_text(*state_view);
  // Python's words for numbers that are not finite, which JSON has none for.
  if (text.find("Infinity") != text.npos || text.find("NaN") != text.npos) return kNotFinite;
  std::string fault;
  with_context(ExitCode::model, codes.name + std::string(kState), [&] {
    const Json state = state_of(*state_view);
    fault = state_fault(state, shape);
    if (fault.empty()) fault = tensors_fault(weights, codes, state, element_count(shape));
  });
  return fault;
}

bool stands_beside(std::string_view name, std::string_view codes) {
  return name.starts_with(codes) && std::ranges::find(kBeside, name.substr(codes.size())) != kBeside.end();
}

Nf4 stored_nf4(const WeightFolder& weights, const TensorView& codes, const std::vector<int64_t>& shape,
               c10::ScalarType type) {
  const Json state = state_of(*beside(weights, codes, kState));
  const int64_t count = element_count(shape), block = state.at("blocksize").as_integer();
  const int64_t blocks = blocks_of(count, block);
  const TensorView& scales = *beside(weights, codes, kScales);
  Nf4 held{.codes = mapped(codes, at::kByte, {(count + 1) / 2, 1}),
           .absmax = mapped(scales, is_nested(state) ? at::kByte : at::kFloat, {blocks}),
           .block = block,
           .rows = shape[0],
           .columns = shape[1],
           .type = type};
  if (is_nested(state)) {
    held.nested_absmax = mapped(*beside(weights, codes, kNestedScales), at::kFloat, {blocks_of(blocks, kNestedBlock)});
    held.offset = static_cast<float>(state.at("nested_offset").as_number());
  }
  return held;
}

Nf4 copied(const Nf4& from, const c10::Device& device) {
  const auto copy = [&](const Tensor& tensor) {
    return tensor.to(tensor.options().device(device), /*non_blocking=*/false, /*copy=*/true);
  };
  Nf4 held = from;
  held.codes = copy(from.codes), held.absmax = copy(from.absmax);
  if (from.nested()) held.nested_absmax = copy(from.nested_absmax);
  return held;
}

}  // namespace prentice
