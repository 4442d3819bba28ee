#include "text/chat.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "core/error.h"
#include "text/fixtures.h"

namespace prentice {
namespace {

Error failure(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return Error(ExitCode::ok, "");
}

std::string read(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string own(const std::string& name) { return read("tests/golden/text/templates/" + name + ".jinja"); }

Conversation conversation(const std::string& json) { return {Json::parse(json).as_array(), nullptr, {}}; }

// The spanned texts, each as "message index:text".
std::vector<std::string> spans(const std::string& source, const Conversation& chat, const RenderOptions& options = {}) {
  auto tokenizer = testing::tiny_tokenizer();
  auto rendered = ChatTemplate(source, "t.jinja", tokenizer).render_with_spans(chat, options);
  std::vector<std::string> out;
  int64_t done = 0;
  for (const auto& span : rendered.assistant) {
    EXPECT_GE(span.bytes.begin, done);
    done = span.bytes.end;
    auto begin = static_cast<size_t>(span.bytes.begin), size = static_cast<size_t>(span.bytes.end - span.bytes.begin);
    out.push_back(std::to_string(span.message) + ":" + rendered.text.substr(begin, size));
  }
  return out;
}

using Strings = std::vector<std::string>;

const char* kTwoTurns = R"([{"role":"user","content":"Hi"},{"role":"assistant","content":" Hi "},
  {"role":"user","content":"Hi"},{"role":"assistant","content":"bye\nnow"}])";

TEST(ChatSpans, EveryFamilyEndsWithItsEndOfTurnAndLeavesTheHeaderOut) {
  struct Case {
    std::string name;
    Strings wanted;
  };
  const Case cases[] = {
      {"chatml", {"1: Hi <|im_end|>", "3:bye\nnow<|im_end|>"}},
      {"headers", {"1:Hi<|eot_id|>", "3:bye\nnow<|eot_id|>"}},
      {"inst", {"1: Hi </s>", "3: bye\nnow </s>"}},
      {"turns", {"1:Hi<end_of_turn>", "3:bye\nnow<end_of_turn>"}},
      {"ends", {"1: Hi <|end|>", "3:bye\nnow<|end|>"}},
      {"generation", {"1: Hi <|im_end|>", "3:bye\nnow<|im_end|>"}},
  };
  for (const auto& [name, wanted] : cases) EXPECT_EQ(spans(own(name), conversation(kTwoTurns)), wanted) << name;
  EXPECT_EQ(spans(read("configs/chat/plain.jinja"), conversation(kTwoTurns)),
            (Strings{"1: Hi</s>", "3: bye\nnow</s>"}));
}

TEST(ChatSpans, AThinkingBlockThatTheTemplateInsertsIsTrainedUnlessThePromptHoldsIt) {
  auto chat = conversation(R"([{"role":"user","content":"Q"},{"role":"assistant","content":"A"}])");
  EXPECT_EQ(spans(own("thinking"), chat), Strings{"1:<think>\n\n</think>\n\nA<|im_end|>"});
  EXPECT_EQ(spans(own("thinking"), chat, {.arguments = {{"enable_thinking", false}}}), Strings{"1:A<|im_end|>"});
}

TEST(ChatSpans, ThoughtsThatTheTemplateDropsAreNotTrained) {
  auto chat =
      conversation(R"([{"role":"user","content":"Q"},{"role":"assistant","content":"<think>\na\n</think>\n\nfirst"},
    {"role":"user","content":"Q"},{"role":"assistant","content":"<think>\nb\n</think>\n\nlast"}])");
  EXPECT_EQ(spans(own("thinking"), chat), (Strings{"1:first<|im_end|>", "3:<think>\nb\n</think>\n\nlast<|im_end|>"}));
}

