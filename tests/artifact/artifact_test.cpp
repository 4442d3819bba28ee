#include "artifact/artifact.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "config/address.h"
#include "core/error.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

// A folder of artifacts that are only as real as addresses need: names and links, no weights.
class ArtifactTest : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = fs::canonical(fs::temp_directory_path()) / ("prentice_artifact_" + std::to_string(getpid()));
    write("base/config.json", "{}");
    write("adapter/adapter_config.json", R"({"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"],
                                            "base_model_name_or_path": ")" +
                                             (root_ / "base").string() + "\"}");
    write("run/recipe.yaml", "recipe: sft\nrun: {out: x}\nmodel: {path: " + (root_ / "base").string() +
                                 ", tokenizer: \"\"}\nadapter: {kind: lora}\n");
    write("run/run.json", R"({"results": {"best_step": 20}})");
    write("run/adapter/adapter_config.json", "{}");
    write("run/checkpoints/step-00000020/adapter_config.json", "{}");
  }
  void TearDown() override { fs::remove_all(root_); }

  void write(const fs::path& name, const std::string& text) {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }
  Artifact resolve(const std::string& address) { return resolve_artifact(address); }
  std::string at(const std::string& name) { return (root_ / name).string(); }

  fs::path root_;
};

TEST_F(ArtifactTest, AFolderWithAConfigIsABase) {
  const Artifact artifact = resolve(at("base"));
  EXPECT_EQ(artifact.base, root_ / "base");
  EXPECT_EQ(artifact.tokenizer, root_ / "base");
  EXPECT_TRUE(artifact.adapter.empty());
}

TEST_F(ArtifactTest, ARunIsItsBaseAndItsAdapter) {
  const Artifact artifact = resolve(at("run"));
  EXPECT_EQ(artifact.base, root_ / "base");
  EXPECT_EQ(artifact.adapter, root_ / "run/adapter");
}

TEST_F(ArtifactTest, NamesMayHoldTheSignsThatDivideAddresses) {
  write("a+b@7/config.json", "{}");
  write("c+d/adapter_config.json", "{}");
  EXPECT_EQ(resolve(at("a+b@7")).base, root_ / "a+b@7");
  const Artifact artifact = resolve_model({.path = at("a+b@7"), .adapter = at("c+d")});
  EXPECT_EQ(artifact.base, root_ / "a+b@7");
  EXPECT_EQ(artifact.adapter, root_ / "c+d");
  EXPECT_EQ(resolve(at("base") + "+" + at("run") + "@20").adapter, root_ / "run/checkpoints/step-00000020");
}

TEST_F(ArtifactTest, WithoutABestStepThereIsNone) {
  write("run/run.json", R"({"results": {"steps": 20}})");
  EXPECT_THROW(resolve(at("run") + "@best"), Error);
}

TEST_F(ArtifactTest, ARunAtAStepOrAtItsBestIsThatCheckpoint) {
  EXPECT_EQ(resolve(at("run") + "@20").adapter, root_ / "run/checkpoints/step-00000020");
  EXPECT_EQ(resolve(at("run") + "@best").adapter, root_ / "run/checkpoints/step-00000020");
}

TEST_F(ArtifactTest, ABaseAndAnAdapterAreJoinedByAPlus) {
  const Artifact artifact = resolve(at("base") + "+" + at("adapter"));
  EXPECT_EQ(artifact.base, root_ / "base");
  EXPECT_EQ(artifact.adapter, root_ / "adapter");
}

TEST_F(ArtifactTest, AnAdapterAloneFindsTheBaseItNames) { EXPECT_EQ(resolve(at("adapter")).base, root_ / "base"); }

TEST_F(ArtifactTest, ACachedModelIsItsNewestSnapshot) {
  write("hf/hub/models--org--name/refs/main", "abc\n");
  write("hf/hub/models--org--name/snapshots/abc/config.json", "{}");
  setenv("HF_HOME", at("hf").c_str(), 1);
  const Artifact artifact = resolve("org/name");
  unsetenv("HF_HOME");
  EXPECT_EQ(artifact.base, root_ / "hf/hub/models--org--name/snapshots/abc");
}

// Also where a folder beside the work is called as the organisation.
TEST_F(ArtifactTest, TheCacheHasAdaptersToo) {
  write("hf/hub/models--org--ad/refs/main", "abc\n");
  write("hf/hub/models--org--ad/snapshots/abc/adapter_config.json", "{}");
  setenv("HF_HOME", at("hf").c_str(), 1);
  const Artifact artifact = resolve(at("base") + "+org/ad");
  std::filesystem::create_directory(root_ / "org");
  const std::string address = absolute_address(root_, "base+org/ad");
  unsetenv("HF_HOME");
  EXPECT_EQ(artifact.adapter, root_ / "hf/hub/models--org--ad/snapshots/abc");
  EXPECT_EQ(address, at("base") + "+org/ad");
}

TEST_F(ArtifactTest, AShapeHasNoWeights) {
  const Artifact artifact = resolve("llama-3.1-8b");
  EXPECT_FALSE(artifact.has_weights());
  EXPECT_EQ(artifact_config(artifact).at("hidden_size").as_integer(), 4096);
}

TEST_F(ArtifactTest, WhatIsNotThereIsUsageAndWhatIsNoModelIsModel) {
  write("empty/readme.txt", "nothing");
  const struct {
    std::string address, part;
    ExitCode code;
  } cases[] = {
      {at("nowhere"), "is no folder, run, cached model or name under configs/models", ExitCode::usage},
      {at("run") + "@7", "is not there", ExitCode::usage},
      {at("empty"), "no config.json, adapter_config.json or run.json", ExitCode::model},
      {at("empty/readme.txt"), "expected a model folder or a GGUF file, got another file", ExitCode::model},
      {"llama-3.1-8", "is no folder", ExitCode::usage},
  };
  for (const auto& wrong : cases) {
    try {
      resolve(wrong.address);
      ADD_FAILURE() << wrong.address;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), wrong.code) << wrong.address;
      EXPECT_NE(std::string(error.what()).find(wrong.part), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace prentice
