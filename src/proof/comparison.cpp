#include "proof/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "quant/encode.h"

namespace prentice {

namespace {

// A column without importance may be off by more than the magnitude of its group (quant/encode.h), as the steps are
// chosen for others: measured up to 1.12 of it, in Q2_K. Blocks are compared byte for byte besides.
constexpr double kMoreWithImportance = 1.5;

}  // namespace

const GgufTensorView* Comparison::find(const GgufReader& file, const GgufTensorInfo& declared) {
  declared_.insert(declared.name);
  const auto* found = file.find_tensor(declared.name);
  if (found == nullptr) {
    missing(declared.name);
    return nullptr;
  }
  const bool same_layout = found->type == declared.type && found->dims == declared.dims;
  layout(declared.name, same_layout);
  return same_layout ? found : nullptr;
}

void Comparison::no_others(const GgufReader& file) {
  for (const auto& tensor : file.tensors()) {
    if (!declared_.contains(tensor.name)) extra(tensor.name);
  }
}

void Comparison::values(const std::string& tensor, std::span<const float> wanted, std::span<const std::byte> stored,
                        GgmlType type, std::span<const float> importance) {
  bounds_.resize(wanted.size());
  found_.resize(wanted.size());
  rounding_bounds(wanted, type, bounds_, !importance.empty());
  decode(stored, type, found_);
  const double more = importance.empty() ? 1 : kMoreWithImportance;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double error = std::abs(static_cast<double>(wanted[i]) - found_[i]);
    if (error == 0) continue;
    const double ratio = std::isfinite(error) ? error / (bounds_[i] * more) : HUGE_VAL;  // a bound of 0: infinite
    if (ratio > worst_) worst_ = ratio, worst_tensor_ = tensor;
  }
  if (ggml_type_info(type).block_elements == 1) return;
  again_.clear();
  encode(wanted, type, again_, importance);
  compared_blocks_.insert(tensor);
  if (!std::ranges::equal(again_, stored)) other_blocks_.insert(tensor);
}

std::vector<Check> Comparison::set_checks() const {
  std::vector<Check> checks;
  for (const char* name : {"tensors", "types and shapes"}) {
    const auto found = problems_.find(name);
    const auto count = found == problems_.end() ? size_t{0} : found->second.size();
    checks.push_back({.name = name,
                      .passed = count == 0,
                      .value = static_cast<double>(count),
                      .limit = 0,
                      .detail = count == 0 ? "" : found->second.front()});
  }
  return checks;
}

std::vector<Check> Comparison::checks() const {
  std::vector<Check> checks = set_checks();
  if (!compared_blocks_.empty()) {
    checks.push_back({.name = "blocks",
                      .passed = other_blocks_.empty(),
                      .value = static_cast<double>(other_blocks_.size()),
                      .limit = 0,
                      .detail = other_blocks_.empty()
                                    ? fmt::format("those of {} tensors, byte for byte", compared_blocks_.size())
                                    : *other_blocks_.begin() + " has other blocks than its values make"});
  }
  checks.push_back(at_most_check(
      "values", worst_, 1,
      worst_tensor_.empty() ? "all equal" : "largest difference, in units of rounding: " + worst_tensor_));
  return checks;
}

}  // namespace prentice
