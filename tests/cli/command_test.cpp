#include "cli/command.h"

#include "config/configs.h"
#include "config/read.h"
#include "io/json.h"

namespace prentice {
namespace {

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
      {{"run", "a.yaml", "--json=1"}, "exit 2: --json: expected no value, got 1"},
      {{"doctor", "--chat"}, "exit 2: --chat has no effect with doctor | remove the flag"},
      {{"resume", "there", "--fresh"}, "exit 2: --fresh has no effect with resume | remove the flag"},
      {{"plan", "--fit", "16XB"},
       "exit 2: --fit: expected a size or a name under configs/hardware, got 16XB | --fit 16GB"},
      {{"plan", "--fit", "16GB", "adapter.rank=8"},
       "exit 2: plan: adapter.rank=8 has no effect with --fit | usage: prentice plan --fit SIZE [MODEL ...]"},
      {{"run", "a.yaml", "--fit", "16GB"}, "exit 2: --fit has no effect with run | remove the flag"},
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
      {{"inspect", ""}, "exit 2: inspect: expected one path or artifact address | prentice inspect PATH"},
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

TEST_F(Command, InitSpellsPathsFromTheFolderOfTheRecipe) {
  write("other.jsonl", "{\"prompt\": \"c\", \"completion\": \"d\"}\n");
  fs::create_directories("deep/er");
  const std::string here = fs::current_path().string();
  result({"init", "sft", "deep/er/r.yaml", "data.train=[rows.jsonl, {path: ./other.jsonl, weight: 2}]",
          "data.eval=rows.jsonl", "model.path=model", "run.out=there"});
  const auto sft = read_recipe<SftRecipe>(read_recipe_file("deep/er/r.yaml"));
  EXPECT_EQ(sft.model.path, here + "/model");
  EXPECT_EQ(sft.data.train.at(0).path, here + "/rows.jsonl");
  EXPECT_EQ(sft.data.train.at(1).path, here + "/other.jsonl");
  EXPECT_EQ(sft.data.eval.at(0).path, here + "/rows.jsonl");
  EXPECT_EQ(sft.run.out, here + "/there");
  const std::pair<std::string, std::string> references[] = {
      {"model", "../../model"},           {"start", "start"},
      {"model@best", "../../model@best"}, {"org/one", "org/one"},
      {here + "/model", here + "/model"}, {"model+rows.jsonl", "../../model+../../rows.jsonl"},
  };
  for (const auto& [typed, spelled] : references) {
    fs::remove("deep/er/d.yaml");
    result({"init", "dpo", "deep/er/d.yaml", "preference.reference=" + typed});
    EXPECT_EQ(read_recipe_file("deep/er/d.yaml").at("preference").at("reference").text(), spelled);
  }
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

}  // namespace
}  // namespace prentice
