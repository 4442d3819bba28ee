#include "proof/vocabulary_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <numeric>
#include <optional>

#include "core/error.h"
#include "io/gguf_values.h"
#include "io/json.h"
#include "text/gguf_ends.h"
#include "text/gguf_vocabulary.h"
#include "text/pre_tokenizer.h"
#include "text/special_tokens.h"

namespace prentice {

namespace {

bool is_added(TokenType type) {
  return type == TokenType::control || type == TokenType::user_defined || type == TokenType::unknown;
}

// Rows without a token, to which writers give names of their own.
bool is_padding(const TokenizerTables& wanted, size_t id) {
  return wanted.types[id] == TokenType::unused && wanted.tokens[id].starts_with("[PAD");
}

// Whether a file may say `found` where ours says `wanted`: llama.cpp prints an ordinary token, keeps a control token to
// itself, and knows no text of an unused one, so that a wrong type takes words out of what is served. Converters
// differ in these alone:
// - the token of what is unknown, which is of its own type or a control token;
// - SentencePiece: all of added_tokens.json is user-defined, and a piece that the model never makes is unused, or a
//   piece as others to who reads tokenizer.json;
// - byte-level BPE: a token that is not special and looks so is a control token, or user-defined.
// A token that is not special and does not look so is never a control token, as its text would not be served.
bool may_be(const Tokenizer& tokenizer, const TokenizerTables& wanted, size_t id, TokenType found) {
  const TokenType own = wanted.types[id];
  if (own == found) return true;
  if (own == TokenType::unused) return !wanted.is_bpe && !is_padding(wanted, id) && found == TokenType::normal;
  if (!is_added(own) || !is_added(found)) return false;
  const auto other_of = [&](TokenType a, TokenType b) { return (own == a && found == b) || (own == b && found == a); };
  if (static_cast<int32_t>(id) == tokenizer.unk_id() && other_of(TokenType::unknown, TokenType::control)) return true;
  if (found != TokenType::user_defined) return false;
  return !wanted.is_bpe || !tokenizer.is_special(static_cast<int32_t>(id));
}

Check tokens_check(const TokenizerTables& wanted, const GgufTokens& found) {
  if (found.tokens.size() != wanted.tokens.size()) {
    return equal_check("token list", false,
                       fmt::format("expected {} tokens, got {}", wanted.tokens.size(), found.tokens.size()));
  }
  for (size_t id = 0; id < wanted.tokens.size(); ++id) {
    const bool harmless = is_padding(wanted, id) && !is_added(found.types[id]) && !ends_by_spelling(found.tokens[id]);
    if (wanted.tokens[id] == found.tokens[id] || harmless) continue;
    return equal_check("token list", false,
                       fmt::format("token {}: expected {}, got {}", id, Json(wanted.tokens[id]).dump(),
                                   Json(found.tokens[id]).dump()));
  }
  return equal_check("token list", true, fmt::format("{} tokens", found.tokens.size()));
}

Check types_check(const GgufReader& file, const Tokenizer& tokenizer, const TokenizerTables& wanted,
                  const GgufTokens& found) {
  // To llama.cpp a token of no type is no ordinary one, where a file has types.
  if (const GgufArray* types = gguf_list(file, "tokenizer.ggml.token_type")) {
    const auto given = types->integers();
    if (const auto none = std::ranges::find(given, 0); none != given.end())
      return equal_check("token types", false, fmt::format("token {} has type 0", none - given.begin()));
  }
  size_t others = 0, first = 0;
  for (size_t id = 0; id < wanted.types.size(); ++id) {
    if (may_be(tokenizer, wanted, id, found.types[id])) {
      if (wanted.types[id] != found.types[id] && others++ == 0) first = id;
      continue;
    }
    return equal_check("token types", false,
                       fmt::format("token {} ({}): expected type {}, got {}", id, Json(wanted.tokens[id]).dump(),
                                   static_cast<int>(wanted.types[id]), static_cast<int>(found.types[id])));
  }
  if (others == 0) return equal_check("token types", true, "");
  return equal_check("token types", true,
                     fmt::format("{} as another converter has them, token {} ({}) first: {} for {}", others, first,
                                 Json(wanted.tokens[first]).dump(), static_cast<int>(found.types[first]),
                                 static_cast<int>(wanted.types[first])));
}

Check merges_check(const TokenizerTables& wanted, const GgufTokens& found) {
  const auto apart = std::ranges::mismatch(wanted.merges, found.merges);
  const bool equal = apart.in1 == wanted.merges.end() && apart.in2 == found.merges.end();
  return equal_check("merges", equal,
                     equal ? fmt::format("{}", found.merges.size())
                           : fmt::format("differ from merge {} on", apart.in1 - wanted.merges.begin()));
}

// What counts is which of two pieces is joined first, or that the one further left is: scores of other writers are
// other numbers in the same order.
Check scores_check(const TokenizerTables& wanted, const GgufTokens& found) {
  std::vector<size_t> order;
  for (size_t id = 0; id < wanted.scores.size(); ++id) {
    if (wanted.types[id] == TokenType::normal) order.push_back(id);
  }
  std::ranges::stable_sort(order, std::greater<>(), [&](size_t id) { return wanted.scores[id]; });
  for (size_t i = 1; i < order.size(); ++i) {
    const size_t first = order[i - 1], second = order[i];
    const bool together = wanted.scores[first] == wanted.scores[second];
    if (together ? found.scores[first] == found.scores[second] : found.scores[first] > found.scores[second]) continue;
    return equal_check("scores", false,
                       fmt::format("{} is to be joined {} {}, and the file scores {} and {}",
                                   Json(wanted.tokens[first]).dump(), together ? "as late as" : "before",
                                   Json(wanted.tokens[second]).dump(), found.scores[first], found.scores[second]));
  }
  return equal_check("scores", true, "in the same order");
}

const GgufValue* find(const std::vector<GgufEntry>& entries, const std::string& key) {
  const auto found = std::ranges::find(entries, key, &GgufEntry::key);
  return found == entries.end() ? nullptr : &found->value;
}

template <class T>
std::optional<T> value_of(const std::vector<GgufEntry>& entries, const char* key) {
  const GgufValue* value = find(entries, std::string("tokenizer.ggml.") + key);
  return value ? std::optional(std::get<T>(*value)) : std::nullopt;
}

// Two names for one rule are the same rule.
Check pre_check(const std::string& wanted, const GgufTokens& found) {
  const auto* own = find_gguf_pre_tokenizer(wanted);
  const auto* other = find_gguf_pre_tokenizer(found.pre);
  const bool same = own && other && own->patterns == other->patterns && own->ignore_merges == other->ignore_merges;
  const bool equal = found.model == "llama" || wanted == found.pre || same;
  return equal_check("pre-tokenizer", equal, equal ? found.pre : fmt::format("expected {}, got {}", wanted, found.pre));
}

std::string text_of(const std::optional<int32_t>& id) { return id ? std::to_string(*id) : "none"; }

Check ids_check(const std::vector<GgufEntry>& wanted, const GgufTokens& found, const std::vector<int32_t>& stop_ids) {
  std::string different;
  const auto id_of = [&](const char* key) -> std::optional<int32_t> {
    const auto value = value_of<uint32_t>(wanted, key);
    return value ? std::optional(static_cast<int32_t>(*value)) : std::nullopt;
  };
  const auto expect = [&](const char* what, const std::string& own, const std::string& other, bool equal) {
    if (!equal && different.empty()) different = fmt::format("{}: expected {}, got {}", what, own, other);
  };
  const auto bos = id_of("bos_token_id"), eos = id_of("eos_token_id"), unk = id_of("unknown_token_id");
  const bool adds_bos = value_of<bool>(wanted, "add_bos_token").value_or(false),
             adds_eos = value_of<bool>(wanted, "add_eos_token").value_or(false);
  const auto& ids = found.specials;
  expect("bos_token_id", text_of(bos), text_of(ids.bos), bos ? ids.bos == bos : !found.add_bos);
  const bool ends = ids.eos && std::ranges::count(stop_ids, *ids.eos) > 0;
  expect("eos_token_id", text_of(eos), text_of(ids.eos), ids.eos == eos || ends || (!eos && stop_ids.empty()));
  expect("unknown_token_id", text_of(unk), text_of(ids.unk), !unk || !ids.unk || ids.unk == unk);
  const auto word = [](bool flag) { return flag ? "true" : "false"; };
  expect("add_bos_token", word(adds_bos), word(found.add_bos), adds_bos == found.add_bos);
  expect("add_eos_token", word(adds_eos), word(found.add_eos), adds_eos == found.add_eos);
  if (const auto prefix = value_of<bool>(wanted, "add_space_prefix")) {
    expect("add_space_prefix", word(*prefix), word(found.add_space_prefix), *prefix == found.add_space_prefix);
  }
  return equal_check("special ids", different.empty(), different);
}

// What llama.cpp ends a generation at beside the stop tokens of proof/verify_artifact.h, and what it never generates.
Check ends_check(const GgufReader& file, const GgufTokens& found, const std::vector<int32_t>& stop_ids) {
  const std::string prefix = "tokenizer.ggml.";
  for (const char* name : kFillEndKeys) {
    const auto id = gguf_integer(file, fmt::format("{}{}_token_id", prefix, name));
    if (!id || *id < 0 || *id >= std::ssize(found.tokens) || std::ranges::count(stop_ids, *id) > 0) continue;
    const std::string& token = found.tokens[static_cast<size_t>(*id)];
    if (ends_by_spelling(token)) continue;
    return equal_check("ends", false,
                       fmt::format("{}{}_token_id: llama.cpp ends at token {} ({}), at which the model does not stop",
                                   prefix, name, *id, Json(token).dump()));
  }
  const GgufArray* never = gguf_list(file, prefix + "suppress_tokens");
  if (never != nullptr && never->count > 0) {
    return equal_check("ends", false,
                       fmt::format("{}suppress_tokens: llama.cpp never generates {} tokens", prefix, never->count));
  }
  return equal_check("ends", true, "");
}

// Whether a token may stand for a part of a text whose middle is filled: one that was added for that, or is left free,
// as converters give every Gemma those of CodeGemma.
bool may_mark(const TokenizerTables& wanted, const GgufTokens& found, const std::vector<int32_t>& stop_ids,
              int32_t id) {
  const auto& [bos, eos, pad, unk] = found.specials;
  if (std::ranges::count(stop_ids, id) > 0 || id == bos || id == eos || id == pad || id == unk) return false;
  const std::string& token = wanted.tokens[static_cast<size_t>(id)];
  const auto is_part = [&](const FillPart& part) { return std::ranges::count(part.spellings, token) > 0; };
  if (ends_by_spelling(token) || std::ranges::any_of(kFillParts, is_part)) return false;
  return is_added(wanted.types[static_cast<size_t>(id)]) || token.find("unused") != token.npos;
}

// Of what llama-server's /infill sends, the parts: the model's own where it has such tokens, and no two the same.
Check fill_check(const GgufReader& file, const TokenizerTables& wanted, const GgufTokens& found,
                 const std::vector<int32_t>& stop_ids) {
  constexpr const char* kName = "middles";
  std::map<int32_t, const FillPart*> taken;
  for (const FillPart& part : kFillParts) {
    const auto own = std::ranges::find_if(
        wanted.tokens, [&](const std::string& token) { return std::ranges::count(part.spellings, token) > 0; });
    for (const char* name : part.keys) {
      const auto id = gguf_integer(file, fmt::format("tokenizer.ggml.{}_token_id", name));
      if (!id || *id < 0 || *id >= std::ssize(wanted.tokens)) continue;  // llama.cpp takes its own, too
      const std::string& token = wanted.tokens[static_cast<size_t>(*id)];
      const bool spelled = std::ranges::count(part.spellings, token) > 0;
      const bool right =
          spelled || (own == wanted.tokens.end() && may_mark(wanted, found, stop_ids, static_cast<int32_t>(*id)));
      const FillPart* other = taken.try_emplace(static_cast<int32_t>(*id), &part).first->second;
      if (right && other == &part) continue;
      return equal_check(kName, false,
                         fmt::format("tokenizer.ggml.{}_token_id: llama.cpp fills middles with token {} ({}), and {}",
                                     name, *id, Json(token).dump(),
                                     !right && own != wanted.tokens.end() ? "the model's is " + Json(*own).dump()
                                     : !right                             ? "it is not there for that"
                                                                          : "takes it for two parts"));
    }
  }
  return equal_check(kName, true, "");
}

// llama-server renders with the template of a name where there is one for the use, such as "tool_use". Converters write
// other characters than letters and digits of its name as '_'.
Check named_templates_check(const GgufReader& file, const Tokenizer& tokenizer) {
  constexpr const char* kName = "named templates";
  const std::string prefix = "tokenizer.chat_template.";
  std::map<std::string, std::string> wanted;
  if (std::filesystem::is_directory(tokenizer.folder())) {
    for (auto& [name, source] : read_named_templates(read_tokenizer_files(tokenizer.folder()))) {
      std::string key = prefix + name;
      std::replace_if(
          key.begin() + std::ssize(prefix), key.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
      wanted[key] = std::move(source);
    }
  }
  for (const auto& entry : file.metadata()) {
    if (!entry.key.starts_with(prefix)) continue;
    const auto own = wanted.find(entry.key);
    if (own == wanted.end()) return equal_check(kName, false, entry.key + ": the model has no template of this name");
    const auto* found = std::get_if<std::string>(&entry.value);
    if (found == nullptr || *found != own->second)
      return equal_check(kName, false, entry.key + ": differs from the model's");
  }
  return equal_check(kName, true, "");
}

}  // namespace

std::vector<Check> vocabulary_checks(const GgufReader& file, const ModelSpec& spec, const Tokenizer& tokenizer,
                                     const GgufOptions& options, const std::vector<int32_t>& stop_ids) {
  const auto wanted = padded_tables(tokenizer, spec.vocab);
  const auto metadata = gguf_metadata(spec, tokenizer, options);
  const auto found = with_context(ExitCode::model, file.path().string(), [&] { return read_gguf_tokens(file); });
  std::vector<Check> checks;
  const std::string own = wanted.is_bpe ? "gpt2" : "llama";
  checks.push_back(equal_check("kind of tokenizer", own == found.model,
                               own == found.model ? own : fmt::format("expected {}, got {}", own, found.model)));
  if (!checks.back().passed) return checks;
  checks.push_back(tokens_check(wanted, found));
  if (!checks.back().passed) return checks;
  checks.push_back(types_check(file, tokenizer, wanted, found));
  checks.push_back(wanted.is_bpe ? merges_check(wanted, found) : scores_check(wanted, found));
  checks.push_back(pre_check(*value_of<std::string>(metadata, "pre"), found));
  checks.push_back(ids_check(metadata, found, stop_ids));
  checks.push_back(
      with_context(ExitCode::model, file.path().string(), [&] { return ends_check(file, found, stop_ids); }));
  checks.push_back(
      with_context(ExitCode::model, file.path().string(), [&] { return fill_check(file, wanted, found, stop_ids); }));
  checks.push_back(named_templates_check(file, tokenizer));
  return checks;
}

}  // namespace prentice
