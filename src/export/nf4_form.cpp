#include "export/nf4_form.h"

#include <cmath>
#include <cstring>

#include "core/error.h"

namespace prentice {

namespace {

constexpr int64_t kStateBytes = 256;  // more than its text takes; the rest is blanks, which JSON allows

int64_t parts_of(int64_t count, int64_t size) { return (count + size - 1) / size; }

// bitsandbytes writes and reads its state with Python's json, which has words for numbers that are not finite.
Json python_number(double value) {
  if (std::isfinite(value)) return value;
  return Json::BigNumber{std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity"};
}

std::string state_text(const Nf4& weight, std::string_view type, int64_t bytes) {
  Json state = Json::Object{{"quant_type", "nf4"},
                            {"blocksize", weight.block},
                            {"dtype", std::string(type)},
                            {"shape", Json::Array{weight.rows, weight.columns}},
                            {"nested_blocksize", kNestedBlock},
                            {"nested_dtype", "float32"},
                            {"nested_offset", python_number(weight.offset)}};
  std::string text = state.dump();
  if (static_cast<int64_t>(text.size()) > bytes) fail(ExitCode::internal, "the state of a weight is too long: " + text);
  text.resize(static_cast<size_t>(bytes), ' ');
  return text;
}

std::vector<std::byte> copy_of(const void* data, size_t bytes) {
  std::vector<std::byte> copy(bytes);
  if (bytes > 0) std::memcpy(copy.data(), data, bytes);
  return copy;
}

std::vector<std::byte> copy_of(const Tensor& tensor) { return copy_of(tensor.const_data_ptr(), tensor.nbytes()); }

}  // namespace

std::vector<TensorInfo> nf4_tensors(const std::string& name, const std::vector<int64_t>& shape) {
  const int64_t count = element_count(shape), blocks = parts_of(count, kNf4Block);
  const int64_t codes = parts_of(count, 2), above = parts_of(blocks, kNestedBlock);
  const int64_t rest = (4 * above + 4 * 16 + 4 * 256 + blocks + codes + kStateBytes) % 8;
  return {{name + ".nested_absmax", DType::f32, {above}},
          {name + ".quant_map", DType::f32, {16}},
          {name + ".nested_quant_map", DType::f32, {256}},
          {name, DType::u8, {codes, 1}},
          {name + ".absmax", DType::u8, {blocks}},
          {name + ".quant_state.bitsandbytes__nf4", DType::u8, {kStateBytes + (8 - rest) % 8}}};
}

std::vector<std::vector<std::byte>> nf4_bytes_of(const Nf4& weight, const std::string& name, std::string_view type) {
  const auto infos = nf4_tensors(name, {weight.rows, weight.columns});
  const std::string state = state_text(weight, type, infos.back().shape[0]);
  return {copy_of(weight.nested_absmax), copy_of(kNf4Values, sizeof(kNf4Values)),
          copy_of(nf4_scale_map()),      copy_of(weight.codes),
          copy_of(weight.absmax),        copy_of(state.data(), state.size())};
}

Json nf4_config(std::string_view type, const std::string& head) {
  return Json::Object{{"quant_method", "bitsandbytes"},
                      {"load_in_4bit", true},
                      {"load_in_8bit", false},
                      {"bnb_4bit_quant_type", "nf4"},
                      {"bnb_4bit_use_double_quant", true},
                      {"bnb_4bit_compute_dtype", std::string(type)},
                      {"bnb_4bit_quant_storage", "uint8"},
                      {"llm_int8_skip_modules", Json::Array{head}}};
}

}  // namespace prentice
