#include "adapter/targets.h"

#include <algorithm>

namespace prentice {

namespace {

bool ends_with_part(const std::string& module, const std::string& name) {
  return module == name || module.ends_with("." + name);
}

bool is_number(std::string_view part) {
  return !part.empty() && part.size() < 10 && part.find_first_not_of("0123456789") == std::string_view::npos;
}

std::vector<std::string_view> parts_of(std::string_view module) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= module.size();) {
    const size_t dot = std::min(module.find('.', begin), module.size());
    parts.push_back(module.substr(begin, dot - begin));
    begin = dot + 1;
  }
  return parts;
}

}  // namespace

bool NameRule::matches(const std::string& module) const {
  if (pattern) return pattern->matches(module);
  return std::ranges::any_of(names, [&](const auto& name) { return ends_with_part(module, name); });
}

bool TargetRule::matches(const std::string& module, bool is_head) const {
  if (excluded.matches(module)) return false;
  if (all_linear) {
    if (is_head) return false;
  } else if (!targets.matches(module)) {
    return false;
  }
  const bool named_whole = std::ranges::find(targets.names, module) != targets.names.end();
  if (layers.empty() || named_whole) return true;
  const auto layer = layer_of(module, layer_prefixes);
  return layer && std::ranges::find(layers, *layer) != layers.end();
}

TargetRule target_rule(const std::vector<std::string>& names) {
  TargetRule rule;
  if (names.size() == 1 && names[0] == "all-linear") {
    rule.all_linear = true;
  } else {
    rule.targets.names = names;
  }
  return rule;
}

TargetRule target_rule(const std::string& expression) {
  TargetRule rule;
  if (expression == "all-linear") {
    rule.all_linear = true;
  } else {
    rule.targets.pattern.emplace(expression);
  }
  return rule;
}

std::optional<int64_t> layer_of(const std::string& module, const std::vector<std::string>& prefixes) {
  const auto parts = parts_of(module);
  for (size_t i = prefixes.empty() ? 2 : 1; i + 1 < parts.size(); ++i) {
    if (!is_number(parts[i])) continue;
    const std::string before(module.data(), static_cast<size_t>(parts[i].data() - module.data()) - 1);
    const bool fits = prefixes.empty() ||
                      std::ranges::any_of(prefixes, [&](const auto& prefix) { return ends_with_part(before, prefix); });
    if (fits) return std::stoll(std::string(parts[i]));
  }
  return std::nullopt;
}

Pattern end_pattern(const std::string& key) { return Pattern("(.*\\.)?(" + key + ")$"); }

std::vector<std::string> adaptable_names(const Model& model) {
  std::vector<std::string> names = {model.spec.names.embed};
  visit_linears(model, [&](const Linear& linear) { names.push_back(linear.name); });
  return names;
}

std::vector<std::string> last_parts(const std::vector<std::string>& modules) {
  std::vector<std::string> parts;
  for (const auto& module : modules) {
    const std::string last(parts_of(module).back());
    if (std::ranges::find(parts, last) == parts.end()) parts.push_back(last);
  }
  return parts;
}

}  // namespace prentice
