#include "export/vocabulary_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "core/error.h"
#include "io/json.h"
#include "text/gguf_vocabulary.h"
#include "text/pre_tokenizer.h"

namespace prentice {

namespace {

bool is_added(TokenType type) {
  return type == TokenType::control || type == TokenType::user_defined || type == TokenType::unknown;
}

// Writers differ in which of two kinds an added token is, and in what a row without a token is; neither changes ids.
bool same_kind(TokenType a, TokenType b) {
  return is_added(a) == is_added(b) && (a == TokenType::byte) == (b == TokenType::byte);
}

Check tokens_check(const TokenizerTables& wanted, const GgufTokens& found) {
  if (found.tokens.size() != wanted.tokens.size()) {
    return equal_check("token list", false,
                       fmt::format("expected {} tokens, got {}", wanted.tokens.size(), found.tokens.size()));
  }
  for (size_t id = 0; id < wanted.tokens.size(); ++id) {
    const bool padding = wanted.types[id] == TokenType::unused && wanted.tokens[id].starts_with("[PAD");
    if (wanted.tokens[id] == found.tokens[id] || (padding && !is_added(found.types[id]))) continue;
    return equal_check("token list", false,
                       fmt::format("token {}: expected {}, got {}", id, Json(wanted.tokens[id]).dump(),
                                   Json(found.tokens[id]).dump()));
  }
  return equal_check("token list", true, fmt::format("{} tokens", found.tokens.size()));
}

Check types_check(const TokenizerTables& wanted, const GgufTokens& found) {
  for (size_t id = 0; id < wanted.types.size(); ++id) {
    if (same_kind(wanted.types[id], found.types[id])) continue;
    return equal_check("token types", false,
                       fmt::format("token {} ({}): expected type {}, got {}", id, Json(wanted.tokens[id]).dump(),
                                   static_cast<int>(wanted.types[id]), static_cast<int>(found.types[id])));
  }
  return equal_check("token types", true, "");
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
  checks.push_back(types_check(wanted, found));
  checks.push_back(wanted.is_bpe ? merges_check(wanted, found) : scores_check(wanted, found));
  checks.push_back(pre_check(*value_of<std::string>(metadata, "pre"), found));
  checks.push_back(ids_check(metadata, found, stop_ids));
  return checks;
}

}  // namespace prentice
