#include "eval/score.h"

#include <ATen/TensorIndexing.h>
#include <ATen/ops/log_softmax.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include <fstream>

#include "core/error.h"
#include "data/encode.h"
#include "eval/candidates.h"
#include "eval/choice.h"
#include "io/scratch.h"
#include "io/sha256.h"
#include "model/golden.h"

namespace prentice {
namespace {

constexpr const char* kTemplate =
    "{% for m in messages %}{{ '<s>' + m['role'] + '\\n' + m['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<s>assistant\\n' }}{% endif %}";

// stories260K on a file of records.
class Score : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = shared_data() / "models/stories260K-hf";
    if (!std::filesystem::exists(folder_)) GTEST_SKIP() << "needs the shared data: " << folder_;
    tokenizer_ = std::make_unique<Tokenizer>(Tokenizer::load(folder_));
    model_ = std::make_unique<Model>(load_model(folder_, {.dtype = at::kFloat, .device = at::kCPU}));
  }

  std::filesystem::path write(const std::string& name, const std::string& text) {
    std::ofstream(scratch_ / name) << text;
    return scratch_ / name;
  }

  DataSet read(const std::filesystem::path& file, DataSection section = {}) {
    return load_data_set({{.path = file.string()}}, section, *tokenizer_, {.max_length = 512, .for_evaluation = true});
  }

  EvalInput input(const DataSet& data, const EvalSection& section, std::vector<std::string> choices = {}) {
    return {
        .model = *model_, .tokenizer = *tokenizer_, .data = data, .section = section, .choices = std::move(choices)};
  }

  // Sum of log p over the ids from `begin` on, from one whole sequence in f32 as stored.
  double brute_force(const std::vector<int32_t>& ids, size_t begin) {
    const c10::NoGradGuard no_grad;
    const Batch batch = flat_batch({{ids.begin(), ids.end()}});
    const Tensor log_p = at::log_softmax(logits(*model_, forward_hidden(*model_, batch, {})).to(at::kDouble), 1);
    double sum = 0;
    for (size_t i = begin; i < ids.size(); ++i)
      sum += log_p.index({static_cast<int64_t>(i) - 1, ids[i]}).item<double>();
    return sum;
  }

  std::string error_of(const std::function<void()>& body, ExitCode wanted) {
    ExitCode code = ExitCode::ok;
    const std::string message = message_of(body, &code);
    EXPECT_EQ(code, wanted);
    return message;
  }

  Scratch scratch_;
  std::filesystem::path folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Model> model_;
};

TEST_F(Score, LossOfTheReferenceTextIsTheReferences) {
  DataSection section;
  section.overlong = Overlong::truncate;
  section.limit = 40;
  const DataSet data = read(shared_data() / "datasets/tinystories/train.jsonl", section);
  ASSERT_EQ(data.examples.size(), 40u);
  EvalSection eval{.tasks = {"loss"}};
  const EvalReport report = evaluate(input(data, eval));
  EXPECT_NEAR(report.loss->mean, 1.3058, 1e-4);  // shared/data/README.md
  ASSERT_EQ(report.loss->examples.size(), 40u);
  double sum = 0, tokens = 0;
  for (const auto& example : report.loss->examples) {
    sum += example.loss * static_cast<double>(example.tokens), tokens += static_cast<double>(example.tokens);
  }
  EXPECT_NEAR(sum / tokens, report.loss->mean, 1e-12);
  EXPECT_EQ(tokens, static_cast<double>(report.loss->tokens));
  // One example a forward pass, and fewer examples.
  EvalSection few{.tasks = {"loss"}, .limit = 3};
  auto one_by_one = input(data, few);
  one_by_one.micro_tokens = 1;
  const LossResult three = score_loss(one_by_one);
  ASSERT_EQ(three.examples.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(three.examples[i].loss, report.loss->examples[i].loss, 1e-5);
}

TEST_F(Score, TheFilesAreThoseTheScoredRowsComeFrom) {
  const auto row = [](const std::string& text) { return R"({"text": ")" + text + "\"}\n"; };
  const auto first = write("a.jsonl", row("One.") + row("Two.")), second = write("b.jsonl", row("Three."));
  DataSection section;
  section.train = {{.path = first.string()}, {.path = second.string()}};
  section.eval_split = 2;
  const auto sets = load_data(section, *tokenizer_, {.max_length = 512}, 1);
  int64_t rows = 0;
  for (const auto& file : scored_files(*sets.eval, {})) {
    EXPECT_EQ(file.sha256, sha256_file(file.path));
    rows += file.rows;
  }
  EXPECT_EQ(rows, 2);
  const auto files = scored_files(read(first), {.limit = 1});
  ASSERT_EQ(files.size(), 1u);
  EXPECT_EQ(files[0].path, first.string());
  EXPECT_EQ(files[0].rows, 1);
}

