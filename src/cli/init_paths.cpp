#include "cli/init_paths.h"

#include <algorithm>
#include <string>

#include "config/address.h"
#include "config/bind.h"
#include "config/values.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

std::string relative_to(const fs::path& folder, const std::string& path) {
  return fs::absolute(path).lexically_normal().lexically_relative(folder).string();
}

// Part by part; a name stays a name.
std::string respelled_address(const fs::path& folder, const std::string& text) {
  const Address typed = parse_address(fs::current_path(), text);
  const bool is_path = fs::path(absolute_address(fs::current_path(), typed.path)).is_absolute();
  std::string spelled = is_path && fs::path(typed.path).is_relative() ? relative_to(folder, typed.path) : typed.path;
  if (!typed.checkpoint.empty()) spelled.append("@").append(typed.checkpoint);
  if (!typed.adapter.empty()) spelled.append(1, '+').append(respelled_address(folder, typed.adapter));
  return spelled;
}

std::string respelled(PathKind kind, const fs::path& folder, const std::string& text) {
  if (text.empty() || text.starts_with("~/")) return text;
  const bool may_be_word = kind == PathKind::if_path || kind == PathKind::if_adapter || kind == PathKind::if_address;
  if (may_be_word && !address_exists(text, {})) return text;
  if (names_artifact(kind)) return respelled_address(folder, text);
  return fs::path(text).is_absolute() ? text : relative_to(folder, text);
}

Node respelled(PathKind kind, const fs::path& folder, const Node& typed, const std::string& key) {
  Node value = unfolded(typed, key);
  if (value.is_scalar()) {
    const std::string text = respelled(kind, folder, value.text());
    const bool is_file = kind == PathKind::input || text != value.text();
    return Node::scalar(text, value.quoted() || is_file, value.position());
  }
  for (auto& item : value.items()) item = respelled(kind, folder, item, key);
  if (const Node* path = value.find("path")) value.set("path", respelled(kind, folder, *path, key));
  return value;
}

// Whether values of this JSON schema may be lists or maps.
bool may_be_nested(const Json& schema) {
  if (const Json* choices = schema.find("anyOf")) return std::ranges::any_of(choices->as_array(), may_be_nested);
  const Json* type = schema.find("type");
  return type && (*type == Json("array") || *type == Json("object"));
}

}  // namespace

void respell_paths(Node& recipe, const fs::path& folder) {
  for (auto& section : recipe.members()) {
    if (!section.value.is_map()) continue;
    for (auto& member : section.value.members()) {
      const std::string key = section.key + "." + member.key;
      const PathKind kind = path_kind(key);
      if (kind == PathKind::none || kind == PathKind::output) continue;
      member.value = respelled(kind, fs::absolute(folder).lexically_normal(), member.value, key);
    }
  }
}

void unfold_words(Node& recipe, const std::string& kind) {
  for (const auto& doc : describe_fields(kind)) {
    Node* section = recipe.find(doc.section);
    Node* value = section && section->is_map() ? section->find(doc.key) : nullptr;
    if (value && may_be_nested(doc.schema)) *value = unfolded(*value, doc.name());
  }
}

}  // namespace prentice
