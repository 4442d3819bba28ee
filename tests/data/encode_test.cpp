// From files to labels, on a tokenizer of single characters (text/fixtures.h) with BOS, so that every count is plain.
#include "data/encode.h"

#include "data/letters.h"
#include "data/support.h"

namespace prentice {
namespace {

// The row's text with what is trained in brackets: "<s>ab[cd</s>]".
std::string marked(const Sequence& sequence, const Tokenizer& tokenizer) {
  std::string out;
  for (size_t t = 0; t < sequence.ids.size(); ++t) {
    const bool trained = t > 0 && sequence.labels[t - 1] != kNoLabel;
    const bool before = t > 1 && sequence.labels[t - 2] != kNoLabel;
    if (trained && !before) out += "{";
    if (!trained && before) out += "}";
    out += tokenizer.decode(std::vector<int32_t>{sequence.ids[t]}, false);
  }
  return out + (sequence.size() > 1 && sequence.labels[sequence.size() - 2] != kNoLabel ? "}" : "");
}

std::string marked_rows(const DataSet& set, const Tokenizer& tokenizer) {
  std::string out;
  for (const auto& sequence : set.encoded.sequences) out += (out.empty() ? "" : " ") + marked(sequence, tokenizer);
  return out;
}

struct Case {
  std::string rows;
  std::function<void(DataSection&)> change;
  EncodeOptions options;
  std::string expected;
};

void check(const std::vector<Case>& cases, const Tokenizer& tokenizer) {
  for (const auto& c : cases) {
    const Scratch scratch;
    auto section = section_for(write_text(scratch, "rows.jsonl", c.rows));
    if (c.change) c.change(section);
    EXPECT_EQ(message_of([&] { EXPECT_EQ(marked_rows(load(section, tokenizer, c.options), tokenizer), c.expected); }),
              "")
        << c.rows;
  }
}

TEST(Encode, BosEosAndBorderOfRawRows) {
  const auto eos = [](EosMode mode) { return [mode](DataSection& s) { s.eos = mode; }; };
  const std::string pair = R"({"prompt": "q:", "completion": "yes"})", text = R"({"text": "abc"})";
  const std::vector<Case> cases = {
      {pair, {}, {}, "<s>q:{yes</s>}"},
      {pair, {}, {.for_evaluation = true}, "<s>q:{yes</s>}"},
      {pair, eos(EosMode::off), {}, "<s>q:{yes}"},
      {pair, [](DataSection& s) { s.train_on = TrainOn::all; }, {}, "<s>{q:yes</s>}"},
      {R"({"prompt": "", "completion": "yes"})", {}, {}, "<s>{yes</s>}"},
      {R"({"prompt": "q:", "completion": "yes</s>"})", {}, {}, "<s>q:{yes</s>}"},
      {R"({"prompt": "<|im_start|>", "completion": "y"})", {}, {}, "<s><|im_start|>{y</s>}"},
      {text, {}, {}, "<s>{abc</s>}"},
      {text, {}, {.for_evaluation = true}, "<s>{abc}"},
      {text, eos(EosMode::on), {.for_evaluation = true}, "<s>{abc</s>}"},
      {text, eos(EosMode::off), {}, "<s>{abc}"},
      {R"({"text": "abc</s>"})", eos(EosMode::off), {}, "<s>{abc</s>}"},
  };
  check(cases, letters());
  for (auto c : cases) {
    for (size_t at; (at = c.expected.find("<s>")) != std::string::npos;) c.expected.erase(at, 3);
    // Without BOS the first token has nothing before it, so it is no target.
    if (c.expected.starts_with("{")) c.expected = c.expected.substr(1, 1) + "{" + c.expected.substr(2);
    check({c}, letters(false));
  }
  check(cases, letters(true, "", true));  // a post-processor that adds EOS changes nothing
}

TEST(Encode, ConversationsAreTokenizedOnceWithOneBos) {
  const auto on = [](TrainOn what) { return [what](DataSection& s) { s.train_on = what; }; };
  const std::string chat =
      R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}, {"role": "assistant", "content": "e"}]})";
  const std::string weighted =
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]})";
  const std::string silent =
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "weight": 0}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]})";
  const std::string silent_first =
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]})";
  const std::string lists =
      R"({"prompt": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}], "completion": [{"role": "assistant", "content": "d"}]})";
  const std::vector<Case> cases = {
      {chat, {}, {}, "<s>s;[INST]a[/INST]{b</s>}[INST]c[/INST]{d</s>e</s>}"},
      {chat, on(TrainOn::last), {}, "<s>s;[INST]a[/INST]b</s>[INST]c[/INST]d</s>{e</s>}"},
      {chat, on(TrainOn::completion), {}, "<s>s;[INST]a[/INST]b</s>[INST]c[/INST]{d</s>e</s>}"},
      {chat, on(TrainOn::all), {}, "<s>{s;[INST]a[/INST]b</s>[INST]c[/INST]d</s>e</s>}"},
      {weighted, {}, {}, "<s>[INST]a[/INST]b</s>[INST]c[/INST]{d</s>}"},
      {weighted, on(TrainOn::all), {}, "<s>{[INST]a[/INST]}b</s>{[INST]c[/INST]d</s>}"},
      {lists, {}, {}, "<s>[INST]a[/INST]b</s>[INST]c[/INST]{d</s>}"},
      {silent, {}, {}, "<s>[INST]a[/INST]</s>[INST]c[/INST]{d</s>}"},
      {silent_first, on(TrainOn::last), {}, "<s>[INST]a[/INST]</s>[INST]c[/INST]{d</s>}"},
      {lists, on(TrainOn::all), {}, "<s>{[INST]a[/INST]b</s>[INST]c[/INST]d</s>}"},
  };
  check(cases, letters(true, kChatTemplate));
  check(cases, letters(true, kChatTemplate, true));
  // A template that prints no BOS gets the tokenizer's.
  check(cases, letters(true, std::string(kChatTemplate).substr(15)));
}

