#include "data/left_out.h"

#include <fmt/format.h>

#include "data/letters.h"
#include "data/support.h"

namespace prentice {
namespace {

TEST(LeftOut, RowsWhoseToolCallsTheTemplateLeavesOutAreToldOnceWithTheirLines) {
  const Scratch scratch;
  const std::string plain =
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})";
  const std::string call =
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [{"name": "f"}]}]})";
  const auto path = write_text(scratch, "rows.jsonl", plain + "\n" + call + "\n" + call + "\n");
  auto section = section_for(path);
  section.chat_template = write_text(scratch, "chat.jinja", kChatTemplate);
  const auto line = [&](int row) {
    return fmt::format("{}:{}: {}: this chat template leaves out the tool calls of message 2", path, row,
                       section.chat_template);
  };
  ExitCode code = ExitCode::ok;
  EXPECT_EQ(message_of([&] { load(section, letters()); }, &code), line(2) + " (2 in all: also line 3)");
  EXPECT_EQ(code, ExitCode::data);
}

TEST(LeftOut, WhatTheTemplateLeavesOutOfTheRowsIsSaidOnce) {
  const Scratch scratch;
  const std::string turns = R"("messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])";
  const std::string thought =
      R"("messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "reasoning_content": "r"}])";
  const std::string tools = R"("tools": [{"name": "f", "parameters": {}}])";
  const auto path = write_text(scratch, "rows.jsonl",
                               "{" + turns + "}\n{" + turns + ", " + tools + "}\n{" + thought + ", " + tools + "}\n");
  auto section = section_for(path);
  section.chat_template = write_text(scratch, "deaf.jinja", kChatTemplate);
  const auto& said = load(section, letters()).encoded.warnings;
  ASSERT_EQ(said.size(), 2u);
  EXPECT_TRUE(
      said[0].starts_with(section.chat_template + " leaves out the tools of 2 rows, the first at " + path + ":2"))
      << said[0];
  EXPECT_TRUE(
      said[1].starts_with(section.chat_template + " leaves out the reasoning of 1 row, the first at " + path + ":3"))
      << said[1];
  // A template that writes them, if only for some rows, is not blamed for these.
  section.chat_template =
      write_text(scratch, "hears.jinja",
                 std::string("{% if tools and messages[-1].reasoning_content %}{{ tools }}{% endif %}"
                             "{{ messages[-1].reasoning_content }}") +
                     kChatTemplate);
  const auto& rest = load(section, letters(false)).encoded.warnings;
  ASSERT_EQ(rest.size(), 1u);
  EXPECT_TRUE(contains(rest[0], "leaves out the tools of 1 row, the first at " + path + ":2")) << rest[0];
}

TEST(LeftOut, ASystemTextThatTheTemplateLeavesOutIsSaid) {
  const Scratch scratch;
  const auto path = write_text(
      scratch, "rows.jsonl",
      R"({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})");
  auto section = section_for(path);
  section.chat_template =
      write_text(scratch, "deaf.jinja",
                 "{% for m in messages %}{% if m.role == 'system' %}Be good.{% else %}{{ m.content }}</s>{% endif %}"
                 "{% endfor %}");
  const auto& said = load(section, letters()).encoded.warnings;
  ASSERT_EQ(said.size(), 1u);
  EXPECT_TRUE(contains(said[0], "leaves out the system message of 1 row, the first at " + path + ":1")) << said[0];
}

TEST(LeftOut, ToolResultsThatTheTemplateLeavesOutAreSaid) {
  const Scratch scratch;
  const std::string plain =
      R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})";
  const auto with_results = [](const std::string& first, const std::string& second) {
    return R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "tool", "content": ")" +
           first + R"("}, {"role": "assistant", "content": "c"}, {"role": "tool", "content": ")" + second +
           R"("}, {"role": "assistant", "content": "d"}]})";
  };
  const auto path =
      write_text(scratch, "rows.jsonl",
                 plain + "\n" + with_results("", " ") + "\n" + with_results("x", "y") + "\n" + with_results("z", ""));
  const std::string others =
      "{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]{% elif m.role == 'assistant' %}{{ m.content }}</s>{% "
      "endif "
      "%}";
  const auto said_with = [&](const std::string& source) {
    auto section = section_for(path);
    section.chat_template = write_text(scratch, "chat.jinja", "{% for m in messages %}" + source + "{% endfor %}");
    return load(section, letters()).encoded.warnings;
  };
  const auto all = said_with(others);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_TRUE(contains(all[0], "leaves out the tool results of 2 rows, the first at " + path + ":3: ")) << all[0];
  // One that writes the first result only.
  const auto some = said_with("{% if m.role == 'tool' and loop.index == 3 %}({{ m.content }}){% endif %}" + others);
  ASSERT_EQ(some.size(), 1u);
  EXPECT_TRUE(contains(some[0], "leaves out the tool results of 1 row, the first at " + path + ":3: ")) << some[0];
  EXPECT_TRUE(said_with("{% if m.role == 'tool' %}({{ m.content }}){% endif %}" + others).empty());
}