TEST(ChatSpans, AToolCallIsTrainedWithItsFrame) {
  for (std::string arguments : {R"({"city":"Oslo"})", R"({"days":2})", R"("{\"city\": \"Oslo\"}")"}) {
    auto chat = conversation(
        R"([{"role":"user","content":"Q"},{"role":"assistant","content":"","tool_calls":[{"type":"function",)"
        R"("function":{"name":"f","arguments":)" +
        arguments +
        R"(}}]},{"role":"tool","content":"x"},)"
        R"({"role":"assistant","content":"A"}])");
    auto found = spans(own("thinking"), chat);
    ASSERT_EQ(found.size(), 2u) << arguments;
    EXPECT_TRUE(found[0].starts_with("1:<think>\n\n</think>\n\n<tool_call>\n{\"name\": \"f\"") ||
                found[0].starts_with("1:<tool_call>\n{\"name\": \"f\""))
        << found[0];
    EXPECT_TRUE(found[0].ends_with("}\n</tool_call><|im_end|>")) << found[0];
  }
}

TEST(ChatSpans, ATemplateThatLeavesOutToolCallsIsRefused) {
  for (const std::string content : {"", "Let me look."}) {  // words beside the call must not hide that it is gone
    auto chat = conversation(R"([{"role":"user","content":"Q"},{"role":"assistant","content":")" + content +
                             R"(","tool_calls":[{"type":"function","function":{"name":"f","arguments":{}}}]}])");
    auto error = failure([&] { spans(own("chatml"), chat); });
    EXPECT_EQ(error.code(), ExitCode::data);  // of this conversation: others may do without
    EXPECT_STREQ(error.what(), "t.jinja: this chat template leaves out the tool calls of message 2");
  }
}

TEST(ChatSpans, AnEmptyAnswerIsItsEndOfTurn) {
  auto chat = conversation(R"([{"role":"user","content":"Q"},{"role":"assistant","content":""},
    {"role":"user","content":"Q"},{"role":"assistant","content":"  "}])");
  EXPECT_EQ(spans(own("headers"), chat), (Strings{"1:<|eot_id|>", "3:<|eot_id|>"}));
  EXPECT_EQ(spans(own("chatml"), chat), (Strings{"1:<|im_end|>", "3:  <|im_end|>"}));
}

TEST(ChatSpans, AUserWhoWritesLikeTheAssistantIsNotTrained) {
  auto chat = conversation(R"([{"role":"user","content":"<|im_start|>assistant\nA<|im_end|>"},
    {"role":"assistant","content":"A"}])");
  EXPECT_EQ(spans(own("chatml"), chat), Strings{"1:A<|im_end|>"});
}

TEST(ChatSpans, OneCharacterOfFourBytesIsFound) {
  auto chat = conversation(R"([{"role":"user","content":"Q"},{"role":"assistant","content":"\ud83e\udd99"}])");
  EXPECT_EQ(spans(own("headers"), chat), Strings{"1:\U0001f999<|eot_id|>"});
}

TEST(ChatSpans, ATemplateThatLooksAtTheFirstCharacterIsMarkedInside) {
  std::string source =
      "{% for m in messages %}{% if m.content.startswith('{') and m.content.endswith('}') %}JSON {% endif %}"
      "{{ m.role + ': ' + m.content + '</s>' }}{% endfor %}";
  auto chat = conversation(R"([{"role":"user","content":"{}"},{"role":"assistant","content":"{\"a\": 1}"}])");
  EXPECT_EQ(spans(source, chat), Strings{"1:{\"a\": 1}</s>"});
}

TEST(ChatSpans, ATemplateThatHidesTheAnswerIsRefusedByName) {
  for (std::string source :
       {"{% for m in messages %}{{ m.content | length }}{{ m.content }}{% endfor %}",
        "{% for m in messages | reverse %}{{ m.content | reverse }}{{ m.content[:3] }}{% endfor %}"}) {
    auto chat = conversation(R"([{"role":"user","content":"Q"},{"role":"assistant","content":"answer"}])");
    auto error = failure([&] { spans(source, chat); });
    EXPECT_EQ(error.code(), ExitCode::model) << source;
    EXPECT_EQ(std::string(error.what()).find("t.jinja: this chat template does not show"), 0u) << error.what();
  }
}

