#include "model/gguf_rope.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <optional>

#include "core/error.h"
#include "io/gguf_values.h"
#include "model/gguf_keys.h"
#include "quant/encode.h"

namespace prentice {

namespace {

// A vector of positive f32; empty when the file has none of that name.
std::vector<float> factors_named(const GgufReader& file, std::string_view name, int64_t count) {
  const GgufTensorView* tensor = file.find_tensor(name);
  if (tensor == nullptr) return {};
  if (tensor->type != GgmlType::F32 || tensor->dims != std::vector<int64_t>{count}) {
    fail(ExitCode::malformed, fmt::format("tensor {}: expected {} values in F32", name, count));
  }
  std::vector<float> values(static_cast<size_t>(count));
  decode(tensor->bytes, GgmlType::F32, values);
  if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value) && value > 0; })) {
    fail(ExitCode::malformed, fmt::format("tensor {}: a value that is not positive", name));
  }
  return values;
}

Json list_of(const std::vector<float>& values) {
  Json::Array list;
  for (const float value : values) list.emplace_back(static_cast<double>(value));
  return list;
}

bool near(const std::vector<float>& a, const std::vector<float>& b) {
  return std::ranges::equal(a, b, [](float x, float y) { return std::abs(x / y - 1) < 1e-5f; });
}

// The divisors alone do not name the length that training began with; published models and powers of two are tried.
std::optional<RopeSpec> scaling_that_makes(const std::vector<float>& divisors, double theta) {
  RopeSpec rope{.kind = RopeKind::llama3,
                .theta = theta,
                .rotary_dim = 2 * static_cast<int64_t>(divisors.size()),
                .factor = static_cast<double>(*std::ranges::max_element(divisors))};
  if (rope.factor <= 1) return std::nullopt;
  for (int64_t length = 16; length <= int64_t{1} << 20; length *= 2) {
    rope.original_max_positions = length;
    if (near(rope_divisors(rope), divisors)) return rope;
  }
  return std::nullopt;
}

// Factors that are the same for every length, as longrope has them.
Json scaled_by(const std::vector<float>& shorter, const std::vector<float>& longer, double attention_factor,
               int64_t original) {
  return Json::Object{{"rope_type", "longrope"},
                      {"short_factor", list_of(shorter)},
                      {"long_factor", list_of(longer)},
                      {"attention_factor", attention_factor},
                      {"factor", 1.0},
                      {"original_max_position_embeddings", original}};
}

Json as_scaling(const RopeSpec& rope) {
  return Json::Object{{"rope_type", "llama3"},
                      {"factor", rope.factor},
                      {"low_freq_factor", rope.low_freq_factor},
                      {"high_freq_factor", rope.high_freq_factor},
                      {"original_max_position_embeddings", rope.original_max_positions}};
}

Json yarn_scaling(const GgufReader& file, const std::string& prefix, double factor, int64_t original) {
  Json scaling =
      Json::Object{{"rope_type", "yarn"}, {"factor", factor}, {"original_max_position_embeddings", original}};
  if (gguf_number(file, prefix + "yarn_ext_factor").value_or(1) != 1) {
    fail(ExitCode::malformed, "key " + prefix + "yarn_ext_factor: only 1 is supported");
  }
  for (const char* beta : {"beta_fast", "beta_slow"}) {
    if (const auto value = gguf_number(file, prefix + "yarn_" + beta)) scaling[beta] = *value;
  }
  const auto own = gguf_number(file, prefix + "attn_factor");
  const auto attention = own ? own : gguf_number(file, prefix + "yarn_attn_factor");
  if (attention && *attention != 1 && factor <= 1) {
    fail(ExitCode::malformed,
         fmt::format("key {}attn_factor: only 1 is supported with a factor of {}", prefix, factor));
  }
  if (attention && factor > 1) scaling["attention_factor"] = *attention * (0.1 * std::log(factor) + 1);
  return scaling;
}

}  // namespace

std::vector<float> rope_divisors(const RopeSpec& rope) {
  if (rope.kind != RopeKind::llama3) return {};
  const double original = static_cast<double>(rope.original_max_positions);
  std::vector<float> divisors;
  for (int64_t j = 0; j < rope.rotary_dim / 2; ++j) {
    const double frequency = std::pow(rope.theta, -2.0 * static_cast<double>(j) / static_cast<double>(rope.rotary_dim));
    const double wavelength = 2 * std::numbers::pi / frequency;
    double divisor = 1;
    if (wavelength > original / rope.low_freq_factor) {
      divisor = rope.factor;
    } else if (wavelength >= original / rope.high_freq_factor) {
      const double smooth =
          (original / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
      divisor = 1 / ((1 - smooth) / rope.factor + smooth);
    }
    divisors.push_back(static_cast<float>(divisor));
  }
  return divisors;
}

std::vector<std::pair<std::string, std::vector<float>>> rope_factors(const RopeSpec& rope) {
  if (rope.kind == RopeKind::llama3) return {{std::string(kGgufRopeDivisors), rope_divisors(rope)}};
  if (rope.kind != RopeKind::longrope) return {};
  const auto floats = [](const std::vector<double>& list) { return std::vector<float>(list.begin(), list.end()); };
  return {{std::string(kGgufLongFactors), floats(rope.long_factors)},
          {std::string(kGgufShortFactors), floats(rope.short_factors)}};
}

Json rope_scaling_of(const GgufReader& file, const std::string& architecture, double theta, int64_t rotary_dim) {
  const std::string prefix = architecture + ".rope.scaling.";
  const auto context = gguf_integer(file, architecture + ".context_length");
  const int64_t original = gguf_integer(file, prefix + "original_context_length").value_or(context.value_or(1));
  const auto shorter = factors_named(file, kGgufShortFactors, rotary_dim / 2),
             longer = factors_named(file, kGgufLongFactors, rotary_dim / 2);
  if (shorter.empty() != longer.empty()) {
    fail(ExitCode::malformed, fmt::format("only one of {} and {} is there", kGgufShortFactors, kGgufLongFactors));
  }
  if (!shorter.empty()) {
    return scaled_by(shorter, longer, gguf_number(file, prefix + "attn_factor").value_or(1), original);
  }
  const std::string type = gguf_text(file, prefix + "type").value_or("linear");
  if (type != "yarn" && gguf_number(file, prefix + "attn_factor").value_or(1) != 1) {
    fail(ExitCode::malformed, fmt::format("key {}attn_factor: only 1 is supported with {}", prefix, type));
  }
  if (const auto divisors = factors_named(file, kGgufRopeDivisors, rotary_dim / 2); !divisors.empty()) {
    const auto known = scaling_that_makes(divisors, theta);
    return known ? as_scaling(*known) : scaled_by(divisors, divisors, 1, original);
  }
  const auto own = gguf_number(file, prefix + "factor");
  const double factor =
      own ? *own : gguf_number(file, architecture + ".rope.scale_linear").value_or(0);  // its old name
  if (type == "none" || (type == "linear" && (factor == 0 || factor == 1))) return nullptr;
  if (type == "linear") return Json::Object{{"rope_type", "linear"}, {"factor", factor}};
  if (type == "yarn") return yarn_scaling(file, prefix, factor, original);
  fail(ExitCode::malformed, fmt::format("key {}type: {} is not supported", prefix, type),
       "supported: none, linear, yarn, and factors in tensors");
}

}  // namespace prentice
