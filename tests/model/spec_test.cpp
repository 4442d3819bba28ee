// config.json to spec: every key that the families have, then the bad ones.
#include "model/spec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "config/configs.h"
#include "core/error.h"
#include "model/model.h"
#include "model/rope_table.h"

namespace prentice {
namespace {

// A valid config of an architecture; `extra` members are laid over it.
Json config_of(const std::string& architecture, const std::string& extra = "") {
  Json config = Json::parse(R"({"architectures": [")" + architecture + R"("], "hidden_size": 64, "num_hidden_layers": 3,
      "num_attention_heads": 8, "num_key_value_heads": 4, "intermediate_size": 96, "vocab_size": 100})");
  const Json over = Json::parse("{" + extra + "}");
  for (const auto& [key, value] : over.as_object()) config[key] = value;
  return config;
}
constexpr const char* kLlama = "LlamaForCausalLM";
constexpr const char* kMistral = "MistralForCausalLM";
constexpr const char* kQwen2 = "Qwen2ForCausalLM";
constexpr const char* kPhi3 = "Phi3ForCausalLM";
constexpr const char* kGemma3 = "Gemma3ForCausalLM";

Json without(Json config, const std::string& key) {
  std::erase_if(config.as_object(), [&](const Json::Member& member) { return member.first == key; });
  return config;
}

std::vector<int64_t> windows(const ModelSpec& spec) {
  std::vector<int64_t> found;
  for (const auto& layer : spec.layer) found.push_back(layer.window);
  return found;
}

TEST(Spec, AbsentKeysTakeTheClassDefaults) {
  const ModelSpec llama = read_spec(without(config_of(kLlama), "num_key_value_heads"));
  EXPECT_EQ(llama.kv_heads, 8);
  EXPECT_EQ(llama.head_dim, 8);
  EXPECT_EQ(llama.norm_eps, 1e-6);
  EXPECT_EQ(llama.max_positions, 2048);
  EXPECT_EQ(llama.ropes[0].theta, 10000);
  EXPECT_FALSE(llama.tied_head || llama.qkv_bias || llama.o_bias || llama.mlp_bias);
  EXPECT_EQ(windows(llama), (std::vector<int64_t>{0, 0, 0}));
  EXPECT_EQ(llama.gguf.architecture, "llama");
  EXPECT_TRUE(llama.gguf.permute_qk);
  EXPECT_DOUBLE_EQ(llama.attention_scale, 1 / std::sqrt(8.0));

  const ModelSpec mistral = read_spec(without(config_of(kMistral), "num_key_value_heads"));
  EXPECT_EQ(mistral.kv_heads, 8);
  EXPECT_EQ(windows(mistral), (std::vector<int64_t>{4096, 4096, 4096}));

  const Json qwen = config_of(kQwen2, R"("num_attention_heads": 32)");
  const ModelSpec qwen2 = read_spec(without(qwen, "num_key_value_heads"));
  EXPECT_EQ(qwen2.kv_heads, 32);
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.o_bias || qwen2.mlp_bias);
  EXPECT_EQ(windows(qwen2), (std::vector<int64_t>{0, 0, 0}));
  EXPECT_EQ(qwen2.gguf.architecture, "qwen2");
  EXPECT_FALSE(qwen2.gguf.permute_qk);
}

TEST(Spec, ANullKeyIsNotAnAbsentKey) {
  EXPECT_EQ(read_spec(config_of(kMistral, R"("num_key_value_heads": null)")).kv_heads, 8);
  EXPECT_EQ(windows(read_spec(config_of(kMistral, R"("sliding_window": null)"))), (std::vector<int64_t>{0, 0, 0}));
  EXPECT_EQ(read_spec(config_of(kLlama, R"("head_dim": null)")).head_dim, 8);
}

