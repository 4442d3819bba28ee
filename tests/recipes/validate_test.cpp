#include "recipes/validate.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <utility>

#include "core/error.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

// What `prentice validate` says of a recipe with this text.
std::string validated(const std::string& text) {
  const fs::path folder = fs::path(testing::TempDir()) / "prentice_validate";
  fs::create_directories(folder);
  for (const auto& [name, content] :
       {std::pair<std::string, std::string>{"r.yaml", text},
        {"t.jsonl", "{\"prompt\": \"a\", \"completion\": \" b\"}\n"},
        {"sft.yaml", "recipe: sft\nmodel: {path: x}\nadapter: {targets: [q_prj]}\ndata: {train: t.jsonl}\n"}}) {
    std::ofstream(folder / name) << content;
  }
  try {
    validate_recipe(read_recipe_file((folder / "r.yaml").string()));
    return "";
  } catch (const Error& error) {
    std::string all;
    for (auto diagnostic : error.diagnostics()) {
      diagnostic.file = fs::path(diagnostic.file).filename();
      all += to_string(diagnostic) + "\n";
    }
    return all;
  }
}

TEST(Validate, TellsMistakesOfTheWordsAndOfTheShapeTogether) {
  EXPECT_EQ(validated("recipe: sft\nmodel: {path: llama-3.1-8b, init: random}\n"
                      "adapter: {rank: 0, targets: [q_prj]}\ndata: {train: t.jsonl, max_length: 1000000}\n"),
            "r.yaml:3:17: adapter.rank: expected a value from 1 to 65536, got 0\n"
            "r.yaml:3:30: adapter.targets: 'q_prj' matches no layer of this model\n"
            "r.yaml:4:36: data.max_length: 1000000 is above the model's trained context of 131072\n");
}

TEST(Validate, OfAPipelineHoldsAModelThatIsPromisedAgainstItsShape) {
  const std::string made =
      "recipe: pipeline\nrun: {out: /no/such/run}\npipeline:\n  steps:\n    - {recipe: sft.yaml, name: "
      "first, set: {model.path: quickstart-1m, model.init: random, adapter.targets: [k_proj]}}\n"
      "    - {recipe: sft.yaml, name: second, set: {model.path: ";
  for (const char* part : {"", "/merged", "@3"}) {
    EXPECT_EQ(validated(made + "\"${steps.first.out}" + part + "\"}}\n"),
              "sft.yaml:3:21: adapter.targets: 'q_prj' matches no layer of this model\n");
  }
  // Any other part of the promised folder has no known shape.
  EXPECT_EQ(validated(made + "\"${steps.first.out}/elsewhere\"}}\n"), "");
}

TEST(Validate, AnEightBillionShapeIsHeldAgainstEveryProduct) {
  EXPECT_EQ(validated("recipe: sft\nmodel: {path: llama-3.1-8b, init: random}\ndata: {train: t.jsonl}\n"
                      "export: {gguf: [F16], gguf_adapter: F16}\n"),
            "");
}

}  // namespace
}  // namespace prentice
