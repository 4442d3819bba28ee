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

TEST(SamplingCheck, AGenerationConfigThatIsNoObjectIsNamed) {
  ExitCode code = ExitCode::ok;
  const auto message = message_of([] { found_in({{"temp", 0.6F}}, "[]"); }, &code);
  EXPECT_TRUE(contains(message, "generation_config.json: expected an object")) << message;
  EXPECT_EQ(code, ExitCode::model);
}

}  // namespace
}  // namespace prentice