TEST(Spec, WindowsFollowTheFamily) {
  EXPECT_EQ(windows(read_spec(config_of(kMistral, R"("sliding_window": 9)"))), (std::vector<int64_t>{9, 9, 9}));
  EXPECT_EQ(windows(read_spec(config_of(kLlama, R"("sliding_window": 9)"))), (std::vector<int64_t>{0, 0, 0}));
  EXPECT_EQ(windows(read_spec(config_of(kQwen2, R"("sliding_window": 9, "max_window_layers": 1)"))),
            (std::vector<int64_t>{0, 0, 0}));
  const std::string on = R"("use_sliding_window": true, "sliding_window": 9, "max_window_layers": 1)";
  EXPECT_EQ(windows(read_spec(config_of(kQwen2, on))), (std::vector<int64_t>{0, 9, 9}));
  EXPECT_EQ(windows(read_spec(config_of(
                kQwen2, on + R"(, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"])"))),
            (std::vector<int64_t>{9, 0, 9}));
}

TEST(Spec, SwitchesAreRead) {
  const ModelSpec spec = read_spec(config_of(
      kLlama,
      R"("attention_bias": true, "mlp_bias": true, "tie_word_embeddings": true, "head_dim": 16, "rms_norm_eps": 1e-5,
              "eos_token_id": [3, 4], "bos_token_id": 2, "hidden_act": "silu", "pretraining_tp": 2, "attention_dropout": 0.1)"));
  EXPECT_TRUE(spec.qkv_bias && spec.o_bias && spec.mlp_bias && spec.tied_head);
  EXPECT_EQ(spec.head_dim, 16);
  EXPECT_EQ(spec.norm_eps, 1e-5);
  EXPECT_EQ(spec.eos_ids, (std::vector<int32_t>{3, 4}));
  EXPECT_EQ(spec.bos_ids, (std::vector<int32_t>{2}));
}

TEST(Spec, ModelTypeServesWhenThereAreNoArchitectures) {
  Json config = without(config_of(kLlama), "architectures");
  config["model_type"] = "qwen2";
  EXPECT_EQ(read_spec(config).architecture, kQwen2);
}

TEST(Spec, BothSpellingsOfRopeAreRead) {
  const RopeSpec llama3{.kind = RopeKind::llama3,
                        .theta = 5e5,
                        .rotary_dim = 8,
                        .factor = 8,
                        .low_freq_factor = 1,
                        .high_freq_factor = 4,
                        .original_max_positions = 8192};
  const std::string numbers = R"("factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0)";
  const std::string original = R"("original_max_position_embeddings": 8192)";
  const char* linear = R"("rope_scaling": {"type": "linear", "factor": 4}, "rope_theta": 100)";
  for (
      const std::string& spelling :
      {R"("rope_theta": 500000, "rope_scaling": {"rope_type": "llama3", )" + numbers + ", " + original + "}",
       R"("rope_theta": 500000, "rope_scaling": {"rope_type": "llama3", "type": "linear", )" + numbers + ", " +
           original + "}",
       R"("rope_parameters": {"rope_theta": 500000.0, "rope_type": "llama3", )" + numbers + ", " + original + "}",
       R"("rope_parameters": {"rope_theta": 500000.0, "rope_type": "llama3", )" + numbers + "}, " + original,
       R"("max_position_embeddings": 8192, "rope_parameters": {"rope_theta": 5e5, "rope_type": "llama3", )" + numbers +
           "}",
       R"("rope_theta": 500000, "rope_parameters": {"rope_type": "default"}, "rope_scaling": {"rope_type": "llama3", )" +
           numbers + ", " + original + "}"}) {
    EXPECT_EQ(read_spec(config_of(kLlama, spelling)).ropes[0], llama3) << spelling;
  }
  EXPECT_EQ(read_spec(config_of(kLlama, linear)).ropes[0],
            (RopeSpec{.kind = RopeKind::linear, .theta = 100, .rotary_dim = 8, .factor = 4}));
  EXPECT_EQ(read_spec(config_of(kLlama, R"("rope_scaling": null, "rope_theta": 7)")).ropes[0].theta, 7);
}

TEST(Spec, ARotationForEachKindOfLayerIsReadInBothSpellings) {
  const char* old_form = R"("rope_theta": 5e5, "rope_local_base_freq": 300, "sliding_window": 9,
      "sliding_window_pattern": 2, "rope_scaling": {"rope_type": "linear", "factor": 8})";
  const char* new_form = R"("sliding_window": 9,
      "layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "rope_parameters": {
      "full_attention": {"rope_type": "linear", "factor": 8, "rope_theta": 5e5},
      "sliding_attention": {"rope_type": "default", "rope_theta": 300}})";
  for (const char* form : {old_form, new_form}) {
    const ModelSpec spec = read_spec(config_of(kGemma3, form));
    ASSERT_EQ(spec.ropes.size(), 2u);
    EXPECT_EQ(spec.ropes[0], (RopeSpec{.kind = RopeKind::linear, .theta = 5e5, .rotary_dim = 256, .factor = 8}));
    EXPECT_EQ(spec.ropes[1], (RopeSpec{.theta = 300, .rotary_dim = 256}));
    EXPECT_EQ(windows(spec), (std::vector<int64_t>{9, 0, 9}));
    EXPECT_EQ(spec.layer[0].rope, 1);
    EXPECT_EQ(spec.layer[1].rope, 0);
  }
  EXPECT_EQ(read_spec(config_of(kGemma3)).ropes[0].theta, 1e6);
  EXPECT_EQ(read_spec(config_of(kGemma3)).ropes[1].theta, 1e4);
}

