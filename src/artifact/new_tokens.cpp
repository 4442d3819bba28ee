#include "artifact/new_tokens.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "adapter/vocabulary.h"
#include "artifact/score_head.h"
#include "config/adapter_rules.h"
#include "core/error.h"
#include "io/file.h"
#include "io/model_files.h"
#include "model/resize.h"
#include "text/add_tokens.h"

namespace prentice {

namespace {

namespace fs = std::filesystem;

bool goes_on(const AdapterSection& adapter) { return adapter.kind != AdapterKind::full && !starts_fresh(adapter); }

// An adapter that is gone on from brings its vocabulary along.
bool take_vocabulary(const ModelSection& model, const AdapterSection& adapter, Artifact& artifact, ModelSpec& spec) {
  spec = with_adapter_shape(std::move(spec), adapter.init);
  if (!model.tokenizer.empty() || !has_tokenizer(adapter.init)) return false;
  artifact.tokenizer = adapter.init;
  artifact.chat_template.clear();
  return true;
}

std::string told(const Tokenizer& tokenizer, const TokenAdditions& additions, int64_t rows_before, int64_t rows) {
  std::vector<std::string> parts;
  for (const auto& token : additions.tokens) {
    const bool is_new = std::ranges::count(additions.new_ids, token.id) > 0;
    if (is_new) parts.push_back(fmt::format("{} = {}", token.content, token.id));
  }
  for (const auto& text : additions.in_vocabulary) {
    parts.push_back(fmt::format("{} is in the vocabulary already = {}", text, *tokenizer.token_to_id(text)));
  }
  std::string line = fmt::format("{}", fmt::join(parts, ", "));
  if (additions.new_ids.empty()) return line;
  return line + (rows > rows_before ? fmt::format("; the embedding grows from {} to {} rows", rows_before, rows)
                                    : fmt::format("; in spare rows of the embedding, which has {}", rows));
}

}  // namespace

NewTokens take_new_tokens(const ModelSection& model, Opened& opened, AdapterSection& adapter) {
  ModelSpec& spec = opened.spec;
  const bool continued = goes_on(adapter);
  NewTokens tokens;
  if (continued) {
    tokens.own_tokenizer = take_vocabulary(model, adapter, opened.artifact, spec);
    if (tokens.own_tokenizer) opened.tokenizer = open_tokenizer(opened.artifact, spec);
  }
  if (model.add_tokens.empty()) return tokens;

  const TokenAdditions additions = additions_to(opened.tokenizer, model.add_tokens);
  if (continued && !additions.new_ids.empty()) {
    const auto is_new = [&](const AddedToken& token) { return token.id == additions.new_ids.front(); };
    fail(ExitCode::usage,
         fmt::format("model.add_tokens: {} is not in the vocabulary of adapter.init, which is fixed",
                     std::ranges::find_if(additions.tokens, is_new)->content),
         "`prentice export export.merged=bf16` first, then train with the merged folder as model.path");
  }
  const int64_t before = spec.vocab;
  tokens.ids = additions.new_ids;
  tokens.known = opened.tokenizer.vocab_size();
  spec = with_vocabulary(std::move(spec), std::max(before, tokens.known + static_cast<int64_t>(tokens.ids.size())));
  tokens.decided.emplace_back("model.add_tokens", told(opened.tokenizer, additions, before, spec.vocab));
  if (additions.tokens.empty()) return tokens;
  tokens.own_tokenizer = true;
  if (adapter.kind != AdapterKind::full && !tokens.ids.empty()) {
    const auto& saved = adapter.modules_to_save;
    const std::string asked = saved.empty() ? "" : fmt::format("{}; and ", fmt::join(saved, ", "));
    if (const auto added = save_both_ends(spec, adapter.modules_to_save); !added.empty()) {
      tokens.decided.emplace_back("adapter.modules_to_save",
                                  fmt::format("{}{}, where the new tokens' rows train", asked, fmt::join(added, ", ")));
    }
  }
  opened.tokenizer = open_tokenizer(opened.artifact, spec, additions.tokens);
  return tokens;
}

std::optional<std::string> replaced_template(const Tokenizer& tokenizer) {
  return tokenizer.chat_template_replaced() ? tokenizer.chat_template() : std::nullopt;
}

FileTexts own_files(const Artifact& artifact, const ModelSpec& spec, const Tokenizer& tokenizer) {
  FileTexts files = with_pad_token_file(spec, tokenizer, files_with_added_tokens(tokenizer));
  if (const auto own = replaced_template(tokenizer)) files["chat_template.jinja"] = *own;
  if (!artifact.has_weights() || !fs::exists(artifact.tokenizer / "adapter_config.json")) return files;
  for (const auto& name : companion_files(artifact.base)) {
    if (is_tokenizer_file(name) || fs::exists(artifact.tokenizer / name)) continue;
    files[name] = read_text_file(artifact.base / name);
  }
  return files;
}

}  // namespace prentice
