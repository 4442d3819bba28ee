#include "cli/init_rows.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <span>
#include <string_view>

namespace prentice {

namespace {

constexpr std::string_view kQuestions[] = {"prompt", "question", "query",   "input",     "text",
                                           "task",   "sentence", "message", "utterance", "instruction",
                                           "email",  "document", "passage"};
constexpr std::string_view kAnswers[] = {"completion", "response", "answer", "output", "target", "label",
                                         "category",   "intent",   "class",  "sql",    "code"};

bool is_structure(const FieldLook& field) { return field.kind == "list" || field.kind == "object"; }

bool is_text(const FieldLook& field) {
  return field.everywhere &&
         (field.kind == "string" || field.kind == "integer" || field.kind == "number" || field.kind == "boolean");
}

bool is_nested(const FieldLook& field) { return field.name.find('.') != std::string::npos; }

const FieldLook* named(const std::vector<FieldLook>& fields, std::span<const std::string_view> names) {
  for (const auto name : names) {
    const auto found = std::ranges::find(fields, name, &FieldLook::name);
    if (found != fields.end()) return &*found;
  }
  return nullptr;
}

}  // namespace

std::optional<RowGuess> guess_rows(const DataLook& look) {
  std::vector<FieldLook> fields = look.fields;
  std::erase_if(fields, is_nested);
  const FieldLook *question = named(fields, kQuestions), *answer = named(fields, kAnswers);
  if (fields.size() == 2) {  // one is the question, and the other answers it
    if (!answer) answer = question == &fields[1] ? &fields[0] : &fields[1];
    if (!question) question = answer == &fields[1] ? &fields[0] : &fields[1];
  }
  if (!question || !answer || question == answer) return std::nullopt;
  const bool json = answer->everywhere && is_structure(*answer);
  if (!is_text(*question) || (!is_text(*answer) && !json)) return std::nullopt;
  RowGuess guess{.question = question->name, .answer = answer->name, .others = {}, .answer_is_json = json};
  for (const auto& field : fields) {
    if (&field != question && &field != answer && is_text(field)) guess.others.push_back(field.name);
  }
  return guess;
}

std::string row_choices(const DataLook& look) {
  constexpr size_t kShown = 12;  // of each kind
  std::vector<std::string> texts, structures, partial;
  for (const auto& field : look.fields) {
    auto& list = is_text(field) ? texts : field.everywhere ? structures : partial;
    if (list.size() < kShown) list.push_back(field.name);
  }
  std::string out;
  const auto add = [&](std::string_view what, const std::vector<std::string>& names) {
    if (names.empty()) return;
    out += fmt::format("{}{}{}", out.empty() ? "" : "; ", what, fmt::join(names, ", "));
  };
  add("", texts);
  add("lists and objects: ", structures);
  add("blank or not in every row: ", partial);
  return out;
}

}  // namespace prentice
