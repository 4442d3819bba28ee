// Which linear layers an adapter sits on, by PEFT's rules. Separate because recipes and PEFT folders state it in the
// same words.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "adapter/pattern.h"
#include "model/model.h"

namespace prentice {

// Whole module names or their last parts ("q_proj", "self_attn.q_proj"), or one expression over the whole name.
struct NameRule {
  std::vector<std::string> names;
  std::optional<Pattern> pattern;
  bool matches(const std::string& module) const;
};

struct TargetRule {
  bool all_linear = false;  // every linear layer but the head
  NameRule targets;
  NameRule excluded;
  std::vector<int64_t> layers;              // of named targets; empty = all
  std::vector<std::string> layer_prefixes;  // what stands before the layer's number; empty = anything
  bool matches(const std::string& module, bool is_head) const;
};

// PEFT's reading of a word list: "all-linear", or names.
TargetRule target_rule(const std::vector<std::string>& names);
// PEFT's reading of one string: "all-linear", or an expression.
TargetRule target_rule(const std::string& expression);

// Number of the layer in "model.layers.12.self_attn.q_proj": the first part that is a number, from the third part on
// (or behind one of `prefixes`). nullopt when there is none.
std::optional<int64_t> layer_of(const std::string& module, const std::vector<std::string>& prefixes);

// rank_pattern, alpha_pattern: an expression over the end of the module name and its value; the first match wins.
template <class T>
using EndPatterns = std::vector<std::pair<std::string, T>>;

Pattern end_pattern(const std::string& key);  // (.*\.)?(key)$

template <class T>
T value_for(const std::string& module, const EndPatterns<T>& patterns, T otherwise) {
  for (const auto& [key, value] : patterns) {
    if (end_pattern(key).matches(module)) return value;
  }
  return otherwise;
}

// Names of the embedding and, in module order, of the linear layers: all that an adapter can sit on.
std::vector<std::string> adaptable_names(const Model&);
// The last parts of these names, each once, in order: what a user may write as a target.
std::vector<std::string> last_parts(const std::vector<std::string>& modules);

}  // namespace prentice