TEST(Encode, WeightsOfMessagesAreThoseOfTheirTokens) {
  const Scratch scratch;
  const auto tokenizer = letters(true, kChatTemplate);
  const auto rows =
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0.25}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]})";
  const auto set = load(section_for(write_text(scratch, "rows.jsonl", rows)), tokenizer);
  // <s> [INST] a [/INST] b </s> [INST] c [/INST] d </s>: the weight stands where the label stands.
  EXPECT_EQ(set.encoded.sequences[0].weights, (std::vector<float>{0, 0, 0, 0.25, 0.25, 0, 0, 0, 1, 1, 0}));
  EXPECT_DOUBLE_EQ(set.encoded.sequences[0].target_weight(), 2.5);
}

TEST(Encode, RowsThatAreTooLong) {
  const auto with = [](Overlong mode) { return [mode](DataSection& s) { s.overlong = mode; }; };
  const std::string pairs = R"({"prompt": "12345", "completion": "abc"})"
                            "\n"
                            R"({"prompt": "1", "completion": "z"})";
  const std::string text = R"({"text": "abcdefgh"})";
  const std::string chat =
      R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]})";
  const std::string two_chats =
      chat + "\n" +
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "bcdefghijk"}]})";
  const std::vector<Case> cases = {
      {pairs, with(Overlong::drop), {.max_length = 7}, "<s>1{z</s>}"},
      {pairs, with(Overlong::truncate), {.max_length = 7}, "<s>45{abc</s>} <s>1{z</s>}"},
      {pairs, with(Overlong::truncate), {.max_length = 5}, "<s>{abc</s>} <s>1{z</s>}"},
      {pairs, with(Overlong::truncate), {.max_length = 4}, "<s>{ab</s>} <s>1{z</s>}"},
      {pairs, with(Overlong::truncate), {.max_length = 10}, "<s>12345{abc</s>} <s>1{z</s>}"},
      {text, {}, {.max_length = 4}, "<s>{abc} d{efg} h{</s>}"},
      {text, {}, {.max_length = 9}, "<s>{abcdefg} h{</s>}"},  // EOS alone would follow nothing
      {text, {}, {.max_length = 10}, "<s>{abcdefgh</s>}"},
      {text, with(Overlong::truncate), {.max_length = 4}, "<s>{abc}"},
      {text, [](DataSection& s) { s.max_length = 4; }, {.max_length = 9}, "<s>{abc} d{efg} h{</s>}"},
      {two_chats, with(Overlong::drop), {.max_length = 13}, "<s>s;[INST]a[/INST]{b</s>}[INST]c[/INST]{d</s>}"},
      {chat, with(Overlong::truncate), {.max_length = 12}, "<s>s;[INST]c[/INST]{d</s>}"},
      {two_chats, with(Overlong::truncate), {.max_length = 8}, "<s>s;[INST]c[/INST]{d</s>}"},
  };
  check(cases, letters(true, kChatTemplate));
}