// Peng et al. 2023 (yarn), Ding et al. 2024 (longrope); the values are transformers'.
TEST(Spec, FactorsOfExtendedRotationsAreTheReferenceOnes) {
  const ModelSpec yarn = read_spec(
      config_of(kQwen2, R"("rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 32768})"));
  EXPECT_NEAR(yarn.ropes[0].attention_factor, 1.13862944, 1e-8);
  const ModelSpec longrope = read_spec(config_of(kPhi3, R"("max_position_embeddings": 131072, "rope_scaling":
      {"type": "su", "short_factor": [1, 1, 1, 1], "long_factor": [2, 2, 2, 2]})"));
  EXPECT_EQ(longrope.ropes[0].original_max_positions, 4096);
  EXPECT_NEAR(longrope.ropes[0].attention_factor, std::sqrt(1 + std::log(32.0) / std::log(4096.0)), 1e-12);
}

TEST(Spec, Llama31FrequenciesAreTheReferenceOnes) {
  const RopeSpec rope{.kind = RopeKind::llama3,
                      .theta = 5e5,
                      .rotary_dim = 128,
                      .factor = 8,
                      .low_freq_factor = 1,
                      .high_freq_factor = 4,
                      .original_max_positions = 8192};
  RopeSpec plain = rope;
  plain.kind = RopeKind::standard;
  const Tensor scaled = inverse_frequencies(rope), standard = inverse_frequencies(plain);
  const double between[] = {1.207484, 1.553415, 2.026313, 2.694530, 3.684253, 5.257327};  // transformers'
  for (int64_t j = 0; j < 64; ++j) {
    const double wanted = j <= 28 ? 1 : j <= 34 ? between[j - 29] : 8;
    EXPECT_NEAR(standard[j].item<double>() / scaled[j].item<double>(), wanted, 2e-6 * wanted) << j;
  }
}

struct BadConfig {
  Json config;
  const char* message;  // all of it
};

TEST(Spec, BadConfigsAreRefusedByName) {
  const BadConfig cases[] = {
      {config_of("GptForCausalLM"), "config.json: architectures: GptForCausalLM is not supported"},
      {Json::parse(R"({"hidden_size": 3})"), "config.json names neither `architectures` nor `model_type`"},
      {Json::parse(R"({"model_type": "bert"})"), "config.json: model_type: bert is not supported"},
      {Json::parse("[]"), "config.json: expected an object"},
      {without(config_of(kLlama), "hidden_size"), "config.json: hidden_size: is missing"},
      {config_of(kLlama, R"("num_attention_heads": 0)"),
       "config.json: num_attention_heads: expected a whole number from 1 to 4194304, got 0"},
      {config_of(kLlama, R"("num_hidden_layers": -2)"),
       "config.json: num_hidden_layers: expected a whole number from 1 to 4096, got -2"},
      {config_of(kLlama, R"("vocab_size": 99999999999999999999)"),
       "config.json: vocab_size: expected a whole number from 1 to 67108864, got 99999999999999999999"},
      {config_of(kLlama, R"("hidden_size": 64.5)"),
       "config.json: hidden_size: expected a whole number from 1 to 4194304, got 64.5"},
      {config_of(kLlama, R"("hidden_size": "64")"),
       "config.json: hidden_size: expected a whole number from 1 to 4194304, got \"64\""},
      {config_of(kLlama, R"("num_key_value_heads": 3)"),
       "config.json: num_key_value_heads: must divide num_attention_heads 8, got 3"},
      {config_of(kLlama, R"("hidden_size": 60)"),
       "config.json: num_attention_heads: must divide hidden_size 60, got 8"},
      {config_of(kLlama, R"("head_dim": 7)"), "config.json: head_dim: must be even for rotary positions, got 7"},
      {config_of(kLlama, R"("head_dim": 4194304)"),
       "config.json: head_dim: 4194304 for 8 heads is above the limit of 4194304"},
      {config_of(kLlama, R"("rms_norm_eps": 0)"), "config.json: rms_norm_eps: expected a positive number, got 0"},
      {config_of(kLlama, R"("rope_theta": -1)"), "config.json: rope_theta: expected a positive number, got -1"},
      {config_of(kLlama, R"("tie_word_embeddings": 1)"),
       "config.json: tie_word_embeddings: expected true or false, got 1"},
      {config_of(kLlama, R"("hidden_act": "relu6")"), "config.json: hidden_act: \"relu6\" is not supported"},
      {config_of(kLlama, R"("quantization_config": {"quant_method": "gptq", "bits": 4})"),
       "config.json: quantization_config: weights stored quantized by gptq are not supported"},
      {config_of(kLlama, R"("quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": true})"),
       "config.json: quantization_config: bitsandbytes weights of 8 bits are not supported"},
      {config_of(kLlama, R"("quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true,
                           "bnb_4bit_quant_type": "fp4"})"),
       "config.json: quantization_config: bitsandbytes weights of 4 bits are supported as nf4, and not in another "
       "type"},
      {config_of(kLlama, R"("quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true,
                           "bnb_4bit_quant_type": "nf4", "bnb_4bit_quant_storage": "int16"})"),
       "config.json: quantization_config: bnb_4bit_quant_storage \"int16\" is not supported; supported: uint8, int8, "
       "float16, bfloat16, float32, float64"},
      {config_of(kLlama, R"("rope_scaling": {"type": "dynamic", "factor": 2})"),
       "config.json: rope_scaling.type: \"dynamic\" is not supported"},
      {config_of(kLlama, R"("rope_parameters": {"rope_type": "proportional", "factor": 2})"),
       "config.json: rope_parameters.rope_type: \"proportional\" is not supported"},
      {config_of(kLlama, R"("rope_parameters": {"rope_type": "yarn", "truncate": 1})"),
       "config.json: rope_parameters.truncate: expected true or false, got 1"},
      {config_of(kPhi3, R"("rope_scaling": {"type": "su", "short_factor": [1, 1], "long_factor": [1, 1, 1, 0]})"),
       "config.json: rope_scaling.short_factor: expected a list of 4 positive numbers\n"
       "config.json: rope_scaling.long_factor: expected a list of 4 positive numbers"},
      {config_of(kPhi3, R"("partial_rotary_factor": 0.4)"),
       "config.json: partial_rotary_factor: must leave an even number of rotated features of 8, got 0.4"},
      {config_of(kGemma3, R"("rope_parameters": {"rope_type": "default"})"),
       "config.json: rope_parameters: expected full_attention and sliding_attention"},
      {config_of(kGemma3, R"("use_bidirectional_attention": true)"),
       "config.json: use_bidirectional_attention: true is not supported for this architecture"},
      {config_of(kLlama, R"("rope_scaling": {"type": "linear"})"), "config.json: rope_scaling.factor: is missing"},
      {config_of(kLlama, R"("rope_scaling": {"type": "linear", "factor": 0})"),
       "config.json: rope_scaling.factor: expected a positive number, got 0"},
      {config_of(kLlama, R"("rope_scaling": "linear")"),
       "config.json: rope_scaling: expected an object, got \"linear\""},
      {config_of(
           kLlama,
           R"("rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1})"),
       "config.json: rope_scaling.high_freq_factor: must be above low_freq_factor 4, got 1"},
      {config_of(kLlama, R"("rope_parameters": {"full_attention": {"rope_type": "default"}})"),
       "config.json: rope_parameters: one rotary embedding per layer type is not supported for this architecture"},
      {config_of(kLlama, R"("partial_rotary_factor": 0.5)"),
       "config.json: partial_rotary_factor: 0.5 is not supported for this architecture"},
      {config_of(kQwen2, R"("layer_types": ["full_attention"])"),
       "config.json: layer_types: expected a list of 3 names, one a layer, got 1"},
      {config_of(kQwen2, R"("layer_types": ["full_attention", "linear_attention", "full_attention"])"),
       "config.json: layer_types: linear_attention is not supported"},
      {config_of(kLlama, R"("layer_types": ["full_attention", "sliding_attention", "full_attention"])"),
       "config.json: layer_types: sliding_attention is not supported for this architecture"},
      {config_of(kMistral, R"("sliding_window": 0)"),
       "config.json: sliding_window: expected a whole number from 1 to 2147483648, got 0"},
      {config_of(kLlama, R"("eos_token_id": "</s>")"),
       "config.json: eos_token_id: expected a token id or a list of them, got \"</s>\""},
      {config_of(kLlama, R"("vocab_size": 0, "rms_norm_eps": "x")"),
       "config.json: vocab_size: expected a whole number from 1 to 67108864, got 0\n"
       "config.json: rms_norm_eps: expected a positive number, got \"x\""},
  };
  for (const auto& bad : cases) {
    try {
      read_spec(bad.config);
      ADD_FAILURE() << "accepted; wanted: " << bad.message;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::model) << bad.message;
      EXPECT_STREQ(error.what(), bad.message);
    }
  }
}