TEST_F(Score, PiecesOfASplitTextCountAsOneExample) {
  std::string text = "Once upon a time, there was a little girl.";
  for (int i = 0; i < 5; ++i) text += " She had a red ball and she was happy.";
  const auto file = write("text.jsonl", Json(Json::Object{{"text", text}}).dump() + "\n" +
                                            Json(Json::Object{{"text", "Once upon a time"}}).dump() + "\n");
  DataSection section;
  section.max_length = 20;
  const DataSet data = read(file, section);
  ASSERT_GT(data.encoded.sequences.size(), 3u);
  EvalSection eval{.tasks = {"loss"}};
  const LossResult result = score_loss(input(data, eval));
  ASSERT_EQ(result.examples.size(), 2u);
  EXPECT_EQ(result.examples[1].index, 1);
  EXPECT_EQ(result.examples[1].tokens, 4);  // ids 1 403 407 261 378
}

const std::vector<std::string> kLabels = {"card_arrival",        "card_linking",  "card",          "exchange_rate",
                                          "lost_or_stolen_card", "top_up_failed", "top_up_limits", "why"};

std::string records(size_t count, const std::string& border) {
  std::string lines;
  const char* const texts[] = {"I am still waiting on my card?", "What is the rate?", "My card was stolen, help",
                               "Why did the top up fail?"};
  for (size_t i = 0; i < count; ++i) {
    const auto& label = kLabels[(3 * i) % kLabels.size()];
    const bool inside = border == "completion";
    lines += Json(Json::Object{{"prompt", std::string(texts[i % 4]) + "\nLabel:" + (inside ? "" : border)},
                               {"completion", (inside ? " " : "") + label}})
                 .dump() +
             "\n";
  }
  return lines;
}

TEST_F(Score, ChoiceEqualsWholeSequencesForRawRows) {
  const DataSet data = read(write("raw.jsonl", records(6, "completion")));
  for (const int64_t micro_tokens : {1, 60, 4096}) {
    EvalSection eval{.tasks = {"choice"}};
    std::vector<std::string> labels;
    for (const auto& label : kLabels) labels.push_back(" " + label);
    auto in = input(data, eval, labels);
    in.micro_tokens = micro_tokens;
    const ChoiceResult result = score_choice(in);
    ASSERT_EQ(result.count, 6);
    for (const auto& example : result.examples) {
      const auto& prompt = data.examples[static_cast<size_t>(example.index)].prompt;
      const auto prompt_ids = tokenizer_->encode(prompt, true);
      std::string best;
      double best_score = -INFINITY;
      for (size_t c = 0; c < labels.size(); ++c) {
        auto ids = tokenizer_->encode(prompt + labels[c], true);
        ids.push_back(*tokenizer_->eos_id());
        const double want = brute_force(ids, prompt_ids.size());
        EXPECT_EQ(example.scores[c].first, labels[c]);
        EXPECT_NEAR(example.scores[c].second, want, 1e-5 * std::abs(want) + 1e-5);
        if (want > best_score) best_score = want, best = labels[c];
      }
      EXPECT_EQ(example.answer, best);
      EXPECT_EQ(example.expected, " " + kLabels[static_cast<size_t>(3 * example.index) % kLabels.size()]);
    }
  }
}

