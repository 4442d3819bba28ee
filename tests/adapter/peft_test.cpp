#include "adapter/peft.h"

#include <ATen/ops/equal.h>

#include <fstream>

#include "adapter/merge.h"
#include "adapter/tiny.h"
#include "adapter/trainable.h"
#include "io/scratch.h"

namespace prentice {
namespace {

const std::filesystem::path kGolden = "tests/golden/adapter";

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Every folder was written by peft 0.21 (scripts/golden/adapter.py).
TEST(Peft, FoldersOfPeftGiveItsLogitsAndItsMergedWeights) {
  for (const char* name : {"plain", "regex_rslora", "patterns", "layers", "head"}) {
    SCOPED_TRACE(name);
    const PeftConfig config = read_peft_config(kGolden / name);
    const auto base = kGoldenModels / config.base_model;
    Model model = load_model(base, {.dtype = at::kFloat, .device = at::kCPU});
    const auto reference = read_tensors(base / "expected.safetensors");
    const Batch batch = flat_batch(cut(reference.at("tokens"), reference.at("starts")));
    load_peft(model, kGolden / name);
    const auto expected = read_tensors(kGolden / name / "expected.safetensors");
    const c10::NoGradGuard no_grad;
    EXPECT_LT(relative(logits(model, forward_hidden(model, batch, {})), expected.at("logits")), 1e-5);
    merge(model);
    EXPECT_LT(relative(logits(model, forward_hidden(model, batch, {})), expected.at("logits")), 1e-5);
    visit(model, [&](const std::string& key, Tensor& weight) {
      const auto merged = expected.find("merged." + key);
      if (merged != expected.end()) EXPECT_LT(relative(weight, merged->second), 1e-6) << key;
    });
  }
}

TEST(Peft, WhatTheConfigOfPeftSaysIsRead) {
  const PeftConfig plain = read_peft_config(kGolden / "plain");
  EXPECT_EQ(plain.rank, 4);
  EXPECT_EQ(plain.alpha, 8);
  EXPECT_EQ(plain.dropout, 0.25);
  EXPECT_EQ(plain.targets, (std::vector<std::string>{"q_proj", "v_proj"}));
  EXPECT_FALSE(plain.targets_are_expression);
  const PeftConfig regex = read_peft_config(kGolden / "regex_rslora");
  EXPECT_TRUE(regex.targets_are_expression && regex.rslora);
  const PeftConfig layers = read_peft_config(kGolden / "layers");
  EXPECT_EQ(layers.layers, std::vector<int64_t>{1});
  EXPECT_EQ(layers.layer_prefixes, std::vector<std::string>{"layers"});
}

TEST(Peft, AFolderReadBackIsTheSameAdapter) {
  struct Row {
    const char* name;
    std::function<void(AdapterSection&)> change;
  };
  const Row rows[] = {
      {"all", [](auto&) {}},
      {"dora", [](auto& s) { s.kind = AdapterKind::dora; }},
      {"embedding",
       [](auto& s) {
         s.targets = {"embed_tokens", "v_proj"};
       }},
      {"saved",
       [](auto& s) {
         s.modules_to_save = {"embed_tokens", "lm_head", "input_layernorm"};
       }},
      {"saved_layer", [](auto& s) { s.modules_to_save = {"k_proj"}; }},
      {"names",
       [](auto& s) {
         s.targets = {"q_proj", "down_proj"};
       }},
      {"layers",
       [](auto& s) {
         s.targets = {"q_proj"}, s.layers = {0, 2};
       }},
      {"uneven", [](auto& s) { s.targets = {R"(.*\.0\.mlp\.up_proj|.*\.2\.self_attn\.q_proj)"}; }},
      {"head",
       [](auto& s) {
         s.targets = {"lm_head", "k_proj"};
       }},
      {"rslora", [](auto& s) { s.rslora = true, s.alpha = 12.5, s.dropout = 0.1; }},
      {"patterns",
       [](auto& s) {
         s.rank_pattern = {{"q_proj", 2}, {"layers.1.mlp.up_proj", 7}};
         s.alpha_pattern = {{"v_proj", 3}};
       }},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    const Scratch scratch;
    Model model = tiny_model(at::kFloat), again = tiny_model(at::kFloat);
    AdapterSection section = lora_section();
    row.change(section);
    attach_lora(model, section, 1);
    disturb(model);
    save_peft(model, scratch.path(), "org/base", "f32");
    load_peft(again, scratch.path());
    EXPECT_EQ(adapted(again), adapted(model));
    EXPECT_TRUE(at::equal(tiny_logits(again), tiny_logits(model)));
    EXPECT_EQ(peft_config_json(again, "org/base"), read_file(scratch / "adapter_config.json"));
    EXPECT_EQ(read_peft_config(scratch.path()).base_model, "org/base");
  }
}

TEST(Peft, TheConfigHasExactlyTheAgreedKeys) {
  Model model = tiny_model();
  AdapterSection section = lora_section({"q_proj", "v_proj"}, 8);
  section.rank_pattern = {{"v_proj", 2}};
  section.layers = {1};
  attach_lora(model, section, 1);
  EXPECT_EQ(peft_config_json(model, "org/base"), R"({
  "alpha_pattern": {},
  "auto_mapping": null,
  "base_model_name_or_path": "org/base",
  "bias": "none",
  "exclude_modules": null,
  "fan_in_fan_out": false,
  "inference_mode": true,
  "init_lora_weights": true,
  "layer_replication": null,
  "layers_pattern": null,
  "layers_to_transform": [
    1
  ],
  "loftq_config": {},
  "lora_alpha": 32,
  "lora_bias": false,
  "lora_dropout": 0,
  "megatron_config": null,
  "modules_to_save": null,
  "peft_type": "LORA",
  "peft_version": "0.21.2",
  "r": 2,
  "rank_pattern": {
    "q_proj": 8
  },
  "revision": null,
  "target_modules": [
    "q_proj",
    "v_proj"
  ],
  "target_parameters": null,
  "task_type": "CAUSAL_LM",
  "trainable_token_indices": null,
  "use_dora": false,
  "use_rslora": false
}
)");
}

TEST(Peft, NarrowTypesAreRoundedOnce) {
  for (const auto& [word, type, dtype] :
       {std::tuple{"bf16", at::kBFloat16, DType::bf16}, {"f16", at::kHalf, DType::f16}}) {
    const Scratch scratch;
    Model model = tiny_model(at::kFloat), again = tiny_model(at::kFloat);
    attach_lora(model, lora_section({"q_proj"}), 1);
    disturb(model);
    save_peft(model, scratch.path(), "base", word);
    const auto file = SafetensorsFile::open(scratch / "adapter_model.safetensors");
    EXPECT_EQ(file.tensors()[0].dtype, dtype);
    EXPECT_EQ(file.metadata().at("format"), "pt");
    load_peft(again, scratch.path());
    const std::string q = "model.layers.2.self_attn.q_proj";
    EXPECT_TRUE(at::equal(find_linear(again, q).lora->b, find_linear(model, q).lora->b.to(type).to(at::kFloat)));
  }
  Model model = tiny_model();
  EXPECT_EQ(error_of([&] { save_peft(model, "/tmp", "base", "f8"); }),
            "2: adapter dtype: expected f32, bf16 or f16, got f8");
  EXPECT_EQ(error_of([&] { save_peft(model, "/tmp", "base", "f32"); }), "2: the model has no adapter to save");
}

TEST(Peft, TrainingGoesOnFromAFolderWithTheRecipesDropout) {
  const Scratch scratch;
  Model model = tiny_model(), again = tiny_model();
  attach_lora(model, lora_section({"q_proj"}, 3), 1);
  disturb(model);
  save_peft(model, scratch.path(), "base", "f32");
  AdapterSection section = lora_section();
  section.init = scratch.path().string();
  section.dropout = 0.2;
  attach_lora(again, section, 1);
  const Lora& lora = *find_linear(again, "model.layers.0.self_attn.q_proj").lora;
  EXPECT_EQ(lora.a.size(0), 3);
  EXPECT_EQ(lora.dropout, 0.2);
  EXPECT_EQ(trainable(again, section).size(), 6u);
  EXPECT_EQ(error_of([&] { load_peft(again, scratch.path()); }),
            "2: " + scratch.path().string() + ": the model has an adapter already | merge it first");
}

// A good folder: q_proj of all three layers, rank 4.
class BadFolder : public testing::Test {
 protected:
  void SetUp() override {
    Model model = tiny_model(at::kFloat);
    attach_lora(model, lora_section({"q_proj"}), 1);
    disturb(model);
    save_peft(model, scratch_.path(), "base", "f32");
    config_ = read_file(scratch_ / "adapter_config.json");
  }

