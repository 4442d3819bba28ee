#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "cli/terminal.h"
#include "cli/verbs.h"
#include "config/configs.h"
#include "config/read.h"
#include "io/gguf.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace prentice {
namespace {

namespace fs = std::filesystem;

class Command : public testing::Test {
 protected:
  void SetUp() override {
    before_ = fs::current_path();
    folder_ = fs::path(testing::TempDir()) / ("command_test_" + std::to_string(getpid()));
    fs::create_directories(folder_ / "model");
    fs::current_path(folder_);
    write("model/config.json", R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64,
      "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
      "vocab_size": 100, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "tie_word_embeddings": true})");
    write("tickets.csv", "text,category\n\"late, \"\"again\"\"\",delay\nlost,bag\n");
    write("rows.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\"}\n");
  }
  void TearDown() override {
    fs::current_path(before_);
    fs::remove_all(folder_);
  }

  static void write(const std::string& name, const std::string& text) { std::ofstream(name, std::ios::binary) << text; }

  // stdout of a command that must succeed.
  static std::string result(const std::vector<std::string>& words) {
    testing::internal::CaptureStdout();
    int status = -1;
    std::string error;
    try {
      status = run_command(parse_arguments(words));
    } catch (const Error& e) {
      error = e.what();
    }
    const std::string out = testing::internal::GetCapturedStdout();
    EXPECT_EQ(status, 0) << error;
    return out;
  }

  // "exit N: message | hint" of a command that must fail.
  static std::string failure(const std::vector<std::string>& words) {
    testing::internal::CaptureStdout();
    std::string text = "no error";
    try {
      run_command(parse_arguments(words));
    } catch (const Error& error) {
      const auto& first = error.diagnostics().front();
      text = "exit " + std::to_string(static_cast<int>(error.code())) + ": " + to_string(first);
      if (!first.hint.empty()) text += " | " + first.hint;
    }
    testing::internal::GetCapturedStdout();
    return text;
  }

  fs::path before_, folder_;
};

TEST_F(Command, WordsAreSortedIntoVerbFileOverridesAndFlags) {
  const Arguments a = parse_arguments(
      {"--json", "run", "r.yaml", "optim.lr=1", "sft:train.steps=2", "--rows=5", "--out", "there", "-q"});
  EXPECT_EQ(a.verb, "run");
  EXPECT_EQ(a.words, std::vector<std::string>{"r.yaml"});
  EXPECT_EQ(a.overrides, (std::vector<std::string>{"optim.lr=1", "sft:train.steps=2"}));
  EXPECT_TRUE(a.flags.json && a.flags.quiet);
  EXPECT_EQ(a.flags.rows, 5);
  EXPECT_EQ(a.out, "there");
  EXPECT_EQ(parse_arguments({"x", "data.system=it's"}).flags.command, "prentice x 'data.system=it'\\''s'");
}

