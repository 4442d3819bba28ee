#include "run/run_files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "io/gguf.h"
#include "io/safetensors.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

// Two run folders of the same run under different names.
class RunFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::temp_directory_path() / ("prentice_run_files_" + std::to_string(getpid()));
    for (const std::string name : {"one", "another"}) make_run(name, {1, 2, 3, 4});
  }
  void TearDown() override { fs::remove_all(root_); }

  void write(const fs::path& name, const std::string& text) {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }
  void write_gguf(const fs::path& file, const std::string& name, const std::vector<float>& values) {
    fs::create_directories(file.parent_path());
    fs::remove(file);
    GgufWriter writer(file,
                      {{"general.architecture", std::string("llama")},
                       {"general.name", name},
                       {"tokens", gguf_array(std::vector<std::string>{"a", "b"})}},
                      {{"w", GgmlType::F32, {4}}});
    writer.write("w", std::as_bytes(std::span(values)));
    writer.finish();
  }
  void make_run(const std::string& name, const std::vector<float>& values) {
    write(name + "/recipe.yaml", "recipe: sft\nexport:\n  name: \"\"\n");
    write(name + "/run.json", name);
    write(name + "/metrics.jsonl", name);
    write(name + "/serve/serve.md", "serve " + name);
    write(name + "/serve/selftest.json", R"({"model": ")" + name + R"(", "cases": [1, 2]})");
    write(name + "/eval.json", R"({"model": ")" + name + R"(", "tasks": {"loss": {"mean": 1.5}}})");
    write(name + "/verify.json", R"({"passed": true, "checks": [{"name": "gguf/)" + name + R"(-F32.gguf: tensors"}]})");
    write(name + "/checkpoints/step-00000001/data.json", "{}");
    write_gguf(root_ / name / ("gguf/" + name + "-F32.gguf"), name, values);
  }
  std::vector<std::string> differences() { return file_differences(root_ / "one", root_ / "another"); }

  fs::path root_;
};

TEST_F(RunFilesTest, TheNameOfTheFolderIsNoDifference) {
  EXPECT_EQ(differences(), std::vector<std::string>{});
  EXPECT_EQ(file_differences(root_ / "one/", root_ / "another"), std::vector<std::string>{});
}

TEST_F(RunFilesTest, EveryDifferenceOfTheResultIsTold) {
  make_run("another", {1, 2, 3, 5});
  EXPECT_EQ(differences(), std::vector<std::string>{"gguf/NAME-F32.gguf: w differs"});
  make_run("another", {1, 2, 3, 4});
  write("another/eval.json", R"({"model": "another", "tasks": {"loss": {"mean": 1.25}}})");
  write("another/serve/selftest.json", R"({"model": "another", "cases": [1, 3]})");
  write("another/verify.json", R"({"passed": false, "checks": [{"name": "gguf/another-F32.gguf: tensors"}]})");
  EXPECT_EQ(differences(), (std::vector<std::string>{"eval.json: bytes differ", "serve/selftest.json: bytes differ",
                                                     "verify.json: bytes differ"}));
}

TEST_F(RunFilesTest, AProductOnOneSideIsTold) {
  write("one/merged/config.json", "{}");
  write("another/checkpoints/step-00000002/data.json", "{}");  // of a run that was resumed
  EXPECT_EQ(differences(), std::vector<std::string>{"merged/config.json is in " + (root_ / "one").string() + " only"});
}

}  // namespace
}  // namespace prentice
