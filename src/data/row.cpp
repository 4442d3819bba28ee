#include "data/row.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/utf8.h"
#include "data/formats.h"
#include "data/messages.h"
#include "data/problems.h"

namespace prentice {

namespace {

constexpr std::string_view kFieldNames[] = {"messages", "conversations", "role",        "content", "from",
                                            "value",    "tools",         "instruction", "input",   "output",
                                            "history",  "prompt",        "completion",  "text",    "system",
                                            "choices",  "chosen",        "rejected",    "label"};

void check_fields(const DataSection& section) {
  std::vector<std::string> known(std::begin(kFieldNames), std::end(kFieldNames));
  for (const auto& [ours, theirs] : section.fields) {
    if (std::find(known.begin(), known.end(), ours) != known.end()) continue;
    const auto match = closest_match(ours, known);
    fail(ExitCode::usage, fmt::format("data.fields: \"{}\" is no name of ours", ours),
         match.empty() ? fmt::format("the keys are our names ({}), the values the file's", joined(known))
                       : fmt::format("did you mean \"{}\"?", match));
  }
}

// The texts that the first instruction-tuned Llama was trained with (Stanford Alpaca, 2023).
std::string alpaca_prompt(const std::string& instruction, const std::string& input) {
  constexpr auto kWithInput =
      "Below is an instruction that describes a task, paired with an input that provides further context. Write a "
      "response that appropriately completes the request.\n\n### Instruction:\n{}\n\n### Input:\n{}\n\n### Response:\n";
  constexpr auto kWithoutInput =
      "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
      "### Instruction:\n{}\n\n### Response:\n";
  return input.empty() ? fmt::format(kWithoutInput, instruction) : fmt::format(kWithInput, instruction, input);
}

}  // namespace

Row raw_pair(std::string prompt, std::string completion) {
  if (is_blank(completion)) {
    bad_record(fmt::format("the completion is {}", completion.empty() ? "empty" : "only white space"),
               "leave the row out, or give it the text to learn");
  }
  Row row{.kind = RowKind::pair, .prompt = std::move(prompt), .completion = std::move(completion)};
  row.reference = row.completion;
  return row;
}

RowMaker::RowMaker(const DataSection& section, bool has_chat_template, RowUse use)
    : section_(section), has_chat_template_(has_chat_template), use_(use) {
  check_fields(section);
  if (section.prompt.empty() != section.completion.empty()) {
    fail(ExitCode::usage, "data.prompt and data.completion build a row together; only one is given");
  }
  if (section.prompt.empty()) return;
  prompt_.emplace(section.prompt, "data.prompt");
  completion_.emplace(section.completion, "data.completion");
}

void RowMaker::require_template(std::string_view what) const {
  if (has_chat_template_) return;
  fail(ExitCode::usage, fmt::format("{} need a chat template, and the tokenizer has none", what),
       "data.template=configs/chat/plain.jinja is plain text and needs no special tokens but EOS");
}

bool RowMaker::is_chat(DataFormat format) const {
  const bool messages = format == DataFormat::messages || format == DataFormat::sharegpt;
  if (messages) {
    if (section_.chat == ChatMode::off)
      fail(ExitCode::usage, "data.chat: off: messages are conversations; only raw rows can do without a template");
    require_template("conversations");
    return true;
  }
  if (section_.chat == ChatMode::on) {
    if (format == DataFormat::text)
      fail(ExitCode::usage, "data.chat: on: a text has no turns",
           "give prompts and completions, or leave data.chat out");
    require_template("rows with data.chat: on");
    return true;
  }
  const bool turns = builds_rows() || format == DataFormat::alpaca;
  const bool chat = turns && section_.chat == ChatMode::automatic && has_chat_template_;
  const bool by_row = format == DataFormat::preference || format == DataFormat::labels;  // texts or messages
  if (!chat && !by_row && !section_.system.empty()) {
    fail(ExitCode::usage,
         fmt::format("data.system: these rows ({}) are raw text, which has no system turn", format_word(format)),
         "data.chat: on makes them conversations; or write the text into data.prompt");
  }
  return chat;
}

const Json& RowMaker::member(const Json& record, const std::string& key) const {
  if (const Json* found = record.find(key)) return *found;
  const auto renamed_from = section_.fields.find(key);
  bad_record(renamed_from == section_.fields.end()
                 ? fmt::format("\"{}\" is missing", key)
                 : fmt::format("\"{}\" (data.fields: {}) is missing", renamed_from->second, key));
}

const std::string& RowMaker::text_member(const Json& record, const std::string& key) const {
  const Json& value = member(record, key);
  if (!value.is_string()) bad_record(fmt::format("\"{}\": expected a string, got {}", key, value.kind()));
  return value.as_string();
}

Row RowMaker::from_messages(const Json& record) const {
  const Json* list = record.find("messages");
  const std::string key = list ? "messages" : record.find("conversations") ? "conversations" : "messages";
  const Json& messages = member(record, key);
  if (!messages.is_array())
    bad_record(fmt::format("\"{}\": expected a list of messages, got {}", key, messages.kind()));
  Row row;
  append_messages(row.conversation, messages, "user", section_.fields);
  return finish_chat(std::move(row), record);
}

// What all conversations share: tools, the system turn, the expected answer.
Row RowMaker::finish_chat(Row row, const Json& record) const {
  row.kind = RowKind::chat;
  auto& conversation = row.conversation;
  if (conversation.messages.empty()) bad_record("the conversation has no messages");
  if (const Json* tools = record.find("tools")) conversation.tools = normalized_tools(*tools);
  const size_t before = conversation.messages.size();
  const Json* system = record.find("system");
  if (system && system->is_string() && !system->as_string().empty()) prepend_system(conversation, system->as_string());
  if (!section_.system.empty()) prepend_system(conversation, section_.system);
  if (row.prompt_messages > 0) row.prompt_messages += conversation.messages.size() - before;
  for (const auto& message : conversation.messages) {
    if (message.at("role").as_string() == "assistant") row.reference = message.at("content").as_string();
  }
  return row;
}

Row RowMaker::from_turns(const std::string& prompt, const std::string& completion) const {
  Row row;
  append_messages(row.conversation, Json(prompt), "user", {});
  row.prompt_messages = 1;
  append_messages(row.conversation, Json(completion), "assistant", {});
  return row;
}

Row RowMaker::from_alpaca(const Json& record) const {
  const auto& instruction = text_member(record, "instruction");
  const auto& output = text_member(record, "output");
  const std::string input = record.find("input") && !record.at("input").is_null() ? text_member(record, "input") : "";
  const Json* history = record.find("history");
  const bool has_history = history && history->is_array() && !history->as_array().empty();
  if (!is_chat(DataFormat::alpaca)) {
    if (has_history) bad_record("\"history\" needs a chat template");
    return raw_pair(alpaca_prompt(instruction, input), output);
  }
  Row row;
  for (const auto& turn : has_history ? history->as_array() : Json::Array{}) {
    if (!turn.is_array() || turn.as_array().size() != 2) bad_record("\"history\": expected [question, answer] pairs");
    append_messages(row.conversation, turn.as_array()[0], "user", {});
    append_messages(row.conversation, turn.as_array()[1], "assistant", {});
  }
  append_messages(row.conversation, Json(input.empty() ? instruction : instruction + "\n" + input), "user", {});
  append_messages(row.conversation, Json(output), "assistant", {});
  return finish_chat(std::move(row), record);
}

Row RowMaker::from_completion(const Json& record) const {
  const Json& prompt = member(record, "prompt");
  const Json& completion = member(record, "completion");
  for (const char* key : {"prompt", "completion"}) {
    const Json& value = member(record, key);
    if (value.is_string() || value.is_object() || value.is_array()) continue;
    bad_record(fmt::format("\"{}\": expected a string or messages, got {}", key, value.kind()));
  }
  if (prompt.is_string() && completion.is_string() && !is_chat(DataFormat::completion)) {
    return raw_pair(prompt.as_string(), completion.as_string());
  }
  Row row;
  if (prompt.is_string() && completion.is_string()) {
    row = from_turns(prompt.as_string(), completion.as_string());
  } else {
    is_chat(DataFormat::messages);
    append_messages(row.conversation, prompt, "user", section_.fields);
    row.prompt_messages = row.conversation.messages.size();
    append_messages(row.conversation, completion, "assistant", section_.fields);
  }
  return finish_chat(std::move(row), record);
}

Row RowMaker::from_text(const Json& record) const {
  Row row{.kind = RowKind::text, .completion = text_member(record, "text")};
  if (row.completion.empty()) bad_record("the text is empty");
  return row;
}

Row RowMaker::make(Json record, DataFormat format) const {
  if (!record.is_object()) bad_record(fmt::format("expected an object, got {}", record.kind()));
  record = renamed(std::move(record), section_.fields);
  Row row;
  if (builds_rows()) {
    const auto prompt = prompt_->render(record), completion = completion_->render(record);
    row = is_chat(DataFormat::completion) ? finish_chat(from_turns(prompt, completion), record)
                                          : raw_pair(prompt, completion);
  } else if (format == DataFormat::alpaca) {
    row = from_alpaca(record);
  } else if (format == DataFormat::completion) {
    row = from_completion(record);
  } else if (format == DataFormat::text) {
    row = from_text(record);
  } else if (format == DataFormat::preference) {
    row = from_preference(record);
  } else if (format == DataFormat::labels) {
    row = from_labels(record);
  } else {
    row = from_messages(record);
  }
  row.record = std::move(record);
  return row;
}

}  // namespace prentice
