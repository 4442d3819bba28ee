#include "train/state_hash.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>

#include <algorithm>
#include <cstring>

#include "io/sha256.h"

namespace prentice {

namespace {

uint64_t fingerprint_of_host(const Tensor& words) {
  const auto* data = static_cast<const uint32_t*>(words.const_data_ptr());
  const auto count = static_cast<uint64_t>(words.numel());
  uint64_t sum = 0;
  for (uint64_t i = 0; i < count; ++i) sum += data[i] * (2 * i + 1);
  return sum;
}

uint64_t fingerprint_on_device(const Tensor& words) {
  constexpr int64_t kChunk = int64_t{1} << 24;  // bounds the temporaries to 384 MB
  uint64_t sum = 0;
  for (int64_t begin = 0; begin < words.numel(); begin += kChunk) {
    const int64_t end = std::min(begin + kChunk, words.numel());
    const auto weights = at::arange(2 * begin + 1, 2 * end + 1, 2, words.options().dtype(at::kLong));
    const auto part = words.slice(0, begin, end).to(at::kLong).bitwise_and(0xffffffffLL).mul(weights).sum();
    sum += static_cast<uint64_t>(part.item<int64_t>());
  }
  return sum;
}

}  // namespace

uint64_t fingerprint(const Tensor& tensor) {
  const at::NoGradGuard no_grad;
  const Tensor flat = tensor.detach().contiguous().reshape({-1});
  if (flat.element_size() % 4 != 0) return fingerprint(flat.to(at::kFloat));  // f16 and bf16 are exact in f32
  const Tensor words = flat.view(at::kInt);
  return words.is_cpu() ? fingerprint_of_host(words) : fingerprint_on_device(words);
}

std::string state_hash(const NamedTensors& tensors) {
  Sha256 hash;
  for (const auto& [name, tensor] : tensors) {
    const uint64_t value = fingerprint(tensor);
    char bytes[sizeof value];
    std::memcpy(bytes, &value, sizeof value);
    hash.update(std::string_view(name));
    hash.update(std::string_view(bytes, sizeof bytes));
  }
  return hash.hex().substr(0, 16);
}

}  // namespace prentice
