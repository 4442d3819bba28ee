#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "config/bind.h"
#include "config/configs.h"
#include "config/explain.h"
#include "config/read.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

const std::string kBase = "tests/config/fixtures/base.yaml";

SftRecipe sft(const std::vector<std::string>& words = {}) {
  return read_recipe<SftRecipe>(read_recipe_file(kBase, words));
}

std::string errors_of(const std::vector<std::string>& words) {
  std::string out;
  try {
    sft(words);
  } catch (const Error& error) {
    for (const auto& diagnostic : error.diagnostics()) out += (out.empty() ? "" : "\n") + to_string(diagnostic);
  }
  return out;
}

TEST(Recipe, ReadsValuesAndResolvesTheKindsDefaults) {
  const auto recipe = sft();
  EXPECT_EQ(recipe.model.path, (fs::current_path() / "tests/config/fixtures/model").string());
  EXPECT_EQ(recipe.data.train.at(0).path, (fs::current_path() / "tests/config/fixtures/rows.jsonl").string());
  EXPECT_EQ(recipe.run.out, (fs::current_path() / "runs/base").string());
  EXPECT_EQ(recipe.name, "base");
  EXPECT_EQ(recipe.exports.name, "");  // the run folder's, also after it was renamed
  EXPECT_EQ(recipe.optim.lr, 1e-4);
  EXPECT_EQ(recipe.optim.clip, 0.5);
  EXPECT_EQ(recipe.train.batch, 16);
  EXPECT_EQ(recipe.train.epochs, 3.0);
  EXPECT_EQ(recipe.adapter.alpha, 32.0);
  EXPECT_EQ(recipe.optim.min_lr, 0.1);
  EXPECT_FALSE(recipe.optim.warmup);  // needs the number of steps
  EXPECT_FALSE(recipe.run.threads);   // needs the machine
  EXPECT_TRUE(recipe.has("optim.lr"));
  EXPECT_FALSE(recipe.has("optim.betas"));
}

TEST(Recipe, DefaultsFollowTheTableOfKinds) {
  const auto full = sft({"adapter.kind=full", "optim.lr=auto"});
  EXPECT_EQ(full.optim.lr, 1e-5);
  EXPECT_FALSE(full.exports.peft);
  EXPECT_EQ(sft({"optim.lr=auto"}).optim.lr, 2e-4);
  EXPECT_EQ(sft({"adapter.rslora=true"}).adapter.alpha, 8.0);
  EXPECT_EQ(sft({"optim.schedule=linear"}).optim.min_lr, 0.0);
  EXPECT_EQ(sft({"train.batch_tokens=4096"}).train.batch, 0);
  EXPECT_EQ(sft({"train.steps=7"}).train.epochs, 0.0);
  const auto reward = [](const std::vector<std::string>& words) {
    return read_recipe<RewardRecipe>(read_recipe_file("tests/config/fixtures/reward.yaml", words));
  };
  EXPECT_EQ(reward({}).optim.lr, 1e-4);
  EXPECT_EQ(reward({}).train.batch, 32);
  EXPECT_EQ(reward({}).train.epochs, 1.0);
  EXPECT_EQ(reward({}).exports.merged, "bf16");
  EXPECT_EQ(reward({"adapter.kind=full"}).optim.lr, 1e-5);
  EXPECT_EQ(reward({"adapter.kind=full"}).exports.merged, "none");  // merged/ is what was trained
  const auto pretrain = read_recipe<PretrainRecipe>(read_recipe_file("tests/config/fixtures/pretrain.yaml"));
  EXPECT_EQ(pretrain.optim.lr, 1e-3);
  EXPECT_EQ(pretrain.train.batch_tokens, 65536);
  EXPECT_EQ(pretrain.optim.betas, (std::pair{0.9, 0.95}));
  EXPECT_EQ(pretrain.optim.weight_decay, 0.1);
  EXPECT_EQ(pretrain.data.format, DataFormat::text);
}

TEST(Overrides, ValuesAreParsedByTheTypeOfTheirKey) {
  const auto recipe =
      sft({"optim.lr=1e-5", "data.system=no", "adapter.targets=[q_proj, v_proj]", "eval.tasks=[choice,loss]",
           "eval.choices=[a, b]", "eval.require.accuracy=0.9", "optim.betas=[0.8, 0.9]", "data.shuffle=false",
           "train.micro_tokens=auto", "data.template_args.date_string=1 Jan", "adapter.rank_pattern={q_proj: 4}",
           "data.train=[{path: tests/config/fixtures/rows.jsonl, weight: 2}, tests/config/fixtures/base.yaml]"});
  EXPECT_EQ(recipe.optim.lr, 1e-5);
  EXPECT_EQ(recipe.data.system, "no");
  EXPECT_EQ(recipe.adapter.targets, (std::vector<std::string>{"q_proj", "v_proj"}));
  EXPECT_EQ(recipe.eval.require.at("accuracy"), 0.9);
  EXPECT_EQ(recipe.optim.betas, (std::pair{0.8, 0.9}));
  EXPECT_EQ(recipe.data.template_args.at("date_string"), "1 Jan");
  EXPECT_EQ(recipe.adapter.rank_pattern.at("q_proj"), 4);
  EXPECT_EQ(recipe.data.train.at(0).weight, 2);
  // On the command line relative to the current folder.
  EXPECT_EQ(recipe.data.train.at(1).path, fs::absolute(kBase).string());
}

