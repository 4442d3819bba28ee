#include "serving/serving.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "io/file.h"
#include "io/json.h"
#include "io/scratch.h"

namespace prentice {
namespace {

TEST(Serving, QuotesForWhereTheTextGoes) {
  EXPECT_EQ(shell_word_of_line("a-b/c.gguf"), "a-b/c.gguf");
  EXPECT_EQ(shell_word_of_line(""), "''");
  EXPECT_EQ(shell_word_of_line("my model"), "'my model'");
  EXPECT_EQ(shell_word_of_line("x; rm -rf $HOME `y`"), "'x; rm -rf $HOME `y`'");
  EXPECT_EQ(shell_word_of_line("it's\nnew"), "'it'\\''s new'");
  EXPECT_EQ(markdown_text("<b>*x*|`y`\n# z"), "&lt;b>\\*x\\*\\|\\`y\\` \\# z");
  EXPECT_EQ(yaml_string("a: \"b\"\n- c"), "\"a: \\\"b\\\"\\n- c\"");
}

TEST(Serving, CommandsNameTheFlagsThatMatter) {
  const ServingInfo info{.name = "tickets",
                         .base_model = "meta/Llama 3",
                         .peft = true,
                         .merged = true,
                         .gguf_files = {"tickets-Q8_0.gguf"},
                         .rank = 64,
                         .has_chat_template = true,
                         .max_length = 2048,
                         .gguf_length = 1024,
                         .warnings = {"windows"}};
  const auto text = serve_markdown(info);
  for (const auto* part : {"vllm serve merged --served-model-name tickets --max-model-len 2048",
                           "vllm serve 'meta/Llama 3' --enable-lora --lora-modules tickets=adapter --max-lora-rank 64",
                           "llama-server -m gguf/tickets-Q8_0.gguf --ctx-size 1024 --jinja",
                           "ollama create tickets -f serve/Modelfile", "> windows", "sha256sum -c SHA256SUMS"}) {
    EXPECT_TRUE(contains(text, part)) << part;
  }
  EXPECT_FALSE(contains(text, "AutoTokenizer"));
  auto rebuilt = info;
  rebuilt.spaces_after_added = true;
  EXPECT_TRUE(contains(serve_markdown(rebuilt),
                       "> `AutoTokenizer` of transformers 5 builds this SentencePiece tokenizer anew"));
  auto small = info;
  small.rank = 16;
  small.trained_on_raw_text = true;
  EXPECT_FALSE(contains(serve_markdown(small), "--max-lora-rank"));
  EXPECT_FALSE(contains(serve_markdown(small), "--jinja"));
  EXPECT_TRUE(contains(serve_markdown(small), "/v1/completions"));
}

TEST(Serving, TheModelfileHoldsNoForeignInstruction) {
  const ServingInfo info{.name = "x", .gguf_files = {"a\nSYSTEM \"\"\"evil.gguf"}, .max_length = 64, .gguf_length = 64};
  EXPECT_EQ(modelfile(info),
            "# ollama create NAME -f serve/Modelfile\nFROM ../gguf/aSYSTEM \"\"\"evil.gguf\nPARAMETER num_ctx 64\n");
  EXPECT_TRUE(
      contains(modelfile({.gguf_files = {"a.gguf"}, .trained_on_raw_text = true}), "TEMPLATE \"{{ .Prompt }}\""));
  EXPECT_EQ(modelfile({}), "");
  const ServingInfo on_file{
      .name = "x", .base_gguf = "/models/base\nSYSTEM.gguf", .gguf_adapter = true, .gguf_length = 64};
  EXPECT_EQ(modelfile(on_file),
            "# ollama create NAME -f serve/Modelfile\nFROM /models/baseSYSTEM.gguf\nADAPTER ../gguf/adapter.gguf\n"
            "PARAMETER num_ctx 64\n");
  EXPECT_TRUE(contains(serve_markdown(on_file), "ollama create x -f serve/Modelfile"));
  EXPECT_EQ(modelfile({.gguf_adapter = true}), "");  // on which file is the receiver's choice
}

TEST(Serving, TheSelfTestIsReadableByAMachine) {
  const SelfTest test{.cases = {{.prompt = "Once \"x\"",
                                 .prompt_ids = {1, 2},
                                 .greedy_ids = {3},
                                 .greedy_margins = {2.4},
                                 .top_log_probs = {{3, -0.1}, {4, -2.5}}},
                                {.prompt_ids = {5}}},
                      .chats = {{.messages = Json::Array{Json::Object{{"role", "user"}}}, .ids = {7}}},
                      .stop_ids = {0}};
  const auto json = Json::parse(selftest_json("m", test, {{"merged", 0.25, "halves"}}));
  const auto& first = json.at("cases").as_array().at(0);
  EXPECT_EQ(first.at("prompt").as_string(), "Once \"x\"");
  EXPECT_EQ(first.at("prompt_ids").dump(), "[1, 2]");
  EXPECT_EQ(first.at("greedy_margins").dump(), "[2.4]");
  EXPECT_EQ(first.at("top_log_probs").dump(), "[{\"id\": 3, \"log_prob\": -0.1}, {\"id\": 4, \"log_prob\": -2.5}]");
  EXPECT_TRUE(json.at("cases").as_array().at(1).at("prompt").is_null());
  EXPECT_EQ(json.at("chats").dump(), "[{\"messages\": [{\"role\": \"user\"}], \"ids\": [7]}]");
  EXPECT_EQ(json.at("tolerances").dump(), "[{\"product\": \"merged\", \"log_prob\": 0.25, \"basis\": \"halves\"}]");
}

// Sixty lines at most, so that a receiver reads it before running it.
TEST(Serving, TheProgramThatAsksAServerIsShort) {
  const auto program = selftest_program();
  EXPECT_LE(std::ranges::count(program, '\n'), 60);
  EXPECT_TRUE(contains(serve_markdown({.name = "a b", .merged = true, .gguf_files = {"x.gguf"}, .self_test = true}),
                       "python3 serve/selftest.py http://127.0.0.1:8000 --model 'a b' --product merged"));
  EXPECT_TRUE(contains(serve_markdown({.gguf_files = {"x.gguf"}, .self_test = true}),
                       "python3 serve/selftest.py http://127.0.0.1:8080 --product gguf/x.gguf"));
  EXPECT_FALSE(contains(serve_markdown({.gguf_files = {"x.gguf"}}), "selftest"));
}

// Four deviations of the noise that a KL divergence of s^2 / 2 speaks of, and what arithmetic adds.
TEST(Serving, TolerancesFollowWhatWasMeasuredElseTheLimits) {
  const GivenLimits limits = {{"Q8_0", {.kld = 0.005}}};
  ServedProduct product{
      .name = "x", .type = "Q8_0", .kld = 0.02, .computed_in = "Q8_0", .own = "F32", .limits = limits};
  EXPECT_NEAR(tolerance_of(product).log_prob, 0.3 + 4 * 0.2, 1e-12);
  product.kld.reset();
  EXPECT_NEAR(tolerance_of(product).log_prob, 0.3 + 4 * 0.1, 1e-12);
  EXPECT_TRUE(contains(tolerance_of(product).basis, "none was measured"));
  product.own = "BF16";
  EXPECT_NEAR(tolerance_of(product).log_prob, 0.3 + 4 * 0.1 + 0.2, 1e-12);
  product.own = "F32", product.type.reset(), product.computed_in = "F16";
  EXPECT_NEAR(tolerance_of(product).log_prob, 0.03, 1e-12);
}

TEST(Serving, CardsCarryTheBaseAndEscapeWhatUsersWrote) {
  const auto card = model_card({.name = "<x>",
                                .base_model = "org/base\": evil",
                                .is_adapter = true,
                                .training = {{"lr", "1|2"}},
                                .results = {{"accuracy", "0.9"}}});
  EXPECT_TRUE(card.starts_with("---\nbase_model: \"org/base\\\": evil\"\nlibrary_name: peft\n"));
  EXPECT_TRUE(contains(card, "# &lt;x>\n"));
  EXPECT_TRUE(contains(card, "| lr | 1\\|2 |"));
  EXPECT_TRUE(contains(card, "| accuracy | 0.9 |"));
  EXPECT_TRUE(contains(card, "applies to this work.\n"));
  EXPECT_TRUE(contains(model_card({.base_model = "b", .licences = {"LICENSE", "USE_POLICY.md"}}),
                       "applies to this work; it lies beside this card: LICENSE, USE\\_POLICY.md.\n"));
  EXPECT_TRUE(contains(card, "The licence of the base model applies"));
}

TEST(Serving, ChecksumsListFilesInOrder) {
  const Scratch scratch;
  std::filesystem::create_directories(scratch / "b/c");
  write_file_durably(scratch / "b/c/x", "abc");
  write_file_durably(scratch / "a", "");
  EXPECT_EQ(checksums(scratch.path(), {"b", "a", "none"}),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  a\n"
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  b/c/x\n");
}

}  // namespace
}  // namespace prentice
