#include "config/explain.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/word_list.h"

namespace prentice {

namespace {

struct Topic {
  std::string kind, section, key;
};

std::vector<std::string> split_at_dots(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == '.') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

[[noreturn]] void unknown(std::string_view what, const std::string& word, const std::vector<std::string>& known) {
  const std::string near = closest_match(word, known);
  std::string all;
  for (const auto& name : known) all += (all.empty() ? "" : ", ") + name;
  fail(ExitCode::usage, fmt::format("explain: unknown {} {}", what, word),
       near.empty() ? "known: " + all : "did you mean " + near + "?");
}

Topic parse_topic(const std::string& text) {
  auto parts = split_at_dots(text);
  parts[0] = kind_behind(parts[0]);
  const auto later = later_kinds();
  if (std::find(later.begin(), later.end(), parts[0]) != later.end()) {
    fail(ExitCode::usage, fmt::format("explain: {} is not in this version", parts[0]));
  }
  const auto kinds = kinds_with_section(parts[0]);
  // eval.tasks, distill.weight: words that are a kind and a section alike
  const bool means_section = !holds(recipe_kinds(), parts[0]) ||
                             (!kinds.empty() && parts.size() == 2 && !holds(sections_of_kind(parts[0]), parts[1]));
  if (means_section) {
    if (kinds.empty()) unknown("kind", parts[0], recipe_kinds());
    parts.insert(parts.begin(), holds(kinds, "sft") ? "sft" : kinds.front());
  }
  parts.resize(3);
  return {parts[0], parts[1], parts[2]};
}

std::vector<FieldDoc> fields_of(const Topic& topic) {
  std::vector<FieldDoc> found;
  std::vector<std::string> keys;
  const auto sections = sections_of_kind(topic.kind);
  if (!topic.section.empty() && !holds(sections, topic.section)) unknown("section", topic.section, sections);
  for (auto& doc : describe_fields(topic.kind)) {
    if (!topic.section.empty() && doc.section != topic.section) continue;
    keys.push_back(doc.key);
    if (topic.key.empty() || doc.key == topic.key) found.push_back(std::move(doc));
  }
  if (found.empty()) unknown("key", topic.key, keys);
  return found;
}

std::string default_of(const FieldDoc& doc) {
  if (doc.type.empty()) return "";
  std::string text =
      doc.default_text == "\"\"" || doc.default_text == "[]" || doc.default_text == "{}" ? "none" : doc.default_text;
  if (!doc.full_default.empty()) text += fmt::format(" ({} with adapter.kind: full)", doc.full_default);
  return text;
}

std::string wrapped(const std::string& text, const std::string& indent) {
  constexpr size_t kWidth = 100;
  std::string out, line = indent;
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find(' ', at), text.size());
    if (line.size() > indent.size() && line.size() + 1 + end - at > kWidth) {
      out += line + '\n';
      line = indent;
    }
    if (line.size() > indent.size()) line += ' ';
    line += text.substr(at, end - at);
    at = end + 1;
  }
  return out + line + '\n';
}

std::string one_field(const FieldDoc& doc) {
  if (doc.type.empty()) return fmt::format("{}  (not in this version)\n{}", doc.name(), wrapped(doc.help, "  "));
  std::string out = fmt::format("{}: {}\n", doc.name(), doc.type) + wrapped(doc.help, "  ");
  if (doc.later) return out + "  not in this version\n";
  out += wrapped("default: " + default_of(doc), "  ");
  if (!doc.why.empty()) out += wrapped("why: " + doc.why, "  ");
  if (!doc.later_words.empty()) out += wrapped("not in this version: " + doc.later_words, "  ");
  std::string kinds;
  for (const auto& kind : kinds_with_section(doc.section)) {
    if (consumes(kind, doc.name())) kinds += (kinds.empty() ? "" : ", ") + kind;
  }
  return out + wrapped("kinds: " + kinds, "  ");
}

std::string field_table(const std::vector<FieldDoc>& docs, bool with_help) {
  std::string out, section;
  for (const auto& doc : docs) {
    if (doc.section != section) {
      section = doc.section;
      out += fmt::format("{}{}:\n", out.empty() ? "" : "\n", section);
    }
    const bool later = doc.type.empty() || doc.later;
    out += fmt::format("  {:<17} {}\n", doc.key, later ? "(not in this version)" : default_of(doc));
    if (with_help && !doc.type.empty()) out += wrapped(doc.help, "    ");
  }
  return out;
}

Json field_json(const FieldDoc& doc) {
  Json::Object object{{"key", doc.name()}, {"kind", doc.kind}, {"type", doc.type}, {"default", doc.default_text}};
  if (!doc.full_default.empty()) object.emplace_back("default_full", doc.full_default);
  object.emplace_back("help", doc.help);
  object.emplace_back("why", doc.why);
  object.emplace_back("in_this_version", !doc.later);
  return object;
}

