#include "proof/tokenizer_proof.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "core/error.h"
#include "core/utf8.h"
#include "io/file.h"
#include "io/json.h"
#include "proof/token_corpus.h"
#include "text/add_tokens.h"
#include "text/special_tokens.h"

namespace prentice {

namespace fs = std::filesystem;

namespace {

constexpr size_t kLongest = 48;
constexpr int32_t kTogether = 8;  // ids that are decoded at once

std::string shown(std::string_view text) { return Json(whole_characters(text, 0, kLongest)).dump(); }

std::string shown_or_none(const std::string& token) { return token.empty() ? "nothing" : shown(token); }

// tokenizer.json as the tokenizer stands: with the tokens that were added in training. nullopt: there is no such file.
std::optional<std::string> json_text(const Tokenizer& tokenizer) {
  const fs::path path = tokenizer.folder() / "tokenizer.json";
  if (!fs::is_directory(tokenizer.folder()) || !fs::exists(path)) return std::nullopt;
  auto changed = files_with_added_tokens(tokenizer);
  if (const auto own = changed.find("tokenizer.json"); own != changed.end()) return std::move(own->second);
  return read_text_file(path);
}

// A vocabulary in other hands may lack what nobody writes: with `holes`, an id that only one of the two knows is right.
std::string different_id(const Tokenizer& model, const Tokenizer& artifact, bool holes) {
  const auto ids = static_cast<int32_t>(std::max(model.vocab_size(), artifact.vocab_size()));
  for (int32_t id = 0; id < ids; ++id) {
    const std::string wanted = model.id_to_token(id), found = artifact.id_to_token(id);
    if (wanted == found || (holes && (wanted.empty() || found.empty()))) continue;
    return fmt::format("id {} is {}, and the model's is {}", id, shown_or_none(found), shown_or_none(wanted));
  }
  return "";
}

// A number or a text that may be written as what it is where nothing is said.
bool same_or_unsaid(const Json* a, const Json* b, const Json& unsaid) {
  const Json& wanted = a == nullptr || a->is_null() ? unsaid : *a;
  const Json& found = b == nullptr || b->is_null() ? unsaid : *b;
  if (wanted.is_number() && found.is_number()) return wanted.as_number() == found.as_number();
  return wanted == found;
}

std::string text_of(const Json* value) { return value == nullptr ? "not there" : value->dump(); }

std::string merge_text(const Json& merge) {
  if (!merge.is_array()) return merge.as_string();
  std::string text;
  for (const Json& part : merge.as_array()) text += (text.empty() ? "" : " ") + part.as_string();
  return text;
}

std::string different_merge(const Json& model, const Json& artifact) {
  const Json *own = model.find("merges"), *other = artifact.find("merges");
  if (own == nullptr && other == nullptr) return "";
  if (own == nullptr || other == nullptr) return "only one of the two has merges";
  const auto &wanted = own->as_array(), &found = other->as_array();
  for (size_t i = 0; i < std::min(wanted.size(), found.size()); ++i) {
    const std::string a = merge_text(wanted[i]), b = merge_text(found[i]);
    if (a != b) return fmt::format("merge {} is {}, and the model's is {}", i, shown(b), shown(a));
  }
  if (wanted.size() == found.size()) return "";
  return fmt::format("{} merges, the model has {}", found.size(), wanted.size());
}

// Of pieces by text, that each has the model's id: two of one id have one id_to_token. Of pieces with scores, that
// these are the model's.
std::string different_piece(const Json& model, const Json& artifact, const Tokenizer& tokenizer) {
  const Json &wanted = model.at("vocab"), &found = artifact.at("vocab");
  if (wanted.is_array() && found.is_array()) {
    const auto &own = wanted.as_array(), &other = found.as_array();
    for (size_t i = 0; i < std::min(own.size(), other.size()); ++i) {
      const auto &a = own[i].as_array(), &b = other[i].as_array();
      if (a.size() != 2 || b.size() != 2) fail(ExitCode::malformed, "a piece is not a text and a score");
      if (a[0] == b[0] && a[1].as_number() == b[1].as_number()) continue;
      return fmt::format("piece {} is {}, and the model's is {}", i, other[i].dump(), own[i].dump());
    }
    return "";
  }
  if (!wanted.is_object() || !found.is_object()) return "";
  std::unordered_map<std::string_view, int64_t> ids;
  for (const auto& [piece, id] : wanted.as_object()) ids.emplace(piece, id.as_integer());
  for (const auto& [piece, id] : found.as_object()) {
    const auto own = ids.find(piece);
    if (own != ids.end() ? own->second == id.as_integer() : tokenizer.token_to_id(piece) == id.as_integer()) continue;
    return fmt::format(
        "{} is id {}, and {}", shown(piece), id.as_integer(),
        own != ids.end() ? fmt::format("the model's is {}", own->second) : "the model has no such piece");
  }
  return "";
}

// Texts that the model's other files call special, which transformers writes into tokenizer.json when it saves again.
bool is_called_special(const TokenizerFiles& files, const std::string& token) {
  const auto is_it = [&](const Json& one) {
    const Json* content = one.is_object() ? one.find("content") : &one;
    return content != nullptr && *content == Json(token);
  };
  for (const Json* file : {&files.config, &files.special_map}) {
    for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
      const Json* list = file->find(key);
      if (list == nullptr) continue;
      if (list->is_array() && std::ranges::any_of(list->as_array(), is_it)) return true;
      if (list->is_object() &&
          std::ranges::any_of(list->as_object(), [&](const auto& one) { return is_it(one.second); }))
        return true;
    }
  }
  return false;
}

// Whether a decoder leaves the same tokens out. What transformers marks when it loads the model may be marked.
std::string different_special(const Json& model, const Json& artifact, const Tokenizer& tokenizer) {
  const Json *own = model.find("added_tokens"), *other = artifact.find("added_tokens");
  if (own == nullptr || other == nullptr || own->is_null() || other->is_null()) return "";
  std::unordered_map<int64_t, bool> wanted;
  const auto special = [](const Json& token) { return flag(token, "special", false); };
  for (const Json& token : own->as_array()) wanted.emplace(token.at("id").as_integer(), special(token));
  std::optional<TokenizerFiles> files;
  for (const Json& token : other->as_array()) {
    const auto at = wanted.find(token.at("id").as_integer());
    const bool found = special(token);
    if (at == wanted.end() || at->second == found) continue;
    if (tokenizer.is_special(static_cast<int32_t>(at->first)) == found) continue;
    if (!files) files = read_tokenizer_files(tokenizer.folder());
    const std::string& content = token.at("content").as_string();
    if (found && is_called_special(*files, content)) continue;
    return fmt::format("token {} ({}) is {}special, and the model's is {}", at->first, shown(content),
                       found ? "" : "not ", at->second ? "so" : "not");
  }
  return "";
}

// What no encoding shows for sure. Other kinds of models have been converted: texts decide.
std::string different_json(const Json& model, const Json& artifact, const Tokenizer& tokenizer) {
  const Json &own = model.at("model"), &other = artifact.at("model");
  if (const Json* dropout = other.find("dropout"); !same_or_unsaid(own.find("dropout"), dropout, Json(0))) {
    return fmt::format("dropout is {}, and the model's is {}", text_of(dropout), text_of(own.find("dropout")));
  }
  if (own.find("type") != nullptr && other.find("type") != nullptr && own.at("type") == other.at("type")) {
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (same_or_unsaid(own.find(key), other.find(key), Json(""))) continue;
      return fmt::format("{} is {}, and the model's is {}", key, text_of(other.find(key)), text_of(own.find(key)));
    }
    std::string different = different_piece(own, other, tokenizer);
    if (different.empty()) different = different_merge(own, other);
    if (!different.empty()) return different;
  }
  return different_special(model, artifact, tokenizer);
}

