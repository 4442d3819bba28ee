#include "model/rope_table.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/where.h>

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

}  // namespace

Tensor inverse_frequencies(const RopeSpec& rope) {
  const auto f32 = at::TensorOptions(at::kFloat);
  const Tensor exponents = at::arange(0, rope.rotary_dim, 2, f32) / static_cast<double>(rope.rotary_dim);
  const Tensor frequencies = 1 / at::pow(rope.theta, exponents);
  switch (rope.kind) {
    case RopeKind::standard:
      return frequencies;
    case RopeKind::linear:
      return frequencies / rope.factor;
    case RopeKind::llama3:
      return blended_by_wavelength(rope, frequencies);
    case RopeKind::yarn:
    case RopeKind::longrope:
      break;
  }
  fail(ExitCode::internal, "this rotary embedding has no frequencies");
}

RopeTable rope_table(const RopeSpec& rope, const Tensor& positions, at::ScalarType type) {
  const Tensor frequencies = inverse_frequencies(rope).to(positions.device());
  const Tensor angles = positions.to(at::kFloat).unsqueeze(1) * frequencies.unsqueeze(0);
  return {at::cos(angles).to(type), at::sin(angles).to(type)};
}

std::vector<RopeTable> rope_tables(const ModelSpec& spec, const Tensor& positions, at::ScalarType type) {
  std::vector<RopeTable> tables;
  for (const auto& rope : spec.ropes) tables.push_back(rope_table(rope, positions, type));
  return tables;
}

}  // namespace prentice
