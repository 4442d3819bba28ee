// One row as text or messages, before it is tokenized, and how a record of each format becomes one.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/schema.h"
#include "data/formats.h"
#include "data/sequence.h"
#include "io/json.h"
#include "text/chat.h"

namespace prentice {

enum class RowKind { chat, pair, text };

struct Row {
  RowKind kind = RowKind::text;
  Conversation conversation;   // chat
  size_t prompt_messages = 0;  // chat: so many leading messages are the prompt and not trained
  std::string prompt;          // pair
  std::string completion;      // pair; the whole of a text
  std::string reference;       // the expected answer as the data spells it
  Json record;                 // as read, fields renamed
  Origin origin;
  double mix_weight = 1;
  int32_t role = kNoRole;     // preference data: kChosen or kRejected
  std::vector<Row> rejected;  // the other side of a pair: none or one, of which only the text counts
};

// Errors: `malformed` when the completion is empty or only white space.
Row raw_pair(std::string prompt, std::string completion);

// The rules of data.format, data.chat, data.system, data.prompt and data.completion.
class RowMaker {
 public:
  // Errors: `usage` for keys that do not go together or a template that does not parse.
  RowMaker(const DataSection& section, bool has_chat_template, RowUse use = RowUse::examples);

  RowUse use() const { return use_; }

  // True when rows are built by data.prompt and data.completion, whatever their format.
  bool builds_rows() const { return prompt_.has_value(); }
  // Do rows of `format` become conversations? Message lists in `completion` rows always do. Errors: `usage` when they
  // must and there is no chat template, or when data.chat or data.system cannot apply.
  bool is_chat(DataFormat format) const;

  // Errors: `malformed`, for one record. `format` is decided (not automatic); the record is as read.
  Row make(Json record, DataFormat format) const;

 private:
  Row from_messages(const Json& record) const;
  Row from_alpaca(const Json& record) const;
  Row from_completion(const Json& record) const;
  Row from_text(const Json& record) const;
  Row from_preference(const Json& record) const;  // row_preference.cpp
  Row preference_turns(const Json& record, const Json* prompt, const Json& chosen, const Json& rejected) const;
  Row from_labels(const Json& record) const;
  Row from_turns(const std::string& prompt, const std::string& completion) const;
  Row finish_chat(Row row, const Json& record) const;
  void require_template(std::string_view what) const;
  const Json& member(const Json& record, const std::string& key) const;
  const std::string& text_member(const Json& record, const std::string& key) const;

  const DataSection& section_;
  bool has_chat_template_;
  RowUse use_;
  std::optional<RecordTemplate> prompt_, completion_;
};

}  // namespace prentice
