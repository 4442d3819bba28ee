#include "data/left_out.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/utf8.h"
#include "data/parallel.h"
#include "text/chat_render.h"

namespace prentice {

namespace {

// Each gives the conversation without a part, or with another, so that a template that writes the part writes another
// text; one for every piece that may be lost by itself, none when there is no such part.
using Changed = std::vector<Conversation>;

Changed without_tools(const Conversation& conversation) {
  if (!conversation.tools.is_array() || conversation.tools.as_array().empty()) return {};
  return {{.messages = conversation.messages, .tools = nullptr, .weights = {}}};
}

bool is_reasoning(const Json::Member& member) {
  return std::ranges::find(kReasoningNames, member.first) != std::end(kReasoningNames);
}

Changed without_reasoning(const Conversation& conversation) {
  const auto says = [](const Json::Member& member) {
    return is_reasoning(member) && member.second.is_string() && !member.second.as_string().empty();
  };
  const auto& messages = conversation.messages;
  if (std::ranges::none_of(messages, [&](const Json& m) { return std::ranges::any_of(m.as_object(), says); }))
    return {};
  Conversation changed{.messages = messages, .tools = conversation.tools, .weights = {}};
  for (auto& message : changed.messages) std::erase_if(message.as_object(), is_reasoning);
  return {std::move(changed)};
}

bool says_as(std::string_view role, const Json& message) {
  return message.at("role").as_string() == role && !is_blank(message.at("content").as_string());
}

void say_more(Json& message) { message["content"] = message.at("content").as_string() + " More."; }

// Taken out, the system's words might give way to the template's own.
Changed with_other_system(const Conversation& conversation) {
  const auto says = [](const Json& message) { return says_as("system", message); };
  if (std::ranges::none_of(conversation.messages, says)) return {};
  Conversation changed{.messages = conversation.messages, .tools = conversation.tools, .weights = {}};
  for (auto& message : changed.messages) {
    if (says(message)) say_more(message);
  }
  return {std::move(changed)};
}

// One by one: a template may write some and not others.
Changed with_other_results(const Conversation& conversation) {
  constexpr size_t kResults = 8;  // of a row, the first ones
  Changed changed;
  for (size_t i = 0; i < conversation.messages.size() && changed.size() < kResults; ++i) {
    if (!says_as("tool", conversation.messages[i])) continue;
    changed.push_back({.messages = conversation.messages, .tools = conversation.tools, .weights = {}});
    say_more(changed.back().messages[i]);
  }
  return changed;
}

struct Part {
  std::string_view name, hint;
  Changed (*change)(const Conversation&);
};
constexpr Part kParts[] = {
    {"tools", "the model is not told of them", without_tools},
    {"reasoning", "it is not trained", without_reasoning},
    {"system message", "the model does not see it", with_other_system},
    {"tool results", "the model does not see them, and what the assistant says before and after them runs together",
     with_other_results},
};

std::string with_count(size_t count, std::string_view noun) {
  return fmt::format("{} {}{}", with_commas(static_cast<int64_t>(count)), noun, count == 1 ? "" : "s");
}

// Empty when no row loses the part.
std::string sentence(const std::vector<Row>& rows, const Part& part, const ChatTemplate& chat_template,
                     const RenderOptions& options, int threads) {
  std::vector<size_t> having;
  for (size_t i = 0; i < rows.size() && having.size() < kRowsLookedAt; ++i) {
    if (rows[i].kind == RowKind::chat && !part.change(rows[i].conversation).empty()) having.push_back(i);
  }
  std::vector<char> lost(having.size(), 0);
  parallel_ranges(static_cast<int64_t>(having.size()), threads, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto& conversation = rows[having[i]].conversation;
      const auto text = chat_template.try_render(conversation, options);
      lost[i] = text && std::ranges::any_of(part.change(conversation), [&](const Conversation& changed) {
                  return text == chat_template.try_render(changed, options);
                });
    }
  });
  const auto count = static_cast<size_t>(std::ranges::count(lost, 1));
  if (count == 0) return "";
  const auto& first = rows[having[std::ranges::find(lost, 1) - lost.begin()]].origin;
  const std::string among =
      having.size() == kRowsLookedAt ? fmt::format(" among the first {} that have it", with_commas(kRowsLookedAt)) : "";
  return fmt::format("{} leaves out the {} of {}{}, the first at {}: {}", chat_template.origin(), part.name,
                     with_count(count, "row"), among, to_string(first), part.hint);
}

// What the record holds under `name` that a conversation would show.
bool holds(const Json& record, std::string_view name) {
  const Json* value = record.is_object() ? record.find(name) : nullptr;
  if (!value) return false;
  if (value->is_string()) return !is_blank(value->as_string());
  return value->is_array() && !value->as_array().empty();
}

}  // namespace

std::vector<std::string> parts_left_out(const std::vector<Row>& rows, const ChatTemplate& chat_template,
                                        const RenderOptions& options, int threads) {
  std::vector<std::string> sentences;
  for (const auto& part : kParts) {
    auto found = sentence(rows, part, chat_template, options, threads);
    if (!found.empty()) sentences.push_back(std::move(found));
  }
  return sentences;
}

std::vector<std::string> members_of_raw_rows(const std::vector<Row>& rows, const DataSection& section) {
  std::vector<std::string> sentences;
  for (const std::string name : {"tools", "system"}) {
    if ((section.prompt + section.completion).find(name) != std::string::npos) continue;
    const auto has = [&](const Row& row) { return row.kind != RowKind::chat && holds(row.record, name); };
    const auto first = std::ranges::find_if(rows, has);
    if (first == rows.end()) continue;
    sentences.push_back(fmt::format(
        "the \"{}\" of {} {} not used, the first at {}: raw text has no place for {}; data.chat: on makes such rows "
        "conversations",
        name, with_count(static_cast<size_t>(std::ranges::count_if(rows, has)), "row"), name == "tools" ? "are" : "is",
        to_string(first->origin), name == "tools" ? "them" : "it"));
  }
  return sentences;
}

void require_string_contents(const ChatTemplate& chat_template, const RenderOptions& options) {
  const auto text = [&](const char* question, const char* answer) {
    const auto turn = [](const char* role, const char* content) {
      return Json(Json::Object{{"role", role}, {"content", content}});
    };
    return chat_template.try_render({.messages = {turn("user", question), turn("assistant", answer)}}, options);
  };
  const auto plain = text("One.", "Two.");
  for (const std::string role : {"user", "assistant"}) {
    if (!plain || plain != (role == "user" ? text("Other.", "Two.") : text("One.", "Other."))) continue;
    fail(ExitCode::model,
         fmt::format("{}: this chat template writes nothing of a message of the {} whose content is a string",
                     chat_template.origin(), role),
         "it may want [{\"type\": \"text\", \"text\": ...}], as templates for images do; set data.template to one that "
         "writes strings, for instance configs/chat/plain.jinja");
  }
}

}  // namespace prentice