  std::string load(Model model = tiny_model(at::kFloat)) {
    return error_of([&] { load_peft(model, scratch_.path()); });
  }

  // The good config with `from` replaced.
  std::string load_config(const std::string& from, const std::string& to) {
    std::string text = config_;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    if (at != std::string::npos) text.replace(at, from.size(), to);
    std::ofstream(scratch_ / "adapter_config.json") << text;
    return load();
  }

  // The good tensors after `change`.
  std::string load_tensors(const std::function<void(std::map<std::string, Tensor>&)>& change) {
    auto tensors = read_tensors(scratch_ / "adapter_model.safetensors");
    change(tensors);
    std::filesystem::remove(scratch_ / "adapter_model.safetensors");
    std::vector<TensorInfo> infos;
    for (const auto& [name, tensor] : tensors) infos.push_back({name, DType::f32, tensor.sizes().vec()});
    SafetensorsWriter writer(scratch_ / "adapter_model.safetensors", infos);
    for (const auto& [name, tensor] : tensors) {
      writer.write(name, {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
    }
    writer.finish();
    return load();
  }

  std::string config_path() const { return (scratch_ / "adapter_config.json").string(); }
  std::string folder() const { return scratch_.path().string(); }

  Scratch scratch_;
  std::string config_;
};

TEST_F(BadFolder, ConfigsAreRefusedByKey) {
  struct Row {
    const char *from, *to, *message;
  };
  const Row rows[] = {
      {"\"LORA\"", "\"IA3\"", "peft_type: \"IA3\" is not in this version"},
      {"\"CAUSAL_LM\"", "\"TOKEN_CLS\"", "task_type: \"TOKEN_CLS\" is not in this version"},
      {"\"use_dora\": false", "\"use_dora\": 1", "use_dora: expected a boolean, got integer"},
      {"\"modules_to_save\": null", "\"modules_to_save\": \"lm_head\"", "modules_to_save: expected a list, got string"},
      {"\"bias\": \"none\"", "\"bias\": \"lora_only\"", "bias: \"lora_only\" is not in this version"},
      {"\"layer_replication\": null", "\"layer_replication\": [[0, 2]]",
       "layer_replication: [[0, 2]] is not in this version"},
      {"\"lora_bias\": false", "\"lora_bias\": true", "lora_bias: true is not in this version"},
      {"\"fan_in_fan_out\": false", "\"fan_in_fan_out\": true", "fan_in_fan_out: true is not in this version"},
      {"\"target_parameters\": null", "\"target_parameters\": [\"a\"]",
       "target_parameters: [\"a\"] is not in this version"},
      {"\"trainable_token_indices\": null", "\"trainable_token_indices\": [1]",
       "trainable_token_indices: [1] is not in this version"},
      {"\"loftq_config\": {}", "\"loftq_config\": {\"bits\": 4}", "loftq_config: {\"bits\": 4} is not in this version"},
      {"\"use_rslora\": false", "\"use_rslora\": false, \"use_qalora\": true",
       "use_qalora: true is not in this version"},
      {"\"use_rslora\": false", "\"use_rslora\": false, \"some_new_thing\": 3",
       "some_new_thing: 3 is not in this version"},
      {"\"init_lora_weights\": true", "\"init_lora_weights\": \"pissa\"",
       "init_lora_weights: \"pissa\" is not in this version | in peft: save_pretrained(DIR, "
       "path_initial_model_for_weight_conversion=...) makes a plain adapter"},
      {"\"r\": 4", "\"r\": 0", "r: expected a rank from 1 to 65536, got 0"},
      {"\"r\": 4", "\"r\": 4.5", "r: expected an integer, got number"},
      {"\"lora_alpha\": 32", "\"lora_alpha\": 0", "lora_alpha: expected a number other than 0, got 0"},
      {"\"lora_alpha\": 32", "\"lora_alpha\": \"32\"", "lora_alpha: expected a number, got string"},
      {"\"lora_dropout\": 0", "\"lora_dropout\": 1", "lora_dropout: expected 0 or more and below 1, got 1"},
      {"\"rank_pattern\": {}", "\"rank_pattern\": {\"q_proj\": -1}",
       "rank_pattern: 'q_proj': expected a rank from 1 to 65536, got -1"},
      {"\"rank_pattern\": {}", "\"rank_pattern\": {\"(q\": 2}",
       "rank_pattern: regular expression '(.*\\.)?((q)$', position 12: missing ')'"},
      {"[\n    \"q_proj\"\n  ]", "[]", "target_modules: expected names or an expression, got none"},
      {"[\n    \"q_proj\"\n  ]", "\"(?<!k)_proj\"",
       "target_modules: regular expression '(?<!k)_proj', position 1: this kind of group is not supported "
       "(look-behind, "
       "flags, back references)"},
      {"[\n    \"q_proj\"\n  ]", "[3]", "target_modules: expected a string, got integer"},
      {"\"layers_pattern\": null", "\"layers_pattern\": \"(a|b)\"",
       "layers_pattern: '(a|b)': only plain names are in this version"},
      {"\"peft_type\": \"LORA\",", "", "\"peft_type\" is missing"},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(load_config(row.from, row.to), "4: " + config_path() + ": " + row.message) << row.to;
  }
  std::ofstream(scratch_ / "adapter_config.json") << "[1]";
  EXPECT_EQ(load(), "4: " + config_path() + ": expected an object, got list");
  std::ofstream(scratch_ / "adapter_config.json") << "{\"r\": 1, \"r\": 2}";
  EXPECT_TRUE(load().starts_with("4: " + config_path() + ": ")) << load();
}

// PEFT lists both of its names for a head that it found by itself.
TEST_F(BadFolder, AnAdapterOfAScoreNamesItsHeadAndFitsNoLanguageModel) {
  for (const char* listed : {"null", "[\"classifier\", \"score\"]"}) {
    const std::string key = "\"modules_to_save\": ";
    config_.replace(config_.find(key + "null"), key.size() + 4, key + listed);
    EXPECT_FALSE(read_peft_config(scratch_.path()).scores);
    EXPECT_EQ(load_config("\"CAUSAL_LM\"", "\"SEQ_CLS\""),
              "4: " + folder() + ": modules_to_save: 'score' is no module of the model");
    EXPECT_TRUE(read_peft_config(scratch_.path()).scores);
    EXPECT_EQ(read_peft_config(scratch_.path()).modules_to_save, std::vector<std::string>{"score"});
    std::ofstream(scratch_ / "adapter_config.json") << config_;
  }
}

TEST_F(BadFolder, KeysThatChangeNothingAreIgnored) {
  EXPECT_EQ(
      load_config("\"use_rslora\": false",
                  "\"use_rslora\": false, \"qalora_group_size\": 16, \"runtime_config\": {\"a\": 1}, \"enable_lora\": "
                  "null, \"megatron_core\": \"megatron.core\", \"ensure_weight_tying\": false"),
      "");
  EXPECT_EQ(load_config("\"init_lora_weights\": true", "\"init_lora_weights\": \"gaussian\""), "");
}

TEST_F(BadFolder, TensorsAtFaultAreNamedTogether) {
  const std::string p = "base_model.model.model.layers.";
  EXPECT_EQ(load_tensors([&](auto& tensors) {
              tensors.erase(p + "0.self_attn.q_proj.lora_A.weight");
              tensors[p + "1.self_attn.q_proj.lora_B.weight"] = at::rand({16, 5}).to(at::kFloat);
              tensors[p + "1.self_attn.k_proj.lora_B.weight"] = at::rand({8, 4}).to(at::kFloat);
              tensors["model.layers.1.self_attn.q_proj.lora_A.weight"] = at::rand({4, 16}).to(at::kFloat);
              tensors["base_model.model.model.embed_tokens.lora_embedding_A"] = at::rand({4, 41}).to(at::kFloat);
            }),
            "4: " + folder() + ": tensor " + p + "0.self_attn.q_proj.lora_A.weight is missing\n" +  //
                folder() + ": tensor " + p + "1.self_attn.q_proj.lora_B.weight: expected shape [16, 4], got [16, 5]\n" +
                folder() +
                ": tensor base_model.model.model.embed_tokens.lora_embedding_A belongs to no module that "
                "target_modules names\n" +  //
                folder() +
                ": tensor " + p + "1.self_attn.k_proj.lora_B.weight belongs to no module that target_modules names\n" +
                folder() +
                ": tensor model.layers.1.self_attn.q_proj.lora_A.weight does not begin with base_model.model.");
}

TEST_F(BadFolder, TheBasesOwnTableIsAcceptedAndAnotherIsNot) {
  const std::string name = "base_model.model.model.embed_tokens.base_layer.weight";
  const Tensor table = tiny_model(at::kFloat).embed;
  EXPECT_EQ(load_tensors([&](auto& tensors) { tensors[name] = table; }), "");
  EXPECT_EQ(load_tensors([&](auto& tensors) { tensors[name] = (table + 1e-3).contiguous(); }),
            "4: " + folder() + ": tensor " + name +
                " differs from the base model's: the adapter came with its own | merge "
                "it in peft first, or load it on the base it was made for");
  EXPECT_NE(load_tensors([&](auto& tensors) { tensors[name] = at::rand({50, 16}).to(at::kFloat); }), "");
}

TEST_F(BadFolder, ValuesThatAreNotFiniteAreRefused) {
  const std::string name = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight";
  EXPECT_EQ(load_tensors([&](auto& tensors) { tensors[name][3][1] = NAN; }),
            "4: " + folder() + ": tensor " + name + " holds a value that is not finite");
}

TEST_F(BadFolder, AnAdapterOfAnotherModelSaysSo) {
  EXPECT_EQ(load_config("\"q_proj\"\n", "\"query_key_value\"\n").substr(0, 40 + folder().size()),
            ("4: " + folder() + ": target_modules: 'query_key_value' matches no linear layer of the model")
                .substr(0, 40 + folder().size()));
  std::ofstream(scratch_ / "adapter_config.json") << config_;
  EXPECT_TRUE(
      load(load_model(kGoldenModels / "mistral_window", {.dtype = at::kFloat, .device = at::kCPU})).starts_with("4: "));
}

TEST_F(BadFolder, MissingFilesAreTheUsersAndPicklesAreRefused) {
  std::filesystem::rename(scratch_ / "adapter_model.safetensors", scratch_ / "kept");
  EXPECT_EQ(load(), "4: " + folder() + ": has no adapter_model.safetensors");
  std::ofstream(scratch_ / "adapter_model.bin") << "x";
  EXPECT_EQ(load(),
            "4: " + folder() +
                ": adapter_model.bin is a pickle, which can run code when it is read | convert it once in Python: "
                "PeftModel.from_pretrained(BASE, DIR).save_pretrained(DIR)");
  std::ofstream(scratch_ / "adapter_model.safetensors") << "0123456789";
  EXPECT_TRUE(load().starts_with("4: "));
  std::filesystem::remove(scratch_ / "adapter_config.json");
  EXPECT_EQ(load(), "4: " + folder() + ": has no adapter_config.json");
  EXPECT_EQ(error_of([&] { read_peft_config(scratch_ / "absent"); }),
            "2: " + folder() + "/absent: no such adapter folder");
}

}  // namespace
}  // namespace prentice
