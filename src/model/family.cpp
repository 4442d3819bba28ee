#include "model/family.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "config/configs.h"
#include "config/node.h"
#include "core/error.h"

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

Family read_family(const Node& node) {
  Family family;
  for (const auto& [key, position, value] : node.members()) {
    if (key == "architecture") {
      family.architecture = value.as_string();
    } else if (key == "model_type") {
      family.model_type = value.as_string();
    } else if (key == "defaults") {
      for (const auto& member : value.members()) family.defaults[member.key] = to_json(member.value);
    } else if (key == "bias") {
      family.qkv_bias = read_switch(value.at("qkv"));
      family.o_bias = read_switch(value.at("o"));
      family.mlp_bias = read_switch(value.at("mlp"));
    } else if (key == "window") {
      FamilyWindow& window = family.window.emplace();
      if (const Node* enabled_by = value.find("enabled_by")) window.enabled_by = enabled_by->as_string();
      const Node& from = value.at("from_layer");
      const auto layer = parse_integer(from.as_string());
      layer ? window.from_layer = *layer : (window.from_layer_key = from.as_string(), 0);
    } else if (key == "ignorable_tensors") {
      family.ignorable_tensors = value.as_strings();
    } else if (key == "gguf") {
      family.gguf = {.architecture = value.at("architecture").as_string(),
                     .permute_qk = value.at("permute_qk").as_bool()};
    } else {
      fail_at(position, "unknown key '" + key + "' in a model family");
    }
  }
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
    if (architecture.empty() ? family.model_type == model_type : family.architecture == architecture) return family;
    supported.push_back(family.architecture);
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

}  // namespace prentice
