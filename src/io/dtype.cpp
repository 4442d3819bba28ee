#include <array>

#include "io/safetensors.h"

namespace prentice {

namespace {

struct Row {
  DType dtype;
  std::string_view name;
  int64_t bits;
};

constexpr std::array kRows = {
    Row{DType::boolean, "BOOL", 8},
    Row{DType::f4, "F4", 4},
    Row{DType::f6_e2m3, "F6_E2M3", 6},
    Row{DType::f6_e3m2, "F6_E3M2", 6},
    Row{DType::u8, "U8", 8},
    Row{DType::i8, "I8", 8},
    Row{DType::f8_e5m2, "F8_E5M2", 8},
    Row{DType::f8_e4m3, "F8_E4M3", 8},
    Row{DType::f8_e8m0, "F8_E8M0", 8},
    Row{DType::f8_e4m3fnuz, "F8_E4M3FNUZ", 8},
    Row{DType::f8_e5m2fnuz, "F8_E5M2FNUZ", 8},
    Row{DType::i16, "I16", 16},
    Row{DType::u16, "U16", 16},
    Row{DType::f16, "F16", 16},
    Row{DType::bf16, "BF16", 16},
    Row{DType::i32, "I32", 32},
    Row{DType::u32, "U32", 32},
    Row{DType::f32, "F32", 32},
    Row{DType::c64, "C64", 64},
    Row{DType::i64, "I64", 64},
    Row{DType::u64, "U64", 64},
    Row{DType::f64, "F64", 64},
};

constexpr bool rows_follow_the_enum() {
  for (size_t i = 0; i < kRows.size(); ++i) {
    if (static_cast<size_t>(kRows[i].dtype) != i) return false;
  }
  return kRows.size() == static_cast<size_t>(DType::f64) + 1;
}
static_assert(rows_follow_the_enum());

// Sizes above this are refused everywhere: sums of a few of them cannot overflow 64 bits.
constexpr uint64_t kMaxElements = (uint64_t{1} << 48) - 1;

}  // namespace

std::string_view dtype_name(DType dtype) { return kRows[static_cast<size_t>(dtype)].name; }
int64_t dtype_bits(DType dtype) { return kRows[static_cast<size_t>(dtype)].bits; }

const DType* find_dtype(std::string_view name) {
  for (const auto& row : kRows) {
    if (row.name == name) return &row.dtype;
  }
  return nullptr;
}

int64_t element_count(const std::vector<int64_t>& shape) {
  uint64_t count = 1;
  for (const int64_t size : shape) {
    if (size < 0) fail(ExitCode::malformed, "negative size " + std::to_string(size));
    if (__builtin_mul_overflow(count, static_cast<uint64_t>(size), &count) || count > kMaxElements) {
      fail(ExitCode::malformed, "the shape has more than 2^48 - 1 elements");
    }
  }
  return static_cast<int64_t>(count);
}

uint64_t tensor_bytes(DType dtype, const std::vector<int64_t>& shape) {
  const uint64_t bits = static_cast<uint64_t>(element_count(shape)) * static_cast<uint64_t>(dtype_bits(dtype));
  if (bits % 8 != 0) fail(ExitCode::malformed, "the elements do not fill whole bytes");
  return bits / 8;
}

}  // namespace prentice
