#include "export/gguf_adapter.h"

#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "adapter/lora.h"
#include "adapter/peft.h"
#include "export/tiny.h"
#include "proof/verify.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

void move_factors(Model& model) {
  const c10::NoGradGuard no_grad;
  visit_loras(model, [](const std::string&, Lora& lora) {
    lora.a.normal_();
    lora.b.normal_();
  });
}

TEST(GgufAdapter, ScalesThatDifferAreFoldedIntoB) {
  const Scratch scratch;
  auto model = tiny_model(tiny_config());
  AdapterSection section{.rank = 4, .alpha = 6.0, .targets = {"q_proj", "v_proj", "up_proj"}, .rslora = true};
  section.alpha_pattern = {{"v_proj", 3}};
  attach_lora(model, section, 5);
  move_factors(model);
  fs::create_directory(scratch / "adapter");
  save_peft(model, scratch / "adapter", "base", "f32");
  for (const GgmlType type : {GgmlType::F32, GgmlType::F16, GgmlType::BF16, GgmlType::Q8_0}) {
    const GgufAdapterOptions options{.type = type, .name = "adapter"};
    const fs::path path = scratch / (std::string(ggml_type_info(type).name) + ".gguf");
    write_gguf_adapter(scratch / "adapter", model.spec, path, options);
    const auto found = verify_gguf_adapter(path, scratch / "adapter", model.spec, options);
    EXPECT_TRUE(found.passed()) << verification_json(found);
  }
  const auto file = GgufReader::open(scratch / "F32.gguf");
  EXPECT_EQ(file.get<float>("adapter.lora.alpha"), 12);  // 6 * sqrt(4): llama.cpp divides by the rank
  const auto b_of = [&](const char* name) {
    const auto* tensor = file.find_tensor(name);
    return std::span(reinterpret_cast<const float*>(tensor->bytes.data()), tensor->bytes.size() / 4);
  };
  const Linear& v = model.layers[0].qkv.parts[2];
  EXPECT_EQ(b_of("blk.0.attn_v.weight.lora_b")[0], v.lora->b.const_data_ptr<float>()[0] / 2);
  const Linear& up = model.layers[0].gate_up.parts[1];
  EXPECT_EQ(b_of("blk.0.ffn_up.weight.lora_b")[3], up.lora->b.const_data_ptr<float>()[3]);
}

TEST(GgufAdapter, DamageIsSeen) {
  const Scratch scratch;
  auto model = tiny_model(tiny_config());
  attach_lora(model, {.rank = 4, .targets = {"q_proj"}}, 5);
  move_factors(model);
  fs::create_directory(scratch / "adapter");
  save_peft(model, scratch / "adapter", "base", "f32");
  write_gguf_adapter(scratch / "adapter", model.spec, scratch / "a.gguf", {});
  move_factors(model);
  fs::create_directory(scratch / "other");
  save_peft(model, scratch / "other", "base", "f32");
  EXPECT_TRUE(verify_gguf_adapter(scratch / "a.gguf", scratch / "adapter", model.spec, {}).passed());
  EXPECT_FALSE(verify_gguf_adapter(scratch / "a.gguf", scratch / "other", model.spec, {}).passed());
  EXPECT_FALSE(
      verify_gguf_adapter(scratch / "a.gguf", scratch / "adapter", model.spec, {.type = GgmlType::F16}).passed());
}

TEST(GgufAdapter, WhatTheFileCannotCarryIsRefusedWithTheReason) {
  struct Row {
    bool tied;
    AdapterSection section;
    const char* reason;
  };
  const Row rows[] = {
      {false, {.kind = AdapterKind::dora, .rank = 2}, "a GGUF adapter cannot carry the magnitudes of DoRA"},
      {false,
       {.rank = 2, .modules_to_save = {"norm"}},
       "a GGUF adapter cannot carry modules that are saved whole (adapter.modules_to_save: norm)"},
      {true, {.rank = 2, .targets = {"embed_tokens"}}, "the model's embedding is its head too"},
      {true, {.rank = 2, .targets = {"lm_head"}}, "the model's embedding is its head too"},
  };
  for (const auto& [tied, section, reason] : rows) {
    const Scratch scratch;
    auto config = tiny_config();
    config["tie_word_embeddings"] = tied;
    auto model = tiny_model(config);
    const ModelSpec spec = model.spec;
    attach_lora(model, section, 5);
    fs::create_directory(scratch / "adapter");
    save_peft(model, scratch / "adapter", "base", "f32");
    ExitCode code = ExitCode::ok;
    const auto text = message_of([&] { write_gguf_adapter(scratch / "adapter", spec, scratch / "a.gguf", {}); }, &code);
    EXPECT_TRUE(contains(text, reason)) << text;
    EXPECT_EQ(code, ExitCode::usage);
    EXPECT_FALSE(fs::exists(scratch / "a.gguf"));
  }
}

// Driven by tests/oracle/test_gguf_adapter.py: request.json is a list of {"base", "adapter", "out"}; writes the base as
// F32.gguf and the adapter in every type.
TEST(Oracle, WritesGgufAdapters) {
  const char* folder = std::getenv("PRENTICE_ORACLE_DIR");
  if (folder == nullptr) GTEST_SKIP() << "driven by tests/oracle/test_gguf_adapter.py";
  const Json requests = Json::parse_file(fs::path(folder) / "request.json");
  for (const auto& request : requests.as_array()) {
    SCOPED_TRACE(request.dump());
    const fs::path base = request.at("base").as_string(), adapter = request.at("adapter").as_string();
    const fs::path out = request.at("out").as_string();
    const auto spec = read_spec(base);
    const auto source = WeightSource::from_folder(spec, base);
    fs::create_directories(out);
    write_gguf(source, source.spec(), Tokenizer::load(base), out / "F32.gguf",
               {.type = FileType::F32, .name = "oracle"});
    for (const GgmlType type : {GgmlType::F32, GgmlType::F16, GgmlType::BF16, GgmlType::Q8_0}) {
      const GgufAdapterOptions options{.type = type, .name = "oracle"};
      const fs::path path = out / ("adapter-" + std::string(ggml_type_info(type).name) + ".gguf");
      write_gguf_adapter(adapter, spec, path, options);
      const auto result = verify_gguf_adapter(path, adapter, spec, options);
      EXPECT_TRUE(result.passed()) << verification_json(result);
    }
  }
}

}  // namespace
}  // namespace prentice
