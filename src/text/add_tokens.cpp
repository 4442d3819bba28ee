#include "text/add_tokens.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "text/special_tokens.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

Json properties(const AddedToken& token) {
  return Json::Object{{"content", token.content}, {"lstrip", token.lstrip},           {"normalized", token.normalized},
                      {"rstrip", token.rstrip},   {"single_word", token.single_word}, {"special", token.special}};
}

void add_to_tokenizer_json(Json& json, const std::vector<AddedToken>& tokens) {
  for (const auto& token : tokens) {
    Json entry = Json::Object{{"id", int64_t{token.id}}, {"content", token.content}, {"single_word", token.single_word},
                              {"lstrip", token.lstrip},  {"rstrip", token.rstrip},   {"normalized", token.normalized},
                              {"special", token.special}};
    json["added_tokens"].push_back(std::move(entry));
  }
}

// The list that is there grows. Where there is none it gets transformers 4's name, which 5 reads too: a list called
// extra_special_tokens, as 5 writes it, makes 4 fail.
void add_to_specials(Json& json, const std::vector<AddedToken>& tokens) {
  const Json* list = json.find("extra_special_tokens");
  const char* key = list && list->is_array() ? "extra_special_tokens" : "additional_special_tokens";
  if (json[key].is_null()) json[key] = Json::Array{};
  for (const auto& token : tokens) json[key].push_back(token.content);
}

void add_to_decoder(Json& config, const std::vector<AddedToken>& tokens) {
  if (config.is_null()) config = Json::Object{};
  if (config["added_tokens_decoder"].is_null()) config["added_tokens_decoder"] = Json::Object{};
  Json& decoder = config["added_tokens_decoder"];
  for (const auto& token : tokens) decoder[std::to_string(token.id)] = properties(token);
}

void add_to_ids(Json& added, const std::vector<AddedToken>& tokens) {
  if (added.is_null()) added = Json::Object{};
  for (const auto& token : tokens) added[token.content] = int64_t{token.id};
}

}  // namespace

TokenAdditions additions_to(const Tokenizer& tokenizer, const std::vector<std::string>& texts) {
  TokenAdditions additions;
  auto next = static_cast<int32_t>(tokenizer.vocab_size());
  for (const auto& text : texts) {
    const auto known = tokenizer.token_to_id(text);
    if (known) additions.in_vocabulary.push_back(text);
    if (std::ranges::count(tokenizer.added_tokens(), text, &AddedToken::content) > 0) continue;
    if (!known) additions.new_ids.push_back(next);
    additions.tokens.push_back({.id = known ? *known : next++, .content = text, .special = true});
  }
  return additions;
}

std::map<std::string, std::string> files_with_added_tokens(const Tokenizer& tokenizer) {
  const auto& tokens = tokenizer.more_tokens();
  std::map<std::string, std::string> texts;
  if (tokens.empty()) return texts;
  TokenizerFiles files = read_tokenizer_files(tokenizer.folder());
  const fs::path path = files.folder / "tokenizer.json";
  const bool has_json = fs::exists(path);
  return with_context(ExitCode::model, files.folder.string(), [&] {
    if (has_json) {
      Json json = Json::parse_file(path);
      add_to_tokenizer_json(json, tokens);
      texts["tokenizer.json"] = json.dump(2) + "\n";
    }
    auto declared = declared_added_tokens(files);
    declared.insert(declared.end(), tokens.begin(), tokens.end());
    const Json* decoder = files.config.find("added_tokens_decoder");
    if (!has_json || (decoder && decoder->is_object())) add_to_decoder(files.config, declared);
    if (!has_json || files.config.is_object()) {
      add_to_specials(files.config, tokens);
      texts["tokenizer_config.json"] = files.config.dump(2) + "\n";
    }
    if (files.special_map.is_object()) {
      add_to_specials(files.special_map, tokens);
      texts["special_tokens_map.json"] = files.special_map.dump(2) + "\n";
    }
    if (!has_json || files.added.is_object()) {
      add_to_ids(files.added, declared);
      texts["added_tokens.json"] = files.added.dump(2) + "\n";
    }
    return texts;
  });
}

}  // namespace prentice
