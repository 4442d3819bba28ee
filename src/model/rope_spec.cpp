#include "model/rope_spec.h"

#include <fmt/format.h>

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

// A positive number inside the dictionary.
double number(ConfigReader& reader, const Dictionary& dictionary, std::string_view name,
              std::optional<double> fallback) {
  const std::string key = fmt::format("{}.{}", dictionary.key, name);
  const Json* value = dictionary.value->find(name);
  if (!value || value->is_null()) {
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

std::optional<RopeKind> read_kind(ConfigReader& reader, const Dictionary& dictionary) {
  const Json* name = dictionary.value->find("rope_type");
  const char* key = "rope_type";
  if (!name) name = dictionary.value->find("type"), key = "type";
  if (!name) return RopeKind::standard;
  if (name->is_string()) {
    if (name->as_string() == "default") return RopeKind::standard;
    if (name->as_string() == "linear") return RopeKind::linear;
    if (name->as_string() == "llama3") return RopeKind::llama3;
  }
  reader.mistake(fmt::format("{}.{}", dictionary.key, key), fmt::format("{} is not supported", quoted(*name)),
                 "supported: default, linear, llama3");
  return std::nullopt;
}

bool is_keyed_by_layer_type(const Json& dictionary) {
  return dictionary.find("full_attention") || dictionary.find("sliding_attention");
}

void check_partial(ConfigReader& reader, const Dictionary& dictionary) {
  const Json* inside = dictionary.value ? dictionary.value->find("partial_rotary_factor") : nullptr;
  const Json* value = inside ? inside : reader.find("partial_rotary_factor");
  if (!value || value->is_null() || (value->is_number() && value->as_number() == 1)) return;
  reader.mistake("partial_rotary_factor", fmt::format("{} is not supported for this architecture", quoted(*value)));
}

// Where extended models keep the length they were trained on: root, then the dictionary, then the model's limit.
int64_t original_positions(ConfigReader& reader, const Dictionary& dictionary, int64_t max_positions) {
  constexpr const char* kKey = "original_max_position_embeddings";
  constexpr int64_t kLimit = int64_t{1} << 31;
  if (const auto root = reader.optional_size(kKey, kLimit)) return *root;
  const double inside = number(reader, dictionary, kKey, static_cast<double>(max_positions));
  return static_cast<int64_t>(std::min(inside, static_cast<double>(kLimit)));
}

}  // namespace

RopeSpec read_rope(ConfigReader& reader, int64_t head_dim, int64_t max_positions) {
  RopeSpec rope;
  rope.rotary_dim = head_dim;
  const Dictionary dictionary = find_dictionary(reader);
  check_partial(reader, dictionary);
  rope.theta = reader.positive("rope_theta", rope.theta);
  if (!dictionary.value) return rope;
  if (is_keyed_by_layer_type(*dictionary.value)) {
    reader.mistake(dictionary.key, "one rotary embedding per layer type is not supported for this architecture");
    return rope;
  }
  rope.theta = number(reader, dictionary, "rope_theta", rope.theta);
  const auto kind = read_kind(reader, dictionary);
  if (!kind || *kind == RopeKind::standard) return rope;
  rope.kind = *kind;
  rope.factor = number(reader, dictionary, "factor", std::nullopt);
  if (rope.kind != RopeKind::llama3) return rope;
  rope.low_freq_factor = number(reader, dictionary, "low_freq_factor", std::nullopt);
  rope.high_freq_factor = number(reader, dictionary, "high_freq_factor", std::nullopt);
  rope.original_max_positions = original_positions(reader, dictionary, max_positions);
  if (rope.high_freq_factor <= rope.low_freq_factor) {
    reader.mistake(dictionary.key + ".high_freq_factor", fmt::format("must be above low_freq_factor {}, got {}",
                                                                     rope.low_freq_factor, rope.high_freq_factor));
  }
  return rope;
}

}  // namespace prentice
