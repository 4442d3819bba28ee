#include "text/sentence_piece.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <unordered_set>

#include "core/error.h"
#include "core/utf8.h"
#include "text/added_splitter.h"
#include "text/tables.h"

namespace prentice {
namespace {

using sentencepiece::SentencePieceProcessor;

constexpr std::string_view kSpaceMark = "\u2581";
constexpr int32_t kMaxPieces = 1 << 22;

void load(SentencePieceProcessor& processor, std::string_view model) {
  auto status = processor.LoadFromSerializedProto(absl::string_view(model.data(), model.size()));
  if (!status.ok()) fail(ExitCode::malformed, std::string("no SentencePiece model: ") + status.ToString());
  if (processor.GetPieceSize() <= 0 || processor.GetPieceSize() > kMaxPieces) {
    fail(ExitCode::malformed, fmt::format("a vocabulary of {} pieces", processor.GetPieceSize()));
  }
}

// Protobuf joins repeated messages field by field, the last one wins: ModelProto.normalizer_spec (3) with
// add_dummy_prefix (3) = false, appended to the file's bytes, switches the dummy prefix off and leaves the rest.
std::string without_dummy_prefix(std::string_view model) {
  return std::string(model) + std::string("\x1a\x02\x18\x00", 4);
}

class SentencePieceTokenizer : public TokenizerBackend {
 public:
  SentencePieceTokenizer(std::string_view model, const SentencePieceLayers& layers)
      : layers_(layers), added_(resolve_added(model, layers.added)), splitter_(added_) {
    load(bare_, without_dummy_prefix(model));
    std::vector<int> with_prefix, without_prefix;
    if (!prefixed_.Encode("a", &with_prefix).ok() || !bare_.Encode("a", &without_prefix).ok()) {
      fail(ExitCode::malformed, "the model cannot tokenize \"a\"");
    }
    adds_prefix_ = prefixed_.Normalize("a") != bare_.Normalize("a");
    auto id_of = [&](const std::optional<std::string>& text, std::optional<int32_t> own) {
      return !text ? std::nullopt : text->empty() ? own : token_to_id(*text);
    };
    bos_ = id_of(layers.bos, own_specials().bos);
    eos_ = id_of(layers.eos, own_specials().eos);
    vocab_size_ = prefixed_.GetPieceSize();
    for (const auto& token : added_) vocab_size_ = std::max<int64_t>(vocab_size_, int64_t{token.id} + 1);
  }

  std::vector<Encoding> encode(std::span<const std::string_view> texts, bool add_special, bool offsets,
                               int threads) const override {
    for (size_t i = 0; i < texts.size(); ++i) {
      if (!is_utf8(texts[i])) fail(ExitCode::data, "invalid UTF-8");
    }
    std::vector<Encoding> encodings(texts.size());
    std::atomic<size_t> next = 0;
    std::mutex guard;
    std::exception_ptr failure;  // of any thread; rethrown after the join
    auto work = [&] {
      try {
        for (size_t i; (i = next++) < texts.size();) encodings[i] = encode_one(texts[i], add_special, offsets);
      } catch (...) {
        std::lock_guard lock(guard);
        failure = std::current_exception();
      }
    };
    std::vector<std::jthread> helpers;
    size_t wanted = std::min<size_t>(std::max(threads, 1), texts.size());
    for (size_t i = 1; i < wanted; ++i) helpers.emplace_back(work);
    work();
    helpers.clear();  // joins
    if (failure) std::rethrow_exception(failure);
    return encodings;
  }

  std::string decode(std::span<const int32_t> ids, bool skip_special) const override {
    std::string text, pending;
    for (int32_t id : ids) {
      auto token = id_to_token(id);
      if (!token || (skip_special && is_special(id))) continue;
      if (id < prefixed_.GetPieceSize() && prefixed_.IsByte(id)) {
        pending.push_back(static_cast<char>(std::stoi(token->substr(3, 2), nullptr, 16)));
        continue;
      }
      flush_bytes(pending, text);
      append_visible(*token, text);
    }
    flush_bytes(pending, text);
    if (adds_prefix_ && text.starts_with(' ')) text.erase(0, 1);
    return text;
  }

  int64_t vocab_size() const override { return vocab_size_; }

  std::optional<int32_t> token_to_id(std::string_view token) const override {
    for (const auto& added : added_) {
      if (added.content == token) return added.id;
    }
    absl::string_view piece(token.data(), token.size());
    int id = prefixed_.PieceToId(piece);
    return id >= 0 && prefixed_.IdToPiece(id) == token ? std::optional<int32_t>(id) : std::nullopt;
  }

  std::optional<std::string> id_to_token(int32_t id) const override {
    if (id >= 0 && id < prefixed_.GetPieceSize()) return prefixed_.IdToPiece(id);
    const AddedToken* added = find_added(id);
    return added ? std::optional(added->content) : std::nullopt;
  }

  const std::vector<AddedToken>& added_tokens() const override { return added_; }

  OwnSpecials own_specials() const override {
    auto id = [](int value) { return value >= 0 ? std::optional<int32_t>(value) : std::nullopt; };
    return {id(prefixed_.bos_id()), id(prefixed_.eos_id()), id(prefixed_.pad_id()), id(prefixed_.unk_id())};
  }

