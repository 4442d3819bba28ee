#include "export/delta_survival.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "quant/encode.h"

namespace prentice {

namespace {

constexpr double kLeastSurvival = 0.5, kLeastAlignment = 0.05;

std::vector<float> decoded(std::span<const std::byte> bytes, GgmlType type, size_t values) {
  std::vector<float> out(values);
  decode(bytes, type, out);
  return out;
}

}  // namespace

double DeltaSums::survival() const { return update > 0 ? kept / update : 1; }

double DeltaSums::alignment() const {
  if (update == 0) return 1;
  return change > 0 ? kept / std::sqrt(change * update) : 0;
}

double DeltaSums::noise() const { return update > 0 ? std::sqrt(error / update) : 0; }

bool DeltaSums::is_nearly_gone() const { return survival() < kLeastSurvival || alignment() < kLeastAlignment; }

void DeltaSums::add(const DeltaSums& other) {
  kept += other.kept, update += other.update, change += other.change, error += other.error;
}

DeltaSums delta_sums(std::span<const float> merged, std::span<const float> base, std::span<const std::byte> stored,
                     GgmlType type, std::span<const float> importance) {
  std::vector<std::byte> of_base;
  encode(base, type, of_base, importance);
  const auto with = decoded(stored, type, merged.size()), without = decoded(of_base, type, merged.size());
  DeltaSums sums;
  for (size_t i = 0; i < merged.size(); ++i) {
    const double update = static_cast<double>(merged[i]) - base[i], change = static_cast<double>(with[i]) - without[i];
    const double error = static_cast<double>(with[i]) - merged[i];
    sums.kept += change * update;
    sums.update += update * update;
    sums.change += change * change;
    sums.error += error * error;
  }
  return sums;
}

DeltaSums DeltaSurvival::total() const {
  DeltaSums all;
  for (const auto& tensor : tensors) all.add(tensor.sums);
  return all;
}

std::string DeltaSurvival::sentence() const {
  const DeltaSums all = total();
  const auto gone = std::ranges::count_if(tensors, [](const TensorSurvival& t) { return t.sums.is_nearly_gone(); });
  return fmt::format("{:.1f} % of the update is left, alignment {:.3f}, rounding {:.3g} times the update{}",
                     100 * all.survival(), all.alignment(), all.noise(),
                     gone == 0 ? "" : fmt::format("; nearly gone in {} of {} tensors", gone, tensors.size()));
}

}  // namespace prentice