TEST_F(Command, MistakesOfTheCommandLineAreUsageErrorsWithAHint) {
  const std::pair<std::vector<std::string>, const char*> table[] = {
      {{"valdate"}, "exit 2: unknown verb valdate | did you mean validate?"},
      {{"run"}, "exit 2: run: a recipe file is needed | usage: prentice run FILE.yaml [section.key=value ...]"},
      {{"run", "a.yaml", "b.yaml"},
       "exit 2: run: expected one file, got also b.yaml | usage: prentice run FILE.yaml [section.key=value ...]"},
      {{"run", "nowhere.yaml"}, "exit 2: nowhere.yaml: no such file"},
      {{"a.yaml"}, "exit 2: a.yaml is a file, not a verb | prentice run a.yaml"},
      {{"run", "a.yaml", "--frsh"}, "exit 2: unknown flag --frsh | did you mean --fresh?"},
      {{"audit", "a.yaml", "--rows"}, "exit 2: --rows: a value is missing | write --rows VALUE"},
      {{"run", "a.yaml", "--rows", "5"}, "exit 2: --rows has no effect with run | remove the flag"},
      {{"plan", "a.yaml", "--fit", "16GB"}, "exit 2: --fit is not in this version"},
      {{"run", "a.yaml", "--nproc", "4"}, "exit 2: --nproc is not in this version"},
      {{"audit", "a.yaml", "--rows", "many"}, "exit 2: --rows: expected an integer of at least 1, got many"},
      {{"rlhf"}, "exit 2: rlhf is not in this version"},
      {{"optim.lr=1"}, "exit 2: a verb is missing before optim.lr=1 | for instance prentice sft optim.lr=1"},
      {{"sft", "lr=1"}, "exit 2: lr=1: expected section.key=value | did you mean optim.lr=1?"},
      {{"doctor", "optim.lr=1"}, "exit 2: optim.lr=1 has no effect with doctor | remove the word"},
      {{"repro", "dif", "a", "b"},
       "exit 2: repro: expected diff or run | usage: prentice repro diff A B | repro run DIR [--out DIR2]"},
      {{"resume", "nowhere"}, "exit 2: nowhere: no such run folder"},
      {{"inspect", "nowhere"},
       "exit 2: inspect: 'nowhere' is no folder, run, cached model or name under configs/models"},
      {{"inspect", "tickets.csv"},
       "exit 2: tickets.csv: a CSV file; inspect reads safetensors, GGUF and Parquet files, and folders of models, "
       "adapters, checkpoints, runs and teacher stores | prentice init sft data.train=tickets.csv looks at data; "
       "prentice "
       "audit RECIPE.yaml shows its rows"},
      {{"inspect", "model/config.json"},
       "exit 2: model/config.json: a JSON file; inspect reads safetensors, GGUF and Parquet files, and folders of "
       "models, "
       "adapters, checkpoints, runs and teacher stores | prentice inspect model"},
      {{"init", "sft", "data.train=nowhere.csv"}, "exit 2: nowhere.csv: does not exist"},
      {{"--configs", "nowhere", "recipes"}, "exit 2: --configs: no such folder: nowhere"},
  };
  for (const auto& [words, message] : table) EXPECT_EQ(failure(words), message) << words[0];
}

TEST_F(Command, EveryVerbAndKindHasHelp) {
  for (const auto& verb : verbs()) {
    EXPECT_NE(result({std::string(verb.name), "--help"}).find(std::string(verb.help)), std::string::npos) << verb.name;
    EXPECT_NE(result({"help"}).find(std::string(verb.help)), std::string::npos) << verb.name;
  }
  for (const auto& kind : recipe_kinds())
    EXPECT_NE(result({kind, "--help"}).find("prentice " + kind), std::string::npos);
}

TEST_F(Command, ValidateSaysWhatIsWrongAndWhatIsFine) {
  write("good.yaml", "recipe: sft\nmodel: {path: model}\ndata: {train: rows.jsonl}\nadapter: {rank: 32}\n");
  EXPECT_EQ(result({"validate", "good.yaml"}), "good.yaml: a valid recipe of kind sft\n");
  const Json json = Json::parse(result({"validate", "good.yaml", "--json"}));
  EXPECT_EQ(json.at("warnings").as_array().size(), 1u);  // rank above 16
  EXPECT_EQ(failure({"validate", "good.yaml", "optim.lr=x"}),
            "exit 2: command line: optim.lr: expected a number, got x");
}

TEST_F(Command, InitLooksAtTheDataAndWritesAValidRecipe) {
  result({"init", "sft", "data.train=tickets.csv", "model.path=model"});
  const Node recipe = read_recipe_file("sft.yaml");
  const auto sft = read_recipe<SftRecipe>(recipe);
  EXPECT_EQ(sft.data.prompt, "{{ text }}");
  EXPECT_EQ(sft.data.completion, "{{ category }}");
  EXPECT_EQ(failure({"init", "sft"}),
            "exit 2: sft.yaml: there is a file already | name another: prentice init sft FILE.yaml");
  for (const auto& kind : recipe_kinds()) {
    const std::string file = "starter-" + kind + ".yaml";
    const std::string text = result({"init", kind, file, "--json"});
    EXPECT_EQ(recipe_kind(read_recipe_file(file)), kind);
    if (kind == "pipeline") continue;
    EXPECT_NO_THROW(check_words(read_recipe_file(file), {.check_paths = false})) << kind;
  }
}

