#include "proof/tensor_proof.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "io/half.h"
#include "proof/block_codes.h"
#include "quant/blocks.h"
#include "quant/encode.h"

namespace prentice {

namespace {

constexpr double kScaledResidue = 0.5;  // of the error, that is left behind a common factor or offset

double square(double x) { return x * x; }

float in_f16(float value) { return f16_to_f32(f32_to_f16(value)); }

// Values that share a step; 0 for types that no importance changes.
int64_t values_of_a_step(GgmlType type) {
  const BlockType* blocks = find_block_type(type);
  return blocks && blocks->spread != Spread::ignored ? blocks->group : 0;
}

}  // namespace

void TensorProof::begin(const std::string& tensor) {
  if (now_.name == tensor) return;
  finish();
  now_ = {.name = tensor};
  blocks_ = others_ = false;
}

void TensorProof::count(float wanted, float found, double rounding, double bound, double slack) {
  if (!std::isfinite(found)) {
    ++now_.not_finite;
    return;
  }
  const double error = static_cast<double>(found) - wanted;
  now_.count += 1;
  now_.wanted += square(wanted), now_.found += square(found), now_.both += static_cast<double>(wanted) * found;
  now_.error += square(error), now_.errors += error;
  now_.rounding += square(rounding), now_.floor += square(slack);
  if (error == 0) return;
  const double most = bound + slack;
  now_.element = std::max(now_.element, most > 0 ? std::abs(error) / most : HUGE_VAL);
}

void TensorProof::add(const std::string& tensor, GgmlType type, std::span<const float> wanted,
                      std::span<const std::byte> stored, bool merged, std::span<const float> base) {
  begin(tensor);
  found_.resize(wanted.size()), bounds_.resize(wanted.size()), again_.resize(wanted.size());
  decode(stored, type, found_);
  rounding_bounds(wanted, type, bounds_, importance_);
  bytes_.clear();
  encode(wanted, type, bytes_);
  decode(bytes_, type, again_);
  float largest = 0;
  for (const float value : wanted) largest = std::max(largest, std::abs(value));
  const double slack = merged ? kMergedElsewhere * largest : 0;
  if (merged) {
    merge_halves(type, wanted, base);
  } else {
    away_.assign(wanted.size(), 0);
  }
  if (ggml_type_info(type).block_elements > 1) {
    blocks_ = true;
    compare_blocks(type, wanted, stored, merged);
    if (weighted_ == Weighted::not_said) compare_steps(type, wanted);
    estimate_scale(type, wanted, stored);  // reads the ranges of `stored`, which the codes are compared in
    if (weighted_ != Weighted::no) compare_codes(type, wanted, stored, merged);
  }
  const double of_bound = blocks_ ? 1 : 1.0001 / kMostOfElement;  // single values are rounded in one way
  const bool of_halves = !blocks_ && !merged && is_of_halves(type, wanted, stored);
  for (size_t i = 0; i < wanted.size(); ++i) {
    count(wanted[i], found_[i], static_cast<double>(again_[i]) - wanted[i], bounds_[i] * of_bound,
          of_halves ? std::abs(halves_[i] - wanted[i]) : away_[i] + slack);
  }
}

// What values may be away by where peft merged them: in the type that the base was loaded in, which rounds the base, if
// its own is finer, and the sum. What was BF16 is written as F16, F32 or Q8_0, whose steps are as fine; what was F16 as
// F32.
void TensorProof::merge_halves(GgmlType type, std::span<const float> wanted, std::span<const float> base) {
  const bool single = ggml_type_info(type).block_elements == 1;
  away_.assign(wanted.size(), 0);
  if (!single && type != GgmlType::Q8_0) return;
  if (!base.empty()) round_to_halves(base);
  for (size_t i = 0; i < wanted.size(); ++i) {
    const auto away = [&](double by_sum, float rounded_base) {
      away_[i] = by_sum * std::abs(wanted[i]) + (base.empty() ? 0 : std::abs(rounded_base - base[i]));
    };
    if (!single || (std::bit_cast<uint32_t>(found_[i]) & 0xffff) == 0) {
      away(kMergedAway, base.empty() ? 0 : halves_[i]);
    } else if (found_[i] == in_f16(found_[i])) {
      away(kHalfAway, base.empty() ? 0 : in_f16(base[i]));
    }
  }
}

void TensorProof::round_to_halves(std::span<const float> values) {
  other_bytes_.clear(), halves_.resize(values.size());
  encode(values, GgmlType::BF16, other_bytes_);
  decode(other_bytes_, GgmlType::BF16, halves_);
}

// Whether single values are, all of them, what BF16 or F16 leaves of the model's: so a base is loaded to be merged
// with.
bool TensorProof::is_of_halves(GgmlType type, std::span<const float> wanted, std::span<const std::byte> stored) {
  if (std::ranges::equal(stored, bytes_)) return false;
  const auto is_stored = [&] {
    other_bytes_.clear();
    encode(halves_, type, other_bytes_);
    return std::ranges::equal(stored, other_bytes_);
  };
  round_to_halves(wanted);
  if (is_stored()) return true;
  std::ranges::transform(wanted, halves_.begin(), in_f16);
  return std::ranges::all_of(halves_, [](float value) { return std::isfinite(value); }) && is_stored();
}

// Whoever searches for the steps of a block without a matrix of importance ends near the reference quantizer's error.
void TensorProof::compare_blocks(GgmlType type, std::span<const float> wanted, std::span<const std::byte> stored,
                                 bool merged) {
  const BlockType* kind = find_block_type(type);
  const bool divides = !merged && (type == GgmlType::Q8_0 || has_one_step(type));
  const auto elements = static_cast<size_t>(ggml_type_info(type).block_elements),
             bytes = static_cast<size_t>(ggml_type_info(type).block_bytes);
  for (size_t block = 0; block * bytes < stored.size(); ++block) {
    const int64_t number = now_.blocks++;
    if (std::ranges::equal(stored.subspan(block * bytes, bytes), std::span(bytes_).subspan(block * bytes, bytes)))
      continue;
    others_ = true;
    const auto same_half = [&](int at) {
      const auto half = [&](std::span<const std::byte> of) {
        return of.subspan(block * bytes + static_cast<size_t>(at), 2);
      };
      return at < 0 || std::ranges::equal(half(stored), half(bytes_));
    };
    if (divides && !(same_half(kind->scale_at) && same_half(kind->minimum_at))) ++now_.other_steps;
    if (now_.other_blocks++ == 0) now_.first_other = number;
    double found = 0, own = 0, size = 0, away = 0;
    for (size_t i = block * elements; i < (block + 1) * elements; ++i) {
      found += square(static_cast<double>(found_[i]) - wanted[i]),
          own += square(static_cast<double>(again_[i]) - wanted[i]);
      size += square(wanted[i]), away += square(away_[i]);
    }
    const auto ratio_to = [&](double explained) {
      const double ratio = std::sqrt(found / (explained + 1e-10 * size + 1e-300));
      return std::isfinite(ratio) ? ratio : HUGE_VAL;
    };
    now_.block = std::max(now_.block, ratio_to(own)),
    now_.merged_block = std::max(now_.merged_block, ratio_to(own + away));
  }
}

// A step is the smallest distance of two values that are stored with it: with so few steps for so many values, two
// neighbours are nearly always among them, and where they are not, less is found far.
void TensorProof::compare_steps(GgmlType type, std::span<const float> wanted) {
  const auto group = static_cast<size_t>(values_of_a_step(type));
  if (group == 0) return;
  std::vector<float> sorted(group);
  for (size_t first = 0; first < wanted.size(); first += group) {
    std::copy_n(found_.begin() + static_cast<std::ptrdiff_t>(first), group, sorted.begin());
    std::ranges::sort(sorted);
    const float least = 1e-6f * std::max(std::abs(sorted.front()), std::abs(sorted.back()));
    float step = HUGE_VALF;
    for (size_t i = 1; i < group; ++i) {
      if (const float gap = sorted[i] - sorted[i - 1]; gap > least) step = std::min(step, gap);
    }
    for (size_t i = first; i < first + group; ++i) {
      if (wanted[i] < sorted.front() || wanted[i] > sorted.back()) continue;
      ++now_.between;
      if (std::abs(found_[i] - wanted[i]) > static_cast<float>(kFarFromStep) * step) ++now_.far;
    }
  }
}

// Of K-blocks: with the lowest and with the highest code in all places a block reads as the range of each value's
// steps.
void TensorProof::compare_codes(GgmlType type, std::span<const float> wanted, std::span<const std::byte> stored,
                                bool merged) {
  if (type == GgmlType::Q8_0) return;  // whose steps no importance changes
  const auto elements = static_cast<size_t>(ggml_type_info(type).block_elements),
             bytes = static_cast<size_t>(ggml_type_info(type).block_bytes);
  const double away = merged ? kMergedAway : kHalfAway;
  const int64_t before = now_.blocks - static_cast<int64_t>(wanted.size() / elements);  // compare_blocks counted these
  const auto tell = [&](size_t first) {
    if (now_.misplaced_blocks++ == 0) now_.first_misplaced = before + static_cast<int64_t>(first / elements);
  };
  if (has_one_step(type)) {
    for (size_t first = 0; first < wanted.size(); first += elements) {
      if (!codes_of_one_step(type, wanted.subspan(first, elements), stored.subspan(first / elements * bytes, bytes),
                             away))
        tell(first);
    }
    return;
  }
  if (ranges_.size() != wanted.size()) return;  // of a type that has no codes
  const auto misplaced = [&](size_t i) {
    const double low = ranges_.lowest(i), step = ranges_.step(i);
    if (step == 0 || !std::isfinite(step)) return false;
    const double at = (wanted[i] - low) / step, nearest = std::clamp(std::round(at), 0.0, ranges_.last());
    const double further = std::abs((found_[i] - low) / step - at) - std::abs(nearest - at);
    return further > kNearest + 2 * away * std::abs(wanted[i]) / std::abs(step);
  };
  for (size_t first = 0; first < wanted.size(); first += elements) {
    bool any = false;
    for (size_t i = first; i < first + elements && !any; ++i) any = misplaced(i);
    if (any) tell(first);
  }
}

void TensorProof::estimate_scale(GgmlType type, std::span<const float> wanted, std::span<const std::byte> stored) {
  if (!ranges_.read(type, bytes_)) return;
  now_.own_scale.add(wanted, again_, ranges_);
  ranges_.read(type, stored);
  now_.scale.add(wanted, found_, ranges_);
  now_.most_excess = most_excess(now_.own_scale, type, importance_);
}

// What the other blocks of the tensor show to be no rounding.
std::optional<std::string> TensorProof::damage(const Sums& sums) const {
  const double few = kFewBlocks * static_cast<double>(sums.blocks);
  if (static_cast<double>(sums.other_blocks) <= few && (sums.block > kMostOfFewBlocks || sums.other_steps > 0)) {
    return fmt::format("{}: {} of {} blocks, block {} first, differ from what all the others show to be the rounding",
                       sums.name, sums.other_blocks, sums.blocks, sums.first_other);
  }
  if (sums.misplaced_blocks > 0 && static_cast<double>(sums.misplaced_blocks) <= std::max(few, 1.0)) {
    return fmt::format(
        "{}: {} of {} blocks, block {} first, hold values that are not the nearest of their steps, as "
        "those of all the others are",
        sums.name, sums.misplaced_blocks, sums.blocks, sums.first_misplaced);
  }
  return std::nullopt;
}

bool TensorProof::rounded_otherwise() const {
  return in_blocks_ > 0 && static_cast<double>(otherwise_) >= kMostTensorsOtherwise * static_cast<double>(in_blocks_);
}

void TensorProof::add_rounded(const std::string& tensor, std::span<const float> wanted, std::span<const float> rounded,
                              std::span<const float> found) {
  begin(tensor);
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double error = static_cast<double>(rounded[i]) - wanted[i];
    count(wanted[i], found[i], error, std::abs(error), 1e-6 * std::abs(wanted[i]));
  }
}