Check different_check(std::string name, const std::string& different, std::string detail) {
  return equal_check(std::move(name), different.empty(), different.empty() ? std::move(detail) : different);
}

// Every token's text, and what either of the two looks for in a text.
Check texts_of_tokens_check(const Tokenizer& model, const Tokenizer& artifact, int threads) {
  std::vector<std::string> texts = texts_of_added(artifact);
  for (int32_t id = 0; id < model.vocab_size(); ++id) texts.push_back(model.decode(std::span(&id, 1), false));
  const auto wanted = model.encode_batch(texts, false, false, threads);
  const auto found = artifact.encode_batch(texts, false, false, threads);
  const auto ids_text = [](const std::vector<int32_t>& ids) { return fmt::format("{}", fmt::join(ids, " ")); };
  std::string different;
  for (size_t i = 0; i < texts.size() && different.empty(); ++i) {
    if (wanted[i].ids == found[i].ids) continue;
    different =
        fmt::format("{}: expected {}, got {}", shown(texts[i]), whole_characters(ids_text(wanted[i].ids), 0, kLongest),
                    whole_characters(ids_text(found[i].ids), 0, kLongest));
  }
  return different_check("texts of tokens", different, fmt::format("{}", texts.size()));
}

Check decoded_check(const Tokenizer& model, const Tokenizer& artifact, int threads) {
  std::vector<std::vector<int32_t>> runs;
  for (auto& one : model.encode_batch(plain_texts(), true, false, threads)) runs.push_back(std::move(one.ids));
  for (int32_t id = 0; id < model.vocab_size(); id += kTogether) {
    runs.emplace_back();
    for (int32_t next = id; next < std::min<int64_t>(id + kTogether, model.vocab_size()); ++next)
      runs.back().push_back(next);
  }
  std::string different;
  for (const auto& ids : runs) {
    const std::string wanted = model.decode(ids, false), found = artifact.decode(ids, false);
    if (wanted == found || !different.empty()) continue;
    different =
        fmt::format("ids {} read {}, and the model's {}",
                    whole_characters(fmt::format("{}", fmt::join(ids, " ")), 0, kLongest), shown(found), shown(wanted));
  }
  return different_check("decoded texts", different, fmt::format("{}", runs.size()));
}

}  // namespace

std::vector<Check> tokenizer_checks(const Tokenizer& model, const Tokenizer& artifact, int threads) {
  const auto own = json_text(model), other = json_text(artifact);
  const bool both = own && other;
  std::vector<Check> checks = {
      different_check("ids of tokens", different_id(model, artifact, !both), fmt::format("{}", model.vocab_size()))};
  if (!both) return checks;
  if (*own == *other) {
    checks.push_back(equal_check("tokenizer.json", true, "byte for byte"));
    return checks;
  }
  const std::string different = with_context(ExitCode::model, (artifact.folder() / "tokenizer.json").string(), [&] {
    return different_json(Json::parse(*own), Json::parse(*other), model);
  });
  checks.push_back(different_check("tokenizer.json", different, "says the same"));
  if (!checks.front().passed || !checks.back().passed) return checks;
  checks.push_back(texts_of_tokens_check(model, artifact, threads));
  checks.push_back(decoded_check(model, artifact, threads));
  return checks;
}

}  // namespace prentice
