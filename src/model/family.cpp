#include "model/family.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <set>

#include "config/configs.h"
#include "config/node.h"
#include "core/error.h"
#include "core/word_list.h"

namespace prentice {

namespace {

constexpr std::string_view kFolder = "families/";

Json to_json(const Node& scalar) {
  const std::string& text = scalar.text();
  if (const auto value = parse_bool(text)) return *value;
  if (const auto value = parse_integer(text)) return *value;
  if (const auto value = parse_number(text)) return *value;
  return text;
}

FamilySwitch read_switch(const Node& node) {
  if (const auto value = parse_bool(node.as_string())) return {.value = *value};
  return {.key = node.as_string()};
}

// Calls the reader that the table has for each key of a map.
void read_members(const Node& node, const std::map<std::string_view, std::function<void(const Node&)>>& readers) {
  for (const auto& [key, position, value] : node.members()) {
    const auto reader = readers.find(key);
    if (reader == readers.end()) fail_at(position, "unknown key '" + key + "' in a model family");
    reader->second(value);
  }
}

auto into(std::string& text) {
  return [&text](const Node& node) { text = node.as_string(); };
}
auto into(std::vector<std::string>& list) {
  return [&list](const Node& node) { list = node.as_strings(); };
}
auto into(bool& flag) {
  return [&flag](const Node& node) { flag = node.as_bool(); };
}
auto into(FamilySwitch& choice) {
  return [&choice](const Node& node) { choice = read_switch(node); };
}
auto into(NormKind& kind) {
  return [&kind](const Node& node) {
    if (node.as_string() != "rms" && node.as_string() != "layer") fail_at(node.position(), "expected rms or layer");
    kind = node.as_string() == "rms" ? NormKind::rms : NormKind::layer;
  };
}
auto into(std::map<std::string, std::string>& words) {
  return [&words](const Node& node) {
    for (const auto& member : node.members()) words[member.key] = member.value.as_string();
  };
}
// A number, or the key that holds it.
auto into(int64_t& number, std::string& key) {
  return [&](const Node& node) {
    const auto value = parse_integer(node.as_string());
    value ? number = *value : (key = node.as_string(), 0);
  };
}

void read_norm(const Node& node, Family& family) {
  read_members(node, {{"kind", into(family.norm)},
                      {"eps", into(family.norm_eps)},
                      {"offset", [&](const Node& value) { family.norm_offset = value.as_number(); }}});
}

void read_head_norm(const Node& node, Family& family) {
  HeadNormSpec& norm = family.head_norm.emplace();
  read_members(node, {{"enabled", into(family.head_norm_switch)},
                      {"kind", into(norm.kind)},
                      {"bias", into(norm.bias)},
                      {"each_head", into(norm.each_head)}});
}

void read_window(const Node& node, Family& family) {
  FamilyWindow& window = family.window.emplace();
  read_members(node, {{"enabled_by", into(window.enabled_by)},
                      {"from_layer", into(window.from_layer, window.from_layer_key)},
                      {"full_every", into(window.full_every, window.full_every_key)},
                      {"layer_types", into(window.listed)}});
}

void read_names(const Node& node, ModuleNames& names) {
  read_members(node, {{"embed", into(names.embed)},
                      {"layers", into(names.layers)},
                      {"final_norm", into(names.final_norm)},
                      {"head", into(names.head)},
                      {"qkv", into(names.qkv)},
                      {"o", into(names.o)},
                      {"gate_up", into(names.gate_up)},
                      {"down", into(names.down)},
                      {"input_norm", into(names.input_norm)},
                      {"mlp_norm", into(names.mlp_norm)},
                      {"attention_output_norm", into(names.attention_output_norm)},
                      {"mlp_output_norm", into(names.mlp_output_norm)},
                      {"query_norm", into(names.query_norm)},
                      {"key_norm", into(names.key_norm)},
                      {"stored_prefixes", into(names.stored_prefixes)}});
}

void read_arithmetic(const Node& node, Family& family) {
  read_members(node, {{"parallel", into(family.parallel)},
                      {"gated_mlp", into(family.gated_mlp)},
                      {"activation", into(family.activation)},
                      {"activation_aliases", into(family.activation_aliases)},
                      {"embed_scale_is_sqrt_hidden", into(family.embed_scale_is_sqrt_hidden)},
                      {"attention_scale", into(family.attention_scale)},
                      {"attention_softcap", into(family.attention_softcap)},
                      {"final_softcap", into(family.final_softcap)}});
}

void read_bias(const Node& node, Family& family) {
  read_members(node, {{"qkv", into(family.qkv_bias)},
                      {"o", into(family.o_bias)},
                      {"mlp", into(family.mlp_bias)},
                      {"head", into(family.head_bias)}});
}

void read_rope(const Node& node, FamilyRope& rope) {
  read_members(
      node,
      {{"partial", into(rope.partial)}, {"aliases", into(rope.aliases)}, {"local_theta", into(rope.local_theta)}});
}

// After the family's own names, of which it changes some.
void read_nesting(const Node& node, Family& family) {
  FamilyNesting& nesting = family.nesting.emplace();
  nesting.names = family.names;
  read_members(node, {{"section", into(nesting.section)},
                      {"names", [&](const Node& value) { read_names(value, nesting.names); }},
                      {"ignorable_tensors", into(nesting.ignorable_tensors)}});
}

void read_gguf(const Node& node, GgufSpec& gguf) {
  read_members(
      node, {{"architecture", into(gguf.architecture)},
             {"permute_qk", into(gguf.permute_qk)},
             {"gelu_tanh",
              [&](const Node& value) { gguf.activation = value.as_bool() ? Activation::gelu_tanh : Activation::silu; }},
             {"mean_scale_layers",
              [&](const Node& value) { gguf.mean_scale_layers = static_cast<int64_t>(value.as_number()); }},
             {"may", into(gguf.may)},
             {"always", into(gguf.always)}});
}

Family read_family(const Node& node) {
  Family family;
  const auto values = [](auto& list) {
    return [&list](const Node& map) {
      for (const auto& member : map.members()) list.insert(list.end(), std::pair{member.key, to_json(member.value)});
    };
  };
  read_members(node, {{"architectures", into(family.architectures)},
                      {"model_types", into(family.model_types)},
                      {"classifiers", into(family.classifiers)},
                      {"defaults", values(family.defaults)},
                      {"required", values(family.required)},
                      {"ignored_keys", into(family.ignored_keys)},
                      {"norm", [&](const Node& value) { read_norm(value, family); }},
                      {"head_norm", [&](const Node& value) { read_head_norm(value, family); }},
                      {"block", [&](const Node& value) { read_arithmetic(value, family); }},
                      {"bias", [&](const Node& value) { read_bias(value, family); }},
                      {"rope", [&](const Node& value) { read_rope(value, family.rope); }},
                      {"window", [&](const Node& value) { read_window(value, family); }},
                      {"names", [&](const Node& value) { read_names(value, family.names); }},
                      {"ignorable_tensors", into(family.ignorable_tensors)},
                      {"nested", [](const Node&) {}},
                      {"gguf", [&](const Node& value) { read_gguf(value, family.gguf); }}});
  if (const Node* nested = node.find("nested")) read_nesting(*nested, family);
  return family;
}

std::string text_at(const Json& config, std::string_view key) {
  const Json* value = config.find(key);
  return value && value->is_string() ? value->as_string() : "";
}

std::string architecture_of(const Json& config) {
  const Json* list = config.find("architectures");
  if (!list || !list->is_array() || list->as_array().empty()) return "";
  const Json& first = list->as_array()[0];
  return first.is_string() ? first.as_string() : "";
}

}  // namespace

Family find_family(const Json& config) {
  const std::string architecture = architecture_of(config), model_type = text_at(config, "model_type");
  std::vector<std::string> supported;
  for (const std::string& path : list_configs(kFolder)) {
    Family family = read_family(parse_yaml(read_config(path).value(), path));
    if (architecture.empty() ? holds(family.model_types, model_type)
                             : holds(family.architectures, architecture) || holds(family.classifiers, architecture)) {
      return family;
    }
    supported.insert(supported.end(), family.architectures.begin(), family.architectures.end());
  }
  if (architecture.empty() && model_type.empty()) {
    fail(ExitCode::model, "config.json names neither `architectures` nor `model_type`",
         "is this a causal language model?");
  }
  fail(ExitCode::model,
       architecture.empty() ? fmt::format("config.json: model_type: {} is not supported", model_type)
                            : fmt::format("config.json: architectures: {} is not supported", architecture),
       fmt::format("supported: {}", fmt::join(supported, ", ")));
}

Family find_gguf_family(const std::string& architecture) {
  std::set<std::string> supported;
  for (const std::string& path : list_configs(kFolder)) {
    Family family = read_family(parse_yaml(read_config(path).value(), path));
    if (family.gguf.architecture == architecture) return family;
    if (!family.gguf.architecture.empty()) supported.insert(family.gguf.architecture);
  }
  fail(ExitCode::model, fmt::format("general.architecture: {} is not supported", architecture),
       fmt::format("supported: {}", fmt::join(supported, ", ")));
}

}  // namespace prentice
