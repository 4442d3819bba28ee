#include "data/formats.h"

#include <fmt/format.h>

#include <algorithm>

#include "config/words.h"
#include "data/problems.h"

namespace prentice {

std::string_view format_word(DataFormat format) {
  for (const auto& word : Words<DataFormat>::table) {
    if (word.value == format) return word.word;
  }
  return "?";
}

std::optional<DataFormat> known_format(const Json& record) {
  const auto has = [&](std::string_view key) { return record.find(key) != nullptr; };
  const Json* label = record.find("label");
  if ((has("chosen") && has("rejected")) || (has("chosen_messages") && has("rejected_messages"))) {
    return DataFormat::preference;
  }
  if (label && label->is_bool() && (has("completion") || has("messages") || has("conversations"))) {
    return DataFormat::labels;
  }
  for (const std::string_view key : {"messages", "conversations"}) {
    const Json* list = record.find(key);
    if (!list || !list->is_array()) continue;
    const bool has_from = !list->as_array().empty() && list->as_array().front().find("from");
    return has_from ? DataFormat::sharegpt : DataFormat::messages;
  }
  if (has("instruction") && has("output")) return DataFormat::alpaca;
  if (has("prompt") && has("completion")) return DataFormat::completion;
  if (has("text")) return DataFormat::text;
  return std::nullopt;
}

DataFormat detect_format(const Json& record) {
  if (!record.is_object()) bad_record(fmt::format("expected an object, got {}", record.kind()));
  if (const auto format = known_format(record)) return *format;
  std::vector<std::string> names;
  for (const auto& [name, value] : record.as_object()) names.push_back(name);
  bad_record(
      fmt::format("no data format fits a record with: {}", joined(names)),
      "say what is the question and what the answer: data.prompt='{{ ... }}' data.completion='{{ ... }}'; or name the "
      "members with data.fields");
}

void require_use(DataFormat format, RowUse use) {
  const bool pairs = format == DataFormat::preference, labels = format == DataFormat::labels;
  if (use == RowUse::examples && pairs) {
    bad_record(
        "these are preference pairs (chosen and rejected), which this kind of recipe does not read",
        "`recipe: dpo` and `recipe: reward` learn from them; data.fields can name the chosen answer as the one to "
        "train");
  }
  if (use == RowUse::examples && labels) {
    bad_record("these are rows with a label true or false, which this kind of recipe does not read",
               "`recipe: kto` learns from them; or keep the rows that are labelled true");
  }
  if (use == RowUse::pairs && labels) {
    bad_record("these are rows with a label true or false, and this recipe compares two answers",
               "`recipe: kto` learns from single answers");
  }
  if (use != RowUse::examples && !pairs && !labels) {
    bad_record(fmt::format("these are rows of format {}, which say nothing of a worse answer", format_word(format)),
               use == RowUse::pairs
                   ? "pairs are {prompt, chosen, rejected}; data.fields names the members"
                   : "kto reads {prompt, completion, label} and {prompt, chosen, rejected}; data.fields "
                     "names the members");
  }
}

std::vector<std::string> unread_members(const Json& record, DataFormat format) {
  std::vector<std::string_view> read;
  if (format == DataFormat::alpaca) read = {"instruction", "input", "output", "system", "history", "tools"};
  if (format == DataFormat::completion) read = {"prompt", "completion", "tools", "system", "choices"};
  if (format == DataFormat::text) read = {"text", "tools", "system"};
  if (format == DataFormat::preference) {
    read = {"prompt", "messages", "conversations",   "chosen",           "rejected",
            "tools",  "system",   "chosen_messages", "rejected_messages"};
  }
  if (format == DataFormat::labels) {
    read = {"prompt", "completion", "messages", "conversations", "label", "tools", "system"};
  }
  std::vector<std::string> unread;
  if (read.empty() || !record.is_object()) return unread;
  for (const auto& [name, value] : record.as_object()) {
    if (std::find(read.begin(), read.end(), name) == read.end()) unread.push_back(name);
  }
  return unread;
}

}  // namespace prentice