// Gemma 3 4B as its publisher writes it: what is absent is the class's.
TEST(Spec, ADecoderBesideAModelOfImagesIsReadFromItsSection) {
  const Json config = Json::parse(R"({"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
      "eos_token_id": [1, 106], "hidden_size": 7, "torch_dtype": "bfloat16", "vision_config": {"hidden_size": 1152},
      "text_config": {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
          "num_hidden_layers": 34, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}})");
  const ModelSpec whole = read_spec(config);
  EXPECT_EQ(whole.architecture, "Gemma3ForConditionalGeneration");
  EXPECT_EQ(whole.section, "text_config");
  EXPECT_EQ(whole.hidden, 2560);
  EXPECT_EQ(whole.heads, 8);
  EXPECT_EQ(whole.kv_heads, 4);
  EXPECT_EQ(whole.vocab, 262208);
  EXPECT_EQ(whole.eos_ids, (std::vector<int32_t>{1, 106}));
  EXPECT_EQ(whole.names.layers, "model.language_model.layers.");

  const ModelSpec alone = decoder_alone(whole);
  EXPECT_EQ(alone.config.at("architectures").dump(), R"(["Gemma3ForCausalLM"])");
  EXPECT_EQ(alone.config.at("model_type").as_string(), "gemma3_text");
  EXPECT_EQ(alone.config.at("torch_dtype").as_string(), "bfloat16");
  EXPECT_EQ(alone.section, "");
  EXPECT_EQ(alone.names.layers, "model.layers.");
  EXPECT_EQ(alone.ropes, whole.ropes);
  EXPECT_EQ(alone.eos_ids, whole.eos_ids);
  const auto tensors = expected_tensors(whole), own = expected_tensors(alone);
  ASSERT_EQ(tensors.size(), own.size());
  for (size_t i = 0; i < own.size(); ++i) {
    EXPECT_EQ(tensors[i].name, "model.language_model." + own[i].name.substr(6));
    EXPECT_EQ(tensors[i].shape, own[i].shape);
  }
}

