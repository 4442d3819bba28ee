#include "export/gguf_mix.h"

#include <gtest/gtest.h>

#include "io/scratch.h"

namespace prentice {
namespace {

std::string block(int64_t layer, const char* name) { return "blk." + std::to_string(layer) + "." + name + ".weight"; }

// Layers that llama.cpp 0.5.0 keeps finer in Q4_K_M and Q5_K_M.
TEST(GgufMix, TheFirstAndLastEighthAndEveryThirdLayerBetweenAreFiner) {
  const std::pair<int64_t, std::vector<int64_t>> cases[] = {
      {16, {0, 1, 4, 7, 10, 13, 14, 15}},
      {18, {0, 1, 4, 7, 10, 13, 15, 16, 17}},
      {28, {0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27}},
      {34, {0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 29, 30, 31, 32, 33}}};
  for (const auto& [layers, expected] : cases) {
    for (const FileType file : {FileType::Q4_K_M, FileType::Q5_K_M}) {
      for (const char* name : {"attn_v", "attn_qkv", "ffn_down"}) {
        std::vector<int64_t> finer;
        for (int64_t layer = 0; layer < layers; ++layer) {
          if (mixed_type(file, block(layer, name), {.layers = layers}) == GgmlType::Q6_K) finer.push_back(layer);
        }
        EXPECT_EQ(finer, expected) << layers << " layers, " << name;
      }
    }
  }
}

TEST(GgufMix, EachFileHasTheTypesOfLlamaCpp) {
  struct Case {
    FileType file;
    std::string name;
    GgmlType expected;
    MixModel model = {.layers = 32};
  };
  const Case cases[] = {
      {FileType::Q4_K_M, "output.weight", GgmlType::Q6_K},
      {FileType::Q8_0, "output.weight", GgmlType::Q8_0},
      {FileType::BF16, "output.weight", GgmlType::BF16},
      {FileType::Q4_K_M, "token_embd.weight", GgmlType::Q4_K},
      {FileType::Q4_K_M, "token_embd.weight", GgmlType::Q6_K, {.layers = 32, .has_output = false}},
      {FileType::Q4_K_M, block(4, "attn_q"), GgmlType::Q4_K},
      {FileType::Q4_K_M, block(4, "attn_output"), GgmlType::Q4_K},
      {FileType::Q4_K_S, block(3, "attn_v"), GgmlType::Q5_K},
      {FileType::Q4_K_S, block(4, "attn_v"), GgmlType::Q4_K},
      {FileType::Q4_K_S, block(3, "ffn_down"), GgmlType::Q5_K},
      {FileType::Q4_K_S, block(4, "ffn_down"), GgmlType::Q4_K},
      {FileType::Q5_K_S, block(0, "attn_v"), GgmlType::Q5_K},
      {FileType::Q3_K_S, block(0, "ffn_down"), GgmlType::Q3_K},
      {FileType::Q3_K_M, block(1, "attn_v"), GgmlType::Q5_K},
      {FileType::Q3_K_M, block(2, "attn_v"), GgmlType::Q4_K},
      {FileType::Q3_K_M, block(1, "ffn_down"), GgmlType::Q5_K},
      {FileType::Q3_K_M, block(2, "ffn_down"), GgmlType::Q4_K},
      {FileType::Q3_K_M, block(2, "attn_output"), GgmlType::Q4_K},
      {FileType::Q3_K_L, block(9, "attn_output"), GgmlType::Q5_K},
      {FileType::Q2_K, block(9, "attn_v"), GgmlType::Q3_K},
      {FileType::Q2_K, block(9, "attn_v"), GgmlType::Q4_K, {.layers = 32, .heads_per_kv_head = 4}},
      {FileType::Q2_K, block(9, "attn_output"), GgmlType::Q3_K},
      {FileType::Q2_K, block(9, "ffn_up"), GgmlType::Q2_K},
      {FileType::Q6_K, block(9, "attn_v"), GgmlType::Q6_K},
      {FileType::Q4_0, block(3, "ffn_down"), GgmlType::Q4_0},
      {FileType::Q4_0, block(3, "ffn_down"), GgmlType::Q4_1, {.layers = 32, .has_importance = true}},
      {FileType::Q4_0, block(4, "ffn_down"), GgmlType::Q4_0, {.layers = 32, .has_importance = true}},
      {FileType::Q4_K_S, block(70, "attn_v"), GgmlType::Q5_K, {.layers = 80, .is_70b = true}},
  };
  for (const auto& [file, name, expected, model] : cases) {
    EXPECT_EQ(mixed_type(file, name, model), expected) << file_type_name(file) << " " << name;
  }
}

TEST(GgufMix, WordsAreThoseOfTheFiles) {
  for (const char* word : {"F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "Q4_0",
                           "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K"}) {
    EXPECT_EQ(file_type_name(file_type_named(word)), word);
  }
  EXPECT_TRUE(contains(message_of([] { file_type_named("Q4_K"); }), "unknown file type \"Q4_K\""));
}

}  // namespace
}  // namespace prentice
