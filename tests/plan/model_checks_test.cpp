#include "plan/model_checks.h"

#include <gtest/gtest.h>

#include "artifact/open.h"
#include "config/read.h"
#include "core/error.h"

namespace prentice {
namespace {

constexpr const char* kStart = "recipe: sft\nmodel: {path: m}\ndata: {train: t.jsonl";

template <class R = SftRecipe>
R recipe_of(const std::string& yaml) {
  return read_recipe<R>(parse_yaml(yaml, "r.yaml"), {.check_paths = false});
}

// All mistakes, a line each, with the exit code in front.
std::string told(RecipeMistakes& mistakes) {
  try {
    mistakes.throw_if_any();
  } catch (const Error& error) {
    std::string text = std::to_string(static_cast<int>(error.code()));
    for (const auto& diagnostic : error.diagnostics()) {
      text += "\n" + to_string(diagnostic);
      if (!diagnostic.hint.empty()) text += " | " + diagnostic.hint;
    }
    return text;
  }
  return "";
}

TEST(ModelChecks, ExpressionsAreCheckedWithTheirPlaceAllAtOnce) {
  const auto recipe = recipe_of(std::string(kStart) +
                                ", prompt: \"{{ a\", completion: \"{% if %}\"}\n"
                                "adapter:\n  targets: \"(q_proj\"\n  rank_pattern: {\"q_(\": 4}\n"
                                "  alpha_pattern: {\"[\": 4}\nexport: {gguf: [F16], types: {\"(\": F32}}\n");
  RecipeMistakes mistakes;
  EXPECT_FALSE(check_expressions(recipe, mistakes));
  const std::string text = told(mistakes);
  EXPECT_TRUE(text.starts_with("2\n")) << text;
  for (const char* begin :
       {"r.yaml:3:32: data.prompt: template line 1: ", "r.yaml:3:52: data.completion: template ",
        "r.yaml:5:12: adapter.targets: regular expression '(q_proj', position 7: missing ')'",
        "r.yaml:6:18: adapter.rank_pattern: ", "r.yaml:7:19: adapter.alpha_pattern: ", "r.yaml:8:31: export.types: "}) {
    EXPECT_NE(text.find(std::string("\n") + begin), std::string::npos) << begin << "\n" << text;
  }
  RecipeMistakes none;
  EXPECT_TRUE(check_expressions(
      recipe_of(std::string(kStart) +
                ", prompt: \"{{ a }}\", completion: \"{{ b }}\"}\nadapter: {targets: \".*[qk]_proj\"}\n"),
      none));
  EXPECT_EQ(told(none), "");
}

// A Llama of two layers with a tied head.
ModelShape small_llama() {
  ModelShape shape{.artifact = {.address = "m", .base = "/models/m"}, .spec = read_spec(Json::parse(R"({
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64,
    "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
    "vocab_size": 100, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": true})"))};
  return shape;
}

template <class R = SftRecipe>
std::string fit(const std::string& yaml, const ModelShape& shape) {
  RecipeMistakes mistakes;
  check_against_model(recipe_of<R>(yaml), shape, mistakes);
  return told(mistakes);
}

TEST(ModelChecks, EveryMistakeThatTheShapeShowsIsToldAtOnceAtItsKey) {
  const std::string yaml = std::string(kStart) +
                           ", max_length: 65}\nadapter:\n  targets: [q_prj, v_proj, up_prj]\n  layers: [1, 2, 7]\n"
                           "  rank_pattern: {k_proj: 4}\n  modules_to_save: [nrm]\n"
                           "export: {gguf: [F16], types: {output: F32, attn_q: F32, atn_q: F32}}\n";
  EXPECT_EQ(
      fit(yaml, small_llama()),
      "2\nr.yaml:3:36: data.max_length: 65 is above the model's trained context of 64"
      "\nr.yaml:5:13: adapter.targets: 'q_prj' matches no layer of this model | did you mean q_proj?"
      "\nr.yaml:5:28: adapter.targets: 'up_prj' matches no layer of this model | did you mean up_proj?"
      "\nr.yaml:6:15: adapter.layers: the model has layers 0 to 1, got 2"
      "\nr.yaml:6:18: adapter.layers: the model has layers 0 to 1, got 7"
      "\nr.yaml:7:18: adapter.rank_pattern: 'k_proj' matches no layer of this model | adapters sit on "
      "embed_tokens, q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, lm_head"
      "\nr.yaml:8:21: adapter.modules_to_save: 'nrm' names no module of this model | did you mean norm?"
      "\nr.yaml:9:31: export.types: 'output' names no matrix of this model | names are GGUF's: token_embd, output "
      "(where the head is not tied), attn_q, ffn_down, blk.3.attn_v, or an expression over the whole name; norms "
      "and biases are always F32"
      "\nr.yaml:9:57: export.types: 'atn_q' names no matrix of this model | names are GGUF's: token_embd, output "
      "(where the head is not tied), attn_q, ffn_down, blk.3.attn_v, or an expression over the whole name; norms "
      "and biases are always F32");
}

TEST(ModelChecks, WhatAModelCannotBeStartedOrWrittenAsIsTold) {
  ModelShape adapted = small_llama(), shapes = small_llama(), part = small_llama(), other = small_llama();
  adapted.artifact.adapter = "/a";
  shapes.artifact.base.clear();
  part.spec.section = "language_model";
  other.spec.attention_softcap = 50;  // llama.cpp's Llama has none
  const std::string sft = std::string(kStart) + "}\n";
  const std::pair<std::string, std::string> cases[] = {
      {fit(sft, small_llama()), ""},
      {fit(sft, adapted), "2\nr.yaml:2:15: model.path: training starts from a model without an adapter"},
      {fit(sft, shapes), "2\nr.yaml:2:15: model.path: m: these are shapes without weights"},
      {fit("recipe: sft\nmodel: {path: m, init: random}\ndata: {train: t.jsonl}\n", shapes), ""},
      {fit(sft + "adapter: {kind: full}\n", part), "2\nr.yaml:4:17: adapter.kind: m: its decoder is a part of"},
      {fit(sft, part), ""},
      {fit(sft + "export: {gguf: [F16]}\n", small_llama()), ""},
      {fit(sft + "export: {gguf: [F16]}\n", other),
       "4\nr.yaml:4:16: export.gguf: this model cannot be written as GGUF"},
      {fit(sft + "adapter: {targets: lm_head}\nexport: {gguf_adapter: F16}\n", small_llama()),
       "2\nr.yaml:5:24: export.gguf_adapter: the model's embedding is its head too"},
      {fit<ExportRecipe>("recipe: export\nmodel: {path: m}\nexport: {gguf_adapter: F16}\n", small_llama()),
       "2\nr.yaml:3:24: export.gguf_adapter: m has no adapter"},
      {fit<ExportRecipe>("recipe: export\nmodel: {path: m}\n", small_llama()), "2\nexport.peft: nothing is asked for"},
      {fit<ExportRecipe>("recipe: export\nmodel: {path: m}\nexport: {gguf: [F16]}\n", other),
       "4\nr.yaml:3:16: export.gguf: this model cannot be written as GGUF"},
      {fit<ExportRecipe>("recipe: export\nmodel: {path: m, init: random}\nexport: {gguf: [F16]}\n", shapes),
       "2\nr.yaml:2:15: model.path: m: these are shapes without weights"},
  };
  for (const auto& [said, wanted] : cases) {
    EXPECT_TRUE(wanted.empty() ? said.empty() : said.starts_with(wanted)) << said << "\nwanted: " << wanted;
  }
}

TEST(ModelChecks, ATypeThatNoTensorOfTheModelTakesIsRefused) {
  const std::pair<std::string, bool> cases[] = {
      {"attn_q", true},          {"blk.1.ffn_down", true}, {"blk\\\\.[01]\\\\..*", true},
      {"token_embd", true},      {"output", false},  // tied
      {"blk.2.ffn_down", false}, {"attn_norm", false},     {"atn_q", false},
  };
  for (const auto& [key, good] : cases) {
    const std::string said =
        fit(std::string(kStart) + "}\nexport: {gguf: [F16], types: {\"" + key + "\": F32}}\n", small_llama());
    EXPECT_EQ(said.empty(), good) << key << ": " << said;
    if (!good) EXPECT_TRUE(said.starts_with("2\nr.yaml:4:31: export.types: '")) << said;
  }
}

}  // namespace
}  // namespace prentice
