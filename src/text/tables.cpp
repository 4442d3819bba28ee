#include "text/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>

#include "core/error.h"
#include "text/pre_tokenizer.h"

namespace prentice {
namespace {

constexpr float kAddedScore = -1000.0f;  // as llama.cpp's converter writes them
constexpr float kPaddingScore = -10000.0f;
constexpr std::string_view kSpaceMark = "\u2581";  // SentencePiece's visible space

std::string type_of(const Json& section) {
  const Json* type = section.find("type");
  return type && type->is_string() ? type->as_string() : "";
}

// The parts of a section that may be a Sequence, flat.
std::vector<const Json*> parts(const Json* section, std::string_view list) {
  if (!section || section->is_null()) return {};
  if (type_of(*section) != "Sequence") return {section};
  std::vector<const Json*> flat;
  for (const auto& item : section->at(list).as_array()) {
    for (const Json* part : parts(&item, list)) flat.push_back(part);
  }
  return flat;
}

std::string split_pattern(const Json& json) {
  std::string pattern;
  int splits = 0, byte_levels = 0;
  for (const Json* part : parts(json.find("pre_tokenizer"), "pretokenizers")) {
    std::string type = type_of(*part);
    const Json* regex = type == "Split" ? part->at("pattern").find("Regex") : nullptr;
    if (type == "ByteLevel") {
      ++byte_levels;
      const Json* use = part->find("use_regex");
      if (!use || use->as_bool()) pattern = kGpt2Pattern, ++splits;
    } else if (regex && part->at("behavior").as_string() == "Isolated" && !part->at("invert").as_bool()) {
      pattern = regex->as_string(), ++splits;
    } else {
      return "";  // something a single pattern does not express (digits one by one, punctuation)
    }
  }
  return splits == 1 && byte_levels == 1 ? pattern : "";
}

void read_added_by_post_processor(const Json& json, TokenizerTables& tables) {
  for (const Json* part : parts(json.find("post_processor"), "processors")) {
    if (type_of(*part) != "TemplateProcessing") continue;
    const auto& single = part->at("single").as_array();
    if (single.empty()) continue;
    tables.add_bos = single.front().find("SpecialToken") != nullptr;
    tables.add_eos = single.back().find("SpecialToken") != nullptr && single.size() > 1;
  }
}

bool adds_space_prefix(const Json& json) {
  for (const Json* part : parts(json.find("normalizer"), "normalizers")) {
    if (type_of(*part) == "Prepend") return true;
  }
  for (const Json* part : parts(json.find("pre_tokenizer"), "pretokenizers")) {
    const Json* scheme = type_of(*part) == "Metaspace" ? part->find("prepend_scheme") : nullptr;
    if (scheme && scheme->as_string() != "never") return true;
  }
  return false;
}

// Byte fallback, or spaces made visible as SentencePiece makes them and no byte-level alphabet.
bool is_sentence_piece_like(const Json& json) {
  const Json* fallback = json.at("model").find("byte_fallback");
  if (fallback && fallback->as_bool()) return true;
  bool marks_spaces = false;
  for (const Json* part : parts(json.find("normalizer"), "normalizers")) {
    const Json* content = type_of(*part) == "Replace" ? part->find("content") : nullptr;
    marks_spaces |= content && content->as_string() == kSpaceMark;
  }
  for (const Json* part : parts(json.find("pre_tokenizer"), "pretokenizers")) {
    if (type_of(*part) == "ByteLevel") return false;
    marks_spaces |= type_of(*part) == "Metaspace";
  }
  return marks_spaces;
}

// A merge is a pair of pieces, in older files one text with a space between them.
std::pair<std::string, std::string> merge_parts(const Json& merge) {
  if (merge.is_string()) {
    const std::string& text = merge.as_string();
    size_t space = text.find(' ');
    if (space == std::string::npos) fail(ExitCode::malformed, "merges: \"" + text + "\" is not two pieces");
    return {text.substr(0, space), text.substr(space + 1)};
  }
  const auto& pair = merge.as_array();
  if (pair.size() != 2) fail(ExitCode::malformed, "merges: expected pairs of pieces");
  return {pair[0].as_string(), pair[1].as_string()};
}

void read_merges(const Json& model, TokenizerTables& tables) {
  auto visible = [](std::string piece) {  // a space inside a piece would end it
    for (size_t at; (at = piece.find(' ')) != std::string::npos;) piece.replace(at, 1, "\u0120");
    return piece;
  };
  for (const auto& merge : model.at("merges").as_array()) {
    auto [left, right] = merge_parts(merge);
    tables.merges.push_back(visible(left) + " " + visible(right));
  }
}

// Minus the lowest rank of the merges that produce a piece; why: see the header.
void read_scores(const Json& model, TokenizerTables& tables) {
  std::unordered_map<std::string, int64_t> rank;
  int64_t next = 0;
  for (const auto& merge : model.at("merges").as_array()) {
    auto [left, right] = merge_parts(merge);
    rank.emplace(left + right, next++);
  }
  for (size_t id = 0; id < tables.tokens.size(); ++id) {
    if (tables.types[id] != TokenType::normal) continue;
    auto found = rank.find(tables.tokens[id]);
    tables.scores[id] = -static_cast<float>(found == rank.end() ? next : found->second);
  }
}

void read_vocabulary(const Json& model, TokenizerTables& tables) {
  const Json* unknown = model.find("unk_token");
  for (const auto& [piece, id] : model.at("vocab").as_object()) {
    size_t at = static_cast<size_t>(id.as_integer());
    if (at >= tables.tokens.size())
      fail(ExitCode::malformed, fmt::format("vocab: id {} of \"{}\" is out of range", at, piece));
    tables.tokens[at] = piece;
    tables.types[at] = TokenType::normal;
    if (tables.is_bpe) continue;
    if (is_byte_piece(piece)) tables.types[at] = TokenType::byte;
    if ((unknown && unknown->is_string() && unknown->as_string() == piece) || piece == "<unk>") {
      tables.types[at] = TokenType::unknown;
    }
    tables.scores[at] = 0;
  }
}

void set_added_tokens(const std::vector<AddedToken>& added, TokenizerTables& tables) {
  for (const auto& token : added) {
    auto at = static_cast<size_t>(token.id);
    if (tables.types[at] == TokenType::unknown) continue;
    std::string content = token.content;
    TokenType type = added_token_type(content, token.special);
    if (!tables.is_bpe && type == TokenType::user_defined) {
      for (size_t mark; (mark = content.find(kSpaceMark)) != std::string::npos;) {
        content.replace(mark, kSpaceMark.size(), " ");
      }
    }
    if (!tables.is_bpe && tables.types[at] == TokenType::unused) tables.scores[at] = kAddedScore;
    tables.tokens[at] = content;
    tables.types[at] = type;
  }
}

int64_t highest_id(const Json& json, const std::vector<AddedToken>& added) {
  int64_t highest = -1;
  for (const auto& [piece, id] : json.at("model").at("vocab").as_object()) highest = std::max(highest, id.as_integer());
  for (const auto& token : added) highest = std::max<int64_t>(highest, token.id);
  return highest;
}

}  // namespace

bool is_byte_piece(std::string_view piece) {
  auto hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  return piece.size() == 6 && piece.starts_with("<0x") && piece[5] == '>' && hex(piece[3]) && hex(piece[4]);
}

TokenType added_token_type(std::string_view content, bool special) {
  bool marker = (content.starts_with("<|") && content.ends_with("|>")) ||
                (content.starts_with("<\uff5c") && content.ends_with("\uff5c>")) ||
                (content.starts_with("<unused") && content.ends_with(">")) || content == "<pad>" || content == "<mask>";
  return special || marker ? TokenType::control : TokenType::user_defined;
}

TokenizerTables tables_of_json(const Json& json, const std::vector<AddedToken>& added) {
  const Json& model = json.at("model");
  if (type_of(model) != "BPE") {
    fail(ExitCode::malformed, fmt::format("a {} tokenizer has no form in GGUF, only BPE has", type_of(model)));
  }
  TokenizerTables tables;
  tables.is_bpe = !is_sentence_piece_like(json);
  size_t size = static_cast<size_t>(highest_id(json, added) + 1);
  tables.tokens.resize(size);
  tables.types.assign(size, TokenType::unused);
  for (size_t id = 0; id < size; ++id) tables.tokens[id] = fmt::format("[PAD{}]", id);
  if (!tables.is_bpe) tables.scores.assign(size, kPaddingScore);
  read_vocabulary(model, tables);
  set_added_tokens(added, tables);
  if (tables.is_bpe) {
    read_merges(model, tables);
    tables.pre_tokenizer_pattern = split_pattern(json);
  } else {
    read_scores(model, tables);
  }
  read_added_by_post_processor(json, tables);
  tables.add_space_prefix = !tables.is_bpe && adds_space_prefix(json);
  return tables;
}

}  // namespace prentice
