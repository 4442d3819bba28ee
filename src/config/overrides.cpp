// Files and words to one Node: `extends`, overrides of the command line, the kind.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "config/address.h"
#include "config/pipeline.h"
#include "config/preference_rules.h"
#include "config/read.h"
#include "config/yaml.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

const Position kTyped{std::string(kCommandLine), 0, 0};

bool is_word(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isalnum(c) || c == '_' || c == '-'; });
}

struct Override {
  std::string step;  // "" = the recipe itself
  std::string key;   // section.key or section.key.name
  std::string value;
};

std::optional<Override> parse_override(std::string_view word) {
  const size_t equals = word.find('=');
  if (equals == word.npos) return std::nullopt;
  std::string_view key = word.substr(0, equals);
  Override parsed{.value = std::string(word.substr(equals + 1))};
  if (const size_t colon = key.find(':'); colon != key.npos && is_word(key.substr(0, colon))) {
    parsed.step = key.substr(0, colon);
    key.remove_prefix(colon + 1);
  }
  const size_t dot = key.find('.');
  if (dot == key.npos || !is_word(key.substr(0, dot)) ||
      !is_word(key.substr(dot + 1, key.find('.', dot + 1) - dot - 1))) {
    return std::nullopt;
  }
  parsed.key = key;
  return parsed;
}

// Whether the quote that opens the text is closed by its last character and not before: '' and \" stand for themselves.
bool is_one_quotation(std::string_view text) {
  const char quote = text.front();
  size_t at = 1;
  for (; at < text.size(); ++at) {
    const bool doubled = quote == '\'' && text.substr(at).starts_with("''");
    if (text[at] == quote && !doubled) break;
    if (doubled || (quote == '"' && text[at] == '\\')) ++at;
  }
  return at + 1 == text.size();
}

// A value in quotes is the text that YAML reads in them; any other stands for itself, and the key's type parses it.
Node typed_value(const Override& parsed) {
  const std::string& text = parsed.value;
  const bool quoted = text.size() > 1 && (text[0] == '"' || text[0] == '\'') && text.back() == text[0];
  if (!quoted) return Node::scalar(text, false, kTyped);
  if (!is_one_quotation(text)) {
    fail_at(kTyped, fmt::format("{}: the quote that opens {} is closed before its end", parsed.key, text),
            text[0] == '"' ? "write \\\" for a quote in the text" : "write '' for a quote in the text");
  }
  const Node value = parse_yaml(text, fmt::format("{}: {}", kCommandLine, parsed.key));
  return Node::scalar(value.text(), true, kTyped);
}

// The step's `set` map, made when it is not there.
void override_step(Node& recipe, const Override& parsed) {
  Node* section = recipe.find("pipeline");
  Node* steps = section ? section->find("steps") : nullptr;
  std::vector<std::string> names;
  std::vector<Node> none;
  for (Node& step : steps && steps->is_list() ? steps->items() : none) {
    const Node* file = step.is_map() ? step.find("recipe") : &step;
    const Node* name = step.find("name");
    names.push_back(name ? name->text() : file ? fs::path(file->text()).stem().string() : "");
    if (names.back() != parsed.step) continue;
    if (step.is_scalar()) {
      Node file = std::exchange(step, Node::map({}, step.position()));
      step.set("recipe", std::move(file), step.position());
    }
    Node* set = step.find("set");
    if (!set || !set->is_map()) set = &step.set("set", Node::map({}, kTyped), kTyped);
    set->set(parsed.key, typed_value(parsed), kTyped);
    return;
  }
  const std::string near = closest_match(parsed.step, names);
  fail_at(kTyped, fmt::format("{}:{}: no step is called {}", parsed.step, parsed.key, parsed.step),
          near.empty() ? "" : "did you mean " + near + "?");
}

// The first key is `recipe:`; `extends:` stands first or second.
void check_first_keys(const Node& root) {
  if (root.is_null())
    fail_at({root.position().file, 1, 1}, "the recipe is empty",
            "its first key is `recipe:`, for instance `recipe: sft`");
  if (!root.is_map())
    fail_at(root.position(), "expected a recipe, got " + root.described(), "its first key is `recipe:`");
  const auto& members = root.members();
  const size_t first = members.front().key == "extends" ? 1 : 0;
  if (members.size() <= first || members[first].key != "recipe") {
    fail_at(members[std::min(first, members.size() - 1)].position,
            fmt::format("the first key is `recipe:`, got `{}`", members[std::min(first, members.size() - 1)].key),
            "for instance `recipe: sft`");
  }
  for (size_t i = 2; i < members.size(); ++i) {
    if (members[i].key == "extends") fail_at(members[i].position, "`extends` is the first or second key");
  }
}

