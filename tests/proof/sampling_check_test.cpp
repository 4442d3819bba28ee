#include "proof/sampling_check.h"

#include <limits>

#include "export/tiny.h"

namespace prentice {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

// Of a file with these values of general.sampling.*, beside a model that says `config`.
Check found_in(const std::vector<GgufEntry>& settings, const std::string& config) {
  const Scratch scratch;
  std::vector<GgufEntry> metadata = {{"general.architecture", std::string("llama")}};
  for (const auto& [key, value] : settings) metadata.push_back({"general.sampling." + key, value});
  GgufWriter(scratch / "it.gguf", metadata, {}).finish();
  std::filesystem::create_directory(scratch / "model");
  if (!config.empty()) write_file_durably(scratch / "model/generation_config.json", config);
  return sampling_check(GgufReader::open(scratch / "it.gguf"), scratch / "model");
}

TEST(SamplingCheck, AValueIsTheModelsOrChangesNothingOrIsWhatIsTakenAnyway) {
  const std::string said = R"({"temperature": 0.6, "top_k": 20, "sequence": "infill;top_k"})";
  const struct {
    std::vector<GgufEntry> settings;
    std::string config;
    bool passed;
  } cases[] = {
      {{}, said, true},
      {{{"temp", 0.6F}}, said, true},  // f32(0.6) is another f64
      {{{"temp", std::string("0.6")}}, said, true},
      {{{"temp", 0.7F}}, said, false},
      {{{"temp", kInfinity}}, said, false},
      {{{"temp", -kInfinity}}, said, false},
      {{{"temp", kNan}}, said, false},
      {{{"temp", kInfinity}}, "", false},
      {{{"top_k", int32_t{20}}}, said, true},
      {{{"top_k", int32_t{50}}}, said, false},  // what transformers takes, where the model says another
      {{{"top_k", int32_t{50}}}, "", true},
      {{{"top_k", int32_t{0}}}, "", true},
      {{{"top_p", 1.0F}}, said, true},  // of which it says nothing
      {{{"top_p", 0.5F}}, said, false},
      {{{"temp", 0.6F}, {"top_p", 0.5F}}, said, false},
      {{{"penalty_last_n", int32_t{64}}}, said, true},  // without a penalty
      {{{"penalty_repeat", 1.0F}, {"penalty_last_n", int32_t{64}}}, said, false},
      {{{"sequence", std::string("infill;top_k")}}, said, true},
      {{{"sequence", std::string("infill;temperature")}}, said, false},
  };
  for (const auto& [settings, config, passed] : cases) {
    const Check found = found_in(settings, config);
    EXPECT_EQ(found.passed, passed) << found.detail;
    EXPECT_EQ(contains(found.detail, "llama.cpp samples with"), !passed) << found.detail;
  }
}

// A folder's generation_config.json beside the model's.
TEST(SamplingCheck, AFolderMaySayWhatTheModelSaysAndWhatChangesNothing) {
  const struct {
    std::string model, folder;
    bool passed;
  } cases[] = {
      {R"({"temperature": 0.6})", R"({"temperature": 0.6, "top_k": 50, "eos_token_id": 3})", true},
      {R"({"temperature": 0.6})", R"({"temperature": 5.0})", false},
      {R"({"temperature": 0.6})", "", true},
      {"", R"({"temperature": 1.0, "top_p": 1.0, "repetition_penalty": 1.0, "do_sample": false})", true},
      {"", R"({"repetition_penalty": 3.5})", false},
      {R"({"top_k": 20})", R"({"top_k": 1})", false},
      {R"({"top_k": 20})", R"({"top_k": null})", true},
      {"", R"({"suppress_tokens": [300, 301]})", false},
      {"", R"({"suppress_tokens": [], "bad_words_ids": null, "forced_eos_token_id": null, "num_beams": 1})", true},
      {R"({"suppress_tokens": [300, 301]})", R"({"suppress_tokens": [300,301]})", true},
      {R"({"suppress_tokens": [300]})", R"({"suppress_tokens": [300, 301]})", false},
      {"", R"({"begin_suppress_tokens": [0]})", false},
      {"", R"({"bad_words_ids": [[5, 6]]})", false},
      {"", R"({"forced_bos_token_id": 0})", false},
      {"", R"({"forced_eos_token_id": [300]})", false},
      {R"({"forced_eos_token_id": 2})", R"({"forced_eos_token_id": 2})", true},
      {"", R"({"no_repeat_ngram_size": 2})", false},
      {"", R"({"no_repeat_ngram_size": 0, "min_length": 0, "typical_p": 1.0, "epsilon_cutoff": 0.0})", true},
      {"", R"({"min_new_tokens": 9})", false},
      {"", R"({"guidance_scale": 1.5})", false},
      {"", R"({"max_new_tokens": 20, "max_length": 64, "use_cache": true})", true},
  };
  for (const auto& [model, folder, passed] : cases) {
    const Scratch scratch;
    for (const auto& [name, text] : {std::pair("model", model), {"folder", folder}}) {
      std::filesystem::create_directory(scratch / name);
      if (!text.empty()) write_file_durably(scratch / name / "generation_config.json", text);
    }
    const Check found = sampling_check(scratch / "folder", scratch / "model");
    EXPECT_EQ(found.passed, passed) << folder;
    EXPECT_EQ(contains(found.detail, "generation_config.json: "), !passed) << found.detail;
  }
}

TEST(SamplingCheck, WhatAnOlderModelSaysInItsConfigMayBeSaid) {
  const Scratch scratch;
  for (const char* name : {"model", "folder"}) std::filesystem::create_directory(scratch / name);
  write_file_durably(scratch / "model/config.json", R"({"no_repeat_ngram_size": 3})");
  write_file_durably(scratch / "folder/generation_config.json", R"({"no_repeat_ngram_size": 3})");
  EXPECT_TRUE(sampling_check(scratch / "folder", scratch / "model").passed);
  std::filesystem::remove(scratch / "folder/generation_config.json");
  write_file_durably(scratch / "folder/generation_config.json", R"({"no_repeat_ngram_size": 4})");
  EXPECT_FALSE(sampling_check(scratch / "folder", scratch / "model").passed);
}

TEST(SamplingCheck, AGenerationConfigThatIsNoObjectIsNamed) {
  ExitCode code = ExitCode::ok;
  const auto message = message_of([] { found_in({{"temp", 0.6F}}, "[]"); }, &code);
  EXPECT_TRUE(contains(message, "generation_config.json: expected an object")) << message;
  EXPECT_EQ(code, ExitCode::model);
}

}  // namespace
}  // namespace prentice