// Expected values: PyYAML's safe_load of the same text.
TEST(Overrides, AQuotedValueIsUnquotedAsYamlDoes) {
  const std::pair<const char*, std::string> table[] = {
      {R"("x")", "x"},
      {R"('x')", "x"},
      {R"("")", ""},
      {R"('')", ""},
      {R"("3")", "3"},
      {R"(" two  spaces ")", " two  spaces "},
      {R"("a\nb\t\"c\" \\ \u00e9 \x41")", "a\nb\t\"c\" \\ \u00e9 A"},
      {R"('a\nb')", "a\\nb"},
      {R"('it''s')", "it's"},
      {R"('''')", "'"},
      {R"('"x"')", "\"x\""},
      {R"("it's: # [no] {{ x }}")", "it's: # [no] {{ x }}"},
      {R"("[a, b]")", "[a, b]"},
      // No quotation from end to end: as typed.
      {R"(x "y")", "x \"y\""},
      {R"("x" y)", "\"x\" y"},
      {R"(it's)", "it's"},
      {R"(")", "\""},
      {R"(a: b # c)", "a: b # c"},
      {R"({{ x }})", "{{ x }}"},
  };
  for (const auto& [typed, expected] : table) {
    EXPECT_EQ(sft({std::string("data.system=") + typed}).data.system, expected) << typed;
  }
  EXPECT_EQ(sft({R"(data.train="tests/config/fixtures/rows.jsonl")"}).data.train.at(0).path,
            fs::absolute("tests/config/fixtures/rows.jsonl").string());
  const std::pair<const char*, const char*> mistakes[] = {
      {R"(train.batch="3")", R"(command line: train.batch: expected an integer, got the text "3")"},
      {R"(data.system="a" and "b")",
       R"(command line: data.system: the quote that opens "a" and "b" is closed before its end)"},
      {"data.system='a'b'", "command line: data.system: the quote that opens 'a'b' is closed before its end"},
      {"data.system='''", "command line: data.system: the quote that opens ''' is closed before its end"},
      {R"(data.system="a\")", R"(command line: data.system: the quote that opens "a\" is closed before its end)"},
      {R"(data.system="\q")", "command line: data.system:1:4: an escape in double quotes that YAML does not know"},
  };
  for (const auto& [word, message] : mistakes) EXPECT_EQ(errors_of({word}), message) << word;
}

TEST(Overrides, MistakesNameTheCommandLine) {
  const std::pair<std::vector<std::string>, const char*> table[] = {
      {{"optim.lr=fast"}, "command line: optim.lr: expected a number, got fast"},
      {{"optim.lrr=1"}, "command line: optim.lrr: unknown key"},
      {{"optm.lr=1"}, "command line: optm: unknown section"},
      {{"train.batch=1_6"}, "command line: train.batch: expected an integer, got 1_6"},
      {{"data.lines=yes"}, "command line: data.lines: expected true or false, got yes"},
      {{"adapter.targets=[a"}, "command line: adapter.targets: `[` is never closed by `]`"},
      {{"data.system="}, ""},
      {{"step:optim.lr=1"}, "command line: step:optim.lr: no step is called step"},
      {{"optim.lr=a", "optim.clip=b"},
       "command line: optim.clip: expected a number, got b\ncommand line: optim.lr: expected a number, got a"},
  };
  for (const auto& [words, message] : table) {
    std::string found = errors_of(words);
    if (words.size() == 2) {  // words have no order in a file
      EXPECT_NE(found.find("optim.lr: expected a number, got a"), found.npos);
      EXPECT_NE(found.find("optim.clip: expected a number, got b"), found.npos);
    } else {
      EXPECT_EQ(found, message) << words[0];
    }
  }
}

TEST(Overrides, AreToldFromOtherWords) {
  for (const char* yes : {"a.b=c", "a.b=", "step-1:optim.lr=1", "eval.require.choice.accuracy=0.9", "a.b=x=y"})
    EXPECT_TRUE(is_override(yes)) << yes;
  for (const char* no : {"a=b", "file.yaml", "--fit=16GB", "dir/a.b=c", "a b.c=1", ".a=1", "a.=1", "=1"})
    EXPECT_FALSE(is_override(no)) << no;
}

