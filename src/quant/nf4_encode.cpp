#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mean.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "core/vectorised.h"
#include "quant/nf4_encoder.h"

namespace prentice {

namespace {

constexpr int64_t kGrainValues = 1 << 15;
constexpr float kLeastScale = 1e-38f;  // that a block is divided by
constexpr uint32_t kMagnitude = 0x7fffffff, kInfinity = 0x7f800000;

// A value above bounds[q] is nearer to the value q + 1 than to q.
constexpr std::array<float, 15> kBounds = [] {
  std::array<float, 15> bounds{};
  for (size_t q = 0; q < bounds.size(); ++q) bounds[q] = (kNf4Values[q] + kNf4Values[q + 1]) / 2.0f;
  return bounds;
}();

// The bits of the largest magnitude: of finite floats the order is that of integers, and what is not finite is above.
PRENTICE_VECTORISED uint32_t largest_bits(const float* x, int64_t count) {
  uint32_t most = 0;
  for (int64_t i = 0; i < count; ++i) most = std::max(most, std::bit_cast<uint32_t>(x[i]) & kMagnitude);
  return most;
}

// One code a byte.
PRENTICE_VECTORISED void nearest(const float* x, int64_t count, uint8_t* codes) {
  for (int64_t i = 0; i < count; ++i) {
    int32_t code = 0;
    for (const float bound : kBounds) code += x[i] > bound;
    codes[i] = static_cast<uint8_t>(code);
  }
}

PRENTICE_VECTORISED void multiply(float* x, int64_t count, float factor) {
  for (int64_t i = 0; i < count; ++i) x[i] *= factor;
}

PRENTICE_VECTORISED void pack(const uint8_t* codes, int64_t pairs, uint8_t* packed) {
  for (int64_t i = 0; i < pairs; ++i) packed[i] = static_cast<uint8_t>(codes[2 * i] << 4 | codes[2 * i + 1]);
}

// What one thread works with.
struct BlockBuffer {
  explicit BlockBuffer(int64_t block) : values(block), codes(block + 1) {}
  std::vector<float> values;
  std::vector<uint8_t> codes;
};

// buffer.values -> packed codes; returns the block's scale. A short block at the end divides where others multiply,
// and stores what it divides by, as bitsandbytes does. false: a value is not finite.
bool encode_block(BlockBuffer& buffer, int64_t count, bool is_short, float& scale, uint8_t* packed) {
  float* x = buffer.values.data();
  const uint32_t bits = largest_bits(x, count);
  if (bits >= kInfinity) return false;
  scale = std::bit_cast<float>(bits);
  const float divisor = std::max(scale, kLeastScale);
  if (is_short) {
    scale = divisor;
    for (int64_t i = 0; i < count; ++i) x[i] /= divisor;
  } else {
    multiply(x, count, 1.0f / divisor);
  }
  nearest(x, count, buffer.codes.data());
  constexpr uint8_t kZero = 7;
  buffer.codes[count] = kZero;  // what an odd value is paired with
  pack(buffer.codes.data(), (count + 1) / 2, packed);
  return true;
}

template <class T>
bool encode_blocks(const T* values, int64_t count, int64_t block, float* scales, uint8_t* codes) {
  const int64_t blocks = (count + block - 1) / block;
  std::atomic<bool> finite = true;
  at::parallel_for(0, blocks, std::max<int64_t>(1, kGrainValues / block), [&](int64_t begin, int64_t end) {
    BlockBuffer buffer(block);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i * block, size = std::min(block, count - first);
      for (int64_t k = 0; k < size; ++k) buffer.values[k] = static_cast<float>(values[first + k]);
      if (!encode_block(buffer, size, size < block, scales[i], codes + first / 2)) finite = false;
    }
  });
  return finite;
}

// The whole program computes with one thread while it lives.
class OneThread {
 public:
  OneThread() { at::set_num_threads(1); }
  ~OneThread() { at::set_num_threads(before_); }
  OneThread(const OneThread&) = delete;

