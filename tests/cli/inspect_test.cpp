// `inspect`: what it shows of each kind of file, and what it refuses.
#include <cstring>
#include <random>

#include "cli/command.h"
#include "io/gguf.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace prentice {
namespace {

void write_safetensors(const std::string& path) {
  SafetensorsWriter writer(path, {{.name = "a\033[2J", .dtype = DType::f32, .shape = {2, 3}},
                                  {.name = "b", .dtype = DType::f16, .shape = {4}}});
  const std::vector<std::byte> data(24);
  writer.write("a\033[2J", data);
  writer.write("b", std::span(data).first(8));
  writer.finish();
}

TEST_F(Command, InspectShowsTensorsAndDefusesNames) {
  write_safetensors("x.safetensors");
  const std::string text = result({"inspect", "x.safetensors"});
  EXPECT_NE(text.find("2 tensors, 10 elements"), std::string::npos) << text;
  EXPECT_NE(text.find("a\\x1b[2J"), std::string::npos);
  EXPECT_EQ(text.find('\033'), std::string::npos);
  const Json json = Json::parse(result({"inspect", "x.safetensors", "--json"}));
  EXPECT_EQ(json.at("kind").as_string(), "safetensors");
  EXPECT_EQ(json.at("tensors").as_array()[1].at("bytes").as_integer(), 8);
  EXPECT_EQ(json.at("tensors").as_array()[0].at("shape").as_array()[1].as_integer(), 3);
}

TEST_F(Command, InspectShowsAGguf) {
  GgufWriter writer(
      "x.gguf",
      {{"general.architecture", std::string("te\xFFst")}, {"list", gguf_array(std::vector<std::string>{"a", "b"})}},
      {{.name = "w", .type = GgmlType::F32, .dims = {4, 2}}});
  writer.write("w", std::vector<std::byte>(32));
  writer.finish();
  const Json json = Json::parse(result({"inspect", "x.gguf", "--json"}));
  EXPECT_EQ(json.at("kind").as_string(), "gguf");
  EXPECT_EQ(json.at("metadata").at("general.architecture").as_string(), "te\\xffst");
  EXPECT_EQ(json.at("metadata").at("list").as_string(), "[2 x string]");
  EXPECT_EQ(json.at("tensors").as_array()[0].at("shape").as_array()[0].as_integer(), 2);  // outermost first
}

TEST_F(Command, InspectKnowsFolders) {
  fs::create_directories("adapter");
  write("adapter/adapter_config.json", "{\"r\": 4}");
  write_safetensors("adapter/adapter_model.safetensors");
  EXPECT_EQ(Json::parse(result({"inspect", "adapter", "--json"})).at("kind").as_string(), "adapter");
  fs::create_directories("step");
  write("step/manifest.json", "{}");
  write_safetensors("step/adapter.safetensors");
  const Json step = Json::parse(result({"inspect", "step", "--json"}));
  EXPECT_EQ(step.at("kind").as_string(), "checkpoint");
  EXPECT_EQ(step.at("tensors").as_array().size(), 2u);
  fs::create_directories("run/checkpoints/step-00000000");
  write("run/run.json", "{\"seed\": 17}");
  const Json run = Json::parse(result({"inspect", "run", "--json"}));
  EXPECT_EQ(run.at("kind").as_string(), "run");
  EXPECT_EQ(run.at("metadata").at("checkpoints").as_array()[0].as_string(), "step-00000000");
}

TEST_F(Command, InspectTakesAnArtifactAddress) {
  const auto kind_of = [](const std::string& address) {
    return Json::parse(result({"inspect", address, "--json"})).at("kind").as_string();
  };
  fs::create_directories("run/checkpoints/step-00000120");
  write("run/checkpoints/step-00000120/manifest.json", "{}");
  write_safetensors("run/checkpoints/step-00000120/adapter.safetensors");
  write("run/run.json", "{\"results\": {\"best_step\": 120}}");
  write("run/recipe.yaml",
        "recipe: sft\nmodel: {path: " + fs::absolute("model").string() + ", tokenizer: \"\"}\nadapter: {kind: lora}\n");
  EXPECT_EQ(kind_of("run@120"), "checkpoint");
  EXPECT_EQ(kind_of("run@best"), "checkpoint");
  EXPECT_EQ(kind_of("model+run@120"), "checkpoint");
  EXPECT_EQ(kind_of("llama-3.1-8b"), "shapes");
  const fs::path cached = "cache/models--org--name";
  fs::create_directories(cached / "refs");
  fs::create_directories(cached / "snapshots/abc");
  write((cached / "refs/main").string(), "abc");
  fs::copy("model/config.json", cached / "snapshots/abc/config.json");
  write_safetensors((cached / "snapshots/abc/model.safetensors").string());
  setenv("HF_HUB_CACHE", fs::absolute("cache").c_str(), 1);
  EXPECT_EQ(kind_of("org/name"), "safetensors");
  EXPECT_TRUE(failure({"inspect", "org/other"}).starts_with("exit 2: inspect: 'org/other' is no folder, and not in"));
  unsetenv("HF_HUB_CACHE");
}

TEST_F(Command, InspectSurvivesHostileFiles) {
  write_safetensors("x.safetensors");
  std::ifstream stream("x.safetensors", std::ios::binary);
  const std::string good(std::istreambuf_iterator<char>(stream), {});
  std::mt19937 random(17);
  for (int i = 0; i < 300; ++i) {
    std::string bad = good;
    bad[random() % 120] = static_cast<char>(random());
    if (i % 3 == 0) bad.resize(random() % bad.size());
    write("bad.safetensors", bad);
    testing::internal::CaptureStdout();
    try {
      run_command(parse_arguments({"inspect", "bad.safetensors"}));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::model) << error.what();
    }
    const std::string out = testing::internal::GetCapturedStdout();
    EXPECT_EQ(out.find('\033'), std::string::npos);
  }
  write("empty", "");
  EXPECT_EQ(failure({"inspect", "empty"}).substr(0, 7), "exit 4:");
}

TEST_F(Command, InspectKnowsAPickleByItsContentAndNotByItsName) {
  const std::string refused = ": a pickle can run code when it is read and is refused";
  const std::string zip = std::string("PK\3\4", 4) + std::string(26, '\0');
  const std::tuple<const char*, std::string, std::string> files[] = {
      {"torch.bin", zip + "archive/data.pkl", "exit 4: torch.bin" + refused},
      {"torch", zip + "archive/data.pkl", "exit 4: torch" + refused},
      {"old.weights", std::string("\x80\2}q\0.", 6), "exit 4: old.weights" + refused},
      {"note.bin", "x", "exit 2: note.bin: a text file; inspect reads"},
      {"model/store.bin", "\x89HDF\r\n\x1a\n", "exit 2: model/store.bin: a file of a teacher store"},
  };
  for (const auto& [name, bytes, message] : files) {
    write(name, bytes);
    EXPECT_TRUE(failure({"inspect", name}).starts_with(message)) << name << ": " << failure({"inspect", name});
  }
  // The length of this header, 640, is spelled as a pickle's beginning.
  std::string header = R"({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}})";
  header.resize(640, ' ');
  write("weights.bin", std::string("\x80\2\0\0\0\0\0\0", 8) + header + "x");
  EXPECT_EQ(Json::parse(result({"inspect", "weights.bin", "--json"})).at("kind").as_string(), "safetensors");
}

}  // namespace
}  // namespace prentice