TEST_F(Score, ChoiceScoresTheTrainedTokensOfAConversation) {
  std::string lines;
  for (const char* label : {"card_linking", "why", "top_up_limits"}) {
    lines += Json(Json::Object{{"messages", Json::Array{Json::Object{{"role", "user"}, {"content", "What is it?"}},
                                                        Json::Object{{"role", "assistant"}, {"content", label}}}}})
                 .dump() +
             "\n";
  }
  DataSection section;
  section.chat_template = write("chat.jinja", kTemplate).string();
  const DataSet data = read(write("chat.jsonl", lines), section);
  ASSERT_TRUE(data.chat);
  EvalSection eval{.tasks = {"choice", "loss"}};
  const EvalReport report = evaluate(input(data, eval, kLabels));
  // The likelihood of the expected answer is what training on the row would minimise.
  for (size_t i = 0; i < 3; ++i) {
    const auto& loss = report.loss->examples[i];
    const auto& choice = report.choice->examples[i];
    const auto found = std::ranges::find(choice.scores, choice.expected, &std::pair<std::string, double>::first);
    ASSERT_NE(found, choice.scores.end());
    EXPECT_NEAR(found->second, -loss.loss * static_cast<double>(loss.tokens), 1e-3);
  }
}

TEST_F(Score, NormalizingByTokensOrBytesComparesMeans) {
  const DataSet data = read(write("raw.jsonl", records(4, "completion")));
  std::vector<std::string> labels = {" a", " card_arrival_and_much_more"};
  for (const auto normalize : {Normalize::none, Normalize::tokens, Normalize::bytes}) {
    EvalSection eval{.tasks = {"choice"}, .normalize = normalize};
    const ChoiceResult result = score_choice(input(data, eval, labels));
    for (const auto& example : result.examples) {
      const auto& prompt = data.examples[static_cast<size_t>(example.index)].prompt;
      std::vector<double> compared;
      for (size_t c = 0; c < 2; ++c) {
        const double tokens = static_cast<double>(tokenizer_->encode(prompt + labels[c], true).size() -
                                                  tokenizer_->encode(prompt, true).size() + 1);
        const double length = normalize == Normalize::none     ? 1
                              : normalize == Normalize::tokens ? tokens
                                                               : static_cast<double>(labels[c].size());
        compared.push_back(example.scores[c].second / length);
      }
      EXPECT_EQ(example.answer, labels[compared[1] > compared[0]]);
    }
  }
}

TEST_F(Score, ARecordsOwnChoicesGoFirst) {
  const auto file =
      write("own.jsonl", R"({"prompt": "He said:", "completion": " yes", "choices": [" yes", " no", " maybe"]})"
                         "\n"
                         R"({"prompt": "She said:", "completion": " b"})"
                         "\n");
  const DataSet data = read(file);
  EvalSection eval{.tasks = {"choice"}};
  const ChoiceResult result = score_choice(input(data, eval, {" a", " b"}));
  EXPECT_EQ(result.examples[0].scores.size(), 3u);
  EXPECT_EQ(result.examples[1].scores.size(), 2u);
  EXPECT_EQ(error_of([&] { score_choice(input(data, eval)); }, ExitCode::usage),
            "eval.tasks: choice has no candidates");
  eval.tasks = {"loss", "choice"};
  EvalInput both = input(data, eval);
  int64_t scored = 0;
  both.progress = [&](const std::string&, int64_t, int64_t) { ++scored; };
  EXPECT_EQ(error_of([&] { evaluate(both); }, ExitCode::usage), "eval.tasks: choice has no candidates");
  EXPECT_EQ(scored, 0) << "the losses were computed first";
}