TEST(ChatSpans, PrivateUseCharactersInTheTextDoNotDisturb) {
  auto chat =
      conversation(R"([{"role":"user","content":"\udb80\udc00"},{"role":"assistant","content":"\udb80\udc01 x"}])");
  EXPECT_EQ(spans(own("chatml"), chat), Strings{"1:\U000f0001 x<|im_end|>"});
  auto both =
      conversation(R"([{"role":"user","content":"\udb80\udc00"},{"role":"assistant","content":"\udbc0\udc00"}])");
  EXPECT_EQ(failure([&] { spans(own("chatml"), both); }).code(), ExitCode::data);
}

TEST(ChatTemplate, RaisedWordsAndLinesReachTheUser) {
  auto tokenizer = testing::tiny_tokenizer();
  const std::string source =
      "{{ bos_token }}\n{% if messages[0].role == 'system' %}\n{{ raise_exception('System role not supported') }}\n"
      "{% endif %}";
  const auto chat = conversation(R"([{"role":"system","content":"s"}])");
  auto error = failure([&] { ChatTemplate(source, "m/chat_template.jinja", tokenizer).render(chat, {}); });
  EXPECT_EQ(error.code(), ExitCode::data);
  EXPECT_STREQ(error.what(), "m/chat_template.jinja:3: chat template: System role not supported");
  error = failure([&] { ChatTemplate(source, "m/tokenizer_config.json", tokenizer).render(chat, {}); });
  EXPECT_STREQ(error.what(), "m/tokenizer_config.json: chat_template, line 3: System role not supported");
}

TEST(ChatTemplate, WhatEveryConversationMeetsIsTheTemplatesOwnFault) {
  auto tokenizer = testing::tiny_tokenizer();
  const std::pair<const char*, const char*> cases[] = {
      {"{{ raise_exception('never') }}", "t.jinja:1: chat template: never"},
      {"{{ messages | no_filter }}", "t.jinja:1: chat template: unknown filter: filter no_filter is unknown"},
      {"{{ messages[0].content | no_filter }}",
       "t.jinja:1: chat template: unknown filter: filter no_filter is unknown"},
      {"{{ settings.style }}", "t.jinja:1: chat template: undefined value"},
  };
  const auto chat = conversation(R"([{"role":"user","content":"Q"}])");
  for (const auto& [source, message] : cases) {
    auto error = failure([&] { ChatTemplate(source, "t.jinja", tokenizer).render(chat, {}); });
    EXPECT_EQ(error.code(), ExitCode::model) << source;
    EXPECT_STREQ(error.what(), message);
  }
}

// What an aborted rendering held is lost, with its thread; only one rendering of a template may lose it.
TEST(ChatTemplate, ATemplateOverItsMemoryLosesOneRenderingsWorth) {
  const auto threads = [] {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return std::distance(begin(tasks), end(tasks));
  };
  auto tokenizer = testing::tiny_tokenizer();
  const char* source =
      "{% set ns = namespace(s='x') %}{% for a in range(70) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}";
  ChatTemplate chat(source, "t.jinja", tokenizer);
  const auto before = threads();
  for (int row = 0; row < 20; ++row) {
    const auto error = failure([&] { chat.render(conversation("[]"), {}); });
    EXPECT_EQ(error.code(), ExitCode::model);
    EXPECT_STREQ(error.what(), "t.jinja: chat template: the template uses more than 48 MiB of memory");
  }
  EXPECT_LE(threads() - before, 1);
  const auto part = [&] { chat.render_with_spans(conversation(kTwoTurns), {}); };
  EXPECT_EQ(failure(part).code(), ExitCode::model);
}

TEST(ChatTemplate, ASyntaxErrorIsAModelErrorWithItsLine) {
  auto tokenizer = testing::tiny_tokenizer();
  auto error = failure([&] { ChatTemplate("a\n{% for %}", "t.jinja", tokenizer); });
  EXPECT_EQ(error.code(), ExitCode::model);
  EXPECT_EQ(std::string(error.what()).find("t.jinja:2: chat template: syntax error"), 0u) << error.what();
}