Json section_schema(const std::vector<FieldDoc>& docs, const std::string& section) {
  Json::Object properties;
  for (const auto& doc : docs) {
    if (doc.section != section || doc.later) continue;
    Json schema = doc.schema;
    const std::string fallback = default_of(doc);
    schema["description"] = doc.help + (fallback == "none" ? "" : " (default: " + fallback + ")");
    properties.emplace_back(doc.key, std::move(schema));
  }
  return Json::Object{
      {"type", Json::Array{"object", "null"}}, {"properties", std::move(properties)}, {"additionalProperties", false}};
}

// The words after `recipe:` that name a kind.
Json::Object words_of_kind(const std::string& kind) {
  Json::Array words = {Json(kind)};
  for (const auto& alias : kind_aliases()) {
    if (alias.kind == kind) words.emplace_back(alias.word);
  }
  if (words.size() == 1) return {{"const", kind}};
  return {{"enum", std::move(words)}};
}

Json kind_schema(const std::string& kind) {
  const auto docs = describe_fields(kind);
  Json::Object recipe = words_of_kind(kind);
  recipe.emplace_back("description", std::string(describe_kind(kind)));
  Json::Object properties{
      {"recipe", std::move(recipe)},
      {"extends", Json::Object{{"type", "string"}, {"description", "a recipe that this one is laid over"}}}};
  for (const auto& section : sections_of_kind(kind)) properties.emplace_back(section, section_schema(docs, section));
  return Json::Object{{"type", "object"},
                      {"properties", std::move(properties)},
                      {"required", Json::Array{"recipe"}},
                      {"additionalProperties", false}};
}

}  // namespace

std::string explain(const std::string& text) {
  if (text.empty()) {
    std::string out = "A recipe is a YAML file whose first key is `recipe: KIND`. Kinds:\n\n";
    for (const auto& kind : recipe_kinds()) out += fmt::format("  {:<10} {}\n", kind, describe_kind(kind));
    for (const auto& alias : kind_aliases()) {
      out += fmt::format("  {:<10} {} with preference.loss: {}\n", alias.word, alias.kind, word_of(alias.loss));
    }
    return out +
           "\n`prentice explain KIND` lists its keys with their defaults; KIND.section and KIND.section.key say more.\n"
           "Every key can be set on the command line: section.key=value.\n"
           "`extends: base.yaml`, first or second key, lays a recipe over another of its kind.\n"
           "`--json-schema` prints a JSON schema for editors.\n";
  }
  const Topic topic = parse_topic(text);
  const auto docs = fields_of(topic);
  if (!topic.key.empty()) return one_field(docs.front());
  if (!topic.section.empty()) {
    std::string out;
    for (const auto& doc : docs) {
      if (!out.empty()) out += '\n';
      out += one_field(doc);
    }
    return out;
  }
  return fmt::format(
      "recipe: {}    {}\n\n{}\n`prentice explain {}.SECTION.KEY` says what a key does and why its default is what it "
      "is.\n",
      topic.kind, describe_kind(topic.kind), field_table(docs, false), topic.kind);
}

Json explain_json(const std::string& text) {
  Json::Array list;
  if (text.empty()) {
    for (const auto& kind : recipe_kinds()) {
      list.push_back(Json::Object{{"kind", kind}, {"help", std::string(describe_kind(kind))}});
    }
  } else {
    for (const auto& doc : fields_of(parse_topic(text))) list.push_back(field_json(doc));
  }
  return Json::Object{{"schema", 1}, {text.empty() ? "kinds" : "keys", std::move(list)}};
}

Json json_schema(const std::string& word) {
  const std::string kind(kind_behind(word));
  Json::Object schema{{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", "Prentice recipe"}};
  if (!kind.empty()) {
    if (!holds(recipe_kinds(), kind)) unknown("kind", kind, recipe_kinds());
    Json body = kind_schema(kind);
    for (auto& member : body.as_object()) schema.push_back(std::move(member));
    return schema;
  }
  Json::Array kinds, branches;
  Json::Object definitions;
  for (const auto& name : recipe_kinds()) {
    kinds.emplace_back(name);
    definitions.emplace_back(name, kind_schema(name));
    for (const auto& alias : kind_aliases()) {
      if (alias.kind == name) kinds.emplace_back(alias.word);
    }
    const Json condition = Json::Object{{"properties", Json::Object{{"recipe", Json(words_of_kind(name))}}}};
    branches.push_back(Json::Object{{"if", condition}, {"then", Json::Object{{"$ref", "#/$defs/" + name}}}});
  }
  schema.emplace_back("type", "object");
  schema.emplace_back("properties", Json::Object{{"recipe", Json::Object{{"enum", std::move(kinds)}}}});
  schema.emplace_back("required", Json::Array{"recipe"});
  schema.emplace_back("allOf", std::move(branches));
  schema.emplace_back("$defs", std::move(definitions));
  return schema;
}

}  // namespace prentice
