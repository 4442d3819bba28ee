#include "model/rope_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace prentice {

namespace {

// The dictionary that holds scaling, and the key it stands under. rope_scaling wins when both are there.
struct Dictionary {
  std::string key;
  const Json* value = nullptr;
};

Dictionary find_dictionary(ConfigReader& reader) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    const Json* value = reader.find(key);
    if (!value || value->is_null()) continue;
    if (value->is_object()) return {key, value};
    reader.mistake(key, "expected an object, got " + quoted(*value));
  }
  return {};
}

// A value inside the dictionary; null is as good as absent.
const Json* inside(const Dictionary& dictionary, std::string_view name) {
  const Json* value = dictionary.value ? dictionary.value->find(name) : nullptr;
  return value && !value->is_null() ? value : nullptr;
}

// A positive number inside the dictionary.
double number(ConfigReader& reader, const Dictionary& dictionary, std::string_view name,
              std::optional<double> fallback) {
  const std::string key = fmt::format("{}.{}", dictionary.key, name);
  const Json* value = inside(dictionary, name);
  if (!value) {
    if (!fallback) reader.mistake(key, "is missing");
    return fallback.value_or(1);
  }
  const double found = value->is_number() ? value->as_number() : -1;
  if (!(std::isfinite(found) && found > 0)) {
    reader.mistake(key, "expected a positive number, got " + quoted(*value));
    return 1;
  }
  return found;
}

// nullopt is noted as a mistake.
std::optional<RopeKind> read_kind(ConfigReader& reader, const FamilyRope& family, const Dictionary& dictionary) {
  const char* key = inside(dictionary, "rope_type") ? "rope_type" : "type";
  const Json* name = inside(dictionary, key);
  if (!name) return RopeKind::standard;
  if (name->is_string()) {
    const auto alias = family.aliases.find(name->as_string());
    const std::string& word = alias == family.aliases.end() ? name->as_string() : alias->second;
    if (word == "default") return RopeKind::standard;
    if (word == "linear") return RopeKind::linear;
    if (word == "llama3") return RopeKind::llama3;
    if (word == "yarn") return RopeKind::yarn;
    if (word == "longrope") return RopeKind::longrope;
  }
  reader.mistake(fmt::format("{}.{}", dictionary.key, key), fmt::format("{} is not supported", quoted(*name)),
                 "supported: default, linear, llama3, yarn, longrope");
  return std::nullopt;
}

bool is_keyed_by_layer_type(const Json& dictionary) {
  return dictionary.find("full_attention") || dictionary.find("sliding_attention");
}

int64_t read_rotary_dim(ConfigReader& reader, const FamilyRope& family, const Dictionary& dictionary,
                        int64_t head_dim) {
  constexpr const char* kKey = "partial_rotary_factor";
  const Json* value = inside(dictionary, kKey);
  if (!value) value = reader.find(kKey);
  if (!value || value->is_null() || (value->is_number() && value->as_number() == 1)) return head_dim;
  if (!family.partial) {
    reader.mistake(kKey, fmt::format("{} is not supported for this architecture", quoted(*value)));
    return head_dim;
  }
  const double share = value->is_number() ? value->as_number() : -1;
  const auto rotary_dim = share > 0 && share < 1 ? static_cast<int64_t>(static_cast<double>(head_dim) * share) : 0;
  if (rotary_dim >= 2 && rotary_dim % 2 == 0) return rotary_dim;
  reader.mistake(kKey,
                 fmt::format("must leave an even number of rotated features of {}, got {}", head_dim, quoted(*value)));
  return head_dim;
}

// Where extended models keep the length they were trained on: root, then the dictionary, then the model's limit.
int64_t original_positions(ConfigReader& reader, const Dictionary& dictionary, int64_t max_positions) {
  constexpr const char* kKey = "original_max_position_embeddings";
  constexpr int64_t kLimit = int64_t{1} << 31;
  if (const auto root = reader.optional_size(kKey, kLimit)) return *root;
  const double inside = number(reader, dictionary, kKey, static_cast<double>(max_positions));
  return static_cast<int64_t>(std::min(inside, static_cast<double>(kLimit)));
}

void read_llama3(ConfigReader& reader, const Dictionary& dictionary, RopeSpec& rope) {
  rope.factor = number(reader, dictionary, "factor", std::nullopt);
  rope.low_freq_factor = number(reader, dictionary, "low_freq_factor", std::nullopt);
  rope.high_freq_factor = number(reader, dictionary, "high_freq_factor", std::nullopt);
  if (rope.high_freq_factor <= rope.low_freq_factor) {
    reader.mistake(dictionary.key + ".high_freq_factor", fmt::format("must be above low_freq_factor {}, got {}",
                                                                     rope.low_freq_factor, rope.high_freq_factor));
  }
}