TEST_F(Command, InitKeepsRawRowsApartWhenTheModelHasNoTemplate) {
  const auto completion = [](const std::string& file) {
    return read_recipe_file(file).at("data").at("completion").text();
  };
  write("model/tokenizer_config.json", "{}");
  result({"init", "sft", "raw.yaml", "data.train=tickets.csv", "model.path=model"});
  EXPECT_EQ(completion("raw.yaml"), " {{ category }}");
  write("model/chat_template.jinja", "x");
  result({"init", "sft", "chat.yaml", "data.train=tickets.csv", "model.path=model"});
  EXPECT_EQ(completion("chat.yaml"), "{{ category }}");
}

TEST_F(Command, InitRenamesFieldsThatAreNoWords) {
  write("spaces.csv", "Customer text,Queue name\na,b\n");
  result({"init", "sft", "data.train=spaces.csv", "model.path=model"});
  const auto sft = read_recipe<SftRecipe>(read_recipe_file("sft.yaml"));
  EXPECT_EQ(sft.data.prompt, "{{ prompt }}");
  EXPECT_EQ(sft.data.fields.at("prompt"), "Customer text");
  EXPECT_EQ(sft.data.fields.at("completion"), "Queue name");
  EXPECT_EQ(Json::parse(result({"init", "sft", "json.yaml", "data.train=spaces.csv", "--json"})).at("open").dump(),
            "[]");
}

TEST_F(Command, InitLeavesOpenWhatTheDataDoesNotTell) {
  const auto starter = [&](const std::string& name, const std::string& rows) {
    write(name + ".jsonl", rows);
    return Json::parse(result({"init", "sft", name + ".yaml", "data.train=" + name + ".jsonl", "--json"}));
  };
  struct Case {
    std::string name, rows, choices;
  };
  std::string late;
  for (int i = 0; i < 1000; ++i)
    late += R"({"question": "q", "answer": "a"})"
            "\n";
  const Case cases[] = {
      {"sql", R"({"query-split": "test", "sentences": [{"text": "a"}], "sql": ["SELECT"], "variables": []})",
       "query-split; lists and objects: sentences, sql, variables"},
      {"slots",
       R"({"userInput": {"text": "hi"}, "labels": ["x"]})"
       "\n"
       R"({"userInput": {"text": "ho"}})",
       "userInput.text; lists and objects: userInput; blank or not in every row: labels"},
      {"blank", R"({"question": "q", "answer": " "})", "question; blank or not in every row: answer"},
      {"absent_late", late + R"({"question": "q"})", "question, answer"},
      {"blank_late", late + R"({"question": "q", "answer": "\n"})", "question, answer"},
      {"many", R"({"a": "x", "b": "y", "c": "z"})", "a, b, c"},
  };
  for (const auto& [name, rows, choices] : cases) {
    const Json told = starter(name, rows);
    const std::string text = told.at("text").as_string();
    EXPECT_NE(text.find("\n  # prompt: \"{{ ... }}\"  # of " + choices + "\n"), std::string::npos) << text;
    EXPECT_EQ(told.at("open").as_array().size(), 1u) << name;
    EXPECT_NO_THROW(check_words(read_recipe_file(name + ".yaml"), {.check_paths = false})) << name;
  }
  const Json list = starter("extraction", R"({"text": "a", "fields": {"x": 1}})");
  EXPECT_NE(list.at("text").as_string().find("completion: \"{{ fields | tojson }}\""), std::string::npos)
      << list.at("text").as_string();
  EXPECT_EQ(list.at("open").dump(), "[]");
  const Json left = starter("left", R"({"schema": "s", "question": "q", "sql": "a"})");
  EXPECT_NE(left.at("text").as_string().find("though it may belong there: schema"), std::string::npos);
}

