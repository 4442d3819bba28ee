// The files beside a tokenizer: which tokens begin and end a text, which were added, and the chat template.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"
#include "text/tokenizer.h"

namespace prentice {

// tokenizer_config.json, special_tokens_map.json, added_tokens.json and config.json; null where a file is missing.
struct TokenizerFiles {
  std::filesystem::path folder;
  Json config, special_map, added, model_config;
};

// Errors: `model` when a file is no JSON object.
TokenizerFiles read_tokenizer_files(const std::filesystem::path& folder);

// Tokens by id: added_tokens_decoder, else added_tokens.json with what special_tokens_map.json calls special.
std::vector<AddedToken> declared_added_tokens(const TokenizerFiles& files);

// "bos_token" and its like: the text, from tokenizer_config.json, then special_tokens_map.json. An inner nullopt is
// an explicit null: there is none. The outer nullopt: neither file says.
std::optional<std::optional<std::string>> declared_token(const TokenizerFiles& files, std::string_view key);

struct FoundTemplate {
  std::string source;
  std::filesystem::path file;
};
// chat_template.jinja, else chat_template in tokenizer_config.json (of several the one named "default").
std::optional<FoundTemplate> read_chat_template(const TokenizerFiles& files);
// Templates for single uses, such as "tool_use", by name: additional_chat_templates/NAME.jinja, and those of a list in
// tokenizer_config.json.
std::map<std::string, std::string> read_named_templates(const TokenizerFiles& files);

// A member that is true or false; `fallback` when absent or null. Errors: `malformed`.
bool flag(const Json& object, std::string_view key, bool fallback);

}  // namespace prentice
