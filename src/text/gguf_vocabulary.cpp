#include "text/gguf_vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <unordered_set>
#include <utility>

#include "core/error.h"
#include "core/utf8.h"
#include "io/gguf_values.h"
#include "text/bridge.h"
#include "text/pre_tokenizer.h"
#include "text/sentence_piece.h"

namespace prentice {

namespace {

constexpr const char* kPrefix = "tokenizer.ggml.";
// Twice what the largest vocabularies have: a small file must not fill the memory with what it says of nothing.
constexpr uint64_t kMaxTokens = 1 << 19, kMaxMerges = 1 << 20;
constexpr size_t kMaxAdded = 1 << 14;  // each is looked for everywhere in a text

std::string key(std::string_view name) { return kPrefix + std::string(name); }

const GgufArray& list(const GgufReader& file, std::string_view name, uint64_t most) {
  const GgufArray* found = gguf_list(file, key(name));
  if (found == nullptr) fail(ExitCode::malformed, "key " + key(name) + " is missing");
  if (found->count > most) {
    fail(ExitCode::malformed, fmt::format("key {}: {} entries, at most {} are read", key(name), found->count, most));
  }
  return *found;
}

void check_length(std::string_view name, size_t found, size_t wanted) {
  if (found == wanted) return;
  fail(ExitCode::malformed, fmt::format("key {}: {} entries for {} tokens", key(name), found, wanted));
}

void read_texts(const GgufReader& file, GgufTokens& out) {
  const GgufArray& texts = list(file, "tokens", kMaxTokens);
  const GgufTensorView* embedding = file.find_tensor("token_embd.weight");  // a vocabulary may come alone
  if (embedding != nullptr && embedding->dims.size() == 2 && std::cmp_greater(texts.count, embedding->dims[1])) {
    fail(ExitCode::malformed,
         fmt::format("the vocabulary has {} tokens, the embedding {} rows", texts.count, embedding->dims[1]));
  }
  out.tokens.reserve(texts.count);
  for (const auto text : texts.strings()) {
    const size_t id = out.tokens.size();
    if (!is_utf8(text)) fail(ExitCode::malformed, fmt::format("token {} is not UTF-8", id));
    out.tokens.push_back(text.empty() ? fmt::format("[EMPTY_{}]", id) : std::string(text));  // as llama.cpp calls them
  }
  if (out.tokens.empty()) fail(ExitCode::malformed, "the vocabulary is empty");
  std::vector<uint32_t> by_text(out.tokens.size());
  std::iota(by_text.begin(), by_text.end(), 0U);
  const auto text_of = [&](uint32_t id) { return std::pair(std::string_view(out.tokens[id]), id); };
  std::ranges::sort(by_text, {}, text_of);
  const auto same = std::ranges::adjacent_find(by_text, {}, [&](uint32_t id) { return text_of(id).first; });
  if (same != by_text.end()) {
    fail(ExitCode::malformed, fmt::format("tokens {} and {} are the same text", same[0], same[1]));
  }
}

void read_types(const GgufReader& file, GgufTokens& out) {
  out.types.assign(out.tokens.size(), TokenType::normal);
  if (file.find(key("token_type")) == nullptr) return;
  const auto types = list(file, "token_type", kMaxTokens).integers();
  check_length("token_type", types.size(), out.tokens.size());
  for (size_t id = 0; id < types.size(); ++id) {
    if (types[id] < 0 || types[id] > static_cast<int32_t>(TokenType::byte)) {
      fail(ExitCode::malformed, fmt::format("key {}: token {} has type {}", key("token_type"), id, types[id]));
    }
    out.types[id] = types[id] == 0 ? TokenType::normal : static_cast<TokenType>(types[id]);
  }
}

// "a b", where neither begins with the space that parts them; a, b and what they make are tokens.
void read_merges(const GgufReader& file, GgufTokens& out) {
  const std::unordered_set<std::string_view> known(out.tokens.begin(), out.tokens.end());
  std::string made;
  for (const auto merge : list(file, "merges", kMaxMerges).strings()) {
    const size_t space = merge.find(' ', 1);
    const std::string_view shown = merge.substr(0, 200);
    if (space == merge.npos) fail(ExitCode::malformed, fmt::format("merge \"{}\" is not two pieces", shown));
    made.assign(merge.substr(0, space)).append(merge.substr(space + 1));
    for (const std::string_view token : {merge.substr(0, space), merge.substr(space + 1), std::string_view(made)}) {
      if (known.contains(token)) continue;
      fail(ExitCode::malformed, fmt::format("merge \"{}\": \"{}\" is not a token", shown, token.substr(0, 200)));
    }
    out.merges.emplace_back(merge);
  }
}

std::optional<int32_t> read_id(const GgufReader& file, std::string_view name, const GgufTokens& tokens,
                               std::optional<int32_t> usual) {
  const auto found = gguf_integer(file, key(name));
  const int64_t id = found ? *found : usual.value_or(-1);
  if (id < 0 || id >= static_cast<int64_t>(tokens.tokens.size())) return std::nullopt;  // as llama.cpp has it: none
  return static_cast<int32_t>(id);
}

// What llama.cpp does for files that call themselves so: white space behind these is theirs.
void strip_as_phi3(const GgufReader& file, GgufTokens& out) {
  std::string name = gguf_text(file, "general.name").value_or("");
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
  if (name.find("phi-3") == std::string::npos && name.find("phi3") == std::string::npos) return;
  for (auto& token : out.added) {
    const bool plain = token.content == "<unk>" || token.content == "<s>" || token.content == "<|endoftext|>";
    token.rstrip = !plain;
  }
}

void read_added(GgufTokens& out) {
  for (size_t id = 0; id < out.tokens.size(); ++id) {
    const TokenType type = out.types[id];
    if (type != TokenType::control && type != TokenType::user_defined && type != TokenType::unknown) continue;
    out.added.push_back(
        {.id = static_cast<int32_t>(id), .content = out.tokens[id], .special = type != TokenType::user_defined});
    if (out.added.size() > kMaxAdded) {
      fail(ExitCode::malformed, fmt::format("more than {} tokens that are looked for in texts", kMaxAdded));
    }
  }
}

}  // namespace

GgufTokens read_gguf_tokens(const GgufReader& file) {
  GgufTokens out;
  const auto model = gguf_text(file, key("model"));
  if (!model) fail(ExitCode::malformed, "key " + key("model") + " is missing: the file has no tokenizer");
  out.model = *model;
  const bool pieces = out.model == "llama";
  if (!pieces && out.model != "gpt2") {
    fail(ExitCode::malformed, fmt::format("key {}: {} is not supported", key("model"), out.model),
         "supported: llama (SentencePiece) and gpt2 (byte-level BPE)");
  }
  out.pre = gguf_text(file, key("pre")).value_or("default");
  read_texts(file, out);
  read_types(file, out);
  if (pieces) {
    out.scores = list(file, "scores", kMaxTokens).floats();
    check_length("scores", out.scores.size(), out.tokens.size());
  } else {
    read_merges(file, out);
  }
  // Ids that llama.cpp takes where a file says none.
  const auto usual = [&](int32_t of_pieces) { return pieces ? std::optional(of_pieces) : std::nullopt; };
  out.specials = {.bos = read_id(file, "bos_token_id", out, pieces ? 1 : 11),
                  .eos = read_id(file, "eos_token_id", out, pieces ? 2 : 11),
                  .pad = read_id(file, "padding_token_id", out, std::nullopt),
                  .unk = read_id(file, "unknown_token_id", out, usual(0))};
  const GgufPreTokenizer* pre = pieces ? nullptr : find_gguf_pre_tokenizer(out.pre);
  out.add_bos = gguf_flag(file, key("add_bos_token")).value_or(pieces || (pre && pre->add_bos));
  out.add_eos = gguf_flag(file, key("add_eos_token")).value_or(false);
  out.add_space_prefix = gguf_flag(file, key("add_space_prefix")).value_or(pieces);
  read_added(out);
  strip_as_phi3(file, out);
  return out;
}

GgufVocabulary read_gguf_vocabulary(const std::filesystem::path& path) {
  const GgufReader file = GgufReader::open(path);
  return with_context(ExitCode::model, path.string(), [&] {
    const GgufTokens tokens = read_gguf_tokens(file);
    GgufVocabulary made{.backend = nullptr, .specials = tokens.specials, .chat_template = {}};
    made.chat_template = gguf_text(file, "tokenizer.chat_template");
    if (tokens.model == "gpt2") {
      const auto json = [path] { return tokenizer_json_of(read_gguf_tokens(GgufReader::open(path))); };
      made.backend = open_crate_tokenizer(tokenizer_json_of(tokens), {}, json);
      return made;
    }
    const auto text = [&](std::optional<int32_t> id) {
      return id ? std::optional(tokens.tokens[static_cast<size_t>(*id)]) : std::nullopt;
    };
    SentencePieceLayers layers{
        .added = tokens.added, .bos = text(tokens.specials.bos), .eos = text(tokens.specials.eos)};
    layers.add_bos = tokens.add_bos, layers.add_eos = tokens.add_eos;
    made.backend = open_sentence_piece(sentence_piece_model_of(tokens), layers);
    return made;
  });
}

}  // namespace prentice