TEST(ChatTemplate, BudgetsEndATemplateThatWouldNot) {
  const char* sources[] = {
      "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
      "{% for a in range(9999) %}{{ 'x' * 100000 }}{% endfor %}",
      "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
      "{% include 'template' %}",
      "{{ 'x'.count('') }}{{ 'x' * 9999999999 }}",
      "{% set ns = namespace(s='x') %}{% for a in range(70) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
      "{% set ns = namespace(s='x') %}{% for a in range(70) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
      "{% set ns = namespace(s='xx') %}{% for a in range(70) %}{% set ns.s = ns.s.replace('x', 'xxxx') %}{% endfor %}",
      "{% set ns = namespace(s=['xx']) %}{% for a in range(70) %}{% set ns.s = [ns.s | join, ns.s | join] %}{% endfor "
      "%}",
  };
  auto tokenizer = testing::tiny_tokenizer();
  for (const char* source : sources) {
    ChatTemplate chat(source, "t.jinja", tokenizer);
    EXPECT_EQ(failure([&] { chat.render(conversation("[]"), {}); }).code(), ExitCode::model) << source;
  }
  std::string deep(20000, '(');
  EXPECT_EQ(failure([&] { ChatTemplate("{{ " + deep + " }}", "t.jinja", tokenizer); }).code(), ExitCode::model);
}

