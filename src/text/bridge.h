// The Rust crates `tokenizers`, `minijinja` and `parquet` as C++ types. bridge.cpp is the only file that sees their C
// interface.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "text/backend.h"

namespace prentice {

// `json` is the text of a tokenizer.json; `extra` are tokens it may lack (tokenizer_config.json's
// added_tokens_decoder). Truncation, padding and dropout are ignored; offsets keep a token's leading space, and a token
// that holds part of a character has the whole character's bytes. Errors: `malformed`.
// `reread` gives `json` again when tables() wants it: it is long, and only exports ask.
std::unique_ptr<TokenizerBackend> open_crate_tokenizer(std::string_view json, const std::vector<AddedToken>& extra,
                                                       std::function<std::string()> reread);

struct JinjaFailure {
  enum class Kind {
    syntax,
    raised,     // raise_exception, or an operation on values that do not suit it
    budget,     // too many steps, too much output or memory
    undefined,  // a variable, in a strict template
    broken,     // names a filter, test, function or template that does not exist, whatever the values are
    crash
  };
  Kind kind = Kind::raised;
  std::string text;  // the template's or the engine's words; for `undefined` the variables' names, one a line
  int line = 0;      // 1-based; 0 = unknown
};

struct JinjaVariables {
  std::string_view json;         // an object: the variables a template sees
  std::string_view date;         // what strftime_now sees
  std::string_view block_begin;  // written before and after what {% generation %} renders
  std::string_view block_end;
};

// A compiled template under fixed budgets of steps, depth, output and memory. Rendering is safe from several threads.
// Once over its budget of memory a template fails at once, for what it held then is never given back.
class JinjaTemplate {
 public:
  // `strict`: an undefined variable is an error, as opposed to Jinja's lenient default.
  static std::variant<JinjaTemplate, JinjaFailure> compile(std::string_view source, bool strict);
  JinjaTemplate(JinjaTemplate&&) noexcept;
  JinjaTemplate& operator=(JinjaTemplate&&) noexcept;
  ~JinjaTemplate();
  std::variant<std::string, JinjaFailure> render(const JinjaVariables& variables) const;
  bool has_generation_blocks() const { return has_generation_; }

 private:
  JinjaTemplate(void* handle, bool has_generation) : handle_(handle), has_generation_(has_generation) {}
  void* handle_ = nullptr;
  bool has_generation_ = false;
};

// A Parquet file from front to back. Memory holds one batch of rows and the pages they lie in. Errors (all):
// `malformed`, for a file that is cut short, damaged, encrypted or holds a type that has no form in JSON; then no more
// is read.
class ParquetRows {
 public:
  explicit ParquetRows(const std::filesystem::path& path);
  ParquetRows(const ParquetRows&) = delete;
  ~ParquetRows();
  int64_t count() const { return count_; }  // of rows, as the file says
  // The next rows, at most `max_rows`, one JSON object to a line; "" at the end. Columns are members; lists, structs
  // and maps nest; times are ISO 8601 text; a real that is not finite is null.
  std::string next(size_t max_rows);

 private:
  void* handle_ = nullptr;
  int64_t count_ = 0;
};

}  // namespace prentice