// One idea of what happened, for the person who must find it.
std::string TensorProof::looks_like(const Sums& sums) const {
  if (sums.found == 0) return "is all zeros";
  if (sums.wanted == 0) return "should be all zeros";
  const double offset = sums.errors / sums.count, spread = sums.error - sums.count * square(offset);
  if (spread < 0.01 * sums.error)
    return fmt::format("differs by {:.4g} everywhere, as with a norm's offset that is missing or there twice", offset);
  const double factor = sums.both / sums.wanted, residue = sums.found - factor * sums.both;
  if (std::abs(factor) > 1e-3 && std::abs(factor - 1) > 0.01 &&
      residue < kScaledResidue * square(factor - 1) * sums.wanted && residue < 0.05 * sums.found)
    return fmt::format("is {:.4g} times what it should be", factor);
  const double alike = sums.both / std::sqrt(sums.wanted * sums.found);
  if (std::abs(sums.found / sums.wanted - 1) < 0.05 && alike < 0.9)
    return "has values of this size in other places: rows in another order, or another tensor's";
  if (alike > 0.999) return "differs in single values";
  return "holds other values";
}

void TensorProof::finish() {
  if (now_.name.empty()) return;
  const Sums sums = std::exchange(now_, {});
  ++tensors_;
  if (blocks_) ++in_blocks_;
  if (others_) ++other_blocks_;
  if (2 * sums.other_blocks > sums.blocks) ++otherwise_;
  if (sums.between > 0)
    far_ = std::max(far_.value_or(0), static_cast<double>(sums.far) / static_cast<double>(sums.between));
  if (sums.not_finite > 0) {
    not_finite_.push_back(fmt::format("{}: {} values are not finite", sums.name, sums.not_finite));
    return;
  }
  const double explained = sums.rounding + sums.floor;
  const double ratio = sums.error == 0 ? 0 : explained > 0 ? std::sqrt(sums.error / explained) : HUGE_VAL;
  const double most = importance_ ? kMostOfTensorImportance : kMostOfTensor;
  const std::string told = fmt::format("{} {} (relative error {:.2g}, {:.2g} by rounding)", sums.name, looks_like(sums),
                                       std::sqrt(sums.error / std::max(sums.wanted, 1e-300)),
                                       std::sqrt(explained / std::max(sums.wanted, 1e-300)));
  if (!importance_ && sums.merged_block > kMostOfBlock) {
    wrong_blocks_.push_back(told);
  } else if (auto what = damage(sums)) {
    wrong_blocks_.push_back(std::move(*what));
  }
  worst_block_ = std::max(worst_block_, sums.merged_block);
  if (const double excess = sums.scale.excess() - sums.own_scale.excess(); sums.most_excess > 0) {
    const std::string factor = fmt::format("{} is {:.4g} times what it should be", sums.name, 1 + excess);
    const double of_limit = std::abs(excess) / sums.most_excess;
    if (of_limit > 1) wrong_scales_.push_back(factor);
    if (of_limit > worst_scale_) worst_scale_ = of_limit, scale_name_ = factor;
  }
  if (ratio > most) wrong_tensors_.push_back(told);
  if (sums.element > kMostOfElement) wrong_elements_.push_back(told);
  if (ratio > worst_tensor_) worst_tensor_ = ratio, tensor_name_ = sums.name;
  if (sums.element > worst_element_) worst_element_ = sums.element, element_name_ = sums.name;
}

