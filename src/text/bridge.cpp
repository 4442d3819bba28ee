#include "text/bridge.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "io/json.h"
#include "text/tables.h"

namespace {

// The C interface of src/text/bridge (lib.rs, tokenizer.rs, template.rs, parquet_rows.rs).
extern "C" {
struct LoadedTokenizer;
struct Encodings;
struct CompiledTemplate;
struct ParquetReader;

struct BridgeSlice {
  const char* data;
  size_t size;
};
struct BridgeText {
  char* data;
  size_t size;
  size_t capacity;
};
struct BridgeError {
  BridgeText text;
  uint32_t line;
};

void bridge_text_free(BridgeText);
int32_t bridge_tokenizer_load(BridgeSlice json, BridgeSlice extra, LoadedTokenizer** out, BridgeError* error);
void bridge_tokenizer_free(LoadedTokenizer*);
int32_t bridge_tokenizer_encode(const LoadedTokenizer*, const BridgeSlice* texts, size_t count, bool add_special,
                                bool offsets, size_t threads, Encodings** out, BridgeError* error);
void bridge_encodings_view(const Encodings*, size_t index, const uint32_t** ids, const uint32_t (**offsets)[2],
                           size_t* size);
void bridge_encodings_free(Encodings*);
int32_t bridge_tokenizer_decode(const LoadedTokenizer*, const uint32_t* ids, size_t count, bool skip_special,
                                BridgeText* out, BridgeError* error);
int64_t bridge_tokenizer_token_to_id(const LoadedTokenizer*, BridgeSlice token);
int32_t bridge_tokenizer_id_to_token(const LoadedTokenizer*, uint32_t id, BridgeText* out);
int32_t bridge_tokenizer_describe(const LoadedTokenizer*, BridgeText* out, BridgeError* error);
int32_t bridge_template_compile(BridgeSlice source, bool strict, bool* has_generation, CompiledTemplate** out,
                                BridgeError* error);
void bridge_template_free(CompiledTemplate*);
int32_t bridge_template_render(const CompiledTemplate*, BridgeSlice context, BridgeSlice date, BridgeSlice begin,
                               BridgeSlice end, size_t max_output, BridgeText* out, BridgeError* error);
int32_t bridge_parquet_open(BridgeSlice path, ParquetReader** out, int64_t* rows, BridgeError* error);
int32_t bridge_parquet_next(ParquetReader*, size_t max_rows, BridgeText* out, BridgeError* error);
void bridge_parquet_free(ParquetReader*);
}

}  // namespace

namespace prentice {
namespace {

constexpr size_t kMaxRenderedBytes = size_t{16} << 20;

BridgeSlice slice(std::string_view text) { return {text.data(), text.size()}; }

std::string take(BridgeText text) {
  std::string copy(text.data, text.size);
  bridge_text_free(text);
  return copy;
}

// Throws what a call left in `error`.
void check(int32_t code, const BridgeError& error, ExitCode exit_code) {
  if (code != 0) fail(exit_code, take(error.text));
}

struct FreeEncodings {
  void operator()(Encodings* encodings) const { bridge_encodings_free(encodings); }
};
struct FreeTokenizer {
  void operator()(LoadedTokenizer* tokenizer) const { bridge_tokenizer_free(tokenizer); }
};

class CrateTokenizer : public TokenizerBackend {
 public:
  CrateTokenizer(std::string_view json, const std::vector<AddedToken>& extra, std::function<std::string()> reread)
      : reread_(std::move(reread)) {
    Json::Array tokens;
    for (const auto& token : extra) tokens.push_back(to_json(token));
    std::string extra_json = Json(std::move(tokens)).dump();
    LoadedTokenizer* loaded = nullptr;
    BridgeError error;
    check(bridge_tokenizer_load(slice(json), slice(extra_json), &loaded, &error), error, ExitCode::malformed);
    handle_.reset(loaded);
    describe();
  }

  std::vector<Encoding> encode(std::span<const std::string_view> texts, bool add_special, bool offsets,
                               int threads) const override {
    std::vector<BridgeSlice> slices;
    slices.reserve(texts.size());
    for (auto text : texts) slices.push_back(slice(text));
    Encodings* result = nullptr;
    BridgeError error;
    check(bridge_tokenizer_encode(handle_.get(), slices.data(), slices.size(), add_special, offsets,
                                  static_cast<size_t>(std::max(threads, 1)), &result, &error),
          error, ExitCode::data);
    std::unique_ptr<Encodings, FreeEncodings> owned(result);
    std::vector<Encoding> encodings(texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      const uint32_t* ids = nullptr;
      const uint32_t(*spans)[2] = nullptr;
      size_t size = 0;
      bridge_encodings_view(result, i, &ids, &spans, &size);
      encodings[i].ids.assign(ids, ids + size);
      if (!offsets) continue;
      encodings[i].offsets.resize(size);
      for (size_t k = 0; k < size; ++k) encodings[i].offsets[k] = {int64_t{spans[k][0]}, int64_t{spans[k][1]}};
    }
    return encodings;
  }