TEST(Encode, WhatWasCutIsCounted) {
  const Scratch scratch;
  const auto tokenizer = letters(true, kChatTemplate);
  auto section = section_for(write_text(scratch, "rows.jsonl",
                                        R"({"prompt": "12345", "completion": "abc"})"
                                        "\n"
                                        R"({"prompt": "1", "completion": "z"})"));
  section.overlong = Overlong::truncate;
  auto set = load(section, tokenizer, {.max_length = 7});
  EXPECT_EQ(set.encoded.truncated, 1);
  EXPECT_EQ(set.encoded.truncated_tokens, 3);
  EXPECT_EQ(set.encoded.longest, 7);
  EXPECT_TRUE(contains(set.encoded.warnings.back(), "1 row is cut, by 3 tokens"));
  section.overlong = Overlong::drop;
  set = load(section, tokenizer, {.max_length = 7});
  EXPECT_EQ(set.encoded.dropped, 1);
  ASSERT_EQ(set.examples.size(), 1u);
  EXPECT_EQ(set.encoded.sequences[0].sample, 0);  // samples count the rows that are left
  EXPECT_EQ(set.encoded.origins[0].line, 2);
}

TEST(Encode, PiecesOfADocumentShareTheSample) {
  const Scratch scratch;
  const auto set = load(section_for(write_text(scratch, "t.txt", "abcdefgh")), letters(), {.max_length = 4});
  ASSERT_EQ(set.encoded.sequences.size(), 3u);
  for (int piece = 0; piece < 3; ++piece) {
    EXPECT_EQ(set.encoded.sequences[piece].sample, 0);
    EXPECT_EQ(set.encoded.sequences[piece].piece, piece);
  }
}

TEST(Encode, BadRowsAreErrorsWithTheirLine) {
  struct Bad {
    std::string rows;
    std::function<void(DataSection&)> change;
    std::string chat_template, message;
    ExitCode code = ExitCode::data;
  };
  const std::string chat = R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})";
  const std::string untrained =
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]})";
  const std::string no_end = "{{ bos_token }}{% for m in messages %}{{ m.role }}:{{ m.content }}\n{% endfor %}";
  const std::string raises =
      "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}{{ "
      "m.content }}</s>{% endfor %}";
  const std::vector<Bad> rows = {
      {chat + "\n" + untrained, {}, kChatTemplate, "rows.jsonl:2: no token of this row is trained"},
      {R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]})",
       {},
       kChatTemplate,
       "rows.jsonl:1: message 2: the assistant says nothing"},
      {chat + "\n" +
           R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": " \n\u00a0\t"}]})",
       {},
       kChatTemplate,
       "rows.jsonl:2: message 2: the assistant says nothing but white space"},
      {R"({"prompt": "q", "completion": " \n"})", {}, "", "rows.jsonl:1: the completion is only white space"},
      {R"({"messages": [{"role": "user", "content": "a"}]})",
       {},
       kChatTemplate,
       "rows.jsonl:1: no token of this row is trained"},
      {R"({"prompt": "<s>q", "completion": "a"})", {}, "", "rows.jsonl:1: the row begins with two <s> tokens"},
      {R"({"text": "<s>q"})", {}, "", "rows.jsonl:1: the row begins with two <s> tokens"},
      {chat, {}, "{{ bos_token }}" + std::string(kChatTemplate), "rows.jsonl:1: the row begins with two <s> tokens"},
      {chat, {}, no_end, "rows.jsonl:1: message 2: the end of the assistant's turn is not trained: "},
      {R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})",
       {},
       raises,
       "rows.jsonl:1: "},
      {R"({"prompt": "12345678", "completion": "a"})", [](DataSection& s) { s.max_length = 6; }, "",
       "rows.jsonl:1: 1 of 1 rows are longer than 6 tokens (p50 11, p95 11, p99 11, max 11); the first has 11"},
      {R"({"text": "a"})", [](DataSection& s) { s.max_length = 4096; }, "",
       "data.max_length: 4096 is above the model's 64", ExitCode::usage},
      {R"({"prompt": "a", "completion": "b"})", [](DataSection& s) { s.overlong = Overlong::split; }, "",
       "data.overlong: split is for texts; ", ExitCode::usage},
      {chat, [](DataSection& s) { s.eos = EosMode::on; }, kChatTemplate,
       "data.eos: the chat template writes the end of a turn", ExitCode::usage},
      {R"({"prompt": "a", "completion": "{{"})",
       [](DataSection& s) { s.prompt = "{{ prompt }}", s.completion = "{{ nothing }}"; }, "",
       "rows.jsonl:1: data.completion: "},
  };
  for (const auto& bad : rows) {
    const Scratch scratch;
    const auto tokenizer = letters(true, bad.chat_template);
    auto section = section_for(write_text(scratch, "rows.jsonl", bad.rows));
    if (bad.change) bad.change(section);
    ExitCode code = ExitCode::ok;
    auto message = message_of([&] { load(section, tokenizer, {.max_length = 64}); }, &code);
    const auto prefix = scratch.path().string() + "/";
    if (const auto at = message.find(prefix); at != std::string::npos) message.erase(at, prefix.size());
    EXPECT_TRUE(message.starts_with(bad.message)) << "wanted " << bad.message << "\ngot    " << message;
    EXPECT_EQ(code, bad.code) << bad.message;
  }
}

