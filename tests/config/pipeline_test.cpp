#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "config/read.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

class Pipeline : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / ("pipeline_test_" + std::to_string(getpid()));
    fs::create_directories(folder_ / "steps");
    write("steps/tiny.yaml", "recipe: pretrain\nmodel: {path: " + fixture("model") +
                                 ", init: random}\ndata: {train: " + fixture("rows.jsonl") + "}\nrun: {seed: 3}\n");
    write("steps/tune.yaml", "recipe: sft\nmodel: {path: nowhere}\ndata: {train: " + fixture("rows.jsonl") + "}\n");
    write("all.yaml",
          "recipe: pipeline\nrun: {out: " + (folder_ / "out").string() +
              ", seed: 5, threads: 2}\npipeline:\n  steps:\n"
              "    - steps/tiny.yaml\n"
              "    - recipe: steps/tune.yaml\n      name: sft\n      set:\n        model.path: ${steps.tiny.out}\n"
              "        train.epochs: 2\n        data.eval: steps/tune.yaml\n");
  }
  void TearDown() override { fs::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) { std::ofstream(folder_ / name) << text; }
  static std::string fixture(const std::string& name) { return fs::absolute("tests/config/fixtures/" + name).string(); }
  std::string file() const { return (folder_ / "all.yaml").string(); }

  fs::path folder_;
};

TEST_F(Pipeline, StepsBecomeRecipesOfTheirOwn) {
  const auto steps = expand_steps(read_recipe_file(file()));
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_EQ(steps[0].name, "tiny");
  EXPECT_EQ(steps[0].kind, "pretrain");
  EXPECT_EQ(steps[0].out, folder_ / "out/tiny");
  EXPECT_EQ(steps[1].name, "sft");
  const ReadOptions options{.promised = {steps[0].out}};
  const auto tiny = read_recipe<PretrainRecipe>(steps[0].recipe);
  const auto tune = read_recipe<SftRecipe>(steps[1].recipe, options);
  EXPECT_EQ(tune.model.path, steps[0].out);
  EXPECT_EQ(tune.train.epochs, 2.0);
  EXPECT_EQ(tune.run.out, folder_ / "out/sft");
  EXPECT_EQ(tune.data.eval.at(0).path, folder_ / "steps/tune.yaml");  // relative to the pipeline's folder
  EXPECT_EQ(tiny.run.seed, 3);                                        // its own
  EXPECT_EQ(tune.run.seed, 5);                                        // the pipeline's
  EXPECT_EQ(tiny.run.threads, 2);
}

TEST_F(Pipeline, AnEarlierStepsFolderNeedNotExistYet) {
  EXPECT_NO_THROW(check_words(read_recipe_file(file())));
  const auto steps = expand_steps(read_recipe_file(file()));
  EXPECT_THROW(read_recipe<SftRecipe>(steps[1].recipe), Error);
}

TEST_F(Pipeline, WordsOfTheCommandLineReachAStep) {
  const auto steps =
      expand_steps(read_recipe_file(file(), {"sft:optim.lr=3e-4", "tiny:train.steps=9", "sft:eval.tasks=[exact]"}));
  EXPECT_EQ(read_recipe<PretrainRecipe>(steps[0].recipe).train.steps, 9);
  const auto tune = read_recipe<SftRecipe>(steps[1].recipe, {.promised = {steps[0].out}});
  EXPECT_EQ(tune.optim.lr, 3e-4);
  EXPECT_EQ(tune.eval.tasks, std::vector<std::string>{"exact"});
  EXPECT_THROW(read_recipe_file(file(), {"stf:optim.lr=1"}), Error);
}

TEST_F(Pipeline, TheResolvedPipelineReadsBackFromElsewhere) {
  const auto first = read_recipe<PipelineRecipe>(read_recipe_file(file(), {"sft:optim.lr=3e-4"}));
  const std::string yaml = to_yaml(to_node(first));
  const Node again = parse_yaml(yaml, "/elsewhere/recipe.yaml");
  EXPECT_EQ(to_yaml(to_node(read_recipe<PipelineRecipe>(again))), yaml);
  const auto steps = expand_steps(again);
  const auto tune = read_recipe<SftRecipe>(steps.at(1).recipe, {.promised = {steps[0].out}});
  EXPECT_EQ(tune.train.epochs, 2.0);
  EXPECT_EQ(tune.optim.lr, 3e-4);
  EXPECT_EQ(tune.data.eval.at(0).path, folder_ / "steps/tune.yaml");
}

}  // namespace
}  // namespace prentice
