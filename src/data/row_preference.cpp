// Rows of preference data: two answers to one prompt, or one answer and whether it is good.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "core/batch.h"
#include "data/messages.h"
#include "data/problems.h"
#include "data/row.h"

namespace prentice {

namespace {

using Messages = std::vector<Json>;

bool is_assistant(const Json& message) { return message.at("role").as_string() == "assistant"; }

bool equal(const Json& a, const Json& b) { return a.dump() == b.dump(); }

size_t common_prefix(const Messages& a, const Messages& b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end(), equal).first - a.begin();
}

// The prompt of texts that name none is what they have in common, up to its last space: never a part of a word.
std::string common_prompt(const std::string& chosen, const std::string& rejected) {
  const auto end = std::mismatch(chosen.begin(), chosen.end(), rejected.begin(), rejected.end()).first;
  const std::string common(chosen.begin(), end);
  const auto last_space = common.find_last_of(" \t\r\n");
  const auto word_end = last_space == common.npos ? common.npos : common.find_last_not_of(" \t\r\n", last_space);
  if (word_end == common.npos) {
    bad_record("there is no \"prompt\", and chosen and rejected have no beginning in common");
  }
  return common.substr(0, word_end + 1);
}

// Whether `side` begins with the prompt's messages, system messages aside: then it is the whole conversation.
bool holds_prompt(const Messages& side, const Messages& prompt) {
  const auto first = std::find_if(side.begin(), side.end(),
                                  [](const Json& message) { return message.at("role").as_string() != "system"; });
  const auto starts = [&](auto from) {
    return static_cast<size_t>(side.end() - from) > prompt.size() &&
           std::equal(prompt.begin(), prompt.end(), from, equal);
  };
  return !prompt.empty() && (starts(side.begin()) || starts(first));
}

void append(Conversation& to, const Conversation& from) {
  to.messages.insert(to.messages.end(), from.messages.begin(), from.messages.end());
  to.weights.insert(to.weights.end(), from.weights.begin(), from.weights.end());
}

// How many leading messages are the prompt of two whole conversations.
size_t shared_messages(const Messages& chosen, const Messages& rejected) {
  const size_t shared = common_prefix(chosen, rejected);
  if (shared == 0) bad_record("chosen and rejected begin with different messages: there is no prompt");
  if (shared == std::min(chosen.size(), rejected.size())) {
    bad_record(
        fmt::format("one side is only the beginning of the other: message {} has nothing against it", shared + 1));
  }
  if (!is_assistant(chosen[shared]) || !is_assistant(rejected[shared])) {
    bad_record(
        fmt::format("chosen and rejected part at message {}, which is not the assistant's on both sides", shared + 1),
        "two answers are compared: the conversations before them must be the same");
  }
  return shared;
}

bool label_of(const Json& label) {
  if (label.is_bool()) return label.as_bool();
  if (label.is_number() && (label.as_number() == 0 || label.as_number() == 1)) return label.as_number() == 1;
  if (label.is_string()) {
    std::string word = label.as_string();
    std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::tolower(c); });
    if (word == "true" || word == "false") return word == "true";
  }
  bad_record(fmt::format("\"label\": expected true or false, got {}", label.dump()),
             "it says whether the answer is a good one; data.fields names the member");
}

}  // namespace

Row RowMaker::from_preference(const Json& record) const {
  const auto side_of = [&](const std::string& name) -> const Json& {
    const Json* messages = record.find(name) ? nullptr : record.find(name + "_messages");
    return messages ? *messages : member(record, name);
  };
  const Json &chosen = side_of("chosen"), &rejected = side_of("rejected");
  for (const auto& [name, side] : {std::pair("chosen", &chosen), std::pair("rejected", &rejected)}) {
    if (!side->is_string() && !side->is_object() && !side->is_array())
      bad_record(fmt::format("\"{}\": expected a string or messages, got {}", name, side->kind()));
  }
  if (equal(chosen, rejected)) bad_record("chosen and rejected are equal", "leave the row out: it prefers nothing");
  const Json* prompt = nullptr;
  for (const char* name : {"prompt", "conversations", "messages"}) {
    if (!prompt) prompt = record.find(name);
  }
  if (prompt && !prompt->is_string() && !prompt->is_object() && !prompt->is_array())
    bad_record(fmt::format("\"prompt\": expected a string or messages, got {}", prompt->kind()));
  const bool texts = chosen.is_string() && rejected.is_string() && (!prompt || prompt->is_string());
  if (!texts || is_chat(DataFormat::preference)) return preference_turns(record, prompt, chosen, rejected);
  if (!section_.system.empty()) {
    bad_record("data.system: this row is raw text, which has no system turn", "data.chat: on makes it a conversation");
  }
  const auto common = prompt ? prompt->as_string() : common_prompt(chosen.as_string(), rejected.as_string());
  const size_t skipped = prompt ? 0 : common.size();
  Row row = raw_pair(common, chosen.as_string().substr(skipped));
  row.rejected.push_back(raw_pair(common, rejected.as_string().substr(skipped)));
  row.role = kChosen, row.rejected[0].role = kRejected;
  return row;
}

Row RowMaker::preference_turns(const Json& record, const Json* prompt, const Json& chosen, const Json& rejected) const {
  is_chat(DataFormat::messages);
  Conversation before;
  if (prompt) append_messages(before, *prompt, "user", section_.fields);
  Row rows[2];
  bool whole = false;
  for (const int role : {kChosen, kRejected}) {
    Conversation side;
    append_messages(side, role == kChosen ? chosen : rejected, "assistant", section_.fields);
    if (side.messages.empty())
      bad_record(fmt::format("\"{}\" has no messages", role == kChosen ? "chosen" : "rejected"));
    const bool is_whole = holds_prompt(side.messages, before.messages) || !is_assistant(side.messages[0]);
    if (!holds_prompt(side.messages, before.messages)) append(rows[role].conversation, before);
    append(rows[role].conversation, side);
    whole = whole || is_whole;
    rows[role].role = role;
  }
  const auto &first = rows[kChosen].conversation.messages, &second = rows[kRejected].conversation.messages;
  if (!whole && before.messages.empty()) bad_record("the \"prompt\" is missing");
  const size_t shared = whole ? shared_messages(first, second) : before.messages.size();
  for (auto& row : rows) {
    row.prompt_messages = shared;
    row = finish_chat(std::move(row), record);
  }
  rows[kChosen].rejected.push_back(std::move(rows[kRejected]));
  return std::move(rows[kChosen]);
}

Row RowMaker::from_labels(const Json& record) const {
  const bool good = label_of(member(record, "label"));
  Row row = record.find("messages") || record.find("conversations") ? from_messages(record) : from_completion(record);
  row.role = good ? kChosen : kRejected;
  if (row.kind != RowKind::chat || row.prompt_messages > 0) return row;
  // The answer is what the assistant says after the last question, tools between its turns included.
  const auto& messages = row.conversation.messages;
  const auto question = std::find_if(messages.rbegin(), messages.rend(),
                                     [](const Json& message) { return message.at("role").as_string() == "user"; });
  row.prompt_messages = messages.rend() - question;
  return row;
}

}  // namespace prentice
