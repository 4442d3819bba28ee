#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "io/gguf.h"

namespace prentice {

namespace {

// Block sizes of ggml-common.h; ids 4, 5, 31-33 and 36-38 were removed from ggml and are refused.
constexpr std::array kTypes = {
    GgmlTypeInfo{GgmlType::F32, "F32", 1, 4},
    GgmlTypeInfo{GgmlType::F16, "F16", 1, 2},
    GgmlTypeInfo{GgmlType::Q4_0, "Q4_0", 32, 18},
    GgmlTypeInfo{GgmlType::Q4_1, "Q4_1", 32, 20},
    GgmlTypeInfo{GgmlType::Q5_0, "Q5_0", 32, 22},
    GgmlTypeInfo{GgmlType::Q5_1, "Q5_1", 32, 24},
    GgmlTypeInfo{GgmlType::Q8_0, "Q8_0", 32, 34},
    GgmlTypeInfo{GgmlType::Q8_1, "Q8_1", 32, 36},
    GgmlTypeInfo{GgmlType::Q2_K, "Q2_K", 256, 84},
    GgmlTypeInfo{GgmlType::Q3_K, "Q3_K", 256, 110},
    GgmlTypeInfo{GgmlType::Q4_K, "Q4_K", 256, 144},
    GgmlTypeInfo{GgmlType::Q5_K, "Q5_K", 256, 176},
    GgmlTypeInfo{GgmlType::Q6_K, "Q6_K", 256, 210},
    GgmlTypeInfo{GgmlType::Q8_K, "Q8_K", 256, 292},
    GgmlTypeInfo{GgmlType::IQ2_XXS, "IQ2_XXS", 256, 66},
    GgmlTypeInfo{GgmlType::IQ2_XS, "IQ2_XS", 256, 74},
    GgmlTypeInfo{GgmlType::IQ3_XXS, "IQ3_XXS", 256, 98},
    GgmlTypeInfo{GgmlType::IQ1_S, "IQ1_S", 256, 50},
    GgmlTypeInfo{GgmlType::IQ4_NL, "IQ4_NL", 32, 18},
    GgmlTypeInfo{GgmlType::IQ3_S, "IQ3_S", 256, 110},
    GgmlTypeInfo{GgmlType::IQ2_S, "IQ2_S", 256, 82},
    GgmlTypeInfo{GgmlType::IQ4_XS, "IQ4_XS", 256, 136},
    GgmlTypeInfo{GgmlType::I8, "I8", 1, 1},
    GgmlTypeInfo{GgmlType::I16, "I16", 1, 2},
    GgmlTypeInfo{GgmlType::I32, "I32", 1, 4},
    GgmlTypeInfo{GgmlType::I64, "I64", 1, 8},
    GgmlTypeInfo{GgmlType::F64, "F64", 1, 8},
    GgmlTypeInfo{GgmlType::IQ1_M, "IQ1_M", 256, 56},
    GgmlTypeInfo{GgmlType::BF16, "BF16", 1, 2},
    GgmlTypeInfo{GgmlType::TQ1_0, "TQ1_0", 256, 54},
    GgmlTypeInfo{GgmlType::TQ2_0, "TQ2_0", 256, 66},
    GgmlTypeInfo{GgmlType::MXFP4, "MXFP4", 32, 17},
};

constexpr std::string_view kValueTypes[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                            "bool", "string", "array", "u64", "i64", "f64"};
static_assert(std::size(kValueTypes) == std::variant_size_v<GgufValue>);

template <class T>
GgufArray array_of(GgufType type, std::span<const T> values) {
  const auto bytes = std::as_bytes(values);
  return {.type = type, .count = values.size(), .storage = {bytes.begin(), bytes.end()}};
}

template <class T>
std::vector<T> copy_elements(const GgufArray& array) {
  std::vector<T> values(array.count);
  if (!values.empty()) std::memcpy(values.data(), array.bytes().data(), values.size() * sizeof(T));
  return values;
}

[[noreturn]] void fail_element(const GgufArray& array, std::string_view wanted) {
  fail(ExitCode::model,
       "expected an array of " + std::string(wanted) + ", got one of " + std::string(gguf_type_name(array.type)));
}

}  // namespace

const GgmlTypeInfo* find_ggml_type(uint32_t id) {
  const auto found = std::ranges::find(kTypes, static_cast<GgmlType>(id), &GgmlTypeInfo::type);
  return found == kTypes.end() ? nullptr : &*found;
}

const GgmlTypeInfo* find_ggml_type_name(std::string_view name) {
  const auto found = std::ranges::find(kTypes, name, &GgmlTypeInfo::name);
  return found == kTypes.end() ? nullptr : &*found;
}

const GgmlTypeInfo& ggml_type_info(GgmlType type) { return *find_ggml_type(static_cast<uint32_t>(type)); }

std::string_view gguf_type_name(GgufType type) { return kValueTypes[static_cast<size_t>(type)]; }

uint64_t gguf_tensor_bytes(const GgufTensorInfo& tensor) {
  const auto& type = ggml_type_info(tensor.type);
  constexpr auto kMax = uint64_t{1} << 48;
  if (tensor.dims.size() > 4) {
    fail(ExitCode::malformed, std::to_string(tensor.dims.size()) + " dimensions, at most 4 are allowed");
  }
  uint64_t elements = 1;
  for (const int64_t size : tensor.dims) {
    if (size < 0) fail(ExitCode::malformed, "negative dimension " + std::to_string(size));
    if (__builtin_mul_overflow(elements, static_cast<uint64_t>(size), &elements) || elements >= kMax) {
      fail(ExitCode::malformed, "more than 2^48 - 1 elements");
    }
  }
  const int64_t row = tensor.dims.empty() ? 1 : tensor.dims[0];
  if (row % type.block_elements != 0) {
    fail(ExitCode::malformed,
         "a row of " + std::to_string(row) + " elements is no whole number of " + std::string(type.name) + " blocks");
  }
  return elements / static_cast<uint64_t>(type.block_elements) * static_cast<uint64_t>(type.block_bytes);
}

std::vector<std::string_view> GgufArray::strings() const {
  if (type != GgufType::string) fail_element(*this, "string");
  std::vector<std::string_view> values;
  values.reserve(count);
  const auto* at = reinterpret_cast<const char*>(bytes().data());
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t length = 0;
    std::memcpy(&length, at, sizeof length);
    values.emplace_back(at + sizeof length, length);
    at += sizeof length + length;
  }
  return values;
}