TEST(Encode, AllBadRowsOfTrainingAndEvaluationAreToldAtOnce) {
  const Scratch scratch;
  const auto row = [](const std::string& role, const std::string& content) {
    return R"({"messages": [{"role": "user", "content": "a"}, {"role": ")" + role + R"(", "content": )" + content +
           "}]}\n";
  };
  const std::string silent = row("assistant", "null"), good = row("assistant", R"("b")");
  auto section = section_for(
      write_text(scratch, "train.jsonl",
                 "{\"other\": 1}\n" + silent + row("helper", R"("b")") + R"({"conversation": 3})" + "\n" + silent));
  section.eval = {{write_text(scratch, "eval.jsonl", good + silent + "{bad\n"), 1}};
  section.eval_split.reset();
  const auto message = message_of([&] { load_data(section, office_tokenizer(), {.threads = 2}, 1); });
  size_t at = 0;
  for (const std::string place : {"train.jsonl:1: \"messages\" is missing (2 in all: also line 4)",
                                  "train.jsonl:2: message 2: the assistant says nothing (3 in all: also ",
                                  "train.jsonl:3: message 2: unknown role \"helper\"", "eval.jsonl:3:"}) {
    const size_t found = message.find(place, at);
    ASSERT_NE(found, std::string::npos) << place << "\n" << message;
    at = found;
  }
}

TEST(Encode, ABlankAnswerThatIsNotTrainedMayStand) {
  const Scratch scratch;
  const std::string blank = R"({"role": "assistant", "content": " \n", "weight": 0})";
  auto section =
      section_for(write_text(scratch, "rows.jsonl",
                             R"({"messages": [{"role": "user", "content": "a"}, )" + blank +
                                 R"(, {"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}]})"));
  const auto tokenizer = letters(true, kChatTemplate);
  EXPECT_EQ(trained_text(load(section, tokenizer).encoded.sequences[0], tokenizer), "c</s>");
}

// A template over a budget leaves memory behind with every row that it is tried on.
TEST(Encode, ATemplateThatIsNoGoodIsSaidOnceForAllRows) {
  const Scratch scratch;
  std::string rows;
  for (int i = 0; i < 300; ++i) {
    rows += R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})";
    rows += '\n';
  }
  auto section = section_for(write_text(scratch, "rows.jsonl", rows));
  const std::pair<const char*, const char*> cases[] = {
      {"{{ raise_exception('no') }}", ":1: chat template: no"},
      {"{% set n = namespace(s='x') %}{% for a in range(70) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
       ": chat template: the template uses more than 48 MiB of memory"},
  };
  for (const auto& [source, message] : cases) {
    section.chat_template = write_text(scratch, "chat.jinja", source);
    ExitCode code = ExitCode::ok;
    EXPECT_EQ(message_of([&] { load(section, letters()); }, &code), section.chat_template + message);
    EXPECT_EQ(code, ExitCode::model);
  }
}

TEST(Encode, ARowOfAnArrayIsCalledByItsNumberToo) {
  const Scratch scratch;
  const auto path = write_text(scratch, "rows.json",
                               R"([{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"},
{"prompt": "e", "completion": ""}])");
  EXPECT_EQ(message_of([&] { load(section_for(path), letters()); }), path + ":2: record 3: the completion is empty");
  const auto good =
      write_text(scratch, "good.json", R"([{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}])");
  const auto set = load(section_for(good), letters());
  EXPECT_EQ(to_string(set.encoded.origins[1]), good + ":1, record 2");
  EXPECT_EQ(to_string(Origin{"a.jsonl", 12}), "a.jsonl:12");
  EXPECT_EQ(to_string(Origin{"a.parquet", 0, 3}), "a.parquet, record 3");
}