// Without a limit the first ends the program in the engine's recursion, the second takes minutes in its compiler.
TEST(ChatTemplate, NoMoreTagsThanAnyModelHas) {
  const auto repeated = [](const std::string& text, int count) {
    std::string all;
    for (int i = 0; i < count; ++i) all += text;
    return all;
  };
  auto tokenizer = testing::tiny_tokenizer();
  const std::string bad[] = {"{% if a %}" + repeated("{% elif a %}", 80'000) + "{% endif %}",
                             repeated("{{ 1 }}", 100'000)};
  for (const auto& source : bad) {
    const auto error = failure([&] { ChatTemplate(source, "t.jinja", tokenizer); });
    EXPECT_EQ(error.code(), ExitCode::model);
    EXPECT_NE(std::string(error.what()).find(" tags, the limit is "), std::string::npos) << error.what();
  }
  ChatTemplate("{% if a %}" + repeated("{% elif a %}", 1'900) + "{% endif %}", "t.jinja", tokenizer);
  ChatTemplate(repeated("{{ 1 }}", 1'900), "t.jinja", tokenizer);
}

// A pattern library that recurses for every character overflows the stack here; one that looks again for every tag's
// end takes minutes.
TEST(ChatTemplate, AMillionCharactersOfTagsAreReadOnce) {
  const auto repeated = [](const std::string& text) {
    std::string all;
    while (all.size() + text.size() < 900'000) all += text;
    return all;
  };
  auto tokenizer = testing::tiny_tokenizer();
  const std::string bad[] = {"{%" + repeated(" "), repeated("{% "), repeated("{%-"),
                             "{% raw %}" + repeated("{%") + "%}"};
  for (const auto& source : bad) {
    auto error = failure([&] { ChatTemplate(source, "t.jinja", tokenizer); });
    EXPECT_EQ(error.code(), ExitCode::model) << source.substr(0, 20);
  }
  const std::string raw = repeated("{% {# ");
  ChatTemplate chat("{% raw %}" + raw + "{%- endraw -%}", "t.jinja", tokenizer);
  EXPECT_EQ(chat.render(conversation("[]"), {}).size(), raw.find_last_not_of(' ') + 1);
}

TEST(ChatTemplate, OnlyARealGenerationTagMarksWhatIsTrained) {
  const std::string turns = "{% for m in messages %}{{ m.role + ': ' }}{{ m.content + '</s>' }}{% endfor %}";
  auto chat = conversation(R"([{"role":"user","content":"Q"},{"role":"assistant","content":"A"}])");
  for (std::string start : {"{# {% generation %} #}", "{{ '' if true else '{% generation %}' }}"}) {
    EXPECT_EQ(spans(start + turns, chat), Strings{"1:A</s>"}) << start;
  }
}

TEST(ChatTemplate, TheClockIsARecordedDate) {
  auto tokenizer = testing::tiny_tokenizer();
  ChatTemplate chat("{{ strftime_now('%d %b %Y|%Y-%m-%d|%A, %B %-d|%j') }}", "t", tokenizer);
  EXPECT_TRUE(chat.asks_for_the_date());
  EXPECT_EQ(chat.render(conversation("[]"), {}), "26 Jul 2024|2024-07-26|Friday, July 26|208");
  EXPECT_EQ(chat.render(conversation("[]"), {.arguments = {{"date_string", "2025-01-02"}}}),
            "02 Jan 2025|2025-01-02|Thursday, January 2|002");
  EXPECT_EQ(chat.render(conversation("[]"), {.arguments = {{"date_string", "some day"}}}), "some day");
  EXPECT_FALSE(ChatTemplate("x", "t", tokenizer).asks_for_the_date());
}

TEST(ChatTemplate, OnlySpecialTokensThatExistAreDefined) {
  auto tokenizer = testing::tiny_tokenizer(R"({"bos_token":null,"eos_token":"</s>"})");
  ChatTemplate chat("{{ bos_token is defined }} {{ eos_token }} {{ pad_token is defined }}", "t", tokenizer);
  EXPECT_EQ(chat.render(conversation("[]"), {}), "False </s> False");
}

TEST(RecordTemplate, FillsInTheRecord) {
  RecordTemplate prompt("{{ title }}: {{ body | trim }}{% if tags %} ({{ tags | join(', ') }}){% endif %}",
                        "data.prompt");
  EXPECT_EQ(prompt.render(Json::parse(R"({"title":"T","body":" b ","tags":["x","y"],"n":1})")), "T: b (x, y)");
}

// Python's str.strip and str.split, which Jinja's filters call, also take U+001C to U+001F for white space.
TEST(RecordTemplate, WhiteSpaceIsWhatPythonTakesForIt) {
  const Json record = Json::parse(R"({"a": "\u001c\u001fx\u001d y\u2003z \u001e"})");
  const std::pair<const char*, const char*> cases[] = {
      {"[{{ a | trim }}]", "[x\x1d y\u2003z]"},
      {"[{{ a.strip() }}]", "[x\x1d y\u2003z]"},
      {"[{{ a.lstrip() }}]", "[x\x1d y\u2003z \x1e]"},
      {"[{{ a.rstrip() }}]", "[\x1c\x1fx\x1d y\u2003z]"},
      {"{{ a.split() | join('|') }}", "x|y|z"},
      {"{{ a.split(None, 1) | join('|') }}", "x|y\u2003z \x1e"},
      {"{{ a.rsplit(None, 1) | join('|') }}", "\x1c\x1fx\x1d y|z"},
      {"{{ 'xaxbx' | trim('x') }}, {{ 'xaxbx' | trim(chars='xb') }}, {{ 5 | trim }}", "axb, a, 5"},
      {"{{ '\x1c '.isspace() }} {{ 'a'.isspace() }} {{ ''.isspace() }}", "True False False"},
  };
  for (const auto& [source, expected] : cases) {
    EXPECT_EQ(RecordTemplate(source, "data.prompt").render(record), expected) << source;
  }
}

TEST(RecordTemplate, AnUnknownFieldIsNamed) {
  auto error =
      failure([] { RecordTemplate("{{ titl }}", "data.prompt").render(Json::parse(R"({"title":"T","body":"b"})")); });
  EXPECT_EQ(error.code(), ExitCode::data);
  EXPECT_STREQ(error.what(), "data.prompt: \"titl\" is not a field of the record, which has: title, body");
  EXPECT_EQ(error.diagnostics()[0].hint, "did you mean \"title\"?");
  EXPECT_EQ(failure([] { RecordTemplate("{{ a.b }}", "data.prompt").render(Json::parse(R"({"a":{}})")); }).code(),
            ExitCode::data);
  EXPECT_EQ(failure([] { RecordTemplate("{{ a", "data.prompt"); }).code(), ExitCode::usage);
  for (const char* broken :
       {"{{ a | no_filter }}", "{% for x in range(9999) %}{% for y in range(9999) %}{% endfor %}{% endfor %}"}) {
    EXPECT_EQ(failure([&] { RecordTemplate(broken, "data.prompt").render(Json::parse(R"({"a":1})")); }).code(),
              ExitCode::usage);
  }
  EXPECT_EQ(failure([] { RecordTemplate("x", "data.prompt").render(Json::parse("[1]")); }).code(), ExitCode::data);
}

}  // namespace
}  // namespace prentice