TEST_F(Command, InitNamesTheDataRelativeToTheRecipe) {
  fs::create_directories("sub");
  result({"init", "sft", "sub/r.yaml", "data.train=tickets.csv", "model.path=model"});
  EXPECT_EQ(read_recipe_file("sub/r.yaml").at("data").at("train").text(), "../tickets.csv");
}

TEST_F(Command, InitSaysWhatItFoundInTheData) {
  const auto found = [&](const std::string& name, const std::string& text) {
    write(name, text);
    return result({"init", "sft", name + ".yaml", "data.train=" + name});
  };
  const auto says = [](const std::string& text, const std::string& wanted) {
    EXPECT_NE(text.find(wanted), std::string::npos) << text;
  };
  says(found("semicolons.csv", "q;a\n\"x\ny\";z\nv;w\n"), "CSV, 2 rows; fields: q, a");
  says(found("list.jsonl", "[{\"q\": 1, \"a\": 2},\n{\"q\": 2, \"a\": 3}]"), "JSON, 2 rows; fields: q, a");
  says(found("noext", "{\"q\": 1, \"a\": 2}\n{\"q\": 2, \"a\": 3}\n"), "JSON Lines, 2 rows; fields: q, a");
  says(found("wrapped.json", "{\"data\": [{\"instruction\": \"q\", \"output\": \"a\"}]}"),
       "rows of the format `alpaca`");
  write("bad.jsonl", "{\"q\": \n");
  EXPECT_EQ(failure({"init", "sft", "x.yaml", "data.train=bad.jsonl"}).substr(0, 7), "exit 3:");
}

TEST_F(Command, ExplainAndJsonSchemaCoverTheKinds) {
  EXPECT_NE(result({"explain"}).find("pretrain"), std::string::npos);
  EXPECT_NE(result({"explain", "sft.optim.lr"}).find("2e-4"), std::string::npos);
  const Json schema = Json::parse(result({"explain", "--json-schema"}));
  EXPECT_EQ(schema.at("$schema").as_string(), "https://json-schema.org/draft/2020-12/schema");
  EXPECT_EQ(Json::parse(result({"explain", "sft.optim", "--json"})).at("keys").as_array().size(), 11u);
}

TEST_F(Command, DoctorAlwaysAnswers) {
  EXPECT_NE(result({"doctor"}).find("LibTorch 2.11"), std::string::npos);
  const Json report = Json::parse(result({"doctor", "--json"}));
  for (const auto& finding : report.at("findings").as_array()) {
    EXPECT_FALSE(finding.at("value").as_string().empty());
    EXPECT_EQ(finding.at("good").as_bool(), finding.at("remedy").as_string().empty());
  }
}

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
  write("model.bin", "x");
  EXPECT_EQ(failure({"inspect", "model.bin"}).substr(0, 7), "exit 4:");
  write("empty", "");
  EXPECT_EQ(failure({"inspect", "empty"}).substr(0, 7), "exit 4:");
}

TEST(Terminal, TextOfStrangeFilesIsMadeHarmless) {
  EXPECT_EQ(printable("plain \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"), "plain \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80");
  EXPECT_EQ(printable("a\033[2Jb\n"), "a\\x1b[2Jb\\x0a");
  EXPECT_EQ(printable("\xFF\xC0\xAF"), "\\xff\\xc0\\xaf");
  EXPECT_EQ(printable("\xC2\x9B"), "\\xc2\\x9b");
  EXPECT_EQ(printable("\xED\xA0\x80"), "\\xed\\xa0\\x80");
}

}  // namespace
}  // namespace prentice