// Peng et al. 2023, and the two keys by which later files state the growth of scores.
void read_yarn(ConfigReader& reader, const Dictionary& dictionary, double extension, RopeSpec& rope) {
  rope.factor = number(reader, dictionary, "factor", extension);
  rope.beta_fast = number(reader, dictionary, "beta_fast", rope.beta_fast);
  rope.beta_slow = number(reader, dictionary, "beta_slow", rope.beta_slow);
  if (const Json* truncate = inside(dictionary, "truncate")) {
    if (truncate->is_bool()) {
      rope.truncate = truncate->as_bool();
    } else {
      reader.mistake(dictionary.key + ".truncate", "expected true or false, got " + quoted(*truncate));
    }
  }
  const auto growth = [&](double m) { return rope.factor <= 1 ? 1 : 0.1 * m * std::log(rope.factor) + 1; };
  const bool two_scales = inside(dictionary, "mscale") && inside(dictionary, "mscale_all_dim");
  const double usual = two_scales ? growth(number(reader, dictionary, "mscale", 1)) /
                                        growth(number(reader, dictionary, "mscale_all_dim", 1))
                                  : growth(1);
  rope.attention_factor = number(reader, dictionary, "attention_factor", usual);
}

std::vector<double> read_factors(ConfigReader& reader, const Dictionary& dictionary, const char* name, int64_t count) {
  const Json* list = inside(dictionary, name);
  std::vector<double> factors;
  if (list && list->is_array()) {
    for (const Json& factor : list->as_array()) factors.push_back(factor.is_number() ? factor.as_number() : 0);
  }
  const bool positive = std::all_of(factors.begin(), factors.end(), [](double f) { return std::isfinite(f) && f > 0; });
  if (!positive || static_cast<int64_t>(factors.size()) != count) {
    reader.mistake(fmt::format("{}.{}", dictionary.key, name),
                   fmt::format("expected a list of {} positive numbers", count));
    factors.assign(static_cast<size_t>(count), 1);
  }
  return factors;
}

// Ding et al. 2024.
void read_longrope(ConfigReader& reader, const Dictionary& dictionary, double extension, RopeSpec& rope) {
  rope.factor = number(reader, dictionary, "factor", extension);
  rope.short_factors = read_factors(reader, dictionary, "short_factor", rope.rotary_dim / 2);
  rope.long_factors = read_factors(reader, dictionary, "long_factor", rope.rotary_dim / 2);
  const double original = static_cast<double>(rope.original_max_positions);
  const double usual = rope.factor <= 1 ? 1 : std::sqrt(1 + std::log(rope.factor) / std::log(original));
  rope.attention_factor = number(reader, dictionary, "attention_factor", usual);
}

// One rotation: what its dictionary says, its base otherwise from the root.
RopeSpec read_one(ConfigReader& reader, const FamilyRope& family, const Dictionary& dictionary,
                  std::string_view theta_key, int64_t head_dim, int64_t max_positions) {
  RopeSpec rope;
  rope.rotary_dim = read_rotary_dim(reader, family, dictionary, head_dim);
  rope.theta = reader.positive(theta_key, rope.theta);
  if (!dictionary.value) return rope;
  rope.theta = number(reader, dictionary, "rope_theta", rope.theta);
  const auto kind = read_kind(reader, family, dictionary);
  if (!kind || *kind == RopeKind::standard) return rope;
  rope.kind = *kind;
  if (rope.kind == RopeKind::linear) {
    rope.factor = number(reader, dictionary, "factor", std::nullopt);
    return rope;
  }
  rope.original_max_positions = original_positions(reader, dictionary, max_positions);
  const double extension = static_cast<double>(max_positions) / static_cast<double>(rope.original_max_positions);
  if (rope.kind == RopeKind::llama3) read_llama3(reader, dictionary, rope);
  if (rope.kind == RopeKind::yarn) read_yarn(reader, dictionary, extension, rope);
  if (rope.kind == RopeKind::longrope) read_longrope(reader, dictionary, extension, rope);
  return rope;
}

// The dictionary of one layer type inside a keyed one.
Dictionary of_layer_type(ConfigReader& reader, const Dictionary& keyed, const char* type) {
  const Json* value = inside(keyed, type);
  if (!value) return {};
  Dictionary result{keyed.key + "." + type, value};
  if (value->is_object()) return result;
  reader.mistake(result.key, "expected an object, got " + quoted(*value));
  return {};
}

}  // namespace

std::vector<RopeSpec> read_ropes(ConfigReader& reader, const FamilyRope& family, int64_t head_dim,
                                 int64_t max_positions) {
  Dictionary all = find_dictionary(reader), local;
  const bool keyed = all.value && is_keyed_by_layer_type(*all.value);
  if (family.local_theta.empty()) {
    if (keyed) {
      reader.mistake(all.key, "one rotary embedding per layer type is not supported for this architecture");
      return {RopeSpec{}};
    }
    return {read_one(reader, family, all, "rope_theta", head_dim, max_positions)};
  }
  if (keyed) {
    local = of_layer_type(reader, all, "sliding_attention");
    all = of_layer_type(reader, all, "full_attention");
  } else if (all.key == "rope_parameters") {
    reader.mistake(all.key, "expected full_attention and sliding_attention");
  }
  return {read_one(reader, family, all, "rope_theta", head_dim, max_positions),
          read_one(reader, family, local, family.local_theta, head_dim, max_positions)};
}

}  // namespace prentice