TEST_F(Score, ExactComparesTheGreedyAnswer) {
  // Continuations from transformers' greedy search, 12 new tokens.
  const auto file = write(
      "exact.jsonl", R"({"prompt": "Once upon a time", "completion": ", there was a little girl named Lily. She "})"
                     "\n"
                     R"({"prompt": "One day, a little girl named", "completion": " Tom"})"
                     "\n");
  const DataSet data = read(file);
  EvalSection eval{.tasks = {"exact"}, .max_new_tokens = 12, .require = {{"exact.accuracy", 0.6}}};
  auto in = input(data, eval);
  in.stop_ids = {2};
  const EvalReport report = evaluate(in);
  EXPECT_EQ(report.exact->examples[0].output, ", there was a little girl named Lily. She");
  EXPECT_TRUE(report.exact->examples[0].correct);
  EXPECT_EQ(report.exact->examples[1].output, "Lily went to the park with her mom.");
  EXPECT_FALSE(report.exact->examples[1].correct);
  EXPECT_EQ(report.exact->accuracy, 0.5);
  EXPECT_FALSE(report.passed());
}

TEST_F(Score, AStopTokenEndsTheAnswerAndIsNotPartOfIt) {
  const DataSet data = read(write("stop.jsonl", R"({"prompt": "Once upon a time", "completion": ", there"})"));
  EvalSection eval{.tasks = {"exact"}, .max_new_tokens = 12};
  auto in = input(data, eval);
  in.stop_ids = {286};  // " was"
  EXPECT_EQ(score_exact(in).examples[0].output, ", there");
}

TEST_F(Score, MistakesAreNamedBeforeAnythingIsScored) {
  const DataSet text = read(write("text.jsonl", R"({"text": "Once upon a time"})"));
  const std::string place = (scratch_ / "text.jsonl").string() + ":1";
  struct Row {
    EvalSection eval;
    ExitCode code;
    std::string message;
  };
  const Row rows[] = {
      {{.tasks = {}}, ExitCode::usage, "eval.tasks: names no task"},
      {{.tasks = {"rouge"}}, ExitCode::usage, "eval.tasks: 'rouge' is not in this version"},
      {{.tasks = {"loss"}, .require = {{"accuracy", 0.5}}},
       ExitCode::usage,
       "eval.require: no task of this evaluation gives 'accuracy'"},
      {{.tasks = {"choice"}}, ExitCode::data, place + ": has no prompt and answer, which the task choice needs"},
      {{.tasks = {"exact"}}, ExitCode::data, place + ": has no prompt and answer, which the task exact needs"},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(error_of([&] { evaluate(input(text, row.eval, {"a", "b"})); }, row.code), row.message);
  }
}

TEST_F(Score, ChoicesComeFromAListAFileOrTheTrainingRows) {
  using Strings = std::vector<std::string>;
  EXPECT_EQ(resolve_choices({.choices = {"b", "a"}}, nullptr), (Strings{"b", "a"}));
  EXPECT_EQ(resolve_choices({.choices = {write("labels.txt", "b\r\n\na c\n").string()}}, nullptr),
            (Strings{"b", "a c"}));
  EXPECT_EQ(resolve_choices({.choices = {write("labels.json", "[\"x\", \"y\"]").string()}}, nullptr),
            (Strings{"x", "y"}));
  const DataSet train = read(write("train.jsonl", records(8, "completion")));
  Strings sorted;
  for (const auto& label : kLabels) sorted.push_back(" " + label);
  std::ranges::sort(sorted);
  EXPECT_EQ(resolve_choices({}, &train), sorted);
  EXPECT_TRUE(resolve_choices({}, nullptr).empty());
  EXPECT_EQ(error_of(
                [&] {
                  resolve_choices({.choices = {"a", "a"}}, nullptr);
                },
                ExitCode::usage),
            "eval.choices: 'a' stands there twice");
  const auto bad = write("bad.json", "[\"x\", 3]").string();
  EXPECT_EQ(error_of([&] { resolve_choices({.choices = {bad}}, nullptr); }, ExitCode::data),
            bad + ": expected a string, got integer");
}

}  // namespace
}  // namespace prentice
