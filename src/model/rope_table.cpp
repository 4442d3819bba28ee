#include "model/rope_table.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numbers>

#include "core/error.h"

namespace prentice {

namespace {

// Short waves stay, long ones are stretched by `factor`, those between are blended.
Tensor blended_by_wavelength(const RopeSpec& rope, const Tensor& frequencies) {
  const double original = static_cast<double>(rope.original_max_positions);
  const Tensor wavelength = 2 * std::numbers::pi / frequencies;
  const Tensor stretched =
      at::where(wavelength > original / rope.low_freq_factor, frequencies / rope.factor, frequencies);
  const Tensor share = (original / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  const Tensor blended = (1 - share) * stretched / rope.factor + share * stretched;
  const Tensor between =
      (wavelength >= original / rope.high_freq_factor).logical_and(wavelength <= original / rope.low_freq_factor);
  return at::where(between, blended, stretched);
}

// Peng et al. 2023: fast waves stay, slow ones are stretched, a ramp over the dimensions between.
Tensor blended_by_dimension(const RopeSpec& rope, const Tensor& wavelengths) {
  const double width = static_cast<double>(rope.rotary_dim);
  const auto dimension = [&](double turns) {
    const double original = static_cast<double>(rope.original_max_positions);
    return width * std::log(original / (turns * 2 * std::numbers::pi)) / (2 * std::log(rope.theta));
  };
  double low = dimension(rope.beta_fast), high = dimension(rope.beta_slow);
  if (rope.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, width - 1);
  if (low == high) high += 0.001;
  const Tensor ramp = ((at::arange(rope.rotary_dim / 2, wavelengths.options()) - low) / (high - low)).clamp(0, 1);
  const Tensor kept = 1 - ramp;
  return 1 / (rope.factor * wavelengths) * (1 - kept) + 1 / wavelengths * kept;
}

// [rotary_dim / 2]
Tensor of_factors(const Tensor& wavelengths, const std::vector<double>& factors) {
  return 1 / (at::tensor(factors, wavelengths.options()) * wavelengths);
}

// True where a token's sequence, up to its largest position, is longer than `limit`: [T, 1]
Tensor in_long_sequence(const RotaryInput& input, int64_t limit) {
  std::vector<Tensor> parts;
  for (size_t s = 0; s + 1 < input.starts.size(); ++s) {
    const int64_t length = input.starts[s + 1] - input.starts[s];
    if (length == 0) continue;
    parts.push_back(input.positions.narrow(0, input.starts[s], length).amax().ge(limit).expand({length}));
  }
  return at::cat(parts).unsqueeze(1);
}

}  // namespace

Tensor inverse_frequencies(const RopeSpec& rope, bool long_sequence) {
  const auto f32 = at::TensorOptions(at::kFloat);
  const Tensor exponents = at::arange(0, rope.rotary_dim, 2, f32) / static_cast<double>(rope.rotary_dim);
  const Tensor wavelengths = at::pow(rope.theta, exponents);
  switch (rope.kind) {
    case RopeKind::standard:
      return 1 / wavelengths;
    case RopeKind::linear:
      return 1 / wavelengths / rope.factor;
    case RopeKind::llama3:
      return blended_by_wavelength(rope, 1 / wavelengths);
    case RopeKind::yarn:
      return blended_by_dimension(rope, wavelengths);
    case RopeKind::longrope:
      return of_factors(wavelengths, long_sequence ? rope.long_factors : rope.short_factors);
  }
  fail(ExitCode::internal, "this rotary embedding has no frequencies");
}

namespace {

// A copy to a GPU waits for it, so that a run makes one, and no pass that is recorded makes any.
Tensor frequencies_on(const RopeSpec& rope, bool long_sequence, at::Device device) {
  if (!device.is_cuda()) return inverse_frequencies(rope, long_sequence).to(device);
  struct Made {
    RopeSpec rope;
    bool long_sequence;
    Tensor frequencies;
  };
  static std::mutex mutex;
  static std::vector<Made> all;
  const std::lock_guard lock(mutex);
  for (const Made& made : all) {
    if (made.rope == rope && made.long_sequence == long_sequence && made.frequencies.device() == device) {
      return made.frequencies;
    }
  }
  all.push_back({rope, long_sequence, inverse_frequencies(rope, long_sequence).to(device)});
  return all.back().frequencies;
}

}  // namespace

RopeTable rope_table(const RopeSpec& rope, const RotaryInput& input, at::ScalarType type) {
  const auto device = input.positions.device();
  Tensor frequencies = frequencies_on(rope, false, device).unsqueeze(0);
  if (rope.kind == RopeKind::longrope) {
    frequencies = at::where(in_long_sequence(input, rope.original_max_positions),
                            frequencies_on(rope, true, device).unsqueeze(0), frequencies);
  }
  const Tensor angles = input.positions.to(at::kFloat).unsqueeze(1) * frequencies;
  const auto scaled = [&](const Tensor& values) {
    return (rope.attention_factor == 1 ? values : values * rope.attention_factor).to(type);
  };
  return {scaled(at::cos(angles)), scaled(at::sin(angles))};
}

bool same_rotation(const ModelSpec& spec, int64_t length, int64_t other) {
  return std::all_of(spec.ropes.begin(), spec.ropes.end(), [&](const RopeSpec& rope) {
    const int64_t limit = rope.original_max_positions;
    return rope.kind != RopeKind::longrope || (length > limit) == (other > limit);
  });
}

}  // namespace prentice
