#include "export/hf_folder.h"

#include <ATen/ops/equal.h>

#include <fstream>

#include "export/tiny.h"
#include "io/file.h"
#include "proof/verify.h"
#include "quant/encode.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

void write_companions(const fs::path& folder) {
  fs::create_directories(folder);
  write_file_durably(folder / "tokenizer.json", "{\"any\":  \"bytes\"}");
  write_file_durably(folder / "generation_config.json", "{}\n");
  write_file_durably(folder / "chat_template.jinja", "{{ messages }}");
  write_file_durably(folder / "LICENSE.txt", "free");
  write_file_durably(folder / "training_args.bin", "not a companion");
  write_file_durably(folder / "README.md", "not a companion");
}

TEST(HfFolder, WhatIsWrittenLoadsWithTheSameWeights) {
  const Scratch scratch;
  write_companions(scratch / "from");
  const auto model = tiny_model(tiny_config());
  write_tiny(model, scratch / "out", GgmlType::F32, scratch / "from");
  const auto loaded = load_model(scratch / "out", {.dtype = at::kFloat, .device = at::kCPU});
  std::map<std::string, Tensor> tensors;
  visit(loaded, [&](const std::string& name, const Tensor& tensor) { tensors[name] = tensor; });
  size_t count = 0;
  visit(model, [&](const std::string& name, const Tensor& tensor) {
    ++count;
    EXPECT_TRUE(at::equal(tensor, tensors.at(name))) << name;
  });
  EXPECT_EQ(count, tensors.size());
  EXPECT_EQ(read_text_file(scratch / "out/tokenizer.json"), "{\"any\":  \"bytes\"}");
  EXPECT_EQ(companion_files(scratch / "out"), companion_files(scratch / "from"));
  EXPECT_FALSE(fs::exists(scratch / "out/training_args.bin"));
}

TEST(HfFolder, TakesTheRoomThatWasAskedFor) {
  const Scratch scratch;
  write_companions(scratch / "from");
  const auto model = tiny_model(tiny_config());
  for (const char* word : {"f32", "f16", "nf4"}) {
    const HfFolderOptions options = merged_options(model.spec, word);
    fs::create_directory(scratch / word);
    write_hf_folder(WeightSource::from_model(model), model.spec, scratch / "from", scratch / word, options);
    uint64_t bytes = 0;
    const auto folder = WeightFolder::open(scratch / word);
    for (const auto* tensor : folder.tensors()) bytes += tensor->bytes.size();
    EXPECT_EQ(hf_folder_bytes(model.spec, options), bytes) << word;
  }
}

TEST(HfFolder, OnlyTheTypeAndTheVocabularyChangeInTheConfig) {
  auto config = tiny_config();
  config["eos_token_id"].push_back(3);
  config["rope_theta"] = 500000.0;
  auto spec = read_spec(config);
  auto expected = config;
  expected["torch_dtype"] = "bfloat16";
  EXPECT_EQ(exported_config(spec, GgmlType::BF16), expected);

  spec.config["quantization_config"] = Json::Object{{"quant_method", "x"}};
  spec.config["dtype"] = "float32";
  spec.vocab = 48;
  expected["torch_dtype"] = "float16";
  expected["dtype"] = "float16";
  expected["vocab_size"] = 48;
  EXPECT_EQ(exported_config(spec, GgmlType::F16), expected);
  EXPECT_EQ(exported_config(spec, GgmlType::F16).find("quantization_config"), nullptr);
}

TEST(HfFolder, ShardsAboveTheLimitAndReadsThemBack) {
  const Scratch scratch;
  const auto model = tiny_model(tiny_config());
  const auto source = WeightSource::from_model(model);
  fs::create_directory(scratch / "out");
  const HfFolderOptions options{.type = GgmlType::F32, .max_shard_bytes = 20'000};
  write_hf_folder(source, model.spec, scratch.path(), scratch / "out", options);
  EXPECT_TRUE(fs::exists(scratch / "out/model.safetensors.index.json"));
  EXPECT_FALSE(fs::exists(scratch / "out/model.safetensors"));
  EXPECT_GT(WeightFolder::open(scratch / "out").files().size(), 3u);
  EXPECT_TRUE(verify_hf_folder(scratch / "out", source, model.spec, scratch.path(), options).passed());
}

// Every kind of damage must be seen by the check that is for it.
TEST(HfFolder, VerificationSeesDamage) {
  const Scratch scratch;
  write_companions(scratch / "from");
  const auto model = tiny_model(tiny_config());
  const auto source = WeightSource::from_model(model);
  const HfFolderOptions options{.type = GgmlType::BF16, .own_files = {{"chat_template.jinja", "{{ other }}"}}};
  const auto verify = [&] { return verify_hf_folder(scratch / "out", source, model.spec, scratch / "from", options); };
  const auto failing = [&] {
    std::string names;
    for (const auto& check : verify().checks) names += check.passed ? "" : check.name + ";";
    return names;
  };
  fs::create_directory(scratch / "out");
  write_hf_folder(source, model.spec, scratch / "from", scratch / "out", options);
  EXPECT_TRUE(verify().passed()) << verification_json(verify());
  EXPECT_EQ(read_text_file(scratch / "out/chat_template.jinja"), "{{ other }}");

  auto bytes = read_text_file(scratch / "out/model.safetensors");
  const auto rewrite = [](const fs::path& path, const std::string& text) {
    std::ofstream(path, std::ios::trunc) << text;
  };
  auto damaged = bytes;
  damaged[damaged.size() - 1] ^= 0x40;  // an exponent bit of the last value
  rewrite(scratch / "out/model.safetensors", damaged);
  EXPECT_EQ(failing(), "values;");
  rewrite(scratch / "out/model.safetensors", bytes);
  rewrite(scratch / "out/tokenizer.json", "{}");
  EXPECT_EQ(failing(), "tokenizer and template files;");
  rewrite(scratch / "out/tokenizer.json", "{\"any\":  \"bytes\"}");
  rewrite(scratch / "out/config.json", "{}");
  EXPECT_EQ(failing(), "config.json;");
  fs::remove_all(scratch / "out");
  fs::create_directory(scratch / "out");
  write_hf_folder(source, model.spec, scratch / "from", scratch / "out",
                  {.type = GgmlType::F16, .own_files = {{"chat_template.jinja", "{{ other }}"}}});
  EXPECT_EQ(failing(), "types and shapes;config.json;");
}

}  // namespace
}  // namespace prentice