  std::string decode(std::span<const int32_t> ids, bool skip_special) const override {
    std::vector<uint32_t> unsigned_ids(ids.begin(), ids.end());
    BridgeText text;
    BridgeError error;
    check(bridge_tokenizer_decode(handle_.get(), unsigned_ids.data(), ids.size(), skip_special, &text, &error), error,
          ExitCode::data);
    return take(text);
  }

  int64_t vocab_size() const override { return vocab_size_; }

  std::optional<int32_t> token_to_id(std::string_view token) const override {
    int64_t id = bridge_tokenizer_token_to_id(handle_.get(), slice(token));
    return id < 0 ? std::nullopt : std::optional(static_cast<int32_t>(id));
  }

  std::optional<std::string> id_to_token(int32_t id) const override {
    BridgeText text;
    if (id < 0 || !bridge_tokenizer_id_to_token(handle_.get(), static_cast<uint32_t>(id), &text)) return std::nullopt;
    return take(text);
  }

  const std::vector<AddedToken>& added_tokens() const override { return added_; }

  TokenizerTables tables() const override { return tables_of_json(Json::parse(reread_()), added_); }

 private:
  static Json to_json(const AddedToken& token) {
    return Json::Object{{"id", int64_t{token.id}}, {"content", token.content}, {"single_word", token.single_word},
                        {"lstrip", token.lstrip},  {"rstrip", token.rstrip},   {"normalized", token.normalized},
                        {"special", token.special}};
  }

  void describe() {
    BridgeText text;
    BridgeError error;
    check(bridge_tokenizer_describe(handle_.get(), &text, &error), error, ExitCode::malformed);
    Json json = Json::parse(take(text));
    vocab_size_ = json.at("max_id").as_integer() + 1;
    for (const auto& token : json.at("added_tokens").as_array()) {
      added_.push_back({.id = static_cast<int32_t>(token.at("id").as_integer()),
                        .content = token.at("content").as_string(),
                        .special = token.at("special").as_bool()});
    }
  }

  std::unique_ptr<LoadedTokenizer, FreeTokenizer> handle_;
  std::function<std::string()> reread_;
  std::vector<AddedToken> added_;
  int64_t vocab_size_ = 0;
};

JinjaFailure to_failure(int32_t code, const BridgeError& error) {
  using Kind = JinjaFailure::Kind;
  Kind kind = code == 1   ? Kind::syntax
              : code == 2 ? Kind::raised
              : code == 3 ? Kind::budget
              : code == 4 ? Kind::undefined
              : code == 6 ? Kind::broken
                          : Kind::crash;
  return {kind, take(error.text), static_cast<int>(error.line)};
}

}  // namespace

std::unique_ptr<TokenizerBackend> open_crate_tokenizer(std::string_view json, const std::vector<AddedToken>& extra,
                                                       std::function<std::string()> reread) {
  return std::make_unique<CrateTokenizer>(json, extra, std::move(reread));
}

std::variant<JinjaTemplate, JinjaFailure> JinjaTemplate::compile(std::string_view source, bool strict) {
  CompiledTemplate* compiled = nullptr;
  BridgeError error;
  bool has_generation = false;
  if (int32_t code = bridge_template_compile(slice(source), strict, &has_generation, &compiled, &error)) {
    return to_failure(code, error);
  }
  return JinjaTemplate(compiled, has_generation);
}

JinjaTemplate::JinjaTemplate(JinjaTemplate&& other) noexcept
    : handle_(std::exchange(other.handle_, nullptr)), has_generation_(other.has_generation_) {}
JinjaTemplate& JinjaTemplate::operator=(JinjaTemplate&& other) noexcept {
  std::swap(handle_, other.handle_);
  std::swap(has_generation_, other.has_generation_);
  return *this;
}
JinjaTemplate::~JinjaTemplate() { bridge_template_free(static_cast<CompiledTemplate*>(handle_)); }

std::variant<std::string, JinjaFailure> JinjaTemplate::render(const JinjaVariables& variables) const {
  BridgeText text;
  BridgeError error;
  int32_t code = bridge_template_render(static_cast<const CompiledTemplate*>(handle_), slice(variables.json),
                                        slice(variables.date), slice(variables.block_begin), slice(variables.block_end),
                                        kMaxRenderedBytes, &text, &error);
  if (code != 0) return to_failure(code, error);
  return take(text);
}

ParquetRows::ParquetRows(const std::filesystem::path& path) {
  BridgeError error;
  ParquetReader* reader = nullptr;
  check(bridge_parquet_open(slice(path.native()), &reader, &count_, &error), error, ExitCode::malformed);
  handle_ = reader;
}

ParquetRows::~ParquetRows() { bridge_parquet_free(static_cast<ParquetReader*>(handle_)); }

std::string ParquetRows::next(size_t max_rows) {
  BridgeError error;
  BridgeText lines;
  check(bridge_parquet_next(static_cast<ParquetReader*>(handle_), max_rows, &lines, &error), error,
        ExitCode::malformed);
  return take(lines);
}

}  // namespace prentice
