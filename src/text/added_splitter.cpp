#include "text/added_splitter.h"

#include <algorithm>

namespace prentice {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Letters, digits and underscore of ASCII, and every byte of a longer character: as near as bytes come to \w.
bool is_word(char c) {
  auto byte = static_cast<unsigned char>(c);
  return byte >= 0x80 || (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
         byte == '_';
}

}  // namespace

AddedTokenSplitter::AddedTokenSplitter(const std::vector<AddedToken>& tokens) {
  for (const auto& token : tokens) {
    if (!token.content.empty()) by_first_byte_[static_cast<unsigned char>(token.content[0])].push_back(token);
  }
  for (auto& list : by_first_byte_) {
    std::ranges::stable_sort(list, std::greater(), [](const AddedToken& token) { return token.content.size(); });
  }
}

const AddedToken* AddedTokenSplitter::longest_at(std::string_view text, size_t at) const {
  for (const auto& token : by_first_byte_[static_cast<unsigned char>(text[at])]) {
    if (!text.substr(at).starts_with(token.content)) continue;
    size_t end = at + token.content.size();
    bool inside_word = (at > 0 && is_word(text[at - 1])) || (end < text.size() && is_word(text[end]));
    if (!token.single_word || !inside_word) return &token;
  }
  return nullptr;
}

std::vector<AddedTokenSplitter::Piece> AddedTokenSplitter::split(std::string_view text) const {
  std::vector<Piece> pieces;
  size_t done = 0;
  auto ordinary = [&](size_t end) {
    if (end > done) pieces.push_back({{static_cast<int64_t>(done), static_cast<int64_t>(end)}, -1});
  };
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token = longest_at(text, at);
    if (!token) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + token->content.size();
    while (token->lstrip && begin > done && is_space(text[begin - 1])) --begin;
    while (token->rstrip && end < text.size() && is_space(text[end])) ++end;
    ordinary(begin);
    pieces.push_back({{static_cast<int64_t>(begin), static_cast<int64_t>(end)}, token->id});
    done = at = end;
  }
  ordinary(text.size());
  return pieces;
}

}  // namespace prentice