  TokenizerTables tables() const override {
    TokenizerTables tables;
    tables.is_bpe = false;
    tables.add_bos = layers_.add_bos && bos_;
    tables.add_eos = layers_.add_eos && eos_;
    tables.add_space_prefix = adds_prefix_;
    auto size = static_cast<size_t>(vocab_size_);
    tables.types.assign(size, TokenType::unused);
    tables.scores.assign(size, -10000.0f);
    for (size_t id = 0; id < size; ++id) tables.tokens.push_back(fmt::format("[PAD{}]", id));
    for (int id = 0; id < prefixed_.GetPieceSize(); ++id) {
      auto at = static_cast<size_t>(id);
      tables.tokens[at] = prefixed_.IdToPiece(id);
      tables.scores[at] = prefixed_.GetScore(id);
      tables.types[at] = prefixed_.IsUnknown(id)   ? TokenType::unknown
                         : prefixed_.IsControl(id) ? TokenType::control
                         : prefixed_.IsUnused(id)  ? TokenType::unused
                         : prefixed_.IsByte(id)    ? TokenType::byte
                                                   : TokenType::normal;
    }
    for (const auto& token : added_) {
      auto at = static_cast<size_t>(token.id);
      if (token.id < prefixed_.GetPieceSize() && tables.types[at] != TokenType::normal) continue;
      tables.tokens[at] = token.content;
      tables.types[at] = added_token_type(token.content, token.special);
      tables.scores[at] = -1000.0f;
    }
    return tables;
  }

 private:
  std::vector<AddedToken> resolve_added(std::string_view model, std::vector<AddedToken> tokens) {
    load(prefixed_, model);
    auto own = own_specials();
    for (auto id : {own.unk, own.bos, own.eos}) {  // never made of ordinary pieces, though the text may spell them
      if (id) tokens.push_back({.id = *id, .content = prefixed_.IdToPiece(*id), .special = true});
    }
    std::vector<AddedToken> kept;
    std::unordered_set<int32_t> known;
    for (auto& token : tokens) {
      int own = prefixed_.PieceToId(absl::string_view(token.content));
      bool exists = own >= 0 && prefixed_.IdToPiece(own) == token.content;
      if (token.id < 0 && !exists) continue;
      if (exists && token.id >= 0 && token.id != own) {
        fail(ExitCode::malformed, fmt::format("added token \"{}\" is declared as id {}, but the model gives it {}",
                                              token.content, token.id, own));
      }
      if (exists) token.id = own;
      if (token.id > kMaxPieces) fail(ExitCode::malformed, fmt::format("token id {} is too large", token.id));
      if (known.insert(token.id).second) kept.push_back(std::move(token));
    }
    std::ranges::sort(kept, {}, &AddedToken::id);
    return kept;
  }

  const AddedToken* find_added(int32_t id) const {
    const auto found = std::ranges::lower_bound(added_, id, {}, &AddedToken::id);
    return found == added_.end() || found->id != id ? nullptr : &*found;
  }

  bool is_special(int32_t id) const {
    const AddedToken* added = find_added(id);
    return added ? added->special : id < prefixed_.GetPieceSize() && prefixed_.IsControl(id);
  }

  Encoding encode_one(std::string_view text, bool add_special, bool offsets) const {
    Encoding encoding;
    auto push = [&](int32_t id, ByteSpan span) {
      encoding.ids.push_back(id);
      if (offsets) encoding.offsets.push_back(span);
    };
    if (add_special && layers_.add_bos && bos_) push(*bos_, {0, 0});
    for (const auto& piece : splitter_.split(text)) {
      if (piece.id >= 0) {
        push(piece.id, piece.bytes);
        continue;
      }
      const auto& processor = layers_.legacy || piece.bytes.begin == 0 ? prefixed_ : bare_;
      auto begin = static_cast<size_t>(piece.bytes.begin), end = static_cast<size_t>(piece.bytes.end);
      encode_segment(processor, text.substr(begin, end - begin), piece.bytes.begin, push, offsets);
    }
    if (add_special && layers_.add_eos && eos_) push(*eos_, {0, 0});
    return encoding;
  }

  template <class Push>
  static void encode_segment(const SentencePieceProcessor& processor, std::string_view segment, int64_t base,
                             const Push& push, bool offsets) {
    absl::string_view view(segment.data(), segment.size());
    if (!offsets) {
      std::vector<int> ids;
      auto status = processor.Encode(view, &ids);
      if (!status.ok()) fail(ExitCode::data, "SentencePiece: " + status.ToString());
      for (int id : ids) push(id, {});
      return;
    }
    auto pieces = processor.EncodeAsImmutableProto(view);
    for (const auto& piece : pieces.pieces()) {
      push(static_cast<int32_t>(piece.id()), {base + int64_t{piece.begin()}, base + int64_t{piece.end()}});
    }
  }

  // Byte pieces that together are UTF-8 are that text; else each is a replacement character.
  static void flush_bytes(std::string& pending, std::string& text) {
    if (is_utf8(pending)) {
      text += pending;
    } else {
      for (size_t i = 0; i < pending.size(); ++i) text += kReplacementCharacter;
    }
    pending.clear();
  }

  static void append_visible(std::string_view token, std::string& text) {
    while (!token.empty()) {
      bool mark = token.starts_with(kSpaceMark);
      text += mark ? ' ' : token[0];
      token.remove_prefix(mark ? kSpaceMark.size() : 1);
    }
  }

  SentencePieceLayers layers_;
  SentencePieceProcessor prefixed_, bare_;  // with the model's own dummy prefix rule, and without dummy prefix
  std::vector<AddedToken> added_;
  AddedTokenSplitter splitter_;
  bool adds_prefix_ = false;
  std::optional<int32_t> bos_, eos_;
  int64_t vocab_size_ = 0;
};

}  // namespace

std::unique_ptr<TokenizerBackend> open_sentence_piece(std::string_view model, const SentencePieceLayers& layers) {
  return std::make_unique<SentencePieceTokenizer>(model, layers);
}

}  // namespace prentice
