// Records of every format to rows: a table of good ones and one of bad ones.
#include "data/row.h"

#include "data/formats.h"
#include "data/problems.h"
#include "data/support.h"

namespace prentice {
namespace {

// A row as text: kind, then messages with their weights, or prompt | completion.
std::string show(const Row& row) {
  if (row.kind == RowKind::text) return "text: " + row.completion;
  if (row.kind == RowKind::pair) return "pair: " + row.prompt + " | " + row.completion;
  std::string out = "chat:";
  for (size_t i = 0; i < row.conversation.messages.size(); ++i) {
    const auto& message = row.conversation.messages[i];
    out += " " + message.at("role").as_string() + "=" + message.at("content").as_string();
    if (const Json* calls = message.find("tool_calls")) out += calls->dump();
    if (row.conversation.weights[i] != 0) out += "*" + std::to_string(row.conversation.weights[i]).substr(0, 3);
  }
  if (!row.conversation.tools.is_null()) out += " tools=" + row.conversation.tools.dump();
  if (row.prompt_messages > 0) out += " prompt=" + std::to_string(row.prompt_messages);
  return out;
}

std::string row_of(const std::string& record, const DataSection& section, bool has_template) {
  const RowMaker maker(section, has_template);
  const auto json = Json::parse(record);
  auto format = section.format;
  if (maker.builds_rows()) format = DataFormat::completion;
  if (format == DataFormat::automatic) format = detect_format(json);
  require_use(format, RowUse::examples);
  maker.is_chat(format);  // as the loader asks once a file
  return show(maker.make(json, format));
}

struct Good {
  std::string record, expected;
};

TEST(Row, EveryFormatAndSpellingBecomesTheSameRow) {
  const std::vector<Good> rows = {
      {R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})",
       "chat: user=q assistant=a*1.0"},
      {R"({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]})",
       "chat: user=q assistant=a*1.0"},
      {R"({"messages": [{"role": "human", "content": [{"type": "text", "text": "q"}, {"type": "text", "value": "!"}]}, {"role": "gpt", "content": "a"}]})",
       "chat: user=q! assistant=a*1.0"},
      {R"({"messages": [{"role": "assistant", "content": "a", "weight": 0}, {"role": "assistant", "content": "b", "loss_weight": 0.5}, {"role": "assistant", "content": "c", "train": true}, {"role": "assistant", "content": "d", "train": false}]})",
       "chat: assistant=a assistant=b*0.5 assistant=c*1.0 assistant=d"},
      {R"({"system": "s", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "tools": "[]"})",
       "chat: system=s user=q assistant=a*1.0"},
      {R"({"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {\"x\": 1}}"}, {"from": "observation", "value": "7"}, {"from": "gpt", "value": "a"}], "tools": "[{\"name\": \"f\", \"parameters\": {}}]"})",
       R"(chat: user=q assistant=[{"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}]*1.0 tool=7 assistant=a*1.0 tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])"},
      {R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": \"y\"}"}}]}, {"role": "tool", "tool_call_id": "1", "content": "7"}]})",
       R"(chat: user=q assistant=[{"id": "1", "type": "function", "function": {"name": "f", "arguments": {"x": "y"}}}]*1.0 tool=7)"},
      {R"({"instruction": "do", "input": "", "output": "done"})", "chat: user=do assistant=done*1.0"},
      {R"({"instruction": "do", "input": "it", "output": "done", "history": [["a", "b"]], "system": "s"})",
       "chat: system=s user=a assistant=b*1.0 user=do\nit assistant=done*1.0"},
      {R"({"prompt": "q", "completion": " a"})", "pair: q |  a"},
      {R"({"prompt": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "x"}, {"role": "user", "content": "r"}], "completion": [{"role": "assistant", "content": "a"}]})",
       "chat: user=q assistant=x*1.0 user=r assistant=a*1.0 prompt=3"},
      {R"({"prompt": "q", "completion": {"role": "assistant", "content": "a"}})",
       "chat: user=q assistant=a*1.0 prompt=1"},
      {R"({"text": "t", "id": 4})", "text: t"},
      {R"({"text": "t", "label": "spam"})", "text: t"},
  };
  for (const auto& row : rows) EXPECT_EQ(row_of(row.record, {}, true), row.expected) << row.record;
}