std::vector<Check> TensorProof::checks() {
  finish();
  const auto told = [](const std::vector<std::string>& wrong, std::string otherwise) {
    if (wrong.empty()) return otherwise;
    return wrong.size() == 1 ? wrong.front() : fmt::format("{}; and {} more", wrong.front(), wrong.size() - 1);
  };
  const std::string blocks =
      in_blocks_ == 0      ? ""
      : other_blocks_ == 0 ? fmt::format("; all {} in blocks are byte for byte the reference quantizer's", in_blocks_)
                           : fmt::format("; {} of {} in blocks have other blocks than the reference quantizer's",
                                         other_blocks_, in_blocks_);
  return {{.name = "finite values",
           .passed = not_finite_.empty(),
           .value = static_cast<double>(not_finite_.size()),
           .limit = 0,
           .detail = told(not_finite_, "")},
          {.name = "values",
           .passed = wrong_elements_.empty(),
           .value = worst_element_,
           .limit = kMostOfElement,
           .detail = told(wrong_elements_, element_name_.empty()
                                               ? "all equal"
                                               : "largest difference, in units of rounding: " + element_name_)},
          {.name = "blocks",
           .passed = wrong_blocks_.empty(),
           .value = worst_block_,
           .limit = importance_ ? HUGE_VAL : kMostOfBlock,  // with importance none holds for every block
           .detail = told(wrong_blocks_, "root mean square of a block's error by that of the reference quantizer")},
          {.name = "scale",
           .passed = wrong_scales_.empty(),
           .value = worst_scale_,
           .limit = 1,
           .detail = told(wrong_scales_, scale_name_.empty() ? "" : "in units of what rounding does: " + scale_name_)},
          {.name = "rounding",
           .passed = wrong_tensors_.empty(),
           .value = worst_tensor_,
           .limit = importance_ ? kMostOfTensorImportance : kMostOfTensor,
           .detail =
               told(wrong_tensors_, fmt::format("root mean square by that of the type's own rounding, the worst "
                                                "of {} tensors{}{}{}",
                                                tensors_, tensor_name_.empty() ? "" : ": " + tensor_name_, blocks,
                                                weighted_ == Weighted::not_said
                                                    ? "; rounded as with an importance matrix, of which the file says "
                                                      "nothing (quantize.imatrix.file), and held to its limits"
                                                    : ""))}};
}

}  // namespace prentice
