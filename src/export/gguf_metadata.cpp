#include "export/gguf_metadata.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "core/error.h"
#include "export/gguf_features.h"
#include "model/gguf_keys.h"
#include "text/pre_tokenizer.h"

namespace prentice {

namespace {

constexpr float kPaddingScore = -10000.0f;

uint32_t count(int64_t value) { return static_cast<uint32_t>(value); }

// llama.cpp changes its behaviour for names that look like Phi-3's and then needs that model's tokens.
std::string harmless_name(std::string name, const Tokenizer& tokenizer) {
  std::string lower = name;
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  const bool triggers = lower.find("phi-3") != std::string::npos || lower.find("phi3") != std::string::npos;
  if (!triggers || (tokenizer.token_to_id("<|endoftext|>") && tokenizer.token_to_id("</s>"))) return name;
  return "model";
}

void add_rotation(std::vector<GgufEntry>& out, const ModelSpec& spec) {
  const auto prefix = spec.gguf.architecture + ".rope.";
  const auto add = [&](const char* key, GgufValue value) { out.push_back({prefix + key, std::move(value)}); };
  const size_t global = global_rope(spec);
  const auto& rope = spec.ropes.at(global);
  add("dimension_count", count(rope.rotary_dim));
  add("freq_base", static_cast<float>(rope.theta));
  if (spec.ropes.size() > 1) add("freq_base_swa", static_cast<float>(spec.ropes[1 - global].theta));
  if (rope.kind == RopeKind::linear || rope.kind == RopeKind::yarn) {
    add("scaling.type", std::string(rope.kind == RopeKind::linear ? "linear" : "yarn"));
    add("scaling.factor", static_cast<float>(rope.factor));
  }
  if (rope.kind == RopeKind::yarn || rope.kind == RopeKind::longrope) {
    add("scaling.original_context_length", count(rope.original_max_positions));
  }
  if (rope.kind == RopeKind::longrope) add("scaling.attn_factor", static_cast<float>(rope.attention_factor));
}

// Which layers have the window, where llama.cpp lets the file say so.
void add_windows(std::vector<GgufEntry>& out, const ModelSpec& spec) {
  const auto prefix = spec.gguf.architecture + ".attention.sliding_window";
  const int64_t window = widest_window(spec);
  if (window == 0 || !obeys_windows(spec)) return;
  out.push_back({prefix, count(window)});
  std::vector<bool> windowed;
  for (const auto& layer : spec.layer) windowed.push_back(layer.window > 0);
  out.push_back({prefix + "_pattern", gguf_array(windowed)});
}

void add_architecture(std::vector<GgufEntry>& out, const ModelSpec& spec) {
  const auto prefix = spec.gguf.architecture + ".";
  const auto add = [&](std::string_view key, GgufValue value) {
    out.push_back({prefix + std::string(key), std::move(value)});
  };
  for (const auto& size : kGgufSizes) add(size.key, count(spec.*size.member));
  const bool layer_norm = spec.norm == NormKind::layer;
  add(layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
      static_cast<float>(spec.norm_eps));
  if (spec.attention_softcap != 0) add("attn_logit_softcapping", static_cast<float>(spec.attention_softcap));
  if (spec.final_softcap != 0) add("final_logit_softcapping", static_cast<float>(spec.final_softcap));
  add_windows(out, spec);
  add_rotation(out, spec);
}

void add_token_ids(std::vector<GgufEntry>& out, const ModelSpec& spec, const Tokenizer& tokenizer,
                   const GgufOptions& options) {
  const auto first = [](const std::vector<int32_t>& ids) {
    return ids.empty() ? std::nullopt : std::optional<int32_t>(ids.front());
  };
  const auto or_else = [](std::optional<int32_t> id, std::optional<int32_t> other) { return id ? id : other; };
  const std::pair<const char*, std::optional<int32_t>> ids[] = {
      {"bos", or_else(tokenizer.bos_id(), first(spec.bos_ids))},
      {"eos", or_else(options.stop_id, or_else(tokenizer.eos_id(), first(spec.eos_ids)))},
      {"unknown", tokenizer.unk_id()},
      {"padding", tokenizer.pad_id()},
  };
  for (const auto& [name, id] : ids) {
    if (!id || *id < 0 || *id >= spec.vocab) continue;
    out.push_back({fmt::format("tokenizer.ggml.{}_token_id", name), static_cast<uint32_t>(*id)});
  }
}

// llama.cpp's SentencePiece tokenizer spells what the vocabulary lacks in byte tokens and ends the process when there
// is none (already at load, for the newline).
void check_byte_tokens(const Tokenizer& tokenizer) {
  for (int byte = 0; byte < 256; ++byte) {
    if (tokenizer.token_to_id(fmt::format("<0x{:02X}>", byte))) continue;
    fail(ExitCode::model,
         fmt::format("the vocabulary has no byte token <0x{:02X}>, and llama.cpp aborts where it needs one", byte),
         "serve the merged Hugging Face folder instead");
  }
}

void add_tokenizer(std::vector<GgufEntry>& out, const ModelSpec& spec, const Tokenizer& tokenizer,
                   const GgufOptions& options) {
  const auto tables = padded_tables(tokenizer, spec.vocab);
  if (!tables.is_bpe) check_byte_tokens(tokenizer);
  const auto pre = gguf_pre_tokenizer(tokenizer);
  if (pre.empty()) {
    fail(ExitCode::model,
         "the tokenizer splits words by an expression that llama.cpp does not know: " + tables.pre_tokenizer_pattern,
         "serve the merged Hugging Face folder instead");
  }
  std::vector<int32_t> types;
  for (const auto type : tables.types) types.push_back(static_cast<int32_t>(type));
  out.push_back({"tokenizer.ggml.model", std::string(tables.is_bpe ? "gpt2" : "llama")});
  out.push_back({"tokenizer.ggml.pre", pre});
  out.push_back({"tokenizer.ggml.tokens", gguf_array(tables.tokens)});
  if (!tables.is_bpe) out.push_back({"tokenizer.ggml.scores", gguf_array(tables.scores)});
  out.push_back({"tokenizer.ggml.token_type", gguf_array(types)});
  if (tables.is_bpe) out.push_back({"tokenizer.ggml.merges", gguf_array(tables.merges)});
  add_token_ids(out, spec, tokenizer, options);
  out.push_back({"tokenizer.ggml.add_bos_token", tables.add_bos});
  out.push_back({"tokenizer.ggml.add_eos_token", tables.add_eos});
  if (!tables.is_bpe) out.push_back({"tokenizer.ggml.add_space_prefix", tables.add_space_prefix});
  const auto& chat_template = options.chat_template ? options.chat_template : tokenizer.chat_template();
  if (chat_template) out.push_back({"tokenizer.chat_template", *chat_template});
}

// As llama-quantize says what it was given.
void add_importance(std::vector<GgufEntry>& out, const GgufOptions& options) {
  if (options.importance == nullptr) return;
  const auto& [entries, datasets, chunks, chunk_size, rows] = *options.importance;
  out.push_back({"quantize.imatrix.file", options.importance_file});
  if (!datasets.empty()) out.push_back({"quantize.imatrix.dataset", datasets.front()});
  out.push_back({"quantize.imatrix.entries_count", count(static_cast<int64_t>(entries.size()))});
  if (chunks > 0) out.push_back({"quantize.imatrix.chunks_count", chunks});
}

}  // namespace

std::vector<GgufEntry> gguf_metadata(const ModelSpec& spec, const Tokenizer& tokenizer, const GgufOptions& options) {
  std::vector<GgufEntry> out;
  out.push_back({"general.architecture", spec.gguf.architecture});
  out.push_back({"general.type", std::string("model")});
  out.push_back({"general.name", harmless_name(options.name, tokenizer)});
  add_architecture(out, spec);
  add_tokenizer(out, spec, tokenizer, options);
  out.push_back({"general.file_type", static_cast<uint32_t>(options.type)});
  out.push_back({"general.quantization_version", uint32_t{2}});
  add_importance(out, options);
  for (const auto& [key, text] : options.origin) out.push_back({key, text});
  return out;
}

TokenizerTables padded_tables(const Tokenizer& tokenizer, int64_t rows) {
  auto tables = tokenizer.tables();
  const auto known = static_cast<int64_t>(tables.tokens.size());
  if (known > rows) {
    fail(ExitCode::model, fmt::format("the tokenizer has {} entries, the embedding {} rows", known, rows),
         "take the tokenizer that belongs to the model, or resize the embedding");
  }
  tables.tokens.resize(rows);
  tables.types.resize(rows, TokenType::unused);
  if (!tables.is_bpe) tables.scores.resize(rows, kPaddingScore);
  std::unordered_set<std::string_view> seen;
  for (int64_t id = 0; id < rows; ++id) {
    if (tables.tokens[id].empty()) {  // a padding row, or a number the vocabulary leaves out
      tables.tokens[id] = fmt::format("[PAD{}]", id);
      tables.types[id] = TokenType::unused;
      if (!tables.is_bpe) tables.scores[id] = kPaddingScore;
    }
    if (!seen.insert(tables.tokens[id]).second) {
      fail(ExitCode::model, fmt::format("token {} is the second one spelled \"{}\", which llama.cpp cannot load", id,
                                        tables.tokens[id]));
    }
  }
  return tables;
}

}  // namespace prentice
