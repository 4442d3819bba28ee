#include "proof/block_codes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "quant/encode.h"

namespace prentice {

namespace {

constexpr size_t kValues = 32;
constexpr double kHalfPrecision = 1 / 1024.0;  // of a step that is stored in F16

struct Block {
  double step = 0;
  int last = 15;        // of the codes
  bool offset = false;  // the block stores one
  std::array<int, kValues> codes{};
};

double half_at(std::span<const std::byte> block, size_t at) {
  float value = 0;
  decode(block.subspan(at, 2), GgmlType::F16, {&value, 1});
  return value;
}

Block read_block(GgmlType type, std::span<const std::byte> stored) {
  const std::vector<std::byte> block(stored.begin(), stored.end());  // aligned
  Block out;
  out.step = half_at(block, 0);
  out.offset = type == GgmlType::Q4_1 || type == GgmlType::Q5_1;
  const bool five = type == GgmlType::Q5_0 || type == GgmlType::Q5_1;
  const size_t high = out.offset ? 4 : 2, low = high + (five ? 4 : 0);
  if (five) out.last = 31;
  for (size_t i = 0; i < kValues; ++i) {
    const int byte = std::to_integer<int>(block[low + i % 16]);
    out.codes[i] = i < 16 ? byte & 15 : byte >> 4;
    if (five) out.codes[i] |= (std::to_integer<int>(block[high + i / 8]) >> (i % 8) & 1) << 4;
  }
  return out;
}

// What a value times the inverse of the step (and an offset) must lie between; the outermost codes take all beyond.
struct Range {
  double x, low, high;
};

std::array<Range, kValues> ranges_of(const Block& block, std::span<const float> wanted, double away) {
  std::array<Range, kValues> out;
  const double zero = block.offset ? 0 : (block.last + 1) / 2, size = std::abs(block.step);
  for (size_t i = 0; i < kValues; ++i) {
    const double x = block.step < 0 ? -wanted[i] : wanted[i], slack = 0.5 + kNearest + 2 * away * std::abs(x) / size;
    const int code = block.codes[i];
    out[i] = {x, code == 0 ? -HUGE_VAL : code - zero - slack, code == block.last ? HUGE_VAL : code - zero + slack};
  }
  return out;
}

// Whether one factor brings every value into its range.
bool has_factor(const std::array<Range, kValues>& ranges) {
  double least = 0, most = HUGE_VAL;
  for (const auto& [x, low, high] : ranges) {
    if (x == 0) {
      if (low > 0 || high < 0) return false;
      continue;
    }
    least = std::max(least, x > 0 ? low / x : high / x), most = std::min(most, x > 0 ? high / x : low / x);
  }
  return least <= most;
}

// The same of a factor and an offset: those of two values may not be too close together, or too far apart.
bool has_factor_and_offset(const std::array<Range, kValues>& ranges) {
  double least = 0, most = HUGE_VAL;
  for (const auto& a : ranges) {
    for (const auto& b : ranges) {  // a.low <= s a.x + t, s b.x + t <= b.high
      const double apart = a.x - b.x, rise = a.low - b.high;
      if (apart > 0) {
        least = std::max(least, rise / apart);
      } else if (apart < 0) {
        most = std::min(most, rise / apart);
      } else if (rise > 0) {
        return false;
      }
    }
  }
  return least <= most;
}

// Of the best step for given codes, whatever the weights, what is left of the values cannot point along all of them.
bool is_best_for_some_weights(const Block& block, std::span<const float> wanted, double away) {
  const int zero = (block.last + 1) / 2;
  bool along = false, against = false;
  for (size_t i = 0; i < kValues; ++i) {
    const double level = block.codes[i] - zero, left = (wanted[i] - block.step * level) * level;
    if (level == 0) continue;
    const double slack =
        (kHalfPrecision * std::abs(block.step * level) + 2 * away * std::abs(wanted[i])) * std::abs(level);
    along = along || left >= -slack, against = against || left <= slack;
  }
  return along == against;  // both, or there is no code but zero
}

}  // namespace

bool has_one_step(GgmlType type) {
  return type == GgmlType::Q4_0 || type == GgmlType::Q4_1 || type == GgmlType::Q5_0 || type == GgmlType::Q5_1;
}

bool codes_of_one_step(GgmlType type, std::span<const float> wanted, std::span<const std::byte> stored, double away) {
  const Block block = read_block(type, stored);
  if (block.step == 0 || !std::isfinite(block.step)) return true;  // no weight at all, or a check of its own
  const auto ranges = ranges_of(block, wanted, away);
  if (block.offset) return has_factor_and_offset(ranges);
  return has_factor(ranges) && is_best_for_some_weights(block, wanted, away);
}

}  // namespace prentice