TEST(LeftOut, ToolsAndSystemTextOfRawRowsAreSaid) {
  struct Case {
    std::string record;
    std::vector<std::string> said;
  };
  const std::string tools = R"(, "tools": [{"name": "f"}]})", system = R"(, "system": "s"})";
  const std::string pair = R"({"prompt": "q", "completion": "a")", text = R"({"text": "t")";
  const std::string alpaca = R"({"instruction": "q", "output": "a")";
  const std::string preference = R"({"prompt": "q", "chosen": "a", "rejected": "b")";
  const Case cases[] = {
      {pair + "}", {}},
      {pair + R"(, "tools": [], "system": ""})", {}},
      {pair + tools, {"the \"tools\" of 2 rows are not used, the first at "}},
      {pair + system, {"the \"system\" of 2 rows is not used, the first at "}},
      {pair + R"(, "tools": "[{}]", "system": "s"})", {"the \"tools\" of 2 rows", "the \"system\" of 2 rows"}},
      {text + tools, {"the \"tools\" of 2 rows"}},
      {alpaca + tools, {"the \"tools\" of 2 rows"}},
      {preference + tools, {"the \"tools\" of 2 rows"}},
  };
  for (const auto& [record, said] : cases) {
    const Scratch scratch;
    auto section = section_for(write_text(scratch, "rows.jsonl", record + "\n" + record));
    const auto use = record.starts_with(preference) ? RowUse::pairs : RowUse::examples;
    const auto warnings = load(section, letters(), {.threads = 2, .use = use}).encoded.warnings;
    ASSERT_EQ(warnings.size(), said.size()) << record;
    for (size_t i = 0; i < said.size(); ++i) EXPECT_TRUE(warnings[i].starts_with(said[i])) << warnings[i];
  }
  // A conversation has a place for them, and so has a prompt that writes them.
  const Scratch scratch;
  auto section = section_for(write_text(scratch, "rows.jsonl", pair + tools));
  section.prompt = "{{ tools | tojson }}{{ prompt }}", section.completion = "{{ completion }}";
  EXPECT_TRUE(load(section, letters()).encoded.warnings.empty());
  section.prompt = "{{ prompt }}";
  EXPECT_EQ(load(section, letters()).encoded.warnings.size(), 1u);
  section.chat = ChatMode::on;
  section.chat_template = write_text(scratch, "chat.jinja", "{{ tools | tojson }}" + std::string(kChatTemplate));
  EXPECT_TRUE(load(section, letters(false)).encoded.warnings.empty());
}

TEST(LeftOut, ATemplateThatWantsContentsAsListsIsNamedWithTheRole) {
  const Scratch scratch;
  const auto path =
      write_text(scratch, "rows.jsonl",
                 R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]})");
  const std::string list =
      "{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}";
  const std::pair<std::string, std::string> cases[] = {
      {"{% for m in messages %}{{ m.role }}:" + list + "</s>{% endfor %}", "user"},
      {"{% for m in messages %}{{ m.role }}:{% if m.role == 'user' %}{{ m.content }}{% else %}" + list +
           "{% endif %}</s>{% endfor %}",
       "assistant"},
  };
  for (const auto& [source, role] : cases) {
    for (const auto train_on : {TrainOn::assistant, TrainOn::all}) {
      auto section = section_for(path);
      section.train_on = train_on;
      section.chat_template = write_text(scratch, "chat.jinja", source);
      ExitCode code = ExitCode::ok;
      std::string hint;
      EXPECT_EQ(message_of([&] { load(section, letters()); }, &code, &hint),
                section.chat_template + ": this chat template writes nothing of a message of the " + role +
                    " whose content is a string");
      EXPECT_EQ(code, ExitCode::model);
      EXPECT_TRUE(contains(hint, "[{\"type\": \"text\"")) << hint;
    }
  }
}

}  // namespace
}  // namespace prentice