TEST(Row, TheKeysOfTheRecipeDecideWhatBecomesAConversation) {
  struct Case {
    std::string record;
    std::function<void(DataSection&)> change;
    bool has_template;
    std::string expected;
  };
  const std::string pair = R"({"prompt": "q", "completion": "a"})",
                    alpaca = R"({"instruction": "do", "input": "it", "output": "done"})";
  const std::string columns = R"({"question": "q", "answer": 4, "choices": ["3", "4"]})";
  const auto build = [](DataSection& s) { s.prompt = "Q: {{ question }}", s.completion = " {{ answer }}"; };
  const std::vector<Case> cases = {
      {pair, [](DataSection& s) { s.chat = ChatMode::on; }, true, "chat: user=q assistant=a*1.0 prompt=1"},
      {pair, [](DataSection& s) { s.chat = ChatMode::on, s.system = "s"; }, true,
       "chat: system=s user=q assistant=a*1.0 prompt=2"},
      {pair, [](DataSection&) {}, false, "pair: q | a"},
      {columns, build, true, "chat: user=Q: q assistant= 4*1.0 prompt=1"},
      {columns, build, false, "pair: Q: q |  4"},
      {columns, [&](DataSection& s) { build(s), s.chat = ChatMode::off; }, true, "pair: Q: q |  4"},
      {columns,
       [](DataSection& s) {
         s.fields = {{"prompt", "question"}, {"completion", "choices"}}, s.prompt = "{{ prompt }}",
         s.completion = "{{ answer }}";
       },
       false, "pair: q | 4"},
      {alpaca, [](DataSection&) {}, false,
       "pair: Below is an instruction that describes a task, paired with an input that provides further context. Write "
       "a response that "
       "appropriately completes the request.\n\n### Instruction:\ndo\n\n### Input:\nit\n\n### Response:\n | done"},
      {R"({"q": "x", "r": "y"})",
       [](DataSection& s) {
         s.format = DataFormat::alpaca, s.fields = {{"instruction", "q"}, {"output", "r"}};
       },
       true, "chat: user=x assistant=y*1.0"},
      {R"({"messages": [{"speaker": "user", "says": "q"}, {"speaker": "gpt", "says": "a"}]})",
       [](DataSection& s) {
         s.fields = {{"role", "speaker"}, {"content", "says"}};
       },
       true, "chat: user=q assistant=a*1.0"},
      {R"({"messages": [{"role": "system", "content": "own"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})",
       [](DataSection& s) { s.system = "ours"; }, true, "chat: system=own user=q assistant=a*1.0"},
  };
  for (const auto& c : cases) {
    DataSection section;
    c.change(section);
    EXPECT_EQ(row_of(c.record, section, c.has_template), c.expected) << c.record;
  }
}