TEST(Extends, LaysAFileOverAnother) {
  const fs::path folder = fs::path(testing::TempDir()) / "extends_test";
  fs::create_directories(folder);
  std::ofstream(folder / "over.yaml") << "recipe: sft\nextends: " << fs::absolute(kBase).string()
                                      << "\noptim:\n  lr: 3e-4\nadapter:\n  rank: 4\n";
  const auto recipe = read_recipe<SftRecipe>(read_recipe_file((folder / "over.yaml").string()));
  EXPECT_EQ(recipe.optim.lr, 3e-4);
  EXPECT_EQ(recipe.optim.clip, 0.5);
  EXPECT_EQ(recipe.adapter.rank, 4);
  EXPECT_EQ(recipe.name, "over");
  EXPECT_EQ(recipe.data.train.at(0).path, fs::absolute("tests/config/fixtures/rows.jsonl").string());
  fs::remove_all(folder);
}

// Every kind: the resolved recipe holds every key it consumes, and reading it gives the same recipe again.
TEST(ResolvedRecipe, ReadsBackToItself) {
  const std::string node = "tests/config/fixtures/";
  const std::pair<std::string, std::vector<std::string>> table[] = {
      {"sft", {"data.train=" + node + "rows.jsonl"}},
      {"sft",
       {"data.train=" + node + "rows.jsonl", "adapter.kind=full", "optim.schedule=constant", "train.steps=5",
        "data.system=no\n\"x\""}},
      {"sft",
       {"data.train=" + node + "rows.jsonl", "adapter.init=" + node + "model", "data.eval=" + node + "rows.jsonl"}},
      {"pretrain", {"data.train=" + node + "rows.jsonl"}},
      {"eval", {"data.eval=" + node + "rows.jsonl", "eval.tasks=[choice]", "eval.choices=" + node + "rows.jsonl"}},
      {"export", {"export.gguf=[F16, Q8_0]", "export.types={output: F16}"}},
      {"generate", {"generate.prompt=hello: world"}},
  };
  for (auto [kind, words] : table) {
    words.push_back("model.path=" + node + "model");
    const Node recipe = recipe_from_words(kind, words);
    for_each_kind([&](const auto& prototype) {
      using R = std::decay_t<decltype(prototype)>;
      if (R::kKind != kind) return;
      const R first = read_recipe<R>(recipe);
      const std::string yaml = to_yaml(to_node(first));
      const R second = read_recipe<R>(parse_yaml(yaml, "/elsewhere/recipe.yaml"));
      EXPECT_EQ(to_yaml(to_node(second)), yaml);
      size_t keys = 0;
      const Node written = to_node(first);
      for (const auto& section : written.members()) keys += section.value.members().size();
      size_t consumed = 0;
      for (const auto& doc : describe_fields(kind)) consumed += !doc.later;
      EXPECT_EQ(keys, consumed) << kind;
    });
  }
}

// eval/choice.h reads the file: here it only becomes a path that holds from everywhere.
TEST(Recipe, AFileOfChoicesStaysAPath) {
  const auto recipe = read_recipe<SftRecipe>(read_recipe_file(
      kBase, {"eval.tasks=[choice]", "eval.choices=tests/config/fixtures/rows.jsonl", "data.eval_split=0.5"}));
  EXPECT_EQ(recipe.eval.choices,
            (std::vector<std::string>{(fs::current_path() / "tests/config/fixtures/rows.jsonl").string()}));
  EXPECT_NE(errors_of({"eval.tasks=[choice]", "eval.choices=nowhere.txt"}).find("no such file"), std::string::npos);
}

// The one list of fields is whole: each key has help, can be explained, stands in the JSON schema and is refused when
// its value is nonsense.
TEST(Schema, EveryKeyOfEveryKindIsExplainedAndInTheJsonSchema) {
  size_t keys = 0;
  for (const auto& kind : recipe_kinds()) {
    const Json schema = json_schema(kind);
    for (const auto& doc : describe_fields(kind)) {
      ++keys;
      EXPECT_FALSE(doc.help.empty()) << doc.name();
      const std::string text = explain(kind + "." + doc.name());
      EXPECT_NE(text.find(doc.name()), text.npos);
      const Json* section = schema.at("properties").find(doc.section);
      ASSERT_NE(section, nullptr) << doc.name();
      const bool listed = section->at("properties").find(doc.key) != nullptr;
      EXPECT_EQ(listed, !doc.later) << doc.name();
    }
  }
  EXPECT_GT(keys, 200u);
}

