#include "export/delta_survival.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "quant/encode.h"

namespace prentice {

namespace {

constexpr double kLeastSurvival = 0.5, kLeastSignal = 1;

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

std::string note_of(const DeltaSums& sums) {
  if (sums.update == 0) return "";
  return fmt::format("{} {} {} {}", sums.kept, sums.update, sums.change, sums.error);
}

DeltaSums sums_of(const std::string& note) {
  DeltaSums sums;
  const char* at = note.c_str();
  for (double* sum : {&sums.kept, &sums.update, &sums.change, &sums.error}) {
    char* end = nullptr;
    *sum = std::strtod(at, &end);  // 0 where nothing is left to read
    at = end;
  }
  return sums;
}

DeltaSums DeltaSurvival::total() const {
  DeltaSums all;
  for (const auto& tensor : tensors) all.add(tensor.sums);
  return all;
}

double TensorSurvival::signal() const {
  return sums.error > 0 ? columns_per_rank * sums.update / sums.error : std::numeric_limits<double>::infinity();
}

bool TensorSurvival::is_nearly_gone() const {
  return sums.update > 0 && (sums.survival() < kLeastSurvival || signal() < kLeastSignal);
}

double DeltaSurvival::signal() const {
  double update = 0, error = 0;
  for (const auto& tensor : tensors) update += tensor.columns_per_rank * tensor.sums.update, error += tensor.sums.error;
  return error > 0 ? update / error : std::numeric_limits<double>::infinity();
}

bool DeltaSurvival::is_nearly_gone() const {
  double gone = 0, all = 0;
  for (const auto& tensor : tensors) {
    all += tensor.sums.update;
    if (tensor.is_nearly_gone()) gone += tensor.sums.update;
  }
  return gone > all / 2;
}

std::string DeltaSurvival::sentence() const {
  const DeltaSums all = total();
  const auto gone = std::ranges::count_if(tensors, &TensorSurvival::is_nearly_gone);
  return fmt::format(
      "alignment {:.3f} of what the file changes by with what was trained; rounding is {:.3g} times the update, which "
      "on "
      "its own inputs has {:.3g} times the rounding's power{}{}",
      all.alignment(), all.noise(), signal(),
      all.survival() < kLeastSurvival ? fmt::format("; {:.1f} % of the update is left", 100 * all.survival()) : "",
      gone == 0 ? "" : fmt::format("; nearly gone in {} of {} tensors", gone, tensors.size()));
}

}  // namespace prentice
