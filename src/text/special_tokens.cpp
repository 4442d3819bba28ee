#include "text/special_tokens.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "core/error.h"
#include "io/file.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

Json read_object(const fs::path& path) {
  if (!fs::exists(path)) return nullptr;
  return with_context(ExitCode::model, "", [&] {
    Json json = Json::parse_file(path);
    if (!json.is_object())
      fail(ExitCode::malformed, path.string() + ": expected an object, got " + std::string(json.kind()));
    return json;
  });
}

// A token is written as its text or as an object with `content`.
std::optional<std::string> token_text(const Json& value) {
  if (value.is_string()) return value.as_string();
  if (const Json* content = value.find("content"); content && content->is_string()) return content->as_string();
  return std::nullopt;
}

AddedToken read_added(int32_t id, const Json& entry) {
  bool special = flag(entry, "special", false);
  return {.id = id,
          .content = entry.at("content").as_string(),
          .special = special,
          .single_word = flag(entry, "single_word", false),
          .lstrip = flag(entry, "lstrip", false),
          .rstrip = flag(entry, "rstrip", false),
          .normalized = flag(entry, "normalized", !special)};
}

int32_t read_id(const std::string& text) {
  int32_t id = -1;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id < 0) {
    fail(ExitCode::malformed, "added_tokens_decoder: \"" + text + "\" is no token id");
  }
  return id;
}

// Every text that the special tokens map (or the config) names as special.
std::vector<std::string> special_texts(const TokenizerFiles& files) {
  std::vector<std::string> texts;
  for (const Json* file : {&files.config, &files.special_map}) {
    if (!file->is_object()) continue;
    for (const auto& [key, value] : file->as_object()) {
      bool one = key.size() > 6 && key.ends_with("_token");
      if (auto text = one ? token_text(value) : std::nullopt) texts.push_back(*text);
      if ((key != "additional_special_tokens" && key != "extra_special_tokens") || !value.is_array()) continue;
      for (const auto& item : value.as_array()) {
        if (auto text = token_text(item)) texts.push_back(*text);
      }
    }
  }
  return texts;
}

}  // namespace

bool flag(const Json& object, std::string_view key, bool fallback) {
  const Json* value = object.find(key);
  return value && !value->is_null() ? value->as_bool() : fallback;
}

TokenizerFiles read_tokenizer_files(const fs::path& folder) {
  return {.folder = folder,
          .config = read_object(folder / "tokenizer_config.json"),
          .special_map = read_object(folder / "special_tokens_map.json"),
          .added = read_object(folder / "added_tokens.json"),
          .model_config = read_object(folder / "config.json")};
}

std::vector<AddedToken> declared_added_tokens(const TokenizerFiles& files) {
  return with_context(ExitCode::model, (files.folder / "tokenizer_config.json").string(), [&] {
    std::vector<AddedToken> tokens;
    if (const Json* decoder = files.config.find("added_tokens_decoder"); decoder && decoder->is_object()) {
      for (const auto& [id, entry] : decoder->as_object()) tokens.push_back(read_added(read_id(id), entry));
    } else if (files.added.is_object()) {
      auto special = special_texts(files);
      for (const auto& [content, id] : files.added.as_object()) {
        bool is_special = std::ranges::count(special, content) > 0;
        int64_t number = id.as_integer();
        if (number < 0 || number > INT32_MAX) {
          fail(ExitCode::malformed, "added_tokens.json: " + std::to_string(number) + " is no token id");
        }
        tokens.push_back(
            {.id = static_cast<int32_t>(number), .content = content, .special = is_special, .normalized = !is_special});
      }
    }
    std::ranges::sort(tokens, {}, &AddedToken::id);
    return tokens;
  });
}

std::optional<std::optional<std::string>> declared_token(const TokenizerFiles& files, std::string_view key) {
  bool null_seen = false;
  for (const Json* file : {&files.config, &files.special_map}) {
    const Json* value = file->find(key);
    if (!value) continue;
    if (auto text = token_text(*value)) return text;
    null_seen = true;
  }
  if (null_seen) return std::optional<std::string>();
  return std::nullopt;
}

std::optional<FoundTemplate> read_chat_template(const TokenizerFiles& files) {
  auto path = files.folder / "chat_template.jinja";
  if (fs::exists(path)) return FoundTemplate{read_text_file(path, uint64_t{1} << 20), path};
  path = files.folder / "tokenizer_config.json";
  const Json* entry = files.config.find("chat_template");
  if (!entry || entry->is_null()) return std::nullopt;
  if (entry->is_string()) return FoundTemplate{entry->as_string(), path};
  return with_context(ExitCode::model, path.string() + ": chat_template", [&] {
    std::optional<FoundTemplate> found;
    for (const auto& named : entry->as_array()) {
      if (named.at("name").as_string() == "default") found = FoundTemplate{named.at("template").as_string(), path};
    }
    return found;
  });
}

std::map<std::string, std::string> read_named_templates(const TokenizerFiles& files) {
  std::map<std::string, std::string> found;
  const auto path = files.folder / "tokenizer_config.json";
  if (const Json* entry = files.config.find("chat_template"); entry && entry->is_array()) {
    with_context(ExitCode::model, path.string() + ": chat_template", [&] {
      for (const auto& named : entry->as_array())
        found[named.at("name").as_string()] = named.at("template").as_string();
    });
  }
  const auto more = files.folder / "additional_chat_templates";
  if (!fs::is_directory(more)) return found;
  for (const auto& file : fs::directory_iterator(more)) {
    if (file.path().extension() == ".jinja")
      found[file.path().stem().string()] = read_text_file(file.path(), uint64_t{1} << 20);
  }
  return found;
}

}  // namespace prentice