TEST(Schema, EveryKeyIsReadByTheKindsThatAcceptIt) {
  for (const auto& kind : recipe_kinds()) {
    for (const auto& doc : describe_fields(kind)) {
      // A map of maps fits no key, and a list no map with keys of its own: whoever reads the key must complain, and
      // about this key.
      Node recipe = recipe_from_words(kind, {});
      Node wrong = Node::map();
      wrong.set("x", Node::map()).set("y", Node::list());
      if (doc.name() == "teach.sample") wrong = Node::list();
      Node& section = recipe.set(doc.section, Node::map());
      section.set(doc.key, wrong);
      bool complained = false;
      try {
        check_words(recipe, {.check_paths = false});
      } catch (const Error& error) {
        for (const auto& diagnostic : error.diagnostics()) {
          complained = complained || (diagnostic.key.starts_with(doc.name()) &&
                                      diagnostic.message.find("unknown") == std::string::npos);
        }
      }
      EXPECT_TRUE(complained) << kind << " " << doc.name();
    }
  }
}

TEST(Schema, ContractKeysAreAllThere) {
  // What users' recipes rely on, of the sections that are built.
  struct {
    const char* section;
    std::set<std::string> keys;
    const char* kind = "sft";
  } const table[] = {
      {"run", {"out", "seed", "device", "precision", "deterministic", "threads", "log_every", "track"}},
      {"model", {"path", "adapter", "init", "quantize", "tokenizer", "add_tokens"}},
      {"adapter",
       {"kind", "rank", "alpha", "dropout", "targets", "layers", "rank_pattern", "alpha_pattern", "modules_to_save",
        "rslora", "init", "lr_ratio", "qat"}},
      {"data", {"train",      "eval",     "eval_split", "split_by", "stratify", "format",        "fields",
                "system",     "prompt",   "completion", "chat",     "template", "template_args", "train_on",
                "max_length", "overlong", "eos",        "lines",    "packing",  "shuffle",       "limit"}},
      {"train",
       {"batch", "batch_tokens", "micro_tokens", "epochs", "steps", "checkpoint_every", "keep", "eval_every", "select",
        "patience", "recompute", "offload", "graph"}},
      {"optim",
       {"name", "lr", "schedule", "warmup", "min_lr", "decay", "weight_decay", "betas", "eps", "clip", "master"}},
      {"eval", {"tasks", "choices", "normalize", "limit", "max_new_tokens", "require"}},
      {"export", {"peft", "merged", "gguf", "types", "dtype", "gguf_adapter", "imatrix", "name", "verify", "limits"}},
      {"plan", {"hardware"}},
      {"preference", {"loss", "beta", "label_smoothing", "gamma", "sft_weight", "reference"}, "dpo"},
      {"distill",
       {"teacher", "loss", "temperature", "weight", "top_k", "tail", "on_policy", "max_new_tokens", "beta", "layer_map",
        "teacher_device"},
       "distill"},
      {"teach", {"out", "top_k", "tail", "values", "sample"}, "teach"},
      {"verify", {"model", "artifact", "limits", "llama_cpp", "tokens"}, "verify"},
  };
  for (const auto& [section, keys, kind] : table) {
    std::set<std::string> found;
    for (const auto& doc : describe_fields(kind)) {
      if (doc.section == section) found.insert(doc.key);
    }
    EXPECT_EQ(found, keys) << section;
  }
}

TEST(Explain, SaysDefaultsByKind) {
  EXPECT_NE(explain("sft.optim.lr").find("default: 2e-4 (1e-5 with adapter.kind: full)"), std::string::npos);
  EXPECT_NE(explain("pretrain.optim.lr").find("default: 0.001"), std::string::npos);
  EXPECT_NE(explain("optim.lr").find("default: 2e-4"), std::string::npos);
  EXPECT_NE(explain("sft.optim.master").find("not in this version: stochastic"), std::string::npos);
  EXPECT_THROW(explain("sfft"), Error);
  EXPECT_THROW(explain("sft.optm"), Error);
  EXPECT_NE(explain("dpo.preference.beta").find("default: 0.1"), std::string::npos);
  EXPECT_NE(explain("distill.distill.weight").find("default: 0.5"), std::string::npos);
  EXPECT_EQ(explain("distill.weight"), explain("distill.distill.weight"));
  EXPECT_EQ(explain("distill.model.path"), explain("model.path"));
  EXPECT_THROW(explain("classify"), Error);  // not in this version
}

TEST(Configs, AreEmbeddedAndSafeToAsk) {
  EXPECT_TRUE(read_config("README.md") || !list_configs("").empty());
  for (const char* bad : {"../CMakeLists.txt", "/etc/passwd", "", "nowhere.yaml"})
    EXPECT_FALSE(read_config(bad)) << bad;
  for (const auto& path : list_configs("families/")) EXPECT_TRUE(parse_yaml(*read_config(path), path).is_map()) << path;
}

}  // namespace
}  // namespace prentice