TEST(Spec, TheSupportedArchitecturesAreListed) {
  try {
    read_spec(config_of("GptForCausalLM"));
    FAIL();
  } catch (const Error& error) {
    const std::string hint = error.diagnostics()[0].hint;
    EXPECT_TRUE(hint.starts_with("supported: GemmaForCausalLM, Gemma2ForCausalLM, Gemma3ForCausalLM, ")) << hint;
    for (const char* last : {"LlamaForCausalLM", "Phi3ForCausalLM", "Qwen3ForCausalLM", "StableLmForCausalLM"})
      EXPECT_NE(hint.find(last), hint.npos) << last;
  }
}

// Parameters as the models' publishers count them, a tied head once.
TEST(Spec, TheShapesUnderConfigsHaveTheirKnownSizes) {
  const std::map<std::string, int64_t> sizes = {
      {"llama-2-7b", 6738415616},      {"llama-2-13b", 13015864320},    {"llama-3-8b", 8030261248},
      {"llama-3.1-8b", 8030261248},    {"llama-3.2-1b", 1235814400},    {"llama-3.2-3b", 3212749824},
      {"mistral-7b-v0.1", 7241732096}, {"mistral-7b-v0.3", 7248023552}, {"qwen2.5-0.5b", 494032768},
      {"qwen2.5-1.5b", 1543714304},    {"qwen2.5-3b", 3085938688},      {"qwen2.5-7b", 7615616512},
      {"qwen2.5-14b", 14770033664},    {"smollm2-135m", 134515008},     {"smollm2-360m", 361821120},
      {"smollm2-1.7b", 1711376384}};
  for (const auto& [name, size] : sizes) {
    const auto text = read_config("models/" + name + ".json");
    ASSERT_TRUE(text.has_value()) << name;
    EXPECT_EQ(parameter_count(read_spec(Json::parse(*text))), size) << name;
  }
}

TEST(Spec, AMissingFolderIsAUsageError) {
  try {
    read_spec(std::filesystem::path("no/such/folder"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
  }
}

}  // namespace
}  // namespace prentice