TEST(Encode, ATokenAcrossTheBorderIsCountedOnce) {
  const Scratch scratch;
  std::string rows;
  for (int i = 0; i < 30; ++i)
    rows += i % 3 == 0 ? R"({"prompt": "I paid ", "completion": "the bill"})"
                         "\n"
                       : R"({"prompt": "I paid", "completion": " the bill"})"
                         "\n";
  ExitCode code = ExitCode::ok;
  std::string hint;
  const auto path = write_text(scratch, "rows.jsonl", rows);
  EXPECT_EQ(message_of([&] { load(section_for(path), office_tokenizer()); }, &code, &hint),
            path +
                ":1: in 10 of 30 rows a token straddles the border between prompt and completion; in the first it is "
                "\" the\"");
  EXPECT_EQ(hint, "move the space from the end of the prompt to the beginning of the completion");
  EXPECT_EQ(code, ExitCode::data);
}

TEST(Encode, TheLengthsOfRowsThatFailAreNotAmongTheStatistics) {
  const Scratch scratch;
  std::string rows;
  for (int i = 0; i < 3; ++i)
    rows += R"({"prompt": "I paid ", "completion": "the bill"})"
            "\n";
  rows += R"({"prompt": "1 2 3 4 5 6 7 8 9", "completion": " 0"})"
          "\n";
  const auto path = write_text(scratch, "rows.jsonl", rows);
  const auto message = message_of([&] { load(section_for(path), office_tokenizer(), {.max_length = 4}); });
  EXPECT_TRUE(contains(message, "in 3 of 4 rows a token straddles")) << message;
  EXPECT_TRUE(contains(message, path + ":4: 1 of 4 rows are longer than 4 tokens (p50 16, p95 16, p99 16, max 16)"))
      << message;
}

TEST(Encode, ThreadsDoNotChangeTheResult) {
  const Scratch scratch;
  std::string rows;
  for (int i = 0; i < 700; ++i)
    rows += R"({"messages": [{"role": "user", "content": "ticket )" + std::to_string(i * i) +
            R"("}, {"role": "assistant", "content": "refund"}]})"
            "\n";
  const auto section = section_for(write_text(scratch, "rows.jsonl", rows));
  const auto one = load(section, office_tokenizer(), {.threads = 1}),
             many = load(section, office_tokenizer(), {.threads = 5});
  ASSERT_EQ(one.encoded.sequences.size(), many.encoded.sequences.size());
  for (size_t i = 0; i < one.encoded.sequences.size(); ++i) {
    EXPECT_EQ(one.encoded.sequences[i].ids, many.encoded.sequences[i].ids);
    EXPECT_EQ(one.encoded.sequences[i].labels, many.encoded.sequences[i].labels);
  }
}

TEST(Encode, AnExampleHoldsWhatAnEvaluationNeeds) {
  const Scratch scratch;
  const auto rows =
      R"({"messages": [{"role": "user", "content": "Where is it?"}, {"role": "assistant", "content": " late-delivery "}], "choices": ["late-delivery", "refund"]})";
  const auto section = section_for(write_text(scratch, "rows.jsonl", rows));
  const auto set = load(section, office_tokenizer(), {.for_evaluation = true});
  const auto& example = set.examples[0];
  EXPECT_EQ(example.prompt, "<|user|>Where is it?<|assistant|>");
  EXPECT_EQ(example.reference, " late-delivery ");
  EXPECT_EQ(example.text, "<|user|>Where is it?<|assistant|> late-delivery <|end|>");
  EXPECT_EQ(example.prompt + example.completion, example.text);
  EXPECT_EQ(example.record.at("choices").as_array().size(), 2u);
}

TEST(Encode, RawRowsOnAModelWithATemplateAreWarnedAbout) {
  const Scratch scratch;
  auto section = section_for(write_text(scratch, "rows.jsonl", R"({"prompt": "q", "completion": " a"})"));
  const auto set = load(section, office_tokenizer());
  ASSERT_EQ(set.encoded.warnings.size(), 1u);
  EXPECT_TRUE(contains(set.encoded.warnings[0], "serve the model as raw completion"));
  section.chat = ChatMode::on;
  EXPECT_TRUE(load(section, office_tokenizer()).encoded.warnings.empty());
}

TEST(Encode, TheEmbeddedPlainTemplateServesModelsWithoutOne) {
  const Scratch scratch;
  auto section = section_for(
      write_text(scratch, "rows.jsonl",
                 R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})"));
  section.chat_template = "/somewhere/else/configs/chat/plain.jinja";
  const auto tokenizer = letters();
  EXPECT_TRUE(contains(marked_rows(load(section, tokenizer), tokenizer), "Assistant:{ b</s>}"));
  section.chat_template = "no/such.jinja";
  ExitCode code = ExitCode::ok;
  message_of([&] { load(section, tokenizer); }, &code);
  EXPECT_EQ(code, ExitCode::usage);
}

}  // namespace
}  // namespace prentice
