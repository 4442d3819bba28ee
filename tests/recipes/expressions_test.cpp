#include "recipes/expressions.h"

#include <gtest/gtest.h>

#include <functional>

#include "config/read.h"
#include "core/error.h"

namespace prentice {
namespace {

SftRecipe recipe_of(const std::string& yaml) {
  return read_recipe<SftRecipe>(parse_yaml(yaml, "r.yaml"), {.check_paths = false});
}

constexpr const char* kStart = "recipe: sft\nmodel: {path: m}\ndata: {train: t.jsonl";

std::string refusal(const std::function<void()>& check) {
  try {
    check();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    return error.what();
  }
  return "";
}

TEST(Expressions, AreCheckedWithTheirPlace) {
  const std::pair<std::string, std::string> cases[] = {
      {"}\nadapter: {targets: \"(q_proj\"}\n", "r.yaml:4:20: adapter.targets: "},
      {"}\nadapter:\n  rank_pattern: {\"q_(\": 4}\n", "r.yaml:5:18: adapter.rank_pattern: "},
      {"}\nadapter:\n  alpha_pattern: {\"[\": 4}\n", "r.yaml:5:19: adapter.alpha_pattern: "},
      {"}\nexport: {gguf: [F16], types: {\"(\": F32}}\n", "r.yaml:4:31: export.types: "},
      {", prompt: \"{{ a\", completion: \"{{ b }}\"}\n", "r.yaml:3:32: data.prompt: template line 1: "},
      {", prompt: \"{{ a }}\", completion: \"{% if %}\"}\n", "r.yaml:3:55: data.completion: template line 1: "},
  };
  for (const auto& [rest, begin] : cases) {
    const auto recipe = recipe_of(kStart + rest);
    const std::string said = refusal([&] { check_expressions(recipe); });
    EXPECT_TRUE(said.starts_with(begin)) << rest << "\n" << said;
  }
  const auto good = recipe_of(std::string(kStart) +
                              ", prompt: \"{{ a }}\", completion: \"{{ b }}\"}\nadapter: {targets: \".*[qk]_proj\"}\n");
  EXPECT_EQ(refusal([&] { check_expressions(good); }), "");
}

// A Llama of two layers with a tied head.
ModelSpec small_llama() {
  return read_spec(Json::parse(R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64,
    "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
    "vocab_size": 100, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": true})"));
}

TEST(Expressions, ATypeThatNoTensorOfTheModelTakesIsRefused) {
  const ModelSpec spec = small_llama();
  const std::pair<std::string, bool> cases[] = {
      {"attn_q", true},          {"blk.1.ffn_down", true}, {"blk\\\\.[01]\\\\..*", true},
      {"token_embd", true},      {"output", false},  // tied
      {"blk.2.ffn_down", false}, {"attn_norm", false},     {"atn_q", false},
  };
  for (const auto& [key, good] : cases) {
    const auto recipe = recipe_of(std::string(kStart) + "}\nexport: {gguf: [F16], types: {\"" + key + "\": F32}}\n");
    const std::string said = refusal([&] { check_tensor_types(recipe.exports, recipe, spec); });
    EXPECT_EQ(said.empty(), good) << key << ": " << said;
    if (!good) EXPECT_TRUE(said.starts_with("r.yaml:4:31: export.types: '")) << said;
  }
}

}  // namespace
}  // namespace prentice
