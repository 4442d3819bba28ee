// A model folder's tokenizer: tokenizer.json through the crate `tokenizers`, else tokenizer.model through
// SentencePiece; of a GGUF file whichever of the two computes what its metadata describe. Separate from chat templates
// because plain text needs only this.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace prentice {

struct ByteSpan {
  int64_t begin = 0, end = 0;  // bytes of the original text, end exclusive
  bool operator==(const ByteSpan&) const = default;
};

struct Encoding {
  std::vector<int32_t> ids;
  std::vector<ByteSpan> offsets;  // same length; tokens added by the post-processor have {0, 0}
};

// A token that is found in the text before anything else is split.
struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;  // left out by decode's skip_special
  // How the text around is taken; filled where the token comes from tokenizer_config.json.
  bool single_word = false, lstrip = false, rstrip = false, normalized = false;
};

enum class TokenType : int32_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

// What an exporter must carry over, read from the tokenizer's own files.
struct TokenizerTables {
  bool is_bpe = true;               // byte-level BPE ("gpt2" in GGUF), else SentencePiece-like ("llama")
  std::vector<std::string> tokens;  // by id, as the vocabulary spells them; size = highest id + 1
  std::vector<float> scores;        // SentencePiece-like only
  std::vector<TokenType> types;
  std::vector<std::string> merges;    // byte-level BPE only, "a b"
  std::string pre_tokenizer_pattern;  // byte-level BPE only: the regular expression that splits words, "" if none
  bool add_bos = false, add_eos = false, add_space_prefix = true;
};

class Tokenizer {
 public:
  // Of a folder or a GGUF file. Errors: `model` when a file is corrupt or there is no tokenizer; `usage` when it is
  // missing.
  static Tokenizer load(const std::filesystem::path& folder);
  // The same with tokens that the folder's files lack, at the ids they have (text/add_tokens.h). Errors: `model` too
  // when the vocabulary gives a token another id.
  static Tokenizer load(const std::filesystem::path& folder, const std::vector<AddedToken>& more);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // Special tokens written in the text are always recognised; `add_special` adds what the post-processor adds (BOS).
  // Safe to call from several threads.
  std::vector<int32_t> encode(std::string_view text, bool add_special) const;
  Encoding encode_with_offsets(std::string_view text, bool add_special) const;
  std::vector<Encoding> encode_batch(std::span<const std::string> texts, bool add_special, bool offsets,
                                     int threads) const;
  std::string decode(std::span<const int32_t> ids, bool skip_special) const;

  int64_t vocab_size() const;  // highest id + 1, added tokens included
  std::optional<int32_t> token_to_id(std::string_view token) const;
  std::string id_to_token(int32_t id) const;
  bool is_special(int32_t id) const;
  const std::vector<AddedToken>& added_tokens() const;  // by id

  // From tokenizer_config.json / special_tokens_map.json (falling back to the conventional names in the vocabulary).
  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;
  std::optional<int32_t> pad_id() const;
  std::optional<int32_t> unk_id() const;
  std::string bos_token() const;  // "" when there is none
  std::string eos_token() const;
  std::string pad_token() const;
  std::string unk_token() const;

  // chat_template.jinja, else tokenizer_config.json's chat_template (its "default" of several); nullopt when absent.
  const std::optional<std::string>& chat_template() const;
  const std::filesystem::path& chat_template_file() const;  // where chat_template() was read; empty when absent
  // What a model is trained with replaces what its folder holds: from here on chat_template() is `source`.
  void replace_chat_template(std::string source, std::filesystem::path file);
  bool chat_template_replaced() const;
  TokenizerTables tables() const;
  const std::filesystem::path& folder() const;
  const std::vector<AddedToken>& more_tokens() const;  // what load() was given beside the files

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl>);
  static Tokenizer load_gguf(const std::filesystem::path& file, const std::vector<AddedToken>& more);
  std::unique_ptr<Impl> impl_;
};

// Streams text out of ids, keeping back bytes of an incomplete UTF-8 sequence.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true);
  std::string push(int32_t id);  // text that became complete
  std::string finish();

 private:
  std::string decode_from_start(size_t count) const;

  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::vector<int32_t> ids_;  // from the last complete text on, plus what is kept back
  size_t emitted_ = 0;        // how many of them are in the text that was returned
};

}  // namespace prentice