std::vector<float> GgufArray::floats() const {
  if (type != GgufType::f32) fail_element(*this, "f32");
  return copy_elements<float>(*this);
}

std::vector<int32_t> GgufArray::integers() const {
  if (type != GgufType::i32 && type != GgufType::u32) fail_element(*this, "i32");
  auto values = copy_elements<int32_t>(*this);
  if (type == GgufType::u32 && std::ranges::any_of(values, [](int32_t value) { return value < 0; })) {
    fail_element(*this, "integers below 2^31");
  }
  return values;
}

GgufArray gguf_array(const std::vector<std::string>& values) {
  GgufArray array{.type = GgufType::string, .count = values.size()};
  for (const auto& value : values) {
    const uint64_t length = value.size();
    const auto length_bytes = std::as_bytes(std::span(&length, 1));
    const auto text_bytes = as_bytes(value);
    array.storage.insert(array.storage.end(), length_bytes.begin(), length_bytes.end());
    array.storage.insert(array.storage.end(), text_bytes.begin(), text_bytes.end());
  }
  return array;
}

GgufArray gguf_array(std::span<const float> values) { return array_of(GgufType::f32, values); }
GgufArray gguf_array(std::span<const int32_t> values) { return array_of(GgufType::i32, values); }

GgufArray gguf_array(const std::vector<bool>& values) {
  GgufArray array{.type = GgufType::boolean, .count = values.size()};
  for (const bool value : values) array.storage.push_back(std::byte{value});
  return array;
}

}  // namespace prentice