// Keys of `over` win; `base` keeps what `over` does not say.
Node laid_over(const Node& base, const Node& over) {
  Node merged = over;
  for (const auto& section : base.members()) {
    if (section.key == "recipe") continue;
    Node* own = merged.find(section.key);
    if (!own || own->is_null()) {
      merged.set(section.key, section.value, section.position);
    } else if (own->is_map()) {
      for (const auto& member : section.value.members()) {
        if (!own->find(member.key)) own->set(member.key, member.value, member.position);
      }
    }
  }
  return merged;
}

Node without_extends(const Node& root) {
  Node out = Node::map({}, root.position());
  for (const auto& member : root.members()) {
    if (member.key != "extends") out.members().push_back(member);
  }
  return out;
}

}  // namespace

Node read_recipe_file(const std::string& file, const std::vector<std::string>& overrides) {
  const Node root = parse_recipe_file(file);
  check_first_keys(root);
  Node recipe = without_extends(root);
  if (const Node* extends = root.find("extends")) {
    const fs::path path = absolute_from(folder_of(extends->position()), extends->as_string());
    std::error_code error;
    if (!fs::is_regular_file(path, error)) fail_at(extends->position(), "extends: no such file: " + path.string());
    const Node base = parse_recipe_file(fs::proximate(path));
    check_first_keys(base);
    if (const Node* second = base.find("extends")) {
      fail_at(second->position(), "extends goes one level", "write the keys of that file here");
    }
    const std::string kind = recipe_kind(recipe), base_kind = recipe_kind(base);
    if (kind != base_kind)
      fail_at(extends->position(), fmt::format("expected a base of kind {}, got {}", kind, base_kind));
    recipe = laid_over(base, recipe);
  }
  for (const auto& word : overrides) apply_override(recipe, word);
  return recipe;
}

Node recipe_from_words(const std::string& kind, const std::vector<std::string>& overrides) {
  Node recipe = Node::map({}, kTyped);
  recipe.set("recipe", Node::scalar(kind, false, kTyped), kTyped);
  for (const auto& word : overrides) apply_override(recipe, word);
  return recipe;
}

bool is_override(std::string_view word) { return parse_override(word).has_value(); }

void apply_override(Node& recipe, std::string_view word) {
  const auto parsed = parse_override(word);
  if (!parsed) fail_at(kTyped, fmt::format("expected section.key=value, got {}", word));
  if (!parsed->step.empty()) return override_step(recipe, *parsed);
  set_key(recipe, parsed->key, typed_value(*parsed), kTyped);
}

std::string recipe_kind(const Node& recipe) {
  const Node* kind = recipe.find("recipe");
  if (!kind)
    fail_at(recipe.position(), "`recipe:` is missing", "the first key names the kind, for instance `recipe: sft`");
  if (!kind->is_scalar()) fail_at(kind->position(), "recipe: expected a kind, got " + kind->described());
  const std::string& word = kind->text();
  const auto& kinds = recipe_kinds();
  const std::string behind(kind_behind(word));
  if (std::find(kinds.begin(), kinds.end(), behind) != kinds.end()) return behind;
  const auto later = later_kinds();
  if (std::find(later.begin(), later.end(), word) != later.end()) {
    fail_at(kind->position(), fmt::format("recipe: {} is not in this version", word));
  }
  if (const std::string loss = words_for_loss(word); !loss.empty()) {
    fail_at(kind->position(), fmt::format("recipe: {} is no kind but a loss", word), "did you mean " + loss + "?");
  }
  std::vector<std::string> known = kinds;
  for (const auto& alias : kind_aliases()) known.emplace_back(alias.word);
  const std::string near = closest_match(word, known);
  std::string all;
  for (const auto& name : known) all += (all.empty() ? "" : ", ") + name;
  fail_at(kind->position(), "recipe: unknown kind " + word,
          near.empty() ? "kinds: " + all : "did you mean " + near + "?");
}

}  // namespace prentice
