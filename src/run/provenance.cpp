#include "run/provenance.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <functional>
#include <map>
#include <set>

#include "config/node.h"
#include "core/error.h"
#include "io/sha256.h"

namespace prentice {

namespace {

void flatten(const Node& node, const std::string& key, std::map<std::string, std::string>& values) {
  if (!node.is_map() || node.members().empty()) {
    values[key] = to_flow(node);
    return;
  }
  for (const auto& member : node.members())
    flatten(member.value, key.empty() ? member.key : key + "." + member.key, values);
}

// Where a run lies, how often it speaks and what it was planned for: no part of what it is.
bool is_about_the_run(const std::string& key) {
  return key == "run.out" || key == "run.log_every" || key.starts_with("plan.");
}

std::map<std::string, std::string> hashes_of(const std::vector<InputHash>& inputs) {
  std::map<std::string, std::string> hashes;
  for (const auto& input : inputs) hashes[input.key] = input.sha256;
  return hashes;
}

// Inputs below a recipe key: data.train[0] and data.train[1] belong to data.train.
std::map<std::string, std::string> below(const std::map<std::string, std::string>& hashes, const std::string& key) {
  std::map<std::string, std::string> found;
  for (const auto& [name, hash] : hashes) {
    if (name == key || name.starts_with(key + "[") || name.starts_with(key + ".")) found[name] = hash;
  }
  return found;
}

std::string or_absent(const std::map<std::string, std::string>& values, const std::string& key) {
  const auto found = values.find(key);
  return found == values.end() ? "absent" : found->second;
}

std::set<std::string> keys_of(const std::map<std::string, std::string>& a,
                              const std::map<std::string, std::string>& b) {
  std::set<std::string> keys;
  for (const auto& [key, value] : a) keys.insert(key);
  for (const auto& [key, value] : b) keys.insert(key);
  return keys;
}

void compare(const std::map<std::string, std::string>& before, const std::map<std::string, std::string>& now,
             const std::function<bool(const std::string&)>& excused, std::vector<std::string>& found) {
  for (const auto& key : keys_of(before, now)) {
    const auto was = or_absent(before, key), is = or_absent(now, key);
    if (was != is && !excused(key)) found.push_back(fmt::format("{}: {} (now {})", key, was, is));
  }
}

}  // namespace

std::map<std::string, std::string> deciding_values(const std::string& recipe) {
  std::map<std::string, std::string> values;
  if (!recipe.empty()) flatten(parse_yaml(recipe, "recipe.yaml"), "", values);
  std::erase_if(values, [](const auto& value) { return is_about_the_run(value.first); });
  return values;
}

std::string binary_sha256() { return cached_sha256_file("/proc/self/exe"); }

std::string recipe_sha256(const std::string& recipe) {
  Sha256 hash;
  for (const auto& [key, value] : deciding_values(recipe)) hash.update(key + "=" + value + "\n");
  return hash.hex();
}

Json to_json(const Provenance& provenance) {
  return Json::Object{{"config_sha256", recipe_sha256(provenance.recipe)},
                      {"data_order_sha256", provenance.order},
                      {"world_size", provenance.world_size},
                      {"threads", provenance.threads},
                      {"binary_sha256", provenance.binary},
                      {"inputs", to_json(provenance.inputs)}};
}

Provenance provenance_from(const Json& json, std::string recipe) {
  return {.recipe = std::move(recipe),
          .inputs = input_hashes_from(json.at("inputs")),
          .order = json.at("data_order_sha256").as_string(),
          .world_size = json.at("world_size").as_integer(),
          .threads = json.at("threads").as_integer(),
          .binary = json.at("binary_sha256").as_string()};
}

std::vector<std::string> differences(const Provenance& before, const Provenance& now) {
  std::vector<std::string> found;
  const auto inputs_before = hashes_of(before.inputs), inputs_now = hashes_of(now.inputs);
  const auto only_moved = [&](const std::string& key) {
    const auto was = below(inputs_before, key);
    return !was.empty() && was == below(inputs_now, key);
  };
  compare(deciding_values(before.recipe), deciding_values(now.recipe), only_moved, found);
  if (!before.inputs.empty() && !now.inputs.empty()) {
    compare(
        inputs_before, inputs_now, [](const std::string&) { return false; }, found);
  }
  if (!before.order.empty() && !now.order.empty() && before.order != now.order) {
    found.push_back(fmt::format("the training rows and their order: {} (now {})", before.order, now.order));
  }
  if (before.world_size != now.world_size) {
    found.push_back(fmt::format("world size: {} (now {})", before.world_size, now.world_size));
  }
  if (before.threads > 0 && now.threads > 0 && before.threads != now.threads) {
    found.push_back(fmt::format("threads: {} (now {})", before.threads, now.threads));
  }
  return found;
}

void require_same(const Provenance& before, const Provenance& now, const std::string& what) {
  const auto found = differences(before, now);
  if (found.empty()) return;
  fail(ExitCode::usage, fmt::format("{} was made with other values: {}", what, fmt::join(found, "; ")),
       "put them back to continue it, choose another run.out, or pass --fresh to move it aside");
}

}  // namespace prentice