TEST(Row, BadRecordsSayWhy) {
  struct Bad {
    std::string record, message;
  };
  const std::vector<Bad> rows = {
      {R"([1, 2])", "expected an object, got list"},
      {R"({"question": "q", "answer": "a"})", "no data format fits a record with: question, answer"},
      {R"({"messages": []})", "the conversation has no messages"},
      {R"({"messages": [{"content": "q"}]})", "message 1: the role is missing (\"role\" or \"from\")"},
      {R"({"messages": [{"role": "asistant", "content": "q"}]})", "message 1: unknown role \"asistant\""},
      {R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant"}]})",
       "message 2: the content is missing (\"content\" or \"value\")"},
      {R"({"messages": [{"role": "user", "content": 3}]})",
       "message 1: content: expected a string or a list of text parts, got integer"},
      {R"({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]})",
       "message 1: content: only text parts can be trained, got \"image_url\""},
      {R"({"messages": [{"role": "user", "content": "q", "weight": 1}]})",
       "message 1: weight 1 on a user message: only what an assistant says is trained"},
      {R"({"messages": [{"role": "assistant", "content": "q", "weight": -1}]})",
       "message 1: weight: expected 0 or more, got -1"},
      {R"({"messages": [{"role": "assistant", "content": "q", "train": 1}]})",
       "message 1: train: expected true or false, got integer"},
      {R"({"messages": [{"role": "assistant", "content": "q", "train": true, "weight": 0}]})",
       "message 1: both \"weight\" and \"train\" say what the message weighs"},
      {R"({"conversations": [{"from": "function_call", "value": "f x"}]})", "message 1: function_call: "},
      {R"({"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]}]})",
       "message 1: tool call f: arguments: expected an object, got list"},
      {R"({"messages": [{"role": "assistant", "content": "a"}], "tools": {"name": "f"}})",
       "tools: expected a list, got object"},
      {R"({"prompt": "q", "completion": ""})", "the completion is empty"},
      {R"({"text": ""})", "the text is empty"},
      {R"({"text": 4})", "\"text\": expected a string, got integer"},
      {R"({"instruction": "a", "output": null})", "\"output\": expected a string, got null"},
      {R"({"prompt": "p", "chosen": "a", "rejected": "b"})",
       "these are preference pairs (chosen and rejected), which this kind of recipe does not read"},
      {R"({"prompt": "p", "completion": "a", "label": true})",
       "these are rows with a label true or false, which this kind of recipe does not read"},
  };
  for (const auto& row : rows) {
    const auto message = message_of([&] { row_of(row.record, {}, true); });
    EXPECT_TRUE(message.starts_with(row.message)) << "wanted " << row.message << "\ngot    " << message;
  }
}

TEST(Row, RecipesThatDoNotFitAreRefused) {
  struct Bad {
    std::string record;
    std::function<void(DataSection&)> change;
    bool has_template;
    std::string message, hint;
  };
  const std::string chat = R"({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]})";
  const std::string pair = R"({"prompt": "q", "completion": "a"})";
  const std::vector<Bad> cases = {
      {chat, [](DataSection&) {}, false, "conversations need a chat template, and the tokenizer has none",
       "data.template=configs/chat/plain.jinja is plain text and needs no special tokens but EOS"},
      {chat, [](DataSection& s) { s.chat = ChatMode::off; }, true,
       "data.chat: off: messages are conversations; only raw rows can do without a template", ""},
      {pair, [](DataSection& s) { s.chat = ChatMode::on; }, false,
       "rows with data.chat: on need a chat template, and the tokenizer has none",
       "data.template=configs/chat/plain.jinja is plain text and needs no special tokens but EOS"},
      {R"({"text": "t"})", [](DataSection& s) { s.chat = ChatMode::on; }, true, "data.chat: on: a text has no turns",
       "give prompts and completions, or leave data.chat out"},
      {pair, [](DataSection& s) { s.system = "s"; }, true,
       "data.system: these rows (completion) are raw text, which has no system turn",
       "data.chat: on makes them conversations; or write the text into data.prompt"},
      {pair,
       [](DataSection& s) {
         s.fields = {{"promt", "q"}};
       },
       true, "data.fields: \"promt\" is no name of ours", "did you mean \"prompt\"?"},
      {pair, [](DataSection& s) { s.prompt = "{{ q }}"; }, true,
       "data.prompt and data.completion build a row together; only one is given", ""},
  };
  for (const auto& c : cases) {
    DataSection section;
    c.change(section);
    ExitCode code = ExitCode::ok;
    std::string hint;
    EXPECT_EQ(message_of([&] { row_of(c.record, section, c.has_template); }, &code, &hint), c.message);
    EXPECT_EQ(hint, c.hint) << c.message;
    EXPECT_EQ(code, ExitCode::usage) << c.message;
  }
}

TEST(Row, TheReferenceIsTheAnswerAsTheDataSpellsIt) {
  DataSection section;
  section.prompt = "{{ q }}";
  section.completion = " {{ a }}";
  const RowMaker raw(section, false), chat(section, true);
  const auto record = Json::parse(R"({"q": "x", "a": "y"})");
  EXPECT_EQ(raw.make(record, DataFormat::completion).reference, " y");
  EXPECT_EQ(chat.make(record, DataFormat::completion).reference, " y");
}

}  // namespace
}  // namespace prentice