 private:
  int before_ = at::get_num_threads();
};

// LibTorch sums in the order that one thread takes, whatever the number of threads is.
float mean_of(const Tensor& values) {
  const OneThread one;
  return values.mean().item<float>();
}

// The scales [blocks] f32 as places in the map, and a scale for each kNestedBlock of them.
void nest(const Tensor& scales, Nf4& out) {
  const float* map = nf4_scale_map().const_data_ptr<float>();
  std::array<float, 255> bounds{};
  for (size_t i = 0; i < bounds.size(); ++i) bounds[i] = (map[i] + map[i + 1]) / 2.0f;
  out.offset = mean_of(scales);
  const float* scale = scales.const_data_ptr<float>();
  auto* codes = out.absmax.mutable_data_ptr<uint8_t>();
  auto* nested = out.nested_absmax.mutable_data_ptr<float>();
  const int64_t count = scales.numel();
  for (int64_t first = 0; first < count; first += kNestedBlock) {
    std::array<float, kNestedBlock> above{};
    const int64_t size = std::min(kNestedBlock, count - first);
    for (int64_t k = 0; k < size; ++k) above[k] = scale[first + k] - out.offset;
    const auto most = std::bit_cast<float>(largest_bits(above.data(), size));
    nested[first / kNestedBlock] = most;
    const float factor = 1.0f / most;
    for (int64_t k = 0; k < size; ++k) {  // 0 * infinity, of scales that are all alike, is above no bound: code 0
      codes[first + k] =
          static_cast<uint8_t>(std::lower_bound(bounds.begin(), bounds.end(), above[k] * factor) - bounds.begin());
    }
  }
}

Tensor room_for_scales(const Nf4& out) {
  return out.nested() ? at::empty(out.absmax.sizes(), at::TensorOptions(at::kFloat)) : out.absmax;
}

// Of values [first, first + count), which begin with a block.
template <class T>
void encode_part(const T* values, int64_t first, int64_t count, const Tensor& scales, Nf4& out) {
  const bool finite = encode_blocks(values, count, out.block, scales.mutable_data_ptr<float>() + first / out.block,
                                    out.codes.mutable_data_ptr<uint8_t>() + first / 2);
  if (!finite) fail(ExitCode::model, "has a value that is not finite", "the file is damaged, or the weights diverged");
}

void encode_on_cpu(const Tensor& values, Nf4& out) {
  const Tensor scales = room_for_scales(out);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, values.scalar_type(), "nf4",
                                  [&] { encode_part(values.const_data_ptr<scalar_t>(), 0, out.numel(), scales, out); });
  if (out.nested()) nest(scales, out);
}

}  // namespace

void encode_nf4(const Tensor& values, Nf4& out) {
  const c10::NoGradGuard no_grad;
  if (out.codes.is_cpu()) return encode_on_cpu(values, out);
  Nf4 host = make_nf4(out.rows, out.columns, out.nested(), at::TensorOptions(out.type), out.block);
  encode_on_cpu(values, host);
  out.codes.copy_(host.codes);
  out.absmax.copy_(host.absmax);
  if (out.nested()) out.nested_absmax.copy_(host.nested_absmax);
  out.offset = host.offset;
}

Nf4Encoder::Nf4Encoder(Nf4& out) : out_(out), scales_(room_for_scales(out)) {}

void Nf4Encoder::add(std::span<const float> values) {
  const auto count = static_cast<int64_t>(values.size());
  if (added_ % out_.block != 0 || added_ + count > out_.numel())
    fail(ExitCode::internal, "rows of a matrix in four bits come in parts that are not whole blocks");
  encode_part(values.data(), added_, count, scales_, out_);
  added_ += count;
}

void Nf4Encoder::finish() {
  if (added_ != out_.numel()) fail(ExitCode::internal, "rows of a matrix in four bits are missing");
  if (out_.nested()) nest(scales_, out_);
}

int64_t nf4_rows_together(int64_t columns, int64_t block) { return block / std::gcd(columns, block); }

}  // namespace prentice
