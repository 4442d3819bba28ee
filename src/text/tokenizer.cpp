#include "text/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/error.h"
#include "io/file.h"
#include "io/gguf.h"
#include "text/bridge.h"
#include "text/gguf_vocabulary.h"
#include "text/sentence_piece.h"
#include "text/special_tokens.h"
#include "text/vocab_merges.h"

namespace prentice {
namespace fs = std::filesystem;

struct Tokenizer::Impl {
  fs::path folder;
  std::unique_ptr<TokenizerBackend> backend;
  std::optional<int32_t> bos, eos, pad, unk;
  std::vector<bool> special;  // by id
  std::optional<std::string> chat_template;
  fs::path chat_template_file;
  bool chat_template_replaced = false;
  std::vector<AddedToken> more;

  void note_specials() {
    special.assign(static_cast<size_t>(backend->vocab_size()), false);
    for (const auto& token : backend->added_tokens()) special[static_cast<size_t>(token.id)] = token.special;
  }
};

namespace {

struct SpecialKind {
  std::string_view key, id_key;
  std::optional<int32_t> OwnSpecials::*own;
  std::vector<std::string_view> conventional;  // names that no file needs to declare
};

const SpecialKind kBos = {
    "bos_token", "bos_token_id", &OwnSpecials::bos, {"<s>", "<|begin_of_text|>", "<bos>", "[BOS]"}};
const SpecialKind kEos = {
    "eos_token", "eos_token_id", &OwnSpecials::eos, {"</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>", "[EOS]"}};
const SpecialKind kPad = {"pad_token", "pad_token_id", &OwnSpecials::pad, {"<pad>", "[PAD]"}};
const SpecialKind kUnk = {"unk_token", "unk_token_id", &OwnSpecials::unk, {"<unk>", "[UNK]"}};

std::optional<int32_t> find_special(const TokenizerFiles& files, const TokenizerBackend& backend,
                                    const SpecialKind& kind) {
  if (auto declared = declared_token(files, kind.key)) {
    if (!*declared) return std::nullopt;
    auto id = backend.token_to_id(**declared);
    if (!id) {
      fail(ExitCode::model,
           fmt::format("{}: {} \"{}\" is not in the vocabulary", files.folder.string(), kind.key, **declared));
    }
    return id;
  }
  const Json* listed = files.model_config.find(kind.id_key);
  const Json* first = listed && listed->is_array() && !listed->as_array().empty() ? &listed->as_array()[0] : listed;
  if (first && first->is_integer() && first->as_integer() >= 0 && first->as_integer() < backend.vocab_size()) {
    return static_cast<int32_t>(first->as_integer());
  }
  if (auto id = backend.own_specials().*kind.own) return id;
  for (auto name : kind.conventional) {
    if (auto id = backend.token_to_id(name)) return id;
  }
  return std::nullopt;
}

// Tokens the files call special are recognised in text even where the vocabulary's own list lacks them (id -1: the
// vocabulary knows it).
std::vector<AddedToken> tokens_to_add(const TokenizerFiles& files, const std::vector<AddedToken>& more) {
  auto tokens = declared_added_tokens(files);
  for (const SpecialKind* kind : {&kUnk, &kBos, &kEos, &kPad}) {
    auto declared = declared_token(files, kind->key);
    if (!declared || !*declared) continue;
    if (std::ranges::count(tokens, **declared, &AddedToken::content)) continue;
    tokens.push_back({.id = -1, .content = **declared, .special = true});
  }
  tokens.insert(tokens.end(), more.begin(), more.end());
  return tokens;
}

std::unique_ptr<TokenizerBackend> open_tokenizer_model(const TokenizerFiles& files,
                                                       const std::vector<AddedToken>& more) {
  SentencePieceLayers layers;
  layers.added = tokens_to_add(files, more);
  return with_context(ExitCode::model, (files.folder / "tokenizer.model").string(), [&] {
    auto first = [&](const SpecialKind& kind) {
      auto declared = declared_token(files, kind.key);
      return declared ? *declared : std::optional<std::string>("");  // "": the model's own
    };
    layers.bos = first(kBos);
    layers.eos = first(kEos);
    layers.add_bos = flag(files.config, "add_bos_token", true);
    layers.add_eos = flag(files.config, "add_eos_token", false);
    layers.legacy = flag(files.config, "legacy", true);
    return open_sentence_piece(MappedFile::open(files.folder / "tokenizer.model").text(), layers);
  });
}

std::unique_ptr<TokenizerBackend> open_backend(const TokenizerFiles& files, const std::vector<AddedToken>& more) {
  const fs::path& folder = files.folder;
  if (auto path = folder / "tokenizer.json"; fs::exists(path)) {
    auto file = MappedFile::open(path);
    return with_context(ExitCode::model, path.string(), [&] {
      return open_crate_tokenizer(file.text(), tokens_to_add(files, more), [path] { return read_text_file(path); });
    });
  }
  if (fs::exists(folder / "tokenizer.model")) return open_tokenizer_model(files, more);
  if (fs::exists(folder / "vocab.json") && fs::exists(folder / "merges.txt")) {
    std::string json = tokenizer_json_of_vocab_and_merges(files);
    return with_context(ExitCode::model, folder.string() + ": vocab.json and merges.txt", [&] {
      return open_crate_tokenizer(json, tokens_to_add(files, more),
                                  [files] { return tokenizer_json_of_vocab_and_merges(files); });
    });
  }
  fail(ExitCode::model, folder.string() + ": no tokenizer",
       "the folder needs tokenizer.json, tokenizer.model, or vocab.json with merges.txt");
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::load(const fs::path& folder) { return load(folder, {}); }

Tokenizer Tokenizer::load(const fs::path& folder, const std::vector<AddedToken>& more) {
  if (is_gguf_file(folder)) return load_gguf(folder, more);
  if (!fs::is_directory(folder)) fail(ExitCode::usage, folder.string() + ": no such folder");
  auto files = read_tokenizer_files(folder);
  auto impl = std::make_unique<Impl>();
  impl->folder = folder;
  impl->more = more;
  impl->backend = open_backend(files, more);
  impl->bos = find_special(files, *impl->backend, kBos);
  impl->eos = find_special(files, *impl->backend, kEos);
  impl->pad = find_special(files, *impl->backend, kPad);
  impl->unk = find_special(files, *impl->backend, kUnk);
  if (auto found = read_chat_template(files)) {
    impl->chat_template = std::move(found->source);
    impl->chat_template_file = std::move(found->file);
  }
  impl->note_specials();
  return Tokenizer(std::move(impl));
}

Tokenizer Tokenizer::load_gguf(const fs::path& file, const std::vector<AddedToken>& more) {
  if (!more.empty()) fail(ExitCode::usage, file.string() + ": tokens cannot be added to the vocabulary of a GGUF file");
  GgufVocabulary vocabulary = read_gguf_vocabulary(file);
  auto impl = std::make_unique<Impl>();
  impl->folder = file;
  impl->backend = std::move(vocabulary.backend);
  impl->bos = vocabulary.specials.bos, impl->eos = vocabulary.specials.eos;
  impl->pad = vocabulary.specials.pad, impl->unk = vocabulary.specials.unk;
  impl->chat_template = std::move(vocabulary.chat_template);
  if (impl->chat_template) impl->chat_template_file = file;
  impl->note_specials();
  return Tokenizer(std::move(impl));
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special) const {
  return std::move(impl_->backend->encode(std::span(&text, 1), add_special, false, 1)[0].ids);
}

Encoding Tokenizer::encode_with_offsets(std::string_view text, bool add_special) const {
  return std::move(impl_->backend->encode(std::span(&text, 1), add_special, true, 1)[0]);
}

std::vector<Encoding> Tokenizer::encode_batch(std::span<const std::string> texts, bool add_special, bool offsets,
                                              int threads) const {
  std::vector<std::string_view> views(texts.begin(), texts.end());
  return impl_->backend->encode(views, add_special, offsets, threads);
}

std::string Tokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  return impl_->backend->decode(ids, skip_special);
}

int64_t Tokenizer::vocab_size() const { return impl_->backend->vocab_size(); }
std::optional<int32_t> Tokenizer::token_to_id(std::string_view token) const {
  return impl_->backend->token_to_id(token);
}
std::string Tokenizer::id_to_token(int32_t id) const { return impl_->backend->id_to_token(id).value_or(""); }
bool Tokenizer::is_special(int32_t id) const {
  return id >= 0 && static_cast<size_t>(id) < impl_->special.size() && impl_->special[static_cast<size_t>(id)];
}
const std::vector<AddedToken>& Tokenizer::added_tokens() const { return impl_->backend->added_tokens(); }

std::optional<int32_t> Tokenizer::bos_id() const { return impl_->bos; }
std::optional<int32_t> Tokenizer::eos_id() const { return impl_->eos; }
std::optional<int32_t> Tokenizer::pad_id() const { return impl_->pad; }
std::optional<int32_t> Tokenizer::unk_id() const { return impl_->unk; }
std::string Tokenizer::bos_token() const { return impl_->bos ? id_to_token(*impl_->bos) : ""; }
std::string Tokenizer::eos_token() const { return impl_->eos ? id_to_token(*impl_->eos) : ""; }
std::string Tokenizer::pad_token() const { return impl_->pad ? id_to_token(*impl_->pad) : ""; }
std::string Tokenizer::unk_token() const { return impl_->unk ? id_to_token(*impl_->unk) : ""; }

const std::optional<std::string>& Tokenizer::chat_template() const { return impl_->chat_template; }
const fs::path& Tokenizer::chat_template_file() const { return impl_->chat_template_file; }
void Tokenizer::replace_chat_template(std::string source, fs::path file) {
  impl_->chat_template = std::move(source);
  impl_->chat_template_file = std::move(file);
  impl_->chat_template_replaced = true;
}
bool Tokenizer::chat_template_replaced() const { return impl_->chat_template_replaced; }
const fs::path& Tokenizer::folder() const { return impl_->folder; }
const std::vector<AddedToken>& Tokenizer::more_tokens() const { return impl_->more; }

TokenizerTables Tokenizer::tables() const {
  auto tables = with_context(ExitCode::model, impl_->folder.string(), [&] { return impl_->backend->tables(); });
  auto model = impl_->folder / "tokenizer.model";
  if (tables.is_bpe || !fs::exists(model) || !fs::exists(impl_->folder / "tokenizer.json")) return tables;
  // The scores the vocabulary was made with are better than ones derived from merges, where the pieces are the same.
  auto own = with_context(ExitCode::model, model.string(),
                          [&] { return open_sentence_piece(MappedFile::open(model).text(), {})->tables(); });
  for (size_t id = 0; id < tables.tokens.size(); ++id) {
    bool normal = tables.types[id] == TokenType::normal;
    if (normal && (id >= own.tokens.size() || own.tokens[id] != tables.tokens[id])) return tables;
  }
  for (size_t id = 0; id < std::min(own.scores.size(), tables.scores.size()); ++id) tables.scores[id] = own.scores[id];
  return tables;
}

}  // namespace prentice
